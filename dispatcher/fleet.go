package dispatcher

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"stenobus/subjects"
)

const (
	suspectFor = 2 * time.Second  // a worker that did not answer is set aside for so long
	aftermath  = 15 * time.Second // after trouble of the bus nobody is judged by age
	maxSlots   = 1 << 20          // of one worker; what reports more is taken as this
)

// fleet is a live view of the workers: what they report, and what this dispatcher
// promised since. It may be wrong at any time, so a worker has the last word.
type fleet struct {
	mu      sync.Mutex // guards what follows, and nothing else
	members map[subjects.WorkerID]*member
	all     []*candidate  // of members, in no order, to draw from
	first   chan struct{} // closed when the list was read for the first time
	fed     bool          // the list was read, and the bus had no trouble since
	trouble time.Time     // of the bus, the last
	left    chan struct{} // a worker has gone, or there may be some who did before we began
}

type member struct {
	candidate
	index        int       // in fleet.all
	seen         time.Time // last report
	listed       bool      // in the list that is being read
	suspectUntil time.Time
}

func newFleet() *fleet {
	f := &fleet{members: map[subjects.WorkerID]*member{}, first: make(chan struct{}), left: make(chan struct{}, 1)}
	f.someLeft()
	return f
}

// someLeft never blocks: one note stands for all.
func (f *fleet) someLeft() {
	select {
	case f.left <- struct{}{}:
	default:
	}
}

// put takes a worker's report.
func (f *fleet) put(r subjects.WorkerReport, now time.Time) {
	r.Slots = min(max(r.Slots, 0), maxSlots)
	r.Sessions = min(max(r.Sessions, 0), maxSlots)
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[r.Worker]
	if m == nil {
		m = &member{index: len(f.all)}
		f.members[r.Worker] = m
		f.all = append(f.all, &m.candidate)
	} else if m.Since != r.Since {
		f.someLeft() // another process has its name now
	}
	m.WorkerReport, m.seen, m.listed = r, now, true
}

// remove takes a worker out, because its key is gone.
func (f *fleet) remove(id subjects.WorkerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(id)
}

// drop needs mu.
func (f *fleet) drop(id subjects.WorkerID) {
	m := f.members[id]
	if m == nil {
		return
	}
	f.someLeft()
	last := len(f.all) - 1
	f.all[m.index] = f.all[last]
	f.members[f.all[m.index].Worker].index = m.index
	f.all[last] = nil
	f.all = f.all[:last]
	delete(f.members, id)
}

// listing begins a reading of the whole list.
func (f *fleet) listing() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		m.listed = false
	}
}

// listed ends it. A worker that is not in the list is a last resort: after trouble the
// list may lack workers that live, as the bus forgets it when it restarts.
func (f *fleet) listed(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fed = true
	select {
	case <-f.first:
	default:
		close(f.first)
	}
	for _, m := range f.members {
		if !m.listed {
			m.suspect, m.suspectUntil = true, now.Add(aftermath)
		}
	}
}

// troubled notes that the bus is or was away.
func (f *fleet) troubled(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fed, f.trouble = false, now
}

// sweep trusts suspects again after their time, and drops workers whose last report is
// twice as old as their key may be: the marker of its expiry was missed.
func (f *fleet) sweep(now time.Time, expiry time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	calm := now.Sub(f.trouble) >= aftermath
	for id, m := range f.members {
		if m.suspect && !now.Before(m.suspectUntil) {
			m.suspect = false
		}
		if calm && now.Sub(m.seen) > 2*expiry {
			f.drop(id)
		}
	}
}

// reserve chooses a worker, says why, and promises it a slot, until unreserve is called.
func (f *fleet) reserve(strategy string, n *need) (promise, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, by := f.look(strategy, n)
	if c.candidate == nil {
		return promise{}, false
	}
	why := c.why(strategy, by, len(f.all))
	c.pending++
	return promise{c.Worker, why, c.spilled(by)}, true
}

// promise is a worker, and how it was chosen.
type promise struct {
	worker  subjects.WorkerID
	why     string
	spilled bool // it is in another cell
}

// unreserve takes a promise back.
func (f *fleet) unreserve(id subjects.WorkerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.members[id]; m != nil {
		m.pending = max(0, m.pending-1)
	}
}

// answered takes what a worker's answer tells about its load. Answers may overtake each
// other, so acceptances only raise the count: reports lower it.
func (f *fleet) answered(id subjects.WorkerID, reply subjects.WorkerReply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[id]
	if m == nil {
		return
	}
	m.Slots = min(max(reply.Slots, 0), maxSlots)
	m.Sessions = max(m.Sessions, min(reply.Sessions, maxSlots))
	if reply.Error == nil {
		return
	}
	switch reply.Error.Code {
	case subjects.CodeFull:
		m.Sessions = max(m.Sessions, m.Slots)
	case subjects.CodeDraining:
		m.Draining = true
	}
}

// silent sets a worker aside that did not answer.
func (f *fleet) silent(id subjects.WorkerID, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.members[id]; m != nil {
		m.suspect, m.suspectUntil = true, now.Add(suspectFor)
	}
}

// has tells whether the worker may still be the one that took a session at a time. The
// start of a worker is known to the second.
func (f *fleet) has(id subjects.WorkerID, since string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[id]
	if m == nil {
		return false
	}
	started, err1 := time.Parse(time.RFC3339, m.Since)
	taken, err2 := time.Parse(time.RFC3339, since)
	return err1 != nil || err2 != nil || !started.After(taken)
}

// calm tells whether the bus had no trouble for so long that workers can be judged.
func (f *fleet) calm(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fed && now.Sub(f.trouble) >= aftermath
}

// reborn tells whether a worker of this id may have started after a time.
func (f *fleet) reborn(id subjects.WorkerID, after string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.members[id]
	if m == nil {
		return false
	}
	started, err1 := time.Parse(time.RFC3339, m.Since)
	since, err2 := time.Parse(time.RFC3339, after)
	return err1 == nil && err2 == nil && !started.Before(since.Truncate(time.Second))
}

// census counts workers by their state.
type census struct{ known, ready, full, draining, suspect, free int }

func (f *fleet) census() census {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := census{known: len(f.all)}
	for _, c := range f.all {
		switch {
		case c.Draining:
			n.draining++
			continue
		case c.free() == 0:
			n.full++
		case c.suspect:
			n.suspect++
		default:
			n.ready++
		}
		n.free += c.free()
	}
	return n
}

// why says in numbers why nobody takes a session.
func (f *fleet) why(n *need) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var by [standings]int
	engines := map[string]bool{}
	for _, c := range f.all {
		for _, e := range c.Engines {
			engines[e.Name] = true
		}
		by[n.standing(c)]++
	}
	if len(f.all) == 0 {
		return "no worker is known"
	}
	text := fmt.Sprintf("no worker has room: %d known, %d full, %d draining, %d tried in vain", len(f.all), by[full]+by[fits], by[draining], by[tried])
	if away := by[elsewhere]; away > 0 {
		text += fmt.Sprintf(", %d in other cells than %s, which it may not leave", away, shown(n.cell))
	}
	if other := by[unfit]; other > 0 {
		names := slices.Sorted(maps.Keys(engines))
		if len(names) > 8 {
			names = append(names[:8], "...")
		}
		text += fmt.Sprintf(", %d do not serve %s (engines there: %s)", other, wishes(n.options), strings.Join(names, ", "))
	}
	return text
}

func wishes(o subjects.Options) string {
	var asked []string
	if o.Engine != "" {
		asked = append(asked, fmt.Sprintf("engine %.64q", o.Engine))
	}
	if o.Language != "" {
		asked = append(asked, fmt.Sprintf("language %.64q", o.Language))
	}
	for i, k := range slices.Sorted(maps.Keys(o.Labels)) {
		if i == 8 {
			asked = append(asked, "more labels")
			break
		}
		asked = append(asked, fmt.Sprintf("label %.64q", k+"="+o.Labels[k]))
	}
	if len(asked) == 0 {
		return "any engine"
	}
	return strings.Join(asked, " and ")
}

func (f *fleet) isFed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fed
}

func (f *fleet) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}
