package audio

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// No bytes, however cut, make a decoder panic, hold on to more than it may, or run
// backwards.
func FuzzDecode(f *testing.F) {
	packets := packetsOf(f, readSample(f, "writing.ogg"))
	f.Add(uint8(0), uint8(1), packets[40].Data)
	f.Add(uint8(1), uint8(100), readSample(f, "writing.ogg")[:2000])
	f.Add(uint8(2), uint8(3), []byte("some samples"))
	f.Fuzz(func(t *testing.T, kind, size uint8, data []byte) {
		encoding := []string{Opus, OggOpus, L16, MuLaw, ALaw}[kind%5]
		for name, codec := range codecs() {
			d := mustDecoder(t, Format{encoding, 44100, 2}, 16000, codec)
			var through uint64
			for n, rest := uint64(1), data; len(rest) > 0; n++ {
				cut := min(len(rest), int(size)+1)
				c, _ := d.Decode(n, int64(n*uint64(kind)), time.Duration(n)*ms, rest[:cut])
				if c.Through < through || c.Through > n {
					t.Fatalf("%s: through %d after %d at frame %d", name, c.Through, through, n)
				}
				through, rest = c.Through, rest[cut:]
			}
			d.Close()
		}
	})
}

// A stream of Ogg, damaged or not, sounds the same in one piece and in any others.
func FuzzOggSlicing(f *testing.F) {
	file := readSample(f, "writing.ogg")
	f.Add(file[:3000], uint64(1))
	f.Add(file[500:4000], uint64(2))
	b, _ := stream(f, 1)
	f.Add(b[len(b)-8000:], uint64(3))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 0))
		whole, _ := feed(mustDecoder(t, ogg, 16000, newLibopus), data, every(max(1, len(data))))
		pieces, _ := feed(mustDecoder(t, ogg, 16000, newLibopus), data, func() int { return rng.IntN(600) })
		if !slices.Equal(whole, pieces) {
			t.Errorf("%d samples in one piece, %d in several", len(whole), len(pieces))
		}
	})
}

func FuzzFiles(f *testing.F) {
	f.Add(readSample(f, "writing.ogg")[:2000])
	f.Add([]byte(wav("LIST\x03\x00\x00\x00abc\x00", 1, 1, 8000, 16, 2, "ab")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if format, r, err := ReadWAV(bytes.NewReader(data)); err == nil {
			if _, err := io.Copy(io.Discard, r); err != nil || format.Validate() != nil {
				t.Errorf("WAV of %+v, error %v", format, err)
			}
		}
		r, err := NewOggReader(bytes.NewReader(data))
		for err == nil {
			var p OpusPacket
			if p, err = r.Next(); err == nil && (p.Duration <= 0 || p.Duration > maxPacketDuration) {
				t.Errorf("a packet of %v", p.Duration)
			}
		}
	})
}
