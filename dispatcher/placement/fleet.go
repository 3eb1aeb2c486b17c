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
	first chan struct{} // closed when the list was read for the first time
	left  chan struct{} // a worker has gone, or there may be some who did before we began

	mu      sync.Mutex    // guards what follows, and nothing else
	random  func(int) int // a number from 0 to below its argument
	index   *index        // who is there
	fed     bool          // the list was read, and the bus had no trouble since
	trouble time.Time     // of the bus, the last
}

// New makes a view that knows nobody yet. Its choices follow from random, which gives a
// number from 0 to below its argument; nil: the one of math/rand.
func New(strategy string, random func(int) int) *Fleet {
	if random == nil {
		random = rand.IntN
	}
	f := &Fleet{
		random: random, index: newIndex(strategy),
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
	m := f.index.find(r.Worker)
	switch {
	case m == nil:
		m = &candidate{}
	case m.Since != r.Since:
		f.someLeft() // another process has its name now
	}
	if m.place.group != nil && !servesAlike(&m.WorkerReport, &r) {
		f.index.remove(m)
	}
	m.WorkerReport, m.seen, m.listed = r, now, true
	f.index.update(m)
}

// Remove takes a worker out, because its key is gone.
func (f *Fleet) Remove(id subjects.WorkerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(id)
}

// drop needs mu.
func (f *Fleet) drop(id subjects.WorkerID) {
	if m := f.index.find(id); m != nil {
		f.someLeft()
		f.index.remove(m)
	}
}

// Listing begins a reading of the whole list.
func (f *Fleet) Listing() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.index.all {
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
	for _, m := range f.index.all {
		if !m.listed {
			f.doubt(m, now.Add(aftermath))
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
	for _, m := range slices.Backward(f.index.all) { // whoever goes leaves a place to one that was looked at
		if m.suspect && !now.Before(m.suspectUntil) {
			m.suspect = false
			f.index.update(m)
		}
		if calm && now.Sub(m.seen) > 2*expiry {
			f.drop(m.Worker)
		}
	}
}

// Answered takes what a worker's answer tells about its load. Answers may overtake each
// other, so acceptances only raise the count: reports lower it.
func (f *Fleet) Answered(id subjects.WorkerID, reply subjects.WorkerReply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.index.find(id)
	if m == nil {
		return
	}
	defer f.index.update(m)
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
	if m := f.index.find(id); m != nil {
		f.doubt(m, now.Add(suspectFor))
	}
}

// doubt needs mu.
func (f *Fleet) doubt(m *candidate, until time.Time) {
	m.suspect, m.suspectUntil = true, until
	f.index.update(m)
}

// Has tells whether the worker may still be the one that took a session at a time. The
// start of a worker is known to the second.
func (f *Fleet) Has(id subjects.WorkerID, since string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.index.find(id)
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
	m := f.index.find(id)
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
	n := Census{Known: len(f.index.all), Free: f.index.free}
	for _, g := range f.index.groups {
		for t := range tiers {
			count := len(g.tiers[t].seats)
			switch {
			case t == leaving:
				n.Draining += count
			case t == crowded, t%doubtful == promised:
				n.Full += count
			case t >= doubtful:
				n.Suspect += count
			default:
				n.Ready += count
			}
		}
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
	known := len(f.index.all)
	if known == 0 {
		return "no worker is known"
	}
	f.index.ask(n)
	by := f.index.standings(n)
	text := fmt.Sprintf("no worker has room: %d known, %d full, %d draining, %d tried in vain",
		known, by[full]+by[fits]+by[busy], by[draining], by[tried])
	if away := by[elsewhere]; away > 0 {
		text += fmt.Sprintf(", %d in other cells than %s, which it may not leave", away, shown(n.cell))
	}
	if other := by[unfit]; other > 0 {
		engines := map[string]bool{}
		for _, g := range f.index.groups {
			for _, e := range g.one.Engines {
				engines[e.Name] = true
			}
		}
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
	return len(f.index.all)
}
