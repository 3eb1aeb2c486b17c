package audio

import (
	"fmt"

	"github.com/zaf/g711"
)

// companded decodes interleaved samples of a byte each, as telephony sends them
// (ITU-T G.711).
type companded struct {
	name     string
	expand   func(byte) int16
	channels int
	resample *resampler
	mixed    []float32
	out      []int16
}

func newCompanded(f Format, rate int) *companded {
	c := &companded{name: f.Encoding, expand: g711.DecodeUlawFrame, channels: f.Channels, resample: newResampler(f.SampleRate, rate)}
	if f.Encoding == ALaw {
		c.expand = g711.DecodeAlawFrame
	}
	return c
}

func (c *companded) decode(f frame) (Chunk, error) {
	chunk := Chunk{Through: f.number}
	if len(f.data)%c.channels != 0 {
		return chunk, fmt.Errorf("%s frame of %d bytes: samples of %d channels are %d bytes", c.name, len(f.data), c.channels, c.channels)
	}
	c.mix(f.data)
	c.out = c.resample.append(c.out[:0], c.mixed)
	chunk.PCM = c.out
	return chunk, nil
}

// mix averages the channels, as l16 does.
func (c *companded) mix(data []byte) {
	c.mixed = c.mixed[:0]
	scale := 1 / float32(c.channels)
	for len(data) > 0 {
		var sum int32
		for _, b := range data[:c.channels] {
			sum += int32(c.expand(b))
		}
		data = data[c.channels:]
		c.mixed = append(c.mixed, float32(sum)*scale)
	}
}
