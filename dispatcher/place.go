package dispatcher

import (
	"hash/fnv"
	"strings"

	"stenobus/subjects"
)

// sampleSize is how many random workers are looked at before all are: a claim costs
// the same with twenty workers or ten thousand, as long as most of them fit.
const sampleSize = 16

// candidate is a worker as placement sees it.
type candidate struct {
	subjects.WorkerReport
	pending int  // slots promised to claims that are still open
	suspect bool // did not answer lately
}

func (c *candidate) free() int { return max(0, c.Slots-c.Sessions-c.pending) }

// load is the used share of the slots, 0 to 1.
func (c *candidate) load() float64 {
	if c.Slots <= 0 {
		return 1
	}
	return float64(c.Sessions+c.pending) / float64(c.Slots)
}

// need is what a session asks of a worker.
type need struct {
	session subjects.SessionID
	options subjects.Options
	not     map[subjects.WorkerID]string // must not have it: the code with which it refused, empty for the one it leaves
	hopeful bool                         // counts slots as free that are only promised
	cell    string                       // where the worker must be; empty: anywhere
	spill   bool                         // it may leave its cell, see fleet.look
	home    string                       // the cell that it leaves, if it does
}

// room is how many slots a worker has for the session.
func (n *need) room(c *candidate) int {
	if n.hopeful {
		return max(0, c.Slots-c.Sessions)
	}
	return c.free()
}

// matches tells whether a worker could ever serve the session.
func (n *need) matches(c *candidate) bool {
	for k, v := range n.options.Labels {
		if have, ok := c.Labels[k]; !ok || have != v {
			return false
		}
	}
	for _, e := range c.Engines {
		if (n.options.Engine == "" || e.Name == n.options.Engine) && speaks(e, n.options.Language) {
			return true
		}
	}
	return false
}

// standing is whether a worker can take a session now, or what speaks against it.
type standing int

const (
	fits      standing = iota
	unfit              // has not the engine, the language or the labels
	draining           // takes nothing more
	tried              // must not have it
	full               // no free slot
	busy               // has a session already, for those who want one for themselves
	elsewhere          // in another cell
	standings
)

func (n *need) standing(c *candidate) standing {
	switch _, not := n.not[c.Worker]; {
	case !n.matches(c):
		return unfit
	case c.Draining:
		return draining
	case not:
		return tried
	case !n.here(c):
		return elsewhere
	case n.room(c) <= 0:
		return full
	}
	return fits
}

// choice is the worker that was chosen, and what it was chosen by.
type choice struct {
	*candidate                // nil: nobody fits
	over       *candidate     // to which spread preferred it
	fit        int            // how many could have been chosen
	looked     int            // how many were looked at
	counts     [standings]int // these by their standing
}

// speaks compares primary language subtags, as workers do: en and en-GB are served by
// an engine for en-US. An engine that names no language serves any.
func speaks(e subjects.EngineReport, language string) bool {
	if language == "" || len(e.Languages) == 0 {
		return true
	}
	for _, l := range e.Languages {
		if strings.EqualFold(primary(l), primary(language)) {
			return true
		}
	}
	return false
}

func primary(tag string) string {
	p, _, _ := strings.Cut(tag, "-")
	return p
}

// choose picks a worker by a strategy, or nobody where nobody fits. Suspects are chosen
// only where there is nobody else. random gives a number from 0 to below its argument.
func choose(strategy string, n *need, all []*candidate, random func(int) int) choice {
	switch strategy {
	case StrategySpread, StrategyDedicated: // any few candidates will do
		if len(all) > sampleSize {
			sample := make([]*candidate, sampleSize)
			for i := range sample {
				sample[i] = all[random(len(all))]
			}
			if c := chooseFrom(strategy, n, sample, random); c.candidate != nil && !c.suspect {
				return c
			}
		}
	}
	return chooseFrom(strategy, n, all, random)
}

func chooseFrom(strategy string, n *need, all []*candidate, random func(int) int) choice {
	fit := make([]*candidate, 0, min(len(all), sampleSize))
	trusted := 0 // they come first in fit
	ch := choice{looked: len(all)}
	for _, c := range all {
		s := n.standing(c)
		if s == fits && strategy == StrategyDedicated && c.Sessions+c.pending > 0 {
			s = busy
		}
		if ch.counts[s]++; s != fits {
			continue
		}
		fit = append(fit, c)
		if !c.suspect {
			fit[trusted], fit[len(fit)-1] = c, fit[trusted]
			trusted++
		}
	}
	if trusted > 0 {
		fit = fit[:trusted]
	}
	if ch.fit = len(fit); ch.fit == 0 {
		return ch
	}
	switch strategy {
	case StrategyPack:
		ch.candidate = best(fit, fuller)
	case StrategyHash:
		ch.candidate = best(fit, func(a, b *candidate) bool { return ranksHigher(n.session, a.Worker, b.Worker) })
	case StrategyDedicated:
		ch.candidate = fit[random(len(fit))]
	default:
		a, b := n.weighted(fit, random), n.weighted(fit, random)
		if b.load() < a.load() {
			a, b = b, a
		}
		ch.candidate, ch.over = a, b
	}
	return ch
}

func best(from []*candidate, better func(a, b *candidate) bool) *candidate {
	top := from[0]
	for _, c := range from[1:] {
		if better(c, top) {
			top = c
		}
	}
	return top
}

func fuller(a, b *candidate) bool {
	if la, lb := a.load(), b.load(); la != lb {
		return la > lb
	}
	return a.Worker < b.Worker
}

// weighted draws one of several candidates, each in proportion to its free slots.
func (n *need) weighted(from []*candidate, random func(int) int) *candidate {
	total := 0
	for _, c := range from {
		total += n.room(c)
	}
	at := random(total)
	for _, c := range from {
		if at -= n.room(c); at < 0 {
			return c
		}
	}
	return from[len(from)-1]
}

// ranksHigher orders workers for one session the same way in every dispatcher.
func ranksHigher(id subjects.SessionID, a, b subjects.WorkerID) bool {
	if ra, rb := rank(id, a), rank(id, b); ra != rb {
		return ra > rb
	}
	return a < b
}

func rank(id subjects.SessionID, w subjects.WorkerID) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // a hash takes everything
	_, _ = h.Write([]byte{0xFF})
	_, _ = h.Write([]byte(w))
	x := h.Sum64()
	// FNV leaves the high bits of similar names alike; these are the mixing steps of splitmix64.
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
