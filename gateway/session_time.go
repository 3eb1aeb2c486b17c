package gateway

import (
	"context"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// next is the earliest moment of all, or far away.
func (c *clocks) next() time.Time {
	first := time.Time{}
	for _, t := range [...]time.Time{c.beat, c.silence, c.share, c.grace, c.end, c.late, c.leave, c.socket} {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if first.IsZero() {
		return time.Now().Add(time.Hour)
	}
	return first
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// tick does what is due. Every clock that has struck is set anew or to never, or the
// loop would not rest.
func (s *session) tick(ctx context.Context, now time.Time) {
	if due(s.clock.share, now) {
		s.received()
	}
	if due(s.clock.beat, now) {
		s.beat(now)
	}
	if due(s.clock.silence, now) {
		s.silence(ctx, now)
	}
	if due(s.clock.late, now) {
		s.clock.late = time.Time{}
		if s.tail.behind() {
			s.readMissed(ctx)
		}
	}
	if due(s.clock.leave, now) {
		s.clock.leave, s.hurry = time.Time{}, true
	}
	if due(s.clock.grace, now) {
		s.clock.grace = time.Time{}
		s.end(subjects.EndGrace, endDone)
		s.flow(now)
	}
	if due(s.clock.socket, now) {
		s.clock.socket, s.unread = time.Time{}, true
	}
	if due(s.clock.end, now) {
		s.clock.end = time.Time{}
		s.tell(dialect.Note{Event: dialect.EventError, Code: endLate.code, Message: endLate.text})
		s.close(endLate)
	}
}

// silence judges a worker by how long ago it spoke. Nothing is concluded while this
// gateway itself was cut off, frozen or behind.
func (s *session) silence(ctx context.Context, now time.Time) {
	if n := s.srv.nc.Stats().Reconnects; n != s.connects || !s.srv.nc.IsConnected() {
		s.connects, s.heard = n, now
	}
	if late := now.Sub(s.clock.silence); late > silenceBound/4 || len(s.inbox) > 0 {
		s.heard = now // it was this process that slept, or has not read what was said
	}
	if quiet := now.Sub(s.heard); quiet < silenceBound {
		s.clock.silence = s.heard.Add(silenceBound)
		return
	}
	s.clock.silence = time.Time{}
	s.move(ctx, subjects.MoveSilent)
}

// leave begins to hand the session to whichever gateway its client reaches next:
// what was spoken is finalised and delivered, then the client is told to come back.
func (s *session) leave(now time.Time) {
	if s.phase == done || s.stopping || s.yielding {
		return
	}
	s.stopping = true
	if s.over { // its end is on the way, wait for that
		return
	}
	if s.away || s.phase != streaming {
		s.goodbye()
		return
	}
	s.clock.leave = now.Add(s.srv.cfg.DrainWait * 3 / 4)
	for _, f := range s.feeds {
		if f.number != 0 {
			s.snd.push(entry{kind: subjects.KindFlush, source: f.number})
		}
	}
	s.leaveAt = s.snd.last()
	s.flow(now)
}

// left looks whether what had been spoken when leave began is covered.
func (s *session) left() {
	switch {
	case s.over || s.phase == done:
	case s.snd.uncoveredTo(s.leaveAt) == 0 && s.snd.drained(), s.hurry:
		s.goodbye()
	}
}

func (s *session) goodbye() {
	if s.numbered && s.phase == streaming {
		s.publish(subjects.Envelope{Kind: subjects.KindDetach, N: s.snd.last()}, nil)
	}
	s.close(endMoving)
}
