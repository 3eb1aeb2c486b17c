package gateway

import (
	"context"
	"maps"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// ownerReady begins to send to a worker that has taken the session.
func (s *session) ownerReady(ctx context.Context, e subjects.Envelope, data []byte) {
	r, err := subjects.Decode[subjects.Ready](e.Kind, data)
	if err != nil {
		s.grumble("ready refused", err)
		return
	}
	if s.phase == claiming {
		return
	}
	if !s.numbered {
		s.clockMS, s.follows = r.AtMS, len(r.Accepted) > 0
		maps.Copy(s.snd.accepted, r.Accepted)
		maps.Copy(s.snd.covered, r.Covered)
		s.before = r.Accepted
		s.startCount(max(r.Next, highest(r.Covered)+1), r.Sources)
	}
	if !s.tail.placed {
		s.tail.place(s.cursorAt(r))
	}
	if r.Log > s.tail.cursor {
		s.tail.seen = max(s.tail.seen, r.Log)
		if s.resume {
			s.readMissed(ctx)
		} else {
			s.expectResult()
		}
	}
	s.snd.room = s.messageRoom()
	first := s.phase == taking
	s.announce(s.snd.begin(r.Covered, r.Next))
	s.announced.begun = s.snd.next
	if !first || s.phase == done {
		return
	}
	s.phase, s.worker = streaming, r.Worker
	s.asked = time.Time{} // it owed this
	s.unwatch()
	s.probe = r.Probe
	s.srv.probes.watch(s.srv.work, r.Probe, s)
	s.log.Info("session is served", "worker", r.Worker, "from", s.snd.next)
	s.tell(s.servedNote(r))
}

// cursorAt is where this connection's results begin.
func (s *session) cursorAt(r subjects.Ready) uint64 {
	switch {
	case s.resume:
		return s.cursorWithin(r.Begin, r.Log)
	case s.stamp.Attach > 1, s.stamp.Epoch == 1: // what came before was others' to deliver, or is the owner alone
		return r.Log
	}
	return r.Begin
}

// servedNote tells the client that a worker has its session: a new one, one that goes
// on for this connection, or one that it knew on another worker.
func (s *session) servedNote(r subjects.Ready) dialect.Note {
	n := dialect.Note{Event: dialect.EventReady, Worker: r.Worker}
	switch {
	case s.served:
		n.Event = dialect.EventMoved
	case s.stamp.Attach > 1:
		n.Event = dialect.EventResumed
		if r.Packets != nil {
			n.Packets = map[string]int64{}
		}
		for source, packet := range r.Packets {
			n.Packets[s.name(source)] = packet
		}
	}
	s.served = true
	return n
}

func highest(covered map[uint32]uint64) (n uint64) {
	for _, c := range covered {
		n = max(n, c)
	}
	return n
}

func (s *session) announce(n uint64, live []subjects.Source) {
	if live == nil {
		live = []subjects.Source{} // an empty list, for readers in other languages
	}
	a := subjects.Announce{Sources: live}
	if s.snd.first > 1 {
		a.First, a.Before = s.snd.first, s.before
	}
	s.publish(subjects.Envelope{Kind: subjects.KindAnnounce, N: n}, subjects.Encode(a))
	s.announced.at, s.announced.n = time.Now(), n
}
