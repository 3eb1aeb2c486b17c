package gateway

import (
	"fmt"
	"time"

	"stenobus/gateway/dialect"
)

// outageBound is how long what a client said is kept for a bus that does not come back.
const outageBound = 10 * time.Minute

// busAway tells whether nothing can be published now.
func (s *session) busAway() bool { return !s.srv.nc.IsConnected() }

// turnAway lets the client go because the bus is away and the window is full. What it
// said so far stays here and goes to its worker when the bus is back; if the client
// comes back, here or elsewhere, that audio is heard first. Nothing more is accepted.
func (s *session) turnAway(waits time.Duration) {
	if s.turned {
		return
	}
	s.turned = true
	why := endBus.because(fmt.Sprintf("%.0f s of audio wait", waits.Seconds()))
	s.log.Warn("the bus is away and the window is full, the client is turned away", "waits", waits, "accepted", s.acceptedFrames())
	s.srv.metrics.ends.WithLabelValues(why.code).Inc()
	s.tell(dialect.Note{
		Event: dialect.EventError, Code: why.code, Message: why.text, RetryAfterMS: s.srv.cfg.Grace.Milliseconds() / 4,
		Accepted: s.acceptedByName(),
	})
	s.clock.outage = time.Now().Add(outageBound)
	s.out.finish(why)
}

// refuseMore counts audio of a client that was turned away.
func (s *session) refuseMore(ev dialect.Event) {
	if ev.Kind == dialect.Media {
		s.srv.metrics.refused.WithLabelValues(endBus.code).Inc()
	}
}

// graceOver ends a session whose client did not come back, unless it had no chance to
// because the bus was away.
func (s *session) graceOver(now time.Time) bool {
	if s.waitsForBus(now) {
		s.clock.grace = now.Add(s.srv.cfg.Grace)
		return false
	}
	return true
}

// waitsForBus tells whether the bus is away, so that nothing can be concluded from what
// did not come. It is not waited for for ever.
func (s *session) waitsForBus(now time.Time) bool {
	if !s.busAway() {
		return false
	}
	if s.clock.outage.IsZero() {
		s.clock.outage = now.Add(outageBound)
	}
	return true
}

// outageOver gives up what was kept for a bus that stayed away.
func (s *session) outageOver() {
	if !s.busAway() {
		return
	}
	n := s.snd.uncoveredTo(s.snd.last())
	s.srv.metrics.refused.WithLabelValues(endBus.code).Add(float64(n))
	s.log.Error("the bus did not come back, what was kept is given up", "frames", n)
	s.close(endBus)
}

func (s *session) acceptedFrames() uint64 { return sum(s.snd.accepted) + uint64(s.heldFrames()) }

func (s *session) acceptedByName() map[string]uint64 {
	n := map[string]uint64{}
	for source, frames := range s.snd.accepted {
		n[s.name(source)] += frames
	}
	for _, r := range s.held {
		if r.kind == dialect.Media {
			n[r.tag]++
		}
	}
	return n
}
