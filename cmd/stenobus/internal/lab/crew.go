package lab

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// crew is all clients of a run: slots that each hold one session after the other, and
// what they count together.
type crew struct {
	urls       []string // of gateways
	prefix     string   // of session ids
	sources    int
	rate       float64
	frameBytes int
	life       time.Duration // of a session; 0: as long as the run

	key   string         // to show; empty: none
	roots *x509.CertPool // nil: the system's

	wrongs     *wrongs
	recoveries *recoveries

	frames  atomic.Uint64 // sent, each number once
	finals  atomic.Uint64 // delivered
	stopAt  atomic.Int64  // Unix time in ns from which nothing new is said; 0: not yet
	stop    chan struct{} // closed then
	indexes atomic.Uint32

	mu     sync.Mutex // guards what follows
	live   []*client  // by slot; nil: between two sessions
	all    []*client
	owners map[uint32]owner    // by session, as the results log says
	chains map[uint32][]uint32 // by the index of the first: sessions that had the same id one after the other
	wg     sync.WaitGroup
}

// owner is who a session's results come from.
type owner struct {
	worker string
	epoch  uint64
}

func newCrew(cfg *Config, urls []string, w *wrongs, r *recoveries) *crew {
	return &crew{
		urls: urls, prefix: fmt.Sprintf("lab-%08x", rand.Uint32()), sources: cfg.Sources, rate: cfg.Rate,
		frameBytes: cfg.FrameBytes, life: cfg.Life, key: cfg.Key, roots: cfg.Roots, wrongs: w, recoveries: r,
		stop: make(chan struct{}), live: make([]*client, cfg.Sessions), owners: map[uint32]owner{}, chains: map[uint32][]uint32{},
	}
}

// gap is the time between two frames of a source.
func (w *crew) gap() time.Duration { return time.Duration(float64(time.Second) / w.rate) }

// begin opens all slots, spread over a moment, and returns when each has its first
// session.
func (w *crew) begin(ctx context.Context, ramp time.Duration) error {
	var opening sync.WaitGroup
	opening.Add(len(w.live))
	for slot := range w.live {
		w.wg.Go(func() {
			done := sync.OnceFunc(opening.Done)
			defer done()
			if pause(ctx, ramp*time.Duration(slot)/time.Duration(len(w.live))) == nil {
				w.serve(ctx, slot, done)
			}
		})
	}
	opened := make(chan struct{})
	w.wg.Go(func() {
		opening.Wait()
		close(opened)
	})
	select {
	case <-opened:
		return pause(ctx, ramp/4)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// serve runs one session after the other in a slot.
func (w *crew) serve(ctx context.Context, slot int, began func()) {
	var last *client
	for {
		c := w.newSession(slot, last)
		began()
		w.carry(ctx, c)
		w.setLive(slot, nil)
		last = c
		select {
		case <-w.stop:
			return
		case <-ctx.Done():
			return
		default:
		}
	}
}

// newSession begins one, every second time with the id of the one before: an id that is
// used again at once is another life and must know nothing of the old one.
func (w *crew) newSession(slot int, last *client) *client {
	index := w.indexes.Add(1)
	base := index
	if last != nil && rand.IntN(2) == 0 {
		base = last.base
	}
	c := newClient(w, index, base, w.framesOf())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enter(c)
	w.live[slot] = c
	return c
}

// enter needs mu.
func (w *crew) enter(c *client) {
	w.all = append(w.all, c)
	w.chains[c.base] = append(w.chains[c.base], c.index)
}

// chain lists the sessions that had an id, in their order.
func (w *crew) chain(base uint32) []uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.chains[base])
}

// framesOf is how many frames each source of a session says: half of its mean to one
// and a half.
func (w *crew) framesOf() uint64 {
	if w.life == 0 {
		return 1 << 40
	}
	return uint64((0.5 + rand.Float64()) * w.life.Seconds() * w.rate)
}

func (w *crew) setLive(slot int, c *client) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live[slot] = c
}

// carry runs one session and notes where it was lost.
func (w *crew) carry(ctx context.Context, c *client) {
	err := c.run(ctx)
	w.recoveries.over(c.index)
	c.mu.Lock()
	c.failed = err
	c.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		w.wrongs.add(wrong(SessionLost, 1, "%s: %v", c.id, err))
	}
}

// probe opens a short session beside the others and tells how long it took to be ready.
func (w *crew) probe(ctx context.Context) (time.Duration, error) {
	index := w.indexes.Add(1)
	c := newClient(w, index, index, uint64(w.rate))
	w.mu.Lock()
	w.enter(c)
	w.mu.Unlock()
	w.carry(ctx, c)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.readyAt.IsZero() {
		return 0, errors.New("it was never ready")
	}
	return c.readyAt.Sub(c.opened), nil
}

// end lets all sessions come to their end and waits for it.
func (w *crew) end() {
	w.stopAt.Store(time.Now().UnixNano())
	close(w.stop)
	w.wg.Wait()
}

// clients are all sessions of the run.
func (w *crew) clients() []*client {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// order makes the client in a slot do something, if there is one.
func (w *crew) order(slot int, o order) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slot >= len(w.live) || w.live[slot] == nil {
		return false
	}
	select {
	case w.live[slot].orders <- o:
		return true
	default:
		return false
	}
}

// owns notes what the results log says of a session's owner.
func (w *crew) owns(session uint32, o owner) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o.epoch >= w.owners[session].epoch {
		w.owners[session] = o
	}
}

// hit is where the live sessions stand that a fault hits.
func (w *crew) hit(by func(c *client, worker string) bool) map[uint32]before {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[uint32]before{}
	for _, c := range w.live {
		if c == nil {
			continue
		}
		o := w.owners[c.index]
		if by(c, o.worker) {
			out[c.index] = c.before(o.epoch)
		}
	}
	return out
}

// present is how many sessions live now.
func (w *crew) present() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.live {
		if c != nil {
			n++
		}
	}
	return n
}

// with shows the client in a slot, if there is one. f must not block.
func (w *crew) with(slot int, f func(c *client, o owner)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slot < len(w.live) && w.live[slot] != nil {
		f(w.live[slot], w.owners[w.live[slot].index])
	}
}

// resetGaps begins to measure pauses between interims.
func (w *crew) resetGaps() {
	for _, c := range w.clients() {
		c.mu.Lock()
		c.ear.widest = 0
		c.mu.Unlock()
	}
}

// widestGap is the longest pause between two interims of a live session since then.
func (w *crew) widestGap() (widest time.Duration) {
	w.mu.Lock()
	live := slices.Clone(w.live)
	w.mu.Unlock()
	for _, c := range live {
		if c == nil {
			continue
		}
		c.mu.Lock()
		gap := c.ear.widest
		if !c.ear.interim.IsZero() && !c.ear.ended {
			gap = max(gap, time.Since(c.ear.interim))
		}
		c.mu.Unlock()
		widest = max(widest, gap)
	}
	return widest
}
