package clip

import (
	"encoding/binary"
	"io"
	"time"

	"stenobus/worker/audio"
)

// opusRate is the clock of Opus, whatever was recorded.
const opusRate = 48_000

// readOgg takes the Opus packets out of an Ogg file.
func (c *Clip) readOgg(r io.Reader) error {
	ogg, err := audio.NewOggReader(r)
	if err != nil {
		return err
	}
	c.Format = Format{Encoding: "opus", SampleRate: opusRate, Channels: ogg.Channels()}
	var at time.Duration
	c.next = func() (Chunk, error) {
		p, err := ogg.Next()
		if err != nil {
			return Chunk{}, err
		}
		chunk := Chunk{Data: p.Data, At: at, Length: p.Duration}
		at += p.Duration
		return chunk, nil
	}
	return nil
}

// readWAV takes the samples out of a WAV file, mixed to one channel: more than that is
// not in the protocol.
func (c *Clip) readWAV(r io.Reader) error {
	f, samples, err := audio.ReadWAV(r)
	if err != nil {
		return err
	}
	if f.Channels > 1 {
		samples = &mixer{r: samples, frame: make([]byte, 2*f.Channels)}
	}
	c.readPCM(samples, f.SampleRate)
	return nil
}

// mixer makes one channel of many.
type mixer struct {
	r     io.Reader
	frame []byte // one sample of each channel
}

// Read implements io.Reader for buffers of whole samples.
func (m *mixer) Read(p []byte) (int, error) {
	n := 0
	for ; n+2 <= len(p); n += 2 {
		if _, err := io.ReadFull(m.r, m.frame); err != nil {
			if n > 0 {
				err = nil // it comes again
			}
			return n, err
		}
		sum := 0
		for i := 0; i < len(m.frame); i += 2 {
			sum += int(int16(binary.LittleEndian.Uint16(m.frame[i:])))
		}
		binary.LittleEndian.PutUint16(p[n:], uint16(int16(sum/(len(m.frame)/2))))
	}
	return n, nil
}
