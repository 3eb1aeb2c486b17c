package placement

import (
	"cmp"
	"slices"

	"stenobus/subjects"
)

const (
	// sampleSize is how many workers a draw looks at.
	sampleSize = 16
	// manyGroups is how many groups are gone through for each claim. Where workers differ
	// more than that a few are drawn of all first.
	manyGroups = 64
	// probes is how many points a session has on the ring: the more of them, the more
	// even are the shares of the workers, which have one each.
	probes = 21
	// packTries is how many workers refuse a session before pack asks any: all dispatchers
	// see the same one as the fullest, and what they know of it is old.
	packTries = 3
)

// choice is the worker that was chosen, and what it was chosen by.
type choice struct {
	*candidate                // nil: nobody fits
	over       *candidate     // to which spread preferred it
	fit        int            // how many could have been chosen
	looked     int            // how many were looked at, one by one or by their state
	counts     [standings]int // of all, or of those looked at, by their standing
}

// choose picks a worker, or nobody where nobody fits. Suspects are chosen only where
// there is nobody else. random gives a number from 0 to below its argument.
func (ix *index) choose(n *need, random func(int) int) choice {
	if draws := ix.strategy == Spread || ix.strategy == Dedicated; draws && len(ix.groups) > manyGroups {
		if ch := ix.chooseAny(n, random); ch.candidate != nil {
			return ch
		}
	}
	ix.ask(n)
	ch := choice{looked: len(ix.all), counts: ix.standings(n)}
	pool := ix.pool(n, false)
	if ch.fit = pool.size - pool.banned; ch.fit == 0 {
		pool = ix.pool(n, true)
		ch.fit = pool.size - pool.banned
	}
	if ch.fit == 0 {
		return ch
	}
	switch {
	case ix.strategy == Pack && n.refusals() < packTries:
		ch.candidate = pool.first()
	case ix.strategy == Hash:
		ch.candidate = pool.nearest(n.session)
	case ix.strategy == Dedicated:
		seats := pool.draw(random)
		ch.candidate = seats[random(len(seats))].candidate
	default:
		seats := pool.draw(random)
		if len(seats) < ch.fit {
			ch.looked = sampleSize
		}
		ch.candidate, ch.over = n.lighter(seats, random)
	}
	return ch
}

// chooseAny draws a few of all workers and takes one of those that fit. It finds nobody
// where few do.
func (ix *index) chooseAny(n *need, random func(int) int) choice {
	ch := choice{looked: sampleSize}
	from := make([]seat, 0, sampleSize)
	for range sampleSize {
		c := ix.all[random(len(ix.all))]
		s := n.standing(c)
		if s == fits && ix.strategy == Dedicated && c.Sessions+c.pending > 0 {
			s = busy
		}
		ch.counts[s]++
		if s == fits && !c.suspect {
			from = append(from, seated(c))
		}
	}
	ch.fit = len(from)
	switch {
	case ch.fit == 0:
	case ix.strategy == Dedicated:
		ch.candidate = from[random(len(from))].candidate
	default:
		ch.candidate, ch.over = n.lighter(from, random)
	}
	return ch
}

// lighter draws two of several, and puts first the one that has less to do.
func (n *need) lighter(from []seat, random func(int) int) (a, b *candidate) {
	x, y := n.weighted(from, random), n.weighted(from, random)
	if y.load() < x.load() {
		x, y = y, x
	}
	return x.candidate, y.candidate
}

// weighted draws one of several, each in proportion to its free slots.
func (n *need) weighted(from []seat, random func(int) int) *seat {
	total := 0
	for i := range from {
		total += n.space(&from[i])
	}
	at := random(total)
	for i := range from {
		if at -= n.space(&from[i]); at < 0 {
			return &from[i]
		}
	}
	return &from[len(from)-1]
}

// space is room, of what a seat tells.
func (n *need) space(s *seat) int {
	if n.hopeful {
		return n.room(s.candidate)
	}
	return int(s.slots - s.used)
}

// ask finds the groups that could serve a session, and who must not have it.
func (ix *index) ask(n *need) {
	ix.now++
	ix.serving, ix.banned, ix.away = ix.serving[:0], ix.banned[:0], 0
	for _, g := range ix.groups {
		switch {
		case !n.matches(g.one):
		case !n.here(g.one):
			ix.away += g.size
		default:
			g.asked = ix.now
			ix.serving = append(ix.serving, g)
		}
	}
	for w := range n.not {
		if c := ix.find(w); c != nil && c.place.group.asked == ix.now {
			ix.banned = append(ix.banned, c)
		}
	}
}

// standings counts the fleet, after ask.
func (ix *index) standings(n *need) (counts [standings]int) {
	serving := 0
	for _, g := range ix.serving {
		serving += g.size
		for t := range tiers {
			counts[ix.standing(t, n)] += len(g.tiers[t].seats)
		}
	}
	counts[elsewhere] = ix.away
	counts[unfit] = len(ix.all) - serving - ix.away
	for _, c := range ix.banned {
		if s := ix.standing(c.place.tier, n); s != draining {
			counts[s]--
			counts[tried]++
		}
	}
	return counts
}

// standing is that of every worker of a tier that serves the session and was not tried.
func (ix *index) standing(t tier, n *need) standing {
	switch {
	case t == leaving:
		return draining
	case t == crowded, !n.hopeful && t%doubtful == promised:
		return full
	case ix.strategy == Dedicated && t%doubtful != idle:
		return busy
	}
	return fits
}

// pool is those of whom one is chosen.
type pool struct {
	shelves []*shelf
	size    int
	banned  int          // of these, who must not be chosen
	not     []*candidate // them, and others
}

// pool is the trusted workers or the suspects with room, after ask.
func (ix *index) pool(n *need, suspects bool) pool {
	p := pool{not: ix.banned, shelves: ix.shelves[:0]}
	for _, g := range ix.serving {
		for t := range tiers {
			if s := &g.tiers[t]; (t >= doubtful) == suspects && len(s.seats) > 0 && ix.standing(t, n) == fits {
				p.shelves = append(p.shelves, s)
				p.size += len(s.seats)
			}
		}
	}
	for _, c := range ix.banned {
		if t := c.place.tier; (t >= doubtful) == suspects && ix.standing(t, n) == fits {
			p.banned++
		}
	}
	ix.shelves = p.shelves
	return p
}

// draw takes all, if they are few, or as many at random as are looked at. There must be one.
func (p *pool) draw(random func(int) int) []seat {
	from := make([]seat, 0, sampleSize)
	if p.size-p.banned > sampleSize {
		for range sampleSize {
			if s := p.at(random(p.size)); !p.bans(s.candidate) {
				from = append(from, *s)
			}
		}
		if len(from) > 0 {
			return from
		}
	}
	for _, shelf := range p.shelves {
		for i := range shelf.seats {
			if s := &shelf.seats[i]; !p.bans(s.candidate) {
				if from = append(from, *s); len(from) == sampleSize {
					return from // it may be only here that there are more, when a draw was very unlucky
				}
			}
		}
	}
	return from
}

func (p *pool) at(i int) *seat {
	for _, s := range p.shelves {
		if i < len(s.seats) {
			return &s.seats[i]
		}
		i -= len(s.seats)
	}
	return nil // i is below the size
}

func (p *pool) bans(c *candidate) bool { return p.banned > 0 && slices.Contains(p.not, c) }

// first is the one that comes first in the order of the strategy.
func (p *pool) first() *candidate {
	var top ranked
	for _, s := range p.shelves {
		s.order.Ascend(func(r ranked) bool {
			if p.bans(r.candidate) {
				return true
			}
			if top.candidate == nil || ranksBefore(r, top) {
				top = r
			}
			return false
		})
	}
	return top.candidate
}

// nearest is the one that comes soonest after one of the points that a session has on the
// ring. So another worker's going, or coming, moves only the sessions that it had, or gets.
func (p *pool) nearest(id subjects.SessionID) *candidate {
	var top ranked
	least := ^uint64(0)
	from := point(id)
	for i := range uint64(probes) {
		at := mixed(from + i*0x9e3779b97f4a7c15)
		for _, s := range p.shelves {
			r := s.ring.after(at, p.bans)
			if r.candidate == nil {
				continue
			}
			d := r.key - at // around the ring
			if top.candidate == nil || cmp.Or(cmp.Compare(d, least), cmp.Compare(r.Worker, top.Worker)) < 0 {
				top, least = r, d
			}
		}
	}
	return top.candidate
}
