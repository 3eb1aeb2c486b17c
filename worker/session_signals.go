package worker

import (
	"context"
	"time"

	"stenobus/subjects"
	"stenobus/subjects/safeguard"
)

// next is the earliest moment of all, or far away.
func (c *clocks) next() time.Time {
	first := time.Time{}
	for _, t := range [...]time.Time{c.ack, c.nak, c.ready, c.quiet, c.renew, c.release, c.drain, c.hand, c.yield, c.alive} {
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

// tick does what is due. An error ends the session here.
func (s *session) tick(ctx context.Context, now time.Time) error {
	if due(s.clock.ack, now) {
		s.ack()
	}
	if due(s.clock.nak, now) {
		s.nak(now)
	}
	if due(s.clock.ready, now) {
		s.ready(now)
	}
	if due(s.clock.renew, now) {
		s.clock.renew = now.Add(s.w.renewEvery())
		s.w.renewRecord(ctx, s)
	}
	if due(s.clock.yield, now) {
		s.yield(now)
	}
	if due(s.clock.hand, now) {
		if s.clock.hand = (time.Time{}); s.ending == nil && len(s.waiters) > 0 { // else those that wait begin another life
			s.takeOver(ctx)
		}
	}
	if due(s.clock.alive, now) {
		s.clock.alive = now.Add(aliveEvery)
		s.ack()
	}
	if due(s.clock.quiet, now) {
		s.lost(ctx, now)
	}
	if s.draining {
		return s.drain(ctx, now)
	}
	return nil
}

// lost ends a session for which no gateway has spoken for its grace. Nothing is
// concluded from silence while this worker itself is cut off.
func (s *session) lost(ctx context.Context, now time.Time) {
	if !s.w.nc.IsConnected() || s.after.recall != nil {
		s.clock.quiet = now.Add(s.quietBound())
		return
	}
	s.clock.quiet = time.Time{}
	reason := subjects.EndGatewayLost
	if s.detached {
		reason = subjects.EndGrace
	}
	s.conclude(ctx, subjects.End{Reason: reason})
}

// quietBound is how long no gateway may speak for the session.
func (s *session) quietBound() time.Duration { return s.grace + subjects.GatewayQuiet }

// drain asks for another worker until one has the session. A session without a
// gateway has nobody to move it: it ends here, in order.
func (s *session) drain(ctx context.Context, now time.Time) error {
	switch {
	case s.detached && s.ending == nil && s.after.last == nil && s.after.recall == nil:
		s.conclude(ctx, subjects.End{Reason: subjects.EndWorker})
	case due(s.clock.drain, now):
		return errDrained
	case due(s.clock.release, now):
		s.clock.release = now.Add(releaseEvery)
		if s.ending == nil {
			s.publish(subjects.ChannelRelease, subjects.KindRelease, subjects.Release{
				Worker: string(s.w.id), Reason: subjects.MoveDraining,
			})
		}
	}
	return nil
}

// yield tells the present gateway that a later attach waits for its last frames.
func (s *session) yield(now time.Time) {
	s.clock.yield = now.Add(readyWait)
	e := subjects.Envelope{Kind: subjects.KindYield, Stamp: s.stamped()}
	e.Attach = s.newest()
	s.w.publish(e.Msg(subjects.Inbox(s.id, subjects.ChannelRelease), nil))
}

// ready tells the gateway that this worker has the session, and from where to send.
func (s *session) ready(now time.Time) {
	s.clock.ready = now.Add(readyWait)
	if s.after.recall != nil || s.after.ends {
		return // where to go on is not known, or nowhere
	}
	sources := s.allSources()
	s.publish(subjects.ChannelReady, subjects.KindReady, subjects.Ready{
		Worker: string(s.w.id), Probe: s.w.probe, Next: s.nextNumber(), Accepted: s.accepted(),
		Covered: s.covered, Packets: s.lastPackets(), Sources: sources, AtMS: s.atMS, Log: s.logSeq.Load(), Begin: s.begin,
	})
}

// nextNumber is where a gateway's numbers go on: 0 before any was known here.
func (s *session) nextNumber() uint64 {
	if s.recv.next == 0 {
		return 0
	}
	if s.begun {
		return s.recv.next
	}
	return s.recv.top + 1
}

// accepted is how many frames of each source are here: taken, or about to be.
func (s *session) accepted() map[uint32]uint64 {
	n := cloneCounts(s.taken)
	next := s.recv.next
	for _, a := range s.recv.held { // they may overlap
		for i, f := range a.envelope.Frames {
			number := a.n + uint64(i)
			if number < next {
				continue
			}
			if next = number + 1; number > s.covered[f.Source] {
				n[f.Source]++
			}
		}
	}
	return n
}

// lastPackets is the client's own number of each source's last packet here: taken, or
// about to be. A client that comes back goes on behind it. It is nil where a source has
// frames without such numbers: nothing could be concluded from it.
func (s *session) lastPackets() map[uint32]int64 {
	last := cloneCounts(s.packets)
	for _, a := range s.recv.held {
		for i, f := range a.envelope.Frames {
			if number := a.n + uint64(i); number >= s.recv.next && number > s.covered[f.Source] && f.Packet >= 0 {
				last[f.Source] = f.Packet
			}
		}
	}
	for source, frames := range s.taken {
		if _, known := last[source]; !known && frames > 0 {
			return nil
		}
	}
	return last
}

// ack says up to where all has been received.
func (s *session) ack() {
	s.clock.ack = time.Time{}
	e := subjects.Envelope{Kind: subjects.KindAck, Stamp: s.stamped(), Log: s.logSeq.Load()}
	if s.recv.next > 0 {
		e.N = s.recv.next - 1
		s.acked = e.N
	}
	s.w.publish(s.writer.Msg(&e, subjects.Inbox(s.id, subjects.ChannelAck), nil))
}

// nak reports the first hole, at once and then ever more slowly.
func (s *session) nak(now time.Time) {
	from, to, ok := s.recv.hole()
	if !ok || s.stalled || safeguard.HolesOff {
		s.clock.nak, s.clock.nakStep = time.Time{}, 0
		return
	}
	s.clock.nakStep = min(max(nakWait, 2*s.clock.nakStep), nakMax)
	s.clock.nak = now.Add(s.clock.nakStep)
	e := subjects.Envelope{Kind: subjects.KindNak, Stamp: s.stamped(), N: from, To: to}
	s.w.publish(s.writer.Msg(&e, subjects.Inbox(s.id, subjects.ChannelNak), nil))
	s.w.metrics.holes.Inc()
}

func (s *session) publish(c subjects.Channel, kind subjects.Kind, payload any) {
	e := subjects.Envelope{Kind: kind, Stamp: s.stamped()}
	s.w.publish(e.Msg(subjects.Inbox(s.id, c), subjects.Encode(payload)))
}
