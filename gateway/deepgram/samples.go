package deepgram

import (
	"bytes"
	"slices"

	"stenobus/gateway/dialect"
)

const (
	maxFrame  = 32 << 10  // bytes of samples
	maxPacket = 48 * 1275 // bytes of an Opus packet: RFC 6716, 3.2
)

// samples cuts raw samples, whatever the messages they come in, into whole ones and
// into frames of at most 100 ms.
type samples struct {
	format  dialect.Format
	size    int // bytes of a sample of all channels
	most    int // bytes of a frame
	started bool
	part    []byte // of a sample whose rest has not come
}

func newSamples(f dialect.Format) *samples {
	s := &samples{format: f, size: f.Channels}
	if f.Encoding == encodingL16 {
		s.size *= 2
	}
	s.most = min(f.SampleRate/10, maxFrame/s.size) * s.size
	return s
}

func (s *samples) take(data []byte, r *reader) {
	if !s.started {
		s.started = true
		r.start(s.format)
	}
	all := slices.Concat(s.part, data)
	whole := len(all) - len(all)%s.size
	s.part = bytes.Clone(all[whole:])
	for all = all[:whole]; len(all) > 0; {
		n := min(s.most, len(all))
		r.frame(all[:n:n], -1)
		all = all[n:]
	}
}

func (s *samples) rest(r *reader) {
	r.cutOff(len(s.part), "sample of all channels")
	s.part = nil
}

// packets are Opus, one a message. Clients that forward a recorder's output often call
// an Ogg stream opus.
type packets struct {
	format  dialect.Format
	started bool
}

func (p *packets) take(data []byte, r *reader) {
	switch {
	case !p.started && bytes.HasPrefix(data, []byte(oggMagic)):
		f := p.format
		f.Encoding = encodingOggOpus
		r.input = &oggPages{format: f}
		r.input.take(data, r)
		return
	case len(data) > maxPacket:
		r.garbage("a message of %d bytes is no Opus packet: these have at most %d", len(data), maxPacket)
		return
	case !p.started:
		p.started = true
		r.start(p.format)
	}
	r.frame(bytes.Clone(data), -1)
}

func (p *packets) rest(*reader) {}
