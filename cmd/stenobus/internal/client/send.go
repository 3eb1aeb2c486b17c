package client

import (
	"context"
	"errors"
	"io"

	"stenobus/cmd/stenobus/internal/clip"
)

// speaker is a clip on its way.
type speaker struct {
	clip *clip.Clip
	next clip.Chunk
	n    uint64 // of the last chunk sent
}

// send sends all clips side by side, in the order of their time, and then the end.
func (s *session) send(ctx context.Context, clips []*clip.Clip) error {
	var speakers []*speaker
	for _, c := range clips {
		if err := s.write(ctx, startOf(c.Name, c.Format)); err != nil {
			return err
		}
		sp := &speaker{clip: c}
		more, err := sp.advance()
		if err != nil {
			return err
		}
		if more {
			speakers = append(speakers, sp)
		}
	}
	p := newPace(s.opts.Speed, s.opts.Ahead, s.flow)
	for len(speakers) > 0 {
		i := earliest(speakers)
		more, err := s.sendNext(ctx, p, speakers[i])
		if err != nil {
			return err
		}
		if !more {
			speakers = append(speakers[:i], speakers[i+1:]...)
		}
	}
	return s.write(ctx, plainMessage{"session-end"})
}

// sendNext sends a speaker's next chunk when it is due; false: it was the last.
func (s *session) sendNext(ctx context.Context, p *pace, sp *speaker) (bool, error) {
	if err := p.wait(ctx, sp.clip.Name, sp.next.At); err != nil {
		return false, err
	}
	sp.n++
	s.flow.sent(sp.clip.Name, sp.next.At+sp.next.Length)
	if err := s.write(ctx, mediaOf(sp.clip.Name, sp.n, sp.next)); err != nil {
		return false, err
	}
	s.watch.progress(s.flow.progress())
	return sp.advance()
}

// advance reads the next chunk; false: there is none.
func (sp *speaker) advance() (bool, error) {
	c, err := sp.clip.Next()
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	sp.next = c
	return err == nil, err
}

func earliest(speakers []*speaker) int {
	first := 0
	for i, sp := range speakers {
		if sp.next.At < speakers[first].next.At {
			first = i
		}
	}
	return first
}
