package audio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const samplesDir = "../../cmd/stenobus/samples"

func readSample(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(samplesDir, name))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// packetsOf is what OggReader finds in a file.
func packetsOf(tb testing.TB, file []byte) []OpusPacket {
	tb.Helper()
	r, err := NewOggReader(bytes.NewReader(file))
	if err != nil {
		tb.Fatal(err)
	}
	var all []OpusPacket
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, p)
	}
}

// codecs are both decoders of Opus. CI installs libopus, so it is never left out.
func codecs() map[string]newCodec {
	return map[string]newCodec{"pion": newPion, "libopus": newLibopus}
}

func mustDecoder(tb testing.TB, f Format, rate int, codec newCodec) *Decoder {
	tb.Helper()
	d, err := newDecoder(f, rate, codec)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// feed decodes data in pieces of the sizes that cut gives, as frames 1, 2, ..., and
// returns all PCM and the errors there were.
func feed(d *Decoder, data []byte, cut func() int) ([]int16, []error) {
	var pcm []int16
	var errs []error
	for n := uint64(1); len(data) > 0; n++ {
		size := min(max(cut(), 1), len(data))
		c, err := d.Decode(n, -1, 0, data[:size])
		if err != nil {
			errs = append(errs, err)
		}
		pcm = append(pcm, c.PCM...)
		data = data[size:]
	}
	return pcm, errs
}

func every(n int) func() int { return func() int { return n } }

// muxer writes Ogg pages.
type muxer struct {
	bytes.Buffer
	serial, sequence uint32
	table            crcTable
}

func newMuxer(serial uint32) *muxer { return &muxer{serial: serial, table: newCRCTable()} }

// page writes one page with the lacing values given.
func (m *muxer) page(flags byte, lacing, body []byte) {
	b := make([]byte, headerBytes, headerBytes+len(lacing)+len(body))
	copy(b, capture)
	b[5], b[26] = flags, byte(len(lacing))
	binary.LittleEndian.PutUint32(b[14:], m.serial)
	binary.LittleEndian.PutUint32(b[18:], m.sequence)
	b = append(append(b, lacing...), body...)
	binary.LittleEndian.PutUint32(b[22:], m.table.ogg(b))
	m.sequence++
	m.Write(b)
}

// packet writes a packet over as many pages as it takes with most segments in each.
func (m *muxer) packet(flags byte, most int, p []byte) {
	lacing := bytes.Repeat([]byte{255}, len(p)/255)
	lacing = append(lacing, byte(len(p)%255))
	for len(lacing) > 0 {
		n := min(most, len(lacing))
		size := min(n*255, len(p))
		m.page(flags, lacing[:n], p[:size])
		lacing, p = lacing[n:], p[size:]
		flags = flags&^flagFirst | flagContinued
	}
}

func (m *muxer) head(preSkip uint16, gain int16, channels byte) {
	p := append([]byte("OpusHead"), 1, channels)
	p = binary.LittleEndian.AppendUint16(p, preSkip)
	p = binary.LittleEndian.AppendUint32(p, opusRate)
	p = binary.LittleEndian.AppendUint16(p, uint16(gain))
	m.packet(flagFirst, 255, append(p, 0))
}

func (m *muxer) tags(size int) {
	m.packet(0, 255, append([]byte("OpusTags"), make([]byte, size)...))
}

// power is the mean square of samples.
func power(pcm []int16) float64 {
	var sum float64
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	return sum / float64(max(len(pcm), 1))
}

func sine(samples, rate int, hz, amplitude float64) []float32 {
	out := make([]float32, samples)
	for i := range out {
		out[i] = float32(amplitude * math.Sin(2*math.Pi*hz*float64(i)/float64(rate)))
	}
	return out
}

func bytesOf(pcm ...int16) []byte {
	var b []byte
	for _, v := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(v))
	}
	return b
}

const ms = time.Millisecond
