package pocketsphinx

import (
	"context"
	"errors"
	"sync"
)

var errClosed = errors.New("pocketsphinx: the engine is closed")

// pool lends decoders. They are dear, so it makes no more than its limit and keeps
// what comes back.
type pool struct {
	make  func() (*decoder, error)
	slots chan struct{} // a token for each decoder that is lent

	mu     sync.Mutex // guards the rest
	idle   []*decoder
	closed bool
}

func newPool(limit int, maker func() (*decoder, error)) *pool {
	return &pool{make: maker, slots: make(chan struct{}, limit)}
}

// take waits for a free decoder until ctx ends.
func (p *pool) take(ctx context.Context) (*decoder, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	d, err := p.idleOrNew()
	if err != nil {
		<-p.slots
		return nil, err
	}
	return d, nil
}

func (p *pool) idleOrNew() (*decoder, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	if n := len(p.idle); n > 0 {
		d := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return d, nil
	}
	p.mu.Unlock() // making one takes long
	return p.make()
}

// give returns a decoder that take lent.
func (p *pool) give(d *decoder) {
	clean := d.reset()
	p.mu.Lock()
	keep := clean && !p.closed
	if keep {
		p.idle = append(p.idle, d)
	}
	p.mu.Unlock()
	if !keep {
		d.free()
	}
	<-p.slots
}

// close frees idle decoders. Those that are lent are freed as they come back.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, d := range idle {
		d.free()
	}
}
