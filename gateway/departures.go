package gateway

import (
	"context"
	"sync"
	"time"
)

// departEach bounds for how long a message that may wait does so for those of other sessions.
const departEach = 10 * time.Millisecond

// departures lets messages that may wait go to the bus at the same moment as those of other
// sessions: it is the wake-ups of this process, the bus and the workers that cost, not the
// messages. No session depends on it: by the time at which a frame must go the session's own
// timer sends it, and whoever is busy is passed over.
type departures struct {
	each  time.Duration // between two moments
	timer *time.Timer   // strikes at at

	mu      sync.Mutex // guards what follows
	at      time.Time  // when those that wait go; zero: none does
	waiting []*session
	spare   []*session // memory for the next
}

func newDepartures(share time.Duration) *departures {
	d := &departures{each: min(share/6, departEach), timer: time.NewTimer(time.Hour)}
	d.timer.Stop()
	return d
}

// join lets a session send with others. It reports false where that would be too late.
func (d *departures) join(s *session, now, by time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.at
	if at.IsZero() {
		at = now.Add(d.each)
	}
	if !at.Before(by) {
		return false
	}
	if d.waiting = append(d.waiting, s); d.at.IsZero() {
		d.at = at
		d.timer.Reset(d.each)
	}
	return true
}

// run sends on until ctx ends.
func (d *departures) run(ctx context.Context) {
	defer d.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.timer.C:
			d.depart(time.Now())
		}
	}
}

// depart lets those that wait send.
func (d *departures) depart(now time.Time) {
	d.mu.Lock()
	going := d.waiting
	d.waiting, d.spare, d.at = d.spare[:0], nil, time.Time{}
	d.mu.Unlock()
	for _, s := range going {
		s.depart(now)
	}
	clear(going)
	d.mu.Lock()
	d.spare = going
	d.mu.Unlock()
}

// depart sends what waits, in the loop's stead. A session that is busy sends on time itself.
func (s *session) depart(now time.Time) {
	s.departs.Store(false)
	if !s.turn.TryLock() {
		return
	}
	defer s.turn.Unlock()
	defer s.leaveToLoop()
	defer s.contain()
	if s.phase != streaming {
		return
	}
	s.goes = true
	s.flow(now)
	s.goes = false
	s.arm()
}
