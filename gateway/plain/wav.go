package plain

import (
	"encoding/binary"
	"fmt"
	"math"

	"stenobus/gateway/dialect"
)

// Format tags of WAV (RFC 2361, and Microsoft's WAVEFORMATEXTENSIBLE).
const (
	wavPCM        = 1
	wavAlaw       = 6
	wavMulaw      = 7
	wavExtensible = 0xfffe // the tag stands further on
)

const (
	riffHead  = 12 // bytes: RIFF, size, WAVE
	chunkHead = 8  // bytes: name, size
	maxFmt    = 1 << 10
	maxSkip   = 1 << 20 // of chunks that nobody wants, in a row: a wrong length would hide the samples behind it

	wantWAV = "16-bit PCM, mu-law or A-law of 1 to 8 channels"
)

// wav reads a WAV file that comes in pieces of any size.
type wav struct {
	held    []byte         // the head that is not whole yet
	format  dialect.Format // Encoding empty: no fmt chunk was seen
	skipped int64          // bytes of chunks that nobody wants, since the last samples
	left    int64          // bytes that the chunk still has
	data    bool           // the chunk holds samples
	pad     bool           // a byte follows it, as chunks begin at even places
}

// feed takes the next bytes: samples is called with runs of samples, and why says what
// is wrong with the file, after which nothing of it can be understood.
func (w *wav) feed(b []byte, samples func([]byte)) (why string) {
	for len(b) > 0 {
		if w.left > 0 {
			n := int(min(w.left, int64(len(b))))
			if w.data {
				samples(b[:n])
			}
			w.left -= int64(n)
			b = b[n:]
			continue
		}
		if w.data = false; w.pad {
			w.pad, w.left = false, 1
			continue
		}
		w.held = append(w.held, b...)
		used, why := w.head()
		if why != "" {
			return why
		}
		if used == 0 { // more must come
			return ""
		}
		b = w.held[used:]
		w.held = nil
	}
	return ""
}

// head reads the head of a chunk, and the whole of a fmt chunk, from what is held, and
// returns how much that was. 0: it is not all there yet.
func (w *wav) head() (used int, why string) {
	if len(w.held) < chunkHead {
		return 0, ""
	}
	name, size := string(w.held[:4]), int64(binary.LittleEndian.Uint32(w.held[4:]))
	switch {
	case name == "RIFF": // at the beginning, or where a file follows another
		if len(w.held) < riffHead {
			return 0, ""
		}
		if string(w.held[8:riffHead]) != "WAVE" {
			return 0, "RIFF is not followed by WAVE"
		}
		return riffHead, ""
	case name == "fmt ":
		if size < 16 || size > maxFmt {
			return 0, fmt.Sprintf("fmt chunk has %d bytes, allowed are 16 to %d", size, maxFmt)
		}
		whole := chunkHead + int(size+size%2)
		if len(w.held) < whole {
			return 0, ""
		}
		w.format, why = wavFormat(w.held[chunkHead:whole])
		return whole, why
	case name == "data":
		if w.format.Encoding == "" {
			return 0, "data chunk comes before the fmt chunk"
		}
		w.data, w.left, w.pad, w.skipped = true, size, size%2 == 1, 0
		if size == 0 || size >= math.MaxInt32-riffHead-4*chunkHead { // the writer did not know, as in a pipe
			w.left, w.pad = math.MaxInt64, false
		}
		return chunkHead, ""
	case !printable(name):
		return 0, fmt.Sprintf("chunk is called %q", name)
	}
	if w.skipped += size; w.skipped > maxSkip {
		return 0, fmt.Sprintf("chunk %q has %d bytes, allowed are %d without samples", name, size, maxSkip)
	}
	w.left, w.pad = size, size%2 == 1
	return chunkHead, ""
}

// printable tells a chunk's name from samples that stand where none should.
func printable(name string) bool {
	for i := range len(name) {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
	}
	return true
}

// wavFormat reads the body of a fmt chunk.
func wavFormat(b []byte) (dialect.Format, string) {
	tag, bits := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[14:]))
	if tag == wavExtensible && len(b) >= 26 {
		tag = binary.LittleEndian.Uint16(b[24:])
	}
	encoding := map[uint16]string{wavPCM: encodingL16, wavAlaw: encodingAlaw, wavMulaw: encodingMulaw}[tag]
	f := dialect.Format{
		Encoding:   encoding,
		Channels:   int(binary.LittleEndian.Uint16(b[2:])),
		SampleRate: int(min(binary.LittleEndian.Uint32(b[4:]), math.MaxInt32)),
	}
	switch {
	case encoding == "" || bits != 8*width(encoding):
		return f, fmt.Sprintf("format tag is %d with %d bits", tag, bits)
	case !channels(encoding).holds(float64(f.Channels)):
		return f, fmt.Sprintf("%d channels", f.Channels)
	case !rates.holds(float64(f.SampleRate)):
		return f, fmt.Sprintf("sample rate %d, allowed: %s", f.SampleRate, rates)
	}
	return f, ""
}
