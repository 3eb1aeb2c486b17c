package placement

import (
	"time"

	"stenobus/subjects"
)

// MaxTries is how many workers one claim asks, those that refuse at once included.
const MaxTries = 16

// Patience bounds a claim's search.
type Patience struct {
	Wait  time.Duration // for the answer of one worker
	Whole time.Duration // for the claim
	Tries int           // most workers that are waited for in vain
}

// Search is the way of one claim through the fleet: who was promised to it, and who did
// not take it. One goroutine has it.
type Search struct {
	fleet    *Fleet
	need     need
	patience Patience
	promised subjects.WorkerID // whose slot is reserved in the fleet's view; empty: none
	why      string            // how it was chosen
	spilled  bool              // likewise: it is not in the session's cell
	tries    int               // workers that did not take it
	silent   int               // of these, those that were waited for
}

// Search begins one for a session.
func (f *Fleet) Search(id subjects.SessionID, o subjects.Options, p Patience) *Search {
	return &Search{fleet: f, patience: p, need: need{session: id, options: o, not: map[subjects.WorkerID]string{}}}
}

// Reserve chooses a worker and promises the session a slot there, until Unreserve.
func (s *Search) Reserve() (subjects.WorkerID, bool) {
	ch, ok := s.fleet.reserve(&s.need)
	s.promised, s.why, s.spilled = ch.Worker, ch.Why, ch.spilled
	return ch.Worker, ok
}

// Why tells how the worker that was reserved last was chosen.
func (s *Search) Why() string { return s.why }

// Unreserve takes the promise back: the worker has answered, or will not be asked.
func (s *Search) Unreserve() {
	if s.promised != "" {
		s.fleet.unreserve(s.promised)
		s.promised = ""
	}
}

// Forget takes the promise back as if nobody had been chosen: another choice is in the record.
func (s *Search) Forget() {
	s.Unreserve()
	s.why, s.spilled = "", false
}

// Replace reserves a worker other than the one that a move leaves, which has had the
// session since a time (RFC 3339). That one is a last resort, unless it said itself that
// it goes away or nothing answers there.
func (s *Search) Replace(left subjects.WorkerID, since, reason string) (subjects.WorkerID, bool) {
	if left == "" {
		return s.Reserve()
	}
	s.need.not[left] = ""
	if w, ok := s.Reserve(); ok {
		return w, true
	}
	switch reason {
	case subjects.MoveEngine, subjects.MoveSilent:
	case subjects.MoveGone: // it may be back, under its old name
		if !s.fleet.Reborn(left, since) {
			return "", false
		}
	default:
		return "", false
	}
	delete(s.need.not, left)
	w, ok := s.Reserve()
	s.need.not[left] = ""
	return w, ok
}

// Refused notes a worker that did not take the session, and tells whether there is the
// time and the right to ask another one. remaining is what is left of the claim's time.
func (s *Search) Refused(w subjects.WorkerID, code string, remaining time.Duration) bool {
	s.need.not[w] = code
	s.tries++
	if code == subjects.MoveSilent {
		s.silent++
	}
	return s.tries < MaxTries && s.silent < s.patience.Tries && remaining >= min(s.patience.Wait, s.patience.Whole/4)
}

// Refusal says why no worker takes the session, and when to ask again.
func (s *Search) Refusal() *subjects.Error {
	text, pause := s.fleet.why(&s.need)
	e := subjects.Errorf(subjects.CodeNoWorker, "%s", text)
	e.RetryAfterMS = pause
	return e
}

// promise is a worker, and why it was chosen.
type promise struct {
	Worker  subjects.WorkerID
	Why     string
	spilled bool // it is in another cell
}

// reserve chooses a worker, says why, and promises it a slot, until unreserve is called.
func (f *Fleet) reserve(n *need) (promise, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, by := f.look(n)
	if c.candidate == nil {
		return promise{}, false
	}
	why := c.why(f.index.strategy, by, len(f.index.all))
	c.pending++
	f.index.update(c.candidate)
	return promise{c.Worker, why, c.spilled(by)}, true
}

// unreserve takes a promise back.
func (f *Fleet) unreserve(id subjects.WorkerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.index.find(id); m != nil {
		m.pending = max(0, m.pending-1)
		f.index.update(m)
	}
}
