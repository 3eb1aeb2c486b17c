package placement

import (
	"strings"
	"time"

	"stenobus/subjects"
)

// candidate is a worker as placement sees it.
type candidate struct {
	subjects.WorkerReport
	seen         time.Time // last report
	listed       bool      // in the list that is being read
	pending      int       // slots promised to claims that are still open
	suspect      bool      // did not answer lately
	suspectUntil time.Time
	place        place // in the index
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
	spill   bool                         // it may leave its cell, see Fleet.look
	home    string                       // the cell that it leaves, if it does
}

// room is how many slots a worker has for the session.
func (n *need) room(c *candidate) int {
	if n.hopeful {
		return max(0, c.Slots-c.Sessions)
	}
	return c.free()
}

// refusals is how many workers have refused the session.
func (n *need) refusals() int {
	count := 0
	for _, code := range n.not {
		if code != "" {
			count++
		}
	}
	return count
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
