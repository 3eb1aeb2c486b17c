package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	probeEvery = 250 * time.Millisecond
	probeWait  = time.Second
)

// probes watches the workers that this gateway's sessions are on: one goroutine a
// worker, however many sessions it has. It asks at the worker's own subject outside
// transcribe.>, so that onlookers there change nothing.
type probes struct {
	nc *nats.Conn

	mu      sync.Mutex // guards what follows
	targets map[string]*target
	wg      sync.WaitGroup
}

// target is one watched worker.
type target struct {
	cancel   context.CancelFunc
	watchers map[*session]struct{}
}

func newProbes(nc *nats.Conn) *probes {
	return &probes{nc: nc, targets: map[string]*target{}}
}

// watch tells s, by a value on s.gone, when nobody answers at subject any more.
func (p *probes) watch(ctx context.Context, subject string, s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.targets[subject]
	if t == nil {
		ctx, cancel := context.WithCancel(ctx)
		t = &target{cancel: cancel, watchers: map[*session]struct{}{}}
		p.targets[subject] = t
		p.wg.Go(func() { p.run(ctx, subject) })
	}
	t.watchers[s] = struct{}{}
}

// unwatch ends what watch began.
func (p *probes) unwatch(subject string, s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.targets[subject]
	if t == nil {
		return
	}
	if delete(t.watchers, s); len(t.watchers) == 0 {
		t.cancel()
		delete(p.targets, subject)
	}
}

func (p *probes) run(ctx context.Context, subject string) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	silent := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !p.nc.IsConnected() {
			silent = 0
			continue
		}
		if p.absent(ctx, subject) {
			silent++
		} else {
			silent = 0
		}
		if silent >= 2 { // once may be a route that is just coming back
			p.tell(subject)
		}
	}
}

// absent is true where the server says that nobody listens. A time-out proves nothing:
// acknowledgements that fail to come judge a worker that hangs.
func (p *probes) absent(ctx context.Context, subject string) bool {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	_, err := p.nc.RequestWithContext(ctx, subject, nil)
	return errors.Is(err, nats.ErrNoResponders)
}

func (p *probes) tell(subject string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.targets[subject]
	if t == nil {
		return
	}
	for s := range t.watchers {
		select {
		case s.gone <- subject:
		default: // it knows
		}
	}
}
