package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// departEvery is how far apart the clients of a stopping gateway are told to leave.
const departEvery = 20 * time.Millisecond

// next is the earliest moment of all, or far away.
func (c *clocks) next() time.Time {
	first := time.Time{}
	for _, t := range [...]time.Time{c.beat, c.silence, c.share, c.grace, c.end, c.late, c.leave, c.depart, c.socket, c.outage, c.doubt, c.idle, c.length, c.pace} {
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
		s.clock.share = time.Time{}
		s.received(now)
	}
	if due(s.clock.beat, now) {
		s.flow(now) // what could not be sent while the bus was away
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
		if s.clock.grace = (time.Time{}); s.graceOver(now) {
			s.end(subjects.EndGrace, endDone)
			s.flow(now)
		}
	}
	if due(s.clock.doubt, now) {
		if now.Sub(s.clock.doubt) > doubtBound/4 { // it was this process that slept
			s.clock.doubt = now.Add(doubtBound)
		} else {
			s.present(ctx) // it can't answer pings, it seems
		}
	}
	if due(s.clock.idle, now) {
		s.clock.idle = time.Time{}
		s.idled(now)
	}
	if due(s.clock.pace, now) {
		s.clock.pace = time.Time{}
		s.received(now)
	}
	if due(s.clock.length, now) {
		s.clock.length = time.Time{}
		s.lasted(now)
	}
	if due(s.clock.outage, now) {
		s.clock.outage = time.Time{}
		s.outageOver()
	}
	if due(s.clock.depart, now) {
		s.clock.depart = time.Time{}
		s.leave(now)
	}
	if due(s.clock.socket, now) {
		s.clock.socket, s.unread = time.Time{}, true
	}
	if due(s.clock.end, now) && s.waitsForBus(now) {
		s.clock.end = now.Add(s.srv.cfg.EndWait)
	} else if due(s.clock.end, now) {
		s.clock.end = time.Time{}
		s.tell(dialect.Note{Event: dialect.EventError, Code: endLate.code, Message: endLate.text})
		s.close(endLate)
	}
}

// silence judges a worker by for how long it has owed an answer. Nothing is concluded
// while this gateway itself was cut off, frozen or behind.
func (s *session) silence(ctx context.Context, now time.Time) {
	if n := s.srv.nc.Stats().Reconnects; n != s.connects || !s.srv.nc.IsConnected() {
		s.connects = n
		s.forgive(now)
	}
	if late := now.Sub(s.clock.silence); late > silenceBound/4 || len(s.inbox) > 0 {
		s.forgive(now) // it was this process that slept, or has not read what was said
	}
	switch {
	case s.phase == taking && now.Sub(s.took) >= takeBound:
		s.clock.silence = time.Time{}
		s.move(ctx, subjects.MoveSilent)
	case s.asked.IsZero():
		s.clock.silence = now.Add(silenceBound)
	case now.Sub(s.asked) < silenceBound:
		s.clock.silence = s.asked.Add(silenceBound)
	default:
		s.clock.silence = time.Time{}
		s.move(ctx, subjects.MoveSilent)
	}
}

// forgive gives the owner the whole time again for what it owes.
func (s *session) forgive(now time.Time) {
	if !s.asked.IsZero() {
		s.asked = now
	}
}

// idled ends a session whose client has said nothing for long, not even that it is there.
func (s *session) idled(now time.Time) {
	quiet := now.Sub(time.Unix(0, s.spoke.Load()))
	switch {
	case s.over || s.away || s.yielding || s.unread:
	case quiet < s.idle:
		s.clock.idle = now.Add(s.idle - quiet)
	default:
		s.giveUp(endIdle.because(fmt.Sprintf("no message for %v", s.idle)), subjects.EndRefused)
		s.flow(now)
	}
}

// stop makes the session leave at a moment of its own within the first half of the
// drain time: clients that all came back at once would overrun the other gateways.
func (s *session) stop(now time.Time) {
	s.clock.leave = now.Add(s.srv.cfg.DrainWait * 9 / 10)
	spread := min(s.srv.cfg.DrainWait/2, time.Duration(s.srv.present())*departEvery)
	s.clock.depart = now.Add(rand.N(spread + 1))
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
	if s.heldFrames() == 0 && s.snd.uncoveredTo(s.snd.last()) == 0 {
		s.goodbye()
		return
	}
	s.finalise()
	s.leaveAt = s.snd.last()
	s.flow(now)
}

// left looks whether what had been spoken when leave began is covered. What no worker
// has yet is waited for as well.
func (s *session) left() {
	switch {
	case s.over || s.phase == done:
	case s.hurry:
		s.goodbye()
	case !s.numbered: // it is held
	case s.leaveAt == 0:
		s.leaveAt = s.snd.last()
	case s.snd.uncoveredTo(s.leaveAt) == 0 && s.snd.drained():
		s.goodbye()
	}
}

func (s *session) goodbye() {
	if s.numbered && s.phase == streaming {
		s.publish(subjects.Envelope{Kind: subjects.KindDetach, N: s.snd.last()}, nil)
	}
	s.close(endMoving)
}
