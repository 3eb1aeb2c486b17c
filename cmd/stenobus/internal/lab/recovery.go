package lab

import (
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// recoverMost is how long a session may take to recover; what takes longer counts as
// this long.
const recoverMost = 30 * time.Second

// result is what a stored result or a delivered final says of coverage.
type result struct {
	life, epoch uint64
	source      int
	last        uint64 // the highest frame that it covers
}

// before is where a session stood when a fault began.
type before struct {
	epoch uint64
	sent  []uint64 // by source, from 1: the last frame sent
}

// recovers tells whether a result is one of the state after the fault: of another owner
// where the one before is gone, else one that covers what was said after the fault.
func (b before) recovers(r result, moves bool) bool {
	if moves {
		return r.epoch > b.epoch
	}
	return r.source > 0 && r.source < len(b.sent) && r.last > b.sent[r.source]
}

// watch follows one fault until all sessions that it hit have recovered.
type watch struct {
	kind  Kind
	moves bool
	at    time.Time
	left  map[uint32]before
	done  chan struct{}
}

// recoveries measures how long faults last for the sessions that they hit. Its methods
// may be called by several goroutines.
type recoveries struct {
	open atomic.Int32 // watches: most results come when there is none

	mu      sync.Mutex // guards what follows
	watches []*watch
	took    map[Kind][]time.Duration
	gaps    []time.Duration // between interims while the results had no leader
}

func newRecoveries() *recoveries { return &recoveries{took: map[Kind][]time.Duration{}} }

// begin notes a fault, now.
func (r *recoveries) begin(kind Kind, hit map[uint32]before) *watch {
	t, _ := traitOf(kind)
	w := &watch{kind: kind, moves: t.moves, at: time.Now(), left: hit, done: make(chan struct{})}
	if len(hit) == 0 {
		close(w.done)
		return w
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watches = append(r.watches, w)
	r.open.Add(1)
	return w
}

// covered takes a result that was just seen.
func (r *recoveries) covered(session uint32, res result, now time.Time) {
	if r.open.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range slices.Clone(r.watches) {
		if b, ok := w.left[session]; ok && b.recovers(res, w.moves) {
			r.took[w.kind] = append(r.took[w.kind], now.Sub(w.at))
			r.forget(w, session)
		}
	}
}

// over takes a session out that has ended: it recovers no more.
func (r *recoveries) over(session uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range slices.Clone(r.watches) {
		r.forget(w, session)
	}
}

// forget needs the lock.
func (r *recoveries) forget(w *watch, session uint32) {
	delete(w.left, session)
	if len(w.left) == 0 {
		r.finish(w)
	}
}

func (r *recoveries) finish(w *watch) {
	if i := slices.Index(r.watches, w); i >= 0 {
		r.watches = slices.Delete(r.watches, i, i+1)
		r.open.Add(-1)
		close(w.done)
	}
}

// wait returns when all have recovered, or none is expected to any more.
func (r *recoveries) wait(ctx context.Context, w *watch) (left int) {
	timer := time.NewTimer(time.Until(w.at.Add(recoverMost)))
	defer timer.Stop()
	select {
	case <-w.done:
		return 0
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	left = len(w.left)
	if ctx.Err() == nil {
		for range left {
			r.took[w.kind] = append(r.took[w.kind], recoverMost)
		}
	}
	r.finish(w)
	return left
}

// add notes a time that was measured elsewhere.
func (r *recoveries) add(kind Kind, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took[kind] = append(r.took[kind], took)
}

// gap notes a pause between interims.
func (r *recoveries) gap(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gaps = append(r.gaps, d)
}

// times returns what was measured of a kind.
func (r *recoveries) times(kind Kind) []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.took[kind])
}

func (r *recoveries) widest() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.gaps) == 0 {
		return 0
	}
	return slices.Max(r.gaps)
}

// quantile is the least sample that the fraction q of all samples does not exceed; 0
// where there are none.
func quantile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(samples))
	rank := int(math.Ceil(q * float64(len(s))))
	return s[min(max(rank, 1), len(s))-1]
}
