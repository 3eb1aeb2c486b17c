package audio

import (
	"encoding/binary"
	"fmt"
)

const sampleBytes = 2

// l16 decodes interleaved samples.
type l16 struct {
	channels int
	resample *resampler
	mixed    []float32
	out      []int16
}

func newL16(f Format, rate int) *l16 {
	return &l16{channels: f.Channels, resample: newResampler(f.SampleRate, rate)}
}

func (l *l16) decode(f frame) (Chunk, error) {
	c := Chunk{Through: f.number}
	if len(f.data)%sampleBytes != 0 {
		return c, fmt.Errorf("l16 frame of %d bytes: samples are %d bytes", len(f.data), sampleBytes)
	}
	if whole := sampleBytes * l.channels; len(f.data)%whole != 0 {
		return c, fmt.Errorf("l16 frame of %d bytes: samples of %d channels are %d bytes", len(f.data), l.channels, whole)
	}
	l.mix(f.data)
	l.out = l.resample.append(l.out[:0], l.mixed)
	c.PCM = l.out
	return c, nil
}

// mix averages the channels: a sum would clip where all say the same.
func (l *l16) mix(data []byte) {
	l.mixed = l.mixed[:0]
	scale := 1 / float32(l.channels)
	for len(data) > 0 {
		var sum int32
		for range l.channels {
			sum += int32(int16(binary.LittleEndian.Uint16(data)))
			data = data[sampleBytes:]
		}
		l.mixed = append(l.mixed, float32(sum)*scale)
	}
}
