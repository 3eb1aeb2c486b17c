package placesim

import (
	"math/rand/v2"
	"time"

	"stenobus/dispatcher/placement"
	"stenobus/subjects"
)

// kinds is how many languages there are.
const kinds = 2

// gone is what is heard of a worker whose key is no more, instead of a number of sessions.
const gone = -1

// view is one dispatcher: the real placement code, and what it was told.
type view struct {
	fleet *placement.Fleet
	heard []heard // by worker
	known [kinds]int
}

// heard is the last report of a worker that came to a dispatcher.
type heard struct {
	next  time.Duration // no later report comes before
	room  bool          // it said that it has room
	known bool          // and it has
}

func newView(cfg *Config, workers int, seed uint64) view {
	return view{
		fleet: placement.New(cfg.Strategy, rand.New(rand.NewPCG(cfg.Seed, seed)).IntN),
		heard: make([]heard, workers),
	}
}

// compare keeps count of the workers that have room and are known to have it.
func (v *view) compare(w *worker, wi int32) {
	h := &v.heard[wi]
	known := h.room && w.free() > 0
	if known == h.known {
		return
	}
	h.known = known
	if known {
		v.known[w.language]++
	} else {
		v.known[w.language]--
	}
}

// answered notes that a worker's answer told it is full, or that there was none.
func (v *view) answered(w *worker, c *claim) {
	if c.silent || c.reply.Error != nil || c.reply.Sessions >= c.reply.Slots {
		v.heard[c.wi].room = false
		v.compare(w, c.wi)
	}
}

// report sends a worker's load to every dispatcher. Each hears it in the order in which
// it was sent.
func (s *sim) report(wi int32) {
	w := &s.workers[wi]
	load := int32(len(w.sessions))
	if w.draining {
		load |= drainingBit
	}
	w.told = s.now
	s.tell(wi, load)
}

// tell sends what dispatchers are to hear of a worker.
func (s *sim) tell(wi, load int32) {
	for d := range s.views {
		h := &s.views[d].heard[wi]
		h.next = max(h.next, s.now+s.between(s.cfg.LagMin, s.cfg.LagMax))
		s.events.push(event{at: h.next, kind: deliver, a: wi, b: int32(d), n: load})
	}
}

// drainingBit marks the load of a worker that drains.
const drainingBit = 1 << 30

// delivered hands a report to a dispatcher.
func (s *sim) delivered(e event) {
	v, w := &s.views[e.b], &s.workers[e.a]
	if e.n == gone {
		v.fleet.Remove(w.id)
		v.heard[e.a].room = false
		v.compare(w, e.a)
		return
	}
	r := subjects.WorkerReport{
		V: subjects.Version, Worker: w.id, Engines: w.engines, Slots: w.slots, Since: w.since,
		Sessions: int(e.n &^ drainingBit), Draining: e.n&drainingBit != 0,
	}
	s.reports.measure(s.reports.count%sampleReports == 0, func() { v.fleet.Put(r, s.time()) })
	v.heard[e.a].room = !r.Draining && r.Sessions < r.Slots
	v.compare(w, e.a)
}

// sweep is what a dispatcher does twice a second.
func (s *sim) sweep(e event) {
	s.views[e.a].fleet.Sweep(s.time(), keyExpiry)
	s.after(sweepEvery, event{kind: sweep, a: e.a})
}
