package placesim

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"stenobus/subjects"
)

type kind uint8

const (
	arrives  kind = iota // a session
	asked                // a worker, for a claim
	answered             // a claim, by a worker
	retry                // of a session's claim
	ends                 // a session
	reports              // a worker
	deliver              // a report, to a dispatcher
	sweep                // of a dispatcher's view
	crashes              // some worker
	drains               // some worker
	starts               // a worker that was gone
	expires              // a dead worker's key
	looks                // at the balance
)

const assignTries = 4 // the dispatcher's default

// sim is one fleet. One goroutine has it.
type sim struct {
	cfg    *Config
	rand   *rand.Rand
	now    time.Duration
	end    time.Duration
	events queue

	workers  []worker
	byID     map[subjects.WorkerID]int32
	sessions []session
	claims   []claim
	idle     []int32 // places in claims
	views    []view

	slots    [kinds]int // of the whole fleet
	free     [kinds]int // really
	counted  []int32    // the share of each worker in free
	speaking int

	steadyClaims int

	tally    Tally
	balance  balance
	loads    []float64 // to be used again
	meter    meter
	granted  figure // CPU of claims in the steady state
	refusals figure // of those that were refused, at any time
	reports  meter
}

func newSim(cfg *Config, workers, sessions int) *sim {
	s := &sim{
		cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, uint64(workers))),
		byID: map[subjects.WorkerID]int32{}, counted: make([]int32, workers),
	}
	s.hire(workers)
	for d := range cfg.Dispatchers {
		s.views = append(s.views, newView(cfg, workers, uint64(d)))
		s.after(s.between(0, sweepEvery), event{kind: sweep, a: int32(d)})
	}
	for i := range s.workers {
		wi := int32(i)
		s.byID[s.workers[i].id] = wi
		s.truth(wi)
		s.report(wi)
		s.after(s.between(0, cfg.ReportEvery), event{kind: reports, a: wi})
	}
	s.load(sessions)
	s.after(ramp, event{kind: looks})
	s.again(crashes, cfg.Crashes)
	s.again(drains, cfg.Drains)
	return s
}

// run goes on to the end, or until ctx ends.
func (s *sim) run(ctx context.Context) error {
	const look = 1 << 12 // events between two looks at ctx
	last := time.Time{}
	for n := 0; len(s.events) > 0; n++ {
		if n%look == 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if now := time.Now(); now.Sub(last) >= 100*time.Millisecond {
				s.show()
				last = now
			}
		}
		e := s.events.pop()
		if e.at > s.end {
			break
		}
		s.now = e.at
		s.handle(e)
	}
	s.now = s.end
	s.show()
	return nil
}

func (s *sim) show() {
	if s.cfg.Progress != nil {
		s.cfg.Progress(Progress{Workers: len(s.workers), Now: s.now, End: s.end, Placed: s.tally.Placed})
	}
}

func (s *sim) handle(e event) {
	switch e.kind {
	case arrives:
		s.arrived()
	case asked:
		s.asked(e)
	case answered:
		s.answered(e)
	case retry:
		s.ask(e.a)
	case ends:
		s.ended(e)
	case reports:
		s.reporting(e)
	case deliver:
		s.delivered(e)
	case sweep:
		s.sweep(e)
	case crashes:
		s.crash()
	case drains:
		s.drain()
	case starts:
		s.started(e)
	case expires:
		s.expired(e)
	case looks:
		s.look()
	}
}

func (s *sim) after(d time.Duration, e event) {
	e.at = s.now + d
	s.events.push(e)
}

func (s *sim) between(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(s.rand.Int64N(int64(to-from)))
}

func (s *sim) time() time.Time { return epoch().Add(s.now) }

// load plans what arrives: in the ramp those who speak already in the steady state, each
// with what is left of its length, and beside them and after them new ones.
func (s *sim) load(sessions int) {
	standing := int(s.cfg.Load * float64(s.slots[0]+s.slots[1]))
	s.sessions = make([]session, 0, sessions)
	for range standing {
		si := s.newSession(s.residual())
		s.after(s.between(s.cfg.LagMax, ramp), event{kind: retry, a: si})
		s.sessions[si].wanted = s.events[len(s.events)-1].at
	}
	s.end = ramp + time.Duration(float64(max(0, sessions-standing))/s.rate())
	s.next(ramp)
}

// rate is how many sessions open in a ns of the steady state.
func (s *sim) rate() float64 {
	return s.cfg.Load * float64(s.slots[0]+s.slots[1]) / float64(s.cfg.Length)
}

func (s *sim) arrived() {
	si := s.newSession(s.length())
	s.sessions[si].wanted = s.now
	s.ask(si)
	s.next(s.now)
}

// next plans the next arrival after a time: a Poisson process, whose rate steps up and
// down where the burst begins and ends. It has no memory, so it may begin anew there.
func (s *sim) next(after time.Duration) {
	begin, end := s.burst()
	for {
		rate, until := s.rate(), s.end+1
		switch {
		case after < begin:
			until = begin
		case after < end:
			rate, until = rate*s.cfg.Burst, end
		}
		at := after + time.Duration(s.rand.ExpFloat64()/rate)
		if at < until || until > s.end {
			s.events.push(event{at: at, kind: arrives})
			return
		}
		after = until
	}
}

func (s *sim) burst() (begin, end time.Duration) {
	begin = ramp + time.Duration(burstAt*float64(s.end-ramp))
	return begin, begin + s.cfg.BurstFor
}

func (s *sim) newSession(length time.Duration) int32 {
	t := session{left: length, worker: nobody, from: nobody}
	if s.rand.Float64() < float64(s.slots[1])/float64(s.slots[0]+s.slots[1]) {
		t.language = 1
	}
	s.sessions = append(s.sessions, t)
	return int32(len(s.sessions) - 1)
}

// length of a new session: log-normal with the configured mean.
func (s *sim) length() time.Duration {
	mu := -s.cfg.Skew * s.cfg.Skew / 2
	return time.Duration(float64(s.cfg.Length) * math.Exp(mu+s.cfg.Skew*s.rand.NormFloat64()))
}

// residual is what is left of a session that is met at a random moment: long ones are met
// more often, in proportion to their length, and somewhere in it.
func (s *sim) residual() time.Duration {
	mu := s.cfg.Skew * s.cfg.Skew / 2
	return time.Duration(float64(s.cfg.Length) * math.Exp(mu+s.cfg.Skew*s.rand.NormFloat64()) * s.rand.Float64())
}
