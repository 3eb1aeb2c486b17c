package worker

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
)

// recall is a reading of the audio log for a session. The log is read only where a
// gateway and its window are gone: nobody else can send again what is missing then.
type recall struct {
	found chan *passage
	until uint64                           // numbers from here on are a living gateway's; 0: there is none
	then  []func(context.Context, passage) // what waits for it, in order
}

// afterlife is what a session knows about gateways that are gone. Its loop owns it.
type afterlife struct {
	fresh  bool          // the gateway that had us assigned holds nothing from before
	recall *recall       // under way, or nil
	lostTo uint64        // up to here what is missing is lost: its gateway is gone
	mute   bool          // no gateway has spoken since the log was last read
	ends   bool          // the session's end was read in the log and will be taken
	last   *subjects.End // how to end once all that is here is taken
}

// open makes the session known to its gateway. One that holds nothing from before must
// count on after all that was ever sent, so that is found out first.
func (s *session) open(ctx context.Context, now time.Time) {
	if !s.after.fresh {
		s.ready(now)
		return
	}
	s.read(ctx, 0, func(ctx context.Context, _ passage) {
		now := time.Now()
		s.clock.quiet = now.Add(s.quietBound()) // it has nothing to say before it hears ready
		s.abandonHoles(ctx)
		s.ready(now)
	})
}

// read reads the audio log in a goroutine of its own. What it finds is taken in by the
// session's loop, then each then is called there. Meanwhile acknowledgements go out, so
// that a living gateway knows that this worker lives.
func (s *session) read(ctx context.Context, until uint64, then func(context.Context, passage)) {
	s.after.mute = true
	if r := s.after.recall; r != nil {
		r.then = append(r.then, then)
		return
	}
	r := &recall{found: make(chan *passage, 1), until: until, then: []func(context.Context, passage){then}}
	s.after.recall = r
	s.clock.alive = time.Now().Add(aliveEvery)
	want := wanted{life: s.own.Life, from: s.recv.next, covered: s.covered}
	s.running.Go(func() {
		want.since = s.readSince(ctx)
		p, err := s.w.audio.read(ctx, s.id, want)
		if err != nil && ctx.Err() == nil {
			s.w.grumble(s.log, "the audio log could not be read to its end", err)
		}
		r.found <- &p
	})
}

// readSince is where in the log to begin. What is not covered is not much older than the
// newest result that covers something, plus the time that gateways may have been away.
func (s *session) readSince(ctx context.Context) time.Time {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	at := s.rlog.coveredAt // before this worker had the session
	m, err := s.rlog.results.Last(ctx, s.id)
	if err == nil {
		var e subjects.Envelope
		if e.ParseMsg(&nats.Msg{Header: m.Header, Data: m.Data}) == nil && e.Life == s.own.Life && covers(e.Kind) {
			at = m.Time
		}
	}
	if at.IsZero() {
		return at
	}
	return at.Add(-readBack - 2*s.quietBound())
}

func covers(k subjects.Kind) bool { return k == subjects.KindFinal || k == subjects.KindMark }

// recalled is ready when the reading under way has ended.
func (s *session) recalled() <-chan *passage {
	if s.after.recall == nil {
		return nil
	}
	return s.after.recall.found
}

// remember takes in what was read, and goes on with what waited for it.
func (s *session) remember(ctx context.Context, read *passage) {
	r, p := s.after.recall, *read
	s.after.recall, s.clock.alive = nil, time.Time{}
	if s.ending != nil {
		return
	}
	if r.until > 0 {
		p = p.before(r.until)
	}
	s.adopt(ctx, p)
	for _, then := range r.then {
		then(ctx, p)
	}
	s.advance(ctx, time.Now())
}

// before leaves out the numbers that a living gateway has in its window.
func (p passage) before(n uint64) passage {
	k := 0
	for _, a := range p.items {
		if a.n >= n {
			break
		}
		if a.to >= n {
			a = a.until(n - 1)
		}
		p.items[k] = a
		k++
	}
	p.items, p.top, p.ends = p.items[:k], min(p.top, n-1), false
	return p
}

// adopt gives the receiver what it lacks, and opens the sources that it belongs to.
func (s *session) adopt(ctx context.Context, p passage) {
	if s.recv.next == 0 {
		if n := p.begin(s.covered); n != 0 {
			s.recv.begin(n)
		}
	}
	if s.recv.next == 0 {
		return // nothing is known of this life
	}
	known, live := p.sources(s.recv.next)
	for _, info := range known {
		switch _, seen := s.known[info.Source]; {
		case live[info.Source]:
			s.openSource(ctx, info)
		case !seen:
			s.know(info) // a gateway that counts on must not use its number again
		}
	}
	missing := p.items[:0]
	for _, a := range p.items {
		if a.to < s.recv.next {
			continue
		}
		for _, f := range a.envelope.Frames {
			s.atMS = max(s.atMS, f.At)
		}
		missing = append(missing, a)
	}
	s.recv.top = max(s.recv.top, p.top)
	s.recv.adopt(missing)
	s.after.ends = s.after.ends || p.ends && len(missing) > 0
	if len(missing) > 0 {
		s.log.Info("the audio log has what a gateway sent", "from", missing[0].n, "to", s.recv.top)
	}
}

// gaps tells whether frames that were numbered before an announcing gateway began are
// covered by no result. It can't send them again: its window begins later.
func (s *session) gaps(a subjects.Announce) bool {
	if s.begun || s.recv.next != 0 || a.First <= 1 {
		return false
	}
	for source, n := range a.Before {
		if s.taken[source] < n {
			return true
		}
	}
	return false
}

// miss accounts for frames that were numbered before an announcing gateway began and of
// which neither a result nor the audio log has a trace: who had them is gone.
func (s *session) miss(ctx context.Context, a subjects.Announce) {
	for source, n := range a.Before {
		if s.covered[source] >= a.First {
			continue // results go by source in order, and they are further
		}
		have := s.taken[source] + s.heldBefore(a.First, source)
		if n <= have {
			continue
		}
		lost := n - have
		s.taken[source] += lost
		s.log.Warn("audio is missing", "source", source, "frames", lost, "reason", subjects.RefusedLost)
		s.append(ctx, markEntry(coverage{
			source: source, first: s.covered[source], last: s.covered[source], packet: -1,
			refused: map[string]uint64{subjects.RefusedLost: lost},
		}))
	}
}

// heldBefore is how many frames of a source wait here to be taken, of numbers below n.
func (s *session) heldBefore(n uint64, source uint32) (frames uint64) {
	next := s.recv.next
	for _, a := range s.recv.held { // they may overlap
		for i, f := range a.envelope.Frames {
			number := a.n + uint64(i)
			if number < next || number >= n {
				continue
			}
			if next = number + 1; f.Source == source && number > s.covered[source] {
				frames++
			}
		}
	}
	return frames
}

// takeOver makes the attach that has waited longest the session's, though the gateway
// before it went without a word: what only that one could send again is read first.
func (s *session) takeOver(ctx context.Context) {
	s.read(ctx, 0, func(ctx context.Context, _ passage) {
		switch {
		case s.ending != nil, len(s.waiters) == 0, !s.after.mute: // it spoke again
		case s.after.ends: // those that wait begin another life
			s.abandonHoles(ctx)
		default:
			s.flush() // nobody could send again what no result covers
			s.handOver(ctx, time.Now())
		}
	})
}

// flush lets every source finalise what was spoken so far, if its queue has room.
func (s *session) flush() {
	for _, src := range s.sources {
		s.push(src, item{kind: subjects.KindFlush})
	}
}

// conclude ends a session that has no gateway any more, once all is taken that is here
// or in the audio log.
func (s *session) conclude(ctx context.Context, end subjects.End) {
	if s.ending != nil || s.after.last != nil {
		return
	}
	settle := func(ctx context.Context, _ passage) {
		if s.ending == nil && s.after.mute { // otherwise a gateway is back
			s.after.last = &end
			s.abandonHoles(ctx)
		}
	}
	if whole := s.detached && s.recv.next > s.recv.top; whole || s.after.mute && s.after.recall == nil {
		s.after.mute = true
		settle(ctx, passage{})
		return
	}
	s.read(ctx, 0, settle)
}

// spoken notes that a gateway lives.
func (s *session) spoken() {
	s.after.mute = false
	if s.after.last != nil {
		s.after.last, s.after.lostTo = nil, 0
	}
}

// abandon goes on past a hole that only a gateway which is gone could have filled.
func (s *session) abandon() bool {
	from, to, ok := s.recv.hole()
	if !ok || from > s.after.lostTo {
		return false
	}
	to = min(to, s.after.lostTo)
	s.log.Warn("frames were lost with their gateway", "from", from, "to", to)
	s.w.metrics.abandoned.Add(float64(to - from + 1))
	s.recv.takeTo(to)
	return true
}

// settled ends the session where all is taken and nobody is left to speak for it.
func (s *session) settled() {
	if end := s.after.last; end != nil && s.ending == nil && (s.recv.next == 0 || s.recv.next > s.recv.top) {
		s.finish(*end)
	}
}
