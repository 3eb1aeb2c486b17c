package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
)

const (
	maxWaiters  = 32                     // attaches that wait, beyond it the oldest is passed over
	handBound   = 2 * time.Second        // a gateway that yields speaks at least so often
	absentAfter = 2                      // probes in a row that nobody hears: once may be a route that is just coming back
	absentPause = 150 * time.Millisecond // between two of them
)

// expect notes the gateway of an attach, and lets it wait if it is not the present one.
func (s *session) expect(ctx context.Context, c *control, now time.Time) {
	s.probes[c.attach] = c.probe
	if s.queue(c.attach); len(s.waiters) == 1 {
		s.askToYield(ctx, now)
		return
	}
	s.yield(now)
}

// askToYield asks the present gateway for its last frames, and finds out whether it is
// there at all: one that died can't answer.
func (s *session) askToYield(ctx context.Context, now time.Time) {
	s.clock.hand = now.Add(handBound)
	s.yield(now)
	if s.detached { // it has said its last
		s.clock.hand = now
		return
	}
	attach := s.attach.Load()
	if subject := s.probes[attach]; subject != "" {
		s.running.Go(func() { s.probeGateway(ctx, attach, subject) })
	}
}

// probeGateway tells the loop when nobody is left at a gateway's probe. A time-out proves
// nothing: one that hangs is passed over after handBound.
func (s *session) probeGateway(ctx context.Context, attach uint64, subject string) {
	ctx, cancel := context.WithTimeout(ctx, handBound)
	defer cancel()
	for absent := 0; absent < absentAfter; {
		_, err := s.w.nc.RequestWithContext(ctx, subject, nil)
		switch {
		case err == nil:
			return // it is there and yields
		case errors.Is(err, nats.ErrNoResponders):
			absent++
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(absentPause):
		}
	}
	select {
	case s.absent <- attach:
	default: // known already
	}
}

// gatewayAbsent hands over without waiting for a gateway that is not there.
func (s *session) gatewayAbsent(attach uint64) {
	if attach == s.attach.Load() && len(s.waiters) > 0 {
		s.clock.hand = time.Now()
	}
}

// queue lets an attach wait for its turn. Dispatchers may overtake each other, so it need
// not be the newest.
func (s *session) queue(attach uint64) {
	i, found := slices.BinarySearch(s.waiters, attach)
	if found {
		return
	}
	s.waiters = slices.Insert(s.waiters, i, attach)
	if len(s.waiters) > maxWaiters {
		s.waiters = s.waiters[1:]
	}
}

// newest is the highest attach known here.
func (s *session) newest() uint64 {
	if n := len(s.waiters); n > 0 {
		return s.waiters[n-1]
	}
	return s.attach.Load()
}

// handOver makes the attach that has waited longest the session's. If others wait
// behind it, it only sends what its client had said before the next one came.
func (s *session) handOver(ctx context.Context, now time.Time) {
	delete(s.probes, s.attach.Load())
	s.attach.Store(s.waiters[0])
	s.waiters = s.waiters[1:]
	s.begun, s.detached = false, false
	s.clock.hand, s.clock.yield = time.Time{}, time.Time{}
	if len(s.waiters) > 0 {
		s.askToYield(ctx, now)
	}
	s.clock.quiet = now.Add(s.quietBound())
	s.abandonHoles(ctx)
	s.ready(now)
}

// turnAway tells the attaches that still wait that this life is over.
func (s *session) turnAway() {
	if !s.begun { // its gateway has numbered nothing in this life
		s.waiters = append([]uint64{s.attach.Load()}, s.waiters...)
	}
	for _, attach := range s.waiters {
		s.attach.Store(attach)
		s.publish(subjects.ChannelRelease, subjects.KindRelease, subjects.Release{Worker: string(s.w.id), Reason: subjects.MoveEnded})
	}
}
