package bench

import (
	"math"
	"time"
)

const (
	pingEvery = time.Second           // unless told otherwise
	lateBy    = 10 * time.Millisecond // a send that begins so long after its time counts as late
)

// schedule is when a session sends what, in absolute times. Nothing that happens moves
// it, so that the time for which a server stalls is in the figures and not beside them.
type schedule struct {
	begin time.Time
	gap   float64       // ns between two frames of the session; 0: there are none
	pings time.Duration // between two pings
}

// newSchedule spreads the frames of the sources evenly.
func newSchedule(begin time.Time, cfg *LoadConfig) schedule {
	s := schedule{begin: begin, pings: cfg.PingEvery}
	if cfg.Rate > 0 {
		s.gap = float64(time.Second) / (cfg.Rate * float64(cfg.Sources))
	}
	if s.pings == 0 {
		s.pings = pingEvery
	}
	return s
}

// golden is the fraction of the golden ratio. Its multiples, without their whole parts, lie
// evenly between 0 and 1, and so do those of every run of neighbours.
const golden = math.Phi - 1

// spread gives a session its share of the time between two frames, counted from an origin
// that all have: else sessions may send in step, as speakers do not, and frames that come
// together cost each process one wake-up for all of them. Sessions that open after each
// other, and so have their finals in the same moments, are spread over all of it.
func (s schedule) spread(origin time.Time, index int) schedule {
	if s.gap > 0 {
		n := math.Ceil(float64(s.begin.Sub(origin)) / s.gap)
		_, share := math.Modf(float64(index) * golden)
		s.begin = origin.Add(time.Duration((n + share) * s.gap))
	}
	return s
}

// frame is the time of the nth frame; the first is 1.
func (s schedule) frame(n uint64) time.Time {
	return s.begin.Add(time.Duration(float64(n-1) * s.gap))
}

// ping is the time of the nth ping; the first is 1.
func (s schedule) ping(n uint64) time.Time {
	return s.begin.Add(time.Duration(n) * s.pings)
}

// turn is one thing to send.
type turn struct {
	due  time.Time
	ping bool
	n    uint64 // which frame or ping, from 1
}

// plan walks through a schedule.
type plan struct {
	schedule
	frames, pinged uint64 // behind us
}

// next is what comes next; at the same time a frame goes first.
func (p *plan) next() turn {
	f := turn{due: p.frame(p.frames + 1), n: p.frames + 1}
	g := turn{due: p.ping(p.pinged + 1), ping: true, n: p.pinged + 1}
	if p.gap == 0 || g.due.Before(f.due) {
		return g
	}
	return f
}

// pass notes that t is behind us.
func (p *plan) pass(t turn) {
	if t.ping {
		p.pinged = t.n
	} else {
		p.frames = t.n
	}
}
