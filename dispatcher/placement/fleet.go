package placement

import (
	"fmt"
	"maps"
	"math/rand/v2"
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

// Fleet is a dispatcher's live view of the workers: what they report, and what was
// promised since. It may be wrong at any time, so a worker has the last word. It knows no
// bus and no clock, and may be used by several goroutines.
type Fleet struct {
	strategy string
	first    chan struct{} // closed when the list was read for the first time
	left     chan struct{} // a worker has gone, or there may be some who did before we began

	mu      sync.Mutex    // guards what follows, and nothing else
	random  func(int) int // a number from 0 to below its argument
	members map[subjects.WorkerID]*member
	all     []*candidate // of members, in no order, to draw from
	fed     bool         // the list was read, and the bus had no trouble since
	trouble time.Time    // of the bus, the last
}

type member struct {
	candidate
	index        int       // in Fleet.all
	seen         time.Time // last report
	listed       bool      // in the list that is being read
	suspectUntil time.Time
}

// New makes a view that knows nobody yet. Its choices follow from random, which gives a
// number from 0 to below its argument; nil: the one of math/rand.
func New(strategy string, random func(int) int) *Fleet {
	if random == nil {
		random = rand.IntN
	}
	f := &Fleet{
		strategy: strategy, random: random, members: map[subjects.WorkerID]*member{},
		first: make(chan struct{}), left: make(chan struct{}, 1),
	}
	f.someLeft()
	return f
}

// First is closed when the list of workers was read for the first time.
func (f *Fleet) First() <-chan struct{} { return f.first }

// Left tells that a worker has gone, or that some may have before the list was read.
func (f *Fleet) Left() <-chan struct{} { return f.left }

// someLeft never blocks: one note stands for all.
func (f *Fleet) someLeft() {
	select {
	case f.left <- struct{}{}:
	default:
	}
}

// Put takes a worker's report.
func (f *Fleet) Put(r subjects.WorkerReport, now time.Time) {
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

// Remove takes a worker out, because its key is gone.
func (f *Fleet) Remove(id subjects.WorkerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(id)
}

// drop needs mu.
func (f *Fleet) drop(id subjects.WorkerID) {
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

// Listing begins a reading of the whole list.
func (f *Fleet) Listing() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		m.listed = false
	}
}

// Listed ends it. A worker that is not in the list is a last resort: after trouble the
// list may lack workers that live, as the bus forgets it when it restarts.
func (f *Fleet) Listed(now time.Time) {
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

// Troubled notes that the bus is or was away.
func (f *Fleet) Troubled(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fed, f.trouble = false, now
}

// Sweep trusts suspects again after their time, and drops workers whose last report is
// twice as old as their key may be: the marker of its expiry was missed.
func (f *Fleet) Sweep(now time.Time, expiry time.Duration) {
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

// Answered takes what a worker's answer tells about its load. Answers may overtake each
// other, so acceptances only raise the count: reports lower it.
func (f *Fleet) Answered(id subjects.WorkerID, reply subjects.WorkerReply) {
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

// Silent sets a worker aside that did not answer.
func (f *Fleet) Silent(id subjects.WorkerID, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.members[id]; m != nil {
		m.suspect, m.suspectUntil = true, now.Add(suspectFor)
	}
}

// Has tells whether the worker may still be the one that took a session at a time. The
// start of a worker is known to the second.
func (f *Fleet) Has(id subjects.WorkerID, since string) bool {
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

// Calm tells whether the bus had no trouble for so long that workers can be judged.
func (f *Fleet) Calm(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fed && now.Sub(f.trouble) >= aftermath
}

// Reborn tells whether a worker of this id may have started after a time.
func (f *Fleet) Reborn(id subjects.WorkerID, after string) bool {
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

// Census counts workers by their state.
type Census struct {
	Known    int
	Ready    int // with room
	Full     int // without
	Draining int // that take nothing more
	Suspect  int // with room, that did not answer lately
	Free     int // slots of those that take sessions
}

// Census counts the fleet now.
func (f *Fleet) Census() Census {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := Census{Known: len(f.all)}
	for _, c := range f.all {
		switch {
		case c.Draining:
			n.Draining++
			continue
		case c.free() == 0:
			n.Full++
		case c.suspect:
			n.Suspect++
		default:
			n.Ready++
		}
		n.Free += c.free()
	}
	return n
}

// why says in numbers why nobody takes a session, and after how many ms to ask again.
func (f *Fleet) why(n *need) (string, int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.whyNobody(n), 250 + int64(f.random(750))
}

// whyNobody needs mu.
func (f *Fleet) whyNobody(n *need) string {
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

// Fed tells whether the list was read, and the bus had no trouble since.
func (f *Fleet) Fed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fed
}

// Size is how many workers are known.
func (f *Fleet) Size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.all)
}
