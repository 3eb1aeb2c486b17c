package placesim

import (
	"strconv"
	"time"

	"stenobus/dispatcher/placement"
	"stenobus/subjects"
)

const nobody = -1

// session is a client that speaks for a while.
type session struct {
	left     time.Duration // that it still speaks, when it has a worker again
	until    time.Duration // end, while it has one
	wanted   time.Duration // since when it asks for a worker
	worker   int32         // or nobody
	place    int32         // in worker.sessions
	owners   int32         // workers it had
	from     int32         // that it must leave, or nobody
	since    time.Duration // it had that one
	language uint8
	why      reason // of its last claim
}

type reason uint8

const (
	opens reason = iota
	afterCrash
	afterDrain
)

func (r reason) code() string {
	return [...]string{subjects.ReasonOpen, subjects.MoveGone, subjects.MoveDraining}[r]
}

// claim is one request to one dispatcher on its way.
type claim struct {
	session  int32
	view     *view
	search   *placement.Search
	worker   subjects.WorkerID // that is asked
	wi       int32             // the same
	silent   bool              // nobody answers there
	reply    subjects.WorkerReply
	asked    int // workers
	deadline time.Duration
	cpu      time.Duration
	steady   bool // it began in the steady state
}

// ask sends a claim to one of the dispatchers, as the queue group does.
func (s *sim) ask(si int32) {
	t := &s.sessions[si]
	ci := s.claimFor(si)
	c := &s.claims[ci]
	s.tally.Claims++
	if c.steady {
		s.steadyClaims++
	}
	id := subjects.SessionID("session-" + strconv.Itoa(int(si)))
	options := subjects.Options{Language: languages()[t.language]}
	var ok bool
	s.placing(c, func() {
		c.search = c.view.fleet.Search(id, options, placement.Patience{Wait: assignWait, Whole: claimWait, Tries: assignTries})
		if t.from == nobody {
			c.worker, ok = c.search.Reserve()
		} else {
			c.worker, ok = c.search.Replace(s.workers[t.from].id, stamp(t.since), t.why.code())
		}
	})
	s.onward(ci, ok)
}

// claimFor finds a place for a claim.
func (s *sim) claimFor(si int32) int32 {
	var ci int32
	if n := len(s.idle); n > 0 {
		ci, s.idle = s.idle[n-1], s.idle[:n-1]
	} else {
		ci = int32(len(s.claims))
		s.claims = append(s.claims, claim{})
	}
	s.claims[ci] = claim{session: si, view: &s.views[s.rand.IntN(len(s.views))], deadline: s.now + claimWait, steady: s.steady()}
	return ci
}

// onward asks the worker that was chosen, or refuses the claim where none was.
func (s *sim) onward(ci int32, ok bool) {
	if !ok {
		s.refuse(ci)
		return
	}
	c := &s.claims[ci]
	c.wi = s.byID[c.worker]
	s.tally.Offers++
	c.asked++
	s.after(s.between(time.Millisecond, 3*time.Millisecond), event{kind: asked, a: ci}) // the record is written before
}

// asked is the moment at which the request comes to the worker.
func (s *sim) asked(e event) {
	c := &s.claims[e.a]
	w := &s.workers[c.wi]
	c.silent, c.reply = !w.alive, subjects.WorkerReply{}
	switch {
	case !w.alive:
	case w.draining:
		c.reply.Error = subjects.Errorf(subjects.CodeDraining, "draining")
	case w.free() == 0:
		c.reply.Error = subjects.Errorf(subjects.CodeFull, "full")
	default:
		s.begin(c.session, c.wi)
	}
	c.reply.Slots, c.reply.Sessions = w.slots, len(w.sessions)
	s.after(s.between(500*time.Microsecond, 1500*time.Microsecond), event{kind: answered, a: e.a})
}

// begin lets a session speak at a worker.
func (s *sim) begin(si, wi int32) {
	t := &s.sessions[si]
	t.owners++
	t.until, t.since = s.now+t.left, s.now
	s.take(wi, si)
	s.events.push(event{at: t.until, kind: ends, a: si, b: t.owners})
	if t.why == opens {
		s.tally.Placed++
	} else {
		s.tally.Moved++
	}
	t.from = nobody
}

// answered is the moment at which the dispatcher has the worker's answer.
func (s *sim) answered(e event) {
	c := &s.claims[e.a]
	refused := c.reply.Error
	if c.silent {
		refused = subjects.Errorf(subjects.MoveGone, "nobody answers")
	}
	var ok bool
	s.placing(c, func() {
		if c.silent {
			c.view.fleet.Silent(c.worker, s.time())
		} else {
			c.view.fleet.Answered(c.worker, c.reply)
		}
		c.search.Unreserve()
		if refused != nil && c.search.Refused(c.worker, refused.Code, c.deadline-s.now) {
			c.worker, ok = c.search.Reserve()
		}
	})
	c.view.answered(&s.workers[c.wi], c)
	if refused == nil {
		s.done(e.a)
		return
	}
	s.tally.InVain++
	s.onward(e.a, ok)
}

// refuse answers a claim for which nobody was found. The gateway asks again, for a while.
func (s *sim) refuse(ci int32) {
	c := &s.claims[ci]
	t := &s.sessions[c.session]
	var e *subjects.Error
	s.placing(c, func() { e = c.search.Refusal() })
	s.refused(c, t)
	s.refusals.add(c.cpu)
	if s.now-t.wanted < giveUp {
		s.after(max(minPause, time.Duration(e.RetryAfterMS)*time.Millisecond), event{kind: retry, a: c.session})
	} else {
		s.tally.GivenUp++
	}
	s.done(ci)
}

// refused counts a refusal by what was really free. The worker that a session must leave
// does not count.
func (s *sim) refused(c *claim, t *session) {
	free, known := s.free[t.language], c.view.known[t.language]
	if t.from != nobody {
		free -= int(s.counted[t.from])
		if c.view.heard[t.from].known {
			known--
		}
	}
	switch {
	case free == 0:
		s.tally.RefusedFull++
		return
	case known == 0:
		s.tally.RefusedUnheard++
	case c.asked >= placement.MaxTries:
		s.tally.RefusedTired++
	default:
		s.tally.RefusedFree++
	}
	if c.steady {
		s.tally.RefusedSteady++
	}
}

func (s *sim) done(ci int32) {
	if c := &s.claims[ci]; c.steady {
		s.granted.add(c.cpu)
	}
	s.claims[ci] = claim{}
	s.idle = append(s.idle, ci)
}

// placing runs placement code and counts its CPU time for the claim.
func (s *sim) placing(c *claim, f func()) { c.cpu += s.meter.of(f) }

// ended is the end of what a session has to say.
func (s *sim) ended(e event) {
	t := &s.sessions[e.a]
	if t.worker == nobody || t.owners != e.b {
		return // it was moved, and ends where it is now
	}
	wi := t.worker
	s.release(e.a)
	s.stopIfDrained(wi)
}
