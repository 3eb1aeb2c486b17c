package placement

import (
	"math/bits"
	"slices"
)

// ring is the members of a shelf by their keys, which lie evenly on the circle of all
// numbers. So the next one from a point on is found in the same time however many there
// are: an arc holds about one.
type ring struct {
	arcs [][]ranked // of equal length, as many as a power of two; each in the order of ranksBefore
	size int
}

// Arcs to a member: between these a ring keeps as many as it has.
const (
	minArcs      = 8
	arcsToGrow   = 1 // fewer
	arcsToShrink = 8 // more
)

// arc is where a key belongs.
func (r *ring) arc(key uint64) int {
	return int(key >> (64 - bits.TrailingZeros(uint(len(r.arcs)))))
}

func (r *ring) add(m ranked) {
	r.size++
	r.fit()
	r.put(m)
}

func (r *ring) put(m ranked) {
	arc := &r.arcs[r.arc(m.key)]
	i, _ := slices.BinarySearchFunc(*arc, m, compareRanks)
	*arc = slices.Insert(*arc, i, m)
}

// remove takes a member out. It must be in.
func (r *ring) remove(m ranked) {
	arc := &r.arcs[r.arc(m.key)]
	i, _ := slices.BinarySearchFunc(*arc, m, compareRanks)
	*arc = slices.Delete(*arc, i, i+1)
	r.size--
	r.fit()
}

// fit keeps the number of arcs near that of members.
func (r *ring) fit() {
	n := len(r.arcs)
	switch {
	case n < minArcs, n < arcsToGrow*r.size:
		n = max(minArcs, 2*n)
	case n > minArcs && n > arcsToShrink*r.size:
		n /= 2
	default:
		return
	}
	was := r.arcs
	r.arcs = make([][]ranked, n)
	for _, arc := range was {
		for _, m := range arc {
			r.put(m)
		}
	}
}

// after is the first member from a point on, all around, that is not to be skipped; one
// without a candidate if there is none.
func (r *ring) after(at uint64, skip func(*candidate) bool) ranked {
	if r.size == 0 {
		return ranked{}
	}
	first := r.arc(at)
	for i := range len(r.arcs) + 1 { // the first arc twice: what lies before the point comes last
		for _, m := range r.arcs[(first+i)%len(r.arcs)] {
			before := m.key < at
			if i == 0 && before || i == len(r.arcs) && !before || skip(m.candidate) {
				continue
			}
			return m
		}
	}
	return ranked{}
}

func compareRanks(a, b ranked) int {
	switch {
	case ranksBefore(a, b):
		return -1
	case ranksBefore(b, a):
		return 1
	}
	return 0
}
