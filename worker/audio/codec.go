package audio

import (
	"fmt"

	"github.com/pion/opus"
)

// codec decodes Opus packets to mono at one rate.
type codec interface {
	// decode fills pcm, which has room for the longest packet, and returns the
	// number of samples.
	decode(packet []byte, pcm []int16) (int, error)

	// conceal fills pcm, a multiple of 2.5 ms, with what may have been lost before
	// next, the packet that came after the loss.
	conceal(next []byte, pcm []int16) error

	// reset forgets all that was decoded.
	reset() error
}

type newCodec func(rate int) (codec, error)

// bestCodec prefers libopus, which is twice as fast and truly conceals.
func bestCodec(rate int) (codec, error) {
	if c, err := newLibopus(rate); err == nil {
		return c, nil
	}
	return newPion(rate)
}

// pion decodes in Go. It knows no concealment.
type pion struct {
	decoder opus.Decoder
	rate    int
}

func newPion(rate int) (codec, error) {
	p := &pion{rate: rate}
	return p, p.reset()
}

func (p *pion) decode(packet []byte, pcm []int16) (n int, err error) {
	n, err = p.decoder.DecodeToInt16(packet, pcm)
	if err != nil {
		return 0, fmt.Errorf("opus packet of %d bytes: %w", len(packet), err)
	}
	return n, nil
}

func (p *pion) conceal(_ []byte, pcm []int16) error {
	clear(pcm)
	return nil
}

func (p *pion) reset() error {
	d, err := opus.NewDecoderWithOutput(p.rate, 1)
	if err != nil {
		return fmt.Errorf("opus decoder to %d samples/s: %w", p.rate, err)
	}
	p.decoder = d
	return nil
}
