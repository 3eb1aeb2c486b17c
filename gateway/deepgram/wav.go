package deepgram

import (
	"encoding/binary"
	"fmt"
	"math"

	"stenobus/gateway/dialect"
)

const riffMagic = "RIFF"

// Format tags of WAV.
const (
	wavPCM        = 1
	wavALaw       = 6
	wavMuLaw      = 7
	wavExtensible = 0xfffe // what the format is stands further on
)

// Bounds of what comes before the samples, in bytes.
const (
	leastFmt = 16
	mostFmt  = 1 << 10
	mostSkip = 1 << 20
)

// wav reads a WAV stream that is cut anywhere. What follows its samples is no audio.
type wav struct {
	head    []byte // not read yet, before the samples
	came    int64  // bytes of the header so far
	riff    bool   // the stream's own header was read
	skip    int64  // bytes of a chunk that nobody wants, still to come
	skipped int64  // of such chunks in all
	format  dialect.Format
	samples *samples // nil before the data chunk
	left    int64    // bytes of the data chunk still to come; below 0: its writer did not know
	over    bool     // the client was told that its samples are over
}

func (w *wav) take(data []byte, r *reader) {
	if w.samples != nil {
		w.audio(data, r)
		return
	}
	w.head = append(w.head, data...)
	w.came += int64(len(data))
	for w.samples == nil && !r.unusable && w.step(r) {
	}
	if w.samples != nil {
		rest := w.head
		w.head = nil
		w.audio(rest, r)
	}
}

func (w *wav) rest(r *reader) {
	if w.samples != nil {
		w.samples.rest(r)
		return
	}
	r.cutOff(int(w.came), "header of WAV")
	w.head, w.came = nil, 0
}

// step reads the next thing of the header; false: more bytes are needed.
func (w *wav) step(r *reader) bool {
	switch {
	case w.skip > 0:
		n := min(w.skip, int64(len(w.head)))
		w.skip -= n
		w.head = w.head[n:]
		return w.skip == 0
	case !w.riff:
		if len(w.head) < 12 {
			return false
		}
		if string(w.head[8:12]) != "WAVE" {
			r.refuse("RIFF without WAVE is not read here")
			return false
		}
		w.riff, w.head = true, w.head[12:]
		return true
	case len(w.head) < 8:
		return false
	}
	return w.chunk(string(w.head[:4]), int64(binary.LittleEndian.Uint32(w.head[4:])), r)
}

// chunk reads what follows a chunk's name and size.
func (w *wav) chunk(name string, size int64, r *reader) bool {
	padded := size + size%2
	switch {
	case name == "data" && w.format.Encoding == "":
		r.refuse("WAV whose data chunk comes before its fmt chunk is not read here")
	case name == "data":
		w.head, w.samples, w.left = w.head[8:], newSamples(w.format), size
		if size == 0 || size == math.MaxUint32 {
			w.left = -1
		}
	case name == "fmt " && (size < leastFmt || size > mostFmt):
		r.refuse("WAV with a fmt chunk of %d bytes is not read here", size)
	case name == "fmt ":
		if int64(len(w.head)) < 8+padded {
			return false
		}
		f, err := wavFormat(w.head[8 : 8+size])
		if err != nil {
			r.refuse("%v", err)
		}
		w.format, w.head = f, w.head[8+padded:]
	default:
		if w.skipped += padded; w.skipped > mostSkip {
			r.refuse("WAV with more than %d bytes before its data chunk is not read here", mostSkip)
		}
		w.head, w.skip = w.head[8:], padded
	}
	return true
}

// audio hands on what lies in the data chunk.
func (w *wav) audio(data []byte, r *reader) {
	mine := data
	if w.left >= 0 {
		mine = data[:min(int64(len(data)), w.left)]
		w.left -= int64(len(mine))
	}
	if len(mine) > 0 {
		w.samples.take(mine, r)
	}
	if len(mine) < len(data) && !w.over {
		w.over = true
		r.garbage("what follows the data chunk of a WAV stream is no audio; a writer that does not know its size says 0 or 0xffffffff")
	}
}

// wavFormat reads the body of a fmt chunk.
func wavFormat(b []byte) (dialect.Format, error) {
	f := dialect.Format{
		SampleRate: int(min(binary.LittleEndian.Uint32(b[4:]), math.MaxInt32)),
		Channels:   int(binary.LittleEndian.Uint16(b[2:])),
	}
	kind, bits := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint16(b[14:])
	if kind == wavExtensible && len(b) >= 40 {
		kind = binary.LittleEndian.Uint16(b[24:])
	}
	want := uint16(8)
	switch kind {
	case wavPCM:
		f.Encoding, want = encodingL16, 16
	case wavALaw:
		f.Encoding = encodingALaw
	case wavMuLaw:
		f.Encoding = encodingMuLaw
	default:
		return f, fmt.Errorf("WAV with format tag %d is not read here: 1 (PCM), 6 (A-law) and 7 (mu-law) are", kind)
	}
	switch {
	case bits != want:
		return dialect.Format{}, fmt.Errorf("WAV with %d bits a sample is not read here: %d are", bits, want)
	case f.Channels < 1 || f.Channels > maxChannels:
		return dialect.Format{}, fmt.Errorf("WAV with %d channels is not read here: 1 to %d are", f.Channels, maxChannels)
	case f.SampleRate < minRate || f.SampleRate > maxRate:
		return dialect.Format{}, fmt.Errorf("WAV with %d samples/s is not read here: %d to %d are", f.SampleRate, minRate, maxRate)
	}
	return f, nil
}
