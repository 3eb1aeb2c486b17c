package client

import (
	"context"
	"encoding/json"
	"sync"
)

// hearing is what the reader of a session found out. Read it after done.
type hearing struct {
	done        chan struct{}
	err         error // why nothing more can be read
	finals      int
	unaccounted int64
}

// listen reads until the socket ends.
func (s *session) listen(ctx context.Context) *hearing {
	h := &hearing{done: make(chan struct{})}
	go func() {
		defer close(h.done)
		for {
			_, b, err := s.conn.Read(ctx)
			if err != nil {
				h.err = err
				return
			}
			s.hear(h, b)
		}
	}()
	return h
}

func (s *session) hear(h *hearing, b []byte) {
	var m received
	if json.Unmarshal(b, &m) != nil {
		return // not for us to judge: the protocol may grow
	}
	r, neutral, ok := m.result()
	if neutral {
		s.flow.speaks()
	}
	if !ok {
		return
	}
	switch {
	case r.Type == TypeFinal:
		h.finals++
	case r.Type == TypeEvent && r.Event == EventEnded:
		h.unaccounted = r.Unaccounted
	case r.Type != TypeInterim && r.Type != TypeEvent:
		return // a kind that this program does not know yet
	}
	if r.LastFrame > 0 && r.Source != "" {
		s.flow.covered(r.Source, r.LastFrame)
		s.watch.progress(s.flow.progress())
	}
	s.watch.result(r)
}

// locked lets one call through at a time: results and progress come from two goroutines.
type locked struct {
	mu sync.Mutex // guards w and nothing else
	w  Watcher
}

func (l *locked) result(r Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.Result(r)
}

func (l *locked) progress(p Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.Progress(p)
}
