package placement

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/google/btree"

	"stenobus/subjects"
)

// index keeps the fleet sorted by what a choice asks for, so that a claim costs the same
// with ten workers or ten thousand, however few of them have room. Workers that serve the
// same are a group, and within it each is in the tier of its state. Whoever changes a
// candidate calls update. Fleet.mu guards it.
type index struct {
	strategy string
	members  map[subjects.WorkerID]*candidate
	named    map[string]*group // by signature
	groups   []*group
	all      []*candidate // in no order
	free     int          // slots of those that take sessions

	now     uint64       // counts choices, see group.asked
	serving []*group     // those that serve the session of this choice
	away    int          // workers of groups that would, and are in other cells
	banned  []*candidate // those that must not have it
	shelves []*shelf     // where there is room
}

// group is workers of one cell with the same engines and labels: all could serve a session, or none.
type group struct {
	signature string
	index     int // in index.groups
	size      int
	asked     uint64 // the last choice that it could serve
	tiers     [tiers]shelf
	one       *candidate // any member: what it serves they all do
}

// tier is the state of a worker, as far as it matters for a choice.
type tier int8

const (
	idle         tier = iota // has no session, for those who want one for themselves
	roomy                    // has free slots
	promised                 // has free slots, all of them promised to claims that are open
	doubtful                 // those who did not answer lately, in the same order
	doubtRoomy               // ...
	doubtPromise             // ...
	crowded                  // has no free slot
	leaving                  // takes nothing more
	tiers
)

// shelf is the members of a tier.
type shelf struct {
	seats []seat                // in no order, to draw from
	order *btree.BTreeG[ranked] // for pack, which looks for the fullest; else nil
	ring  *ring                 // for hash; else nil
}

// seat has what a draw looks at beside the candidate, so that it need not be fetched.
type seat struct {
	*candidate
	slots, used int32
}

func (s *seat) load() float64 { return float64(s.used) / float64(s.slots) }

// ranked is a candidate in the order of a strategy. Its key does not change while it is
// in there.
type ranked struct {
	key uint64
	*candidate
}

// ranksBefore is that order. A key without a candidate comes before those who have it.
func ranksBefore(a, b ranked) bool {
	if a.key != b.key {
		return a.key < b.key
	}
	if a.candidate == nil || b.candidate == nil {
		return b.candidate != nil
	}
	return a.Worker < b.Worker
}

// keyOf ranks a candidate: for pack the fullest first, for hash by its place on the ring.
func keyOf(strategy string, c *candidate) uint64 {
	switch strategy {
	case Pack:
		return ^math.Float64bits(c.load()) // of numbers above 0 in their order
	case Hash:
		return point(c.Worker)
	}
	return 0
}

// place is where the index has a candidate.
type place struct {
	group *group // nil: nowhere
	index int    // in index.all
	tier  tier
	seat  int // in its shelf
	free  int // its share of index.free
	rank  ranked
}

func newIndex(strategy string) *index {
	return &index{strategy: strategy, members: map[subjects.WorkerID]*candidate{}, named: map[string]*group{}}
}

// find is nil for one that is not known.
func (ix *index) find(id subjects.WorkerID) *candidate { return ix.members[id] }

// tierOf needs no more than the candidate. Only where it matters that a worker has no
// session it is in a tier of its own: fewer tiers are fewer places to look at.
func (ix *index) tierOf(c *candidate) tier {
	t := roomy
	switch {
	case c.Draining:
		return leaving
	case c.Slots <= c.Sessions:
		return crowded
	case c.free() == 0:
		t = promised
	case ix.strategy == Dedicated && c.Sessions+c.pending == 0:
		t = idle
	}
	if c.suspect {
		t += doubtful
	}
	return t
}

// update takes a candidate in, or notes that its load or its state has changed.
func (ix *index) update(c *candidate) {
	p := &c.place
	if p.group == nil {
		ix.join(c, ix.groupOf(c))
	}
	t, key := ix.tierOf(c), p.rank.key
	if ix.strategy == Pack {
		key = keyOf(Pack, c)
	}
	if t != p.tier || key != p.rank.key {
		p.group.tiers[p.tier].remove(c)
		p.rank.key = key
		p.group.tiers[t].add(c, t, ix.strategy)
	} else {
		p.group.tiers[t].seats[p.seat] = seated(c)
	}
	ix.count(c)
}

func seated(c *candidate) seat { return seat{c, int32(c.Slots), int32(c.Sessions + c.pending)} }

// count keeps the sum of free slots.
func (ix *index) count(c *candidate) {
	free := c.free()
	if c.place.group == nil || c.Draining {
		free = 0
	}
	ix.free += free - c.place.free
	c.place.free = free
}

func (ix *index) join(c *candidate, g *group) {
	t := ix.tierOf(c)
	c.place = place{group: g, index: len(ix.all), rank: ranked{keyOf(ix.strategy, c), c}}
	ix.members[c.Worker] = c
	ix.all = append(ix.all, c)
	g.size++
	g.one = c
	g.tiers[t].add(c, t, ix.strategy)
}

// remove takes a candidate out. It must be in.
func (ix *index) remove(c *candidate) {
	g := c.place.group
	delete(ix.members, c.Worker)
	last := ix.all[len(ix.all)-1]
	ix.all[c.place.index], last.place.index = last, c.place.index
	ix.all[len(ix.all)-1] = nil
	ix.all = ix.all[:len(ix.all)-1]
	g.tiers[c.place.tier].remove(c)
	c.place.group = nil
	ix.count(c)
	if g.size--; g.size == 0 {
		ix.disband(g)
	} else if g.one == c {
		g.one = g.any()
	}
}

func (ix *index) disband(g *group) {
	last := ix.groups[len(ix.groups)-1]
	ix.groups[g.index], last.index = last, g.index
	ix.groups = ix.groups[:len(ix.groups)-1]
	delete(ix.named, g.signature)
}

func (g *group) any() *candidate {
	for t := range g.tiers {
		if seats := g.tiers[t].seats; len(seats) > 0 {
			return seats[0].candidate
		}
	}
	return nil
}

// groupOf finds the group of a candidate, or makes it.
func (ix *index) groupOf(c *candidate) *group {
	name := signature(c)
	g := ix.named[name]
	if g == nil {
		g = &group{signature: name, index: len(ix.groups)}
		ix.named[name] = g
		ix.groups = append(ix.groups, g)
	}
	return g
}

// signature is the same for workers that serve the same.
func signature(c *candidate) string {
	var b strings.Builder
	for _, e := range c.Engines {
		fmt.Fprintf(&b, "%q%q", e.Name, e.Languages)
	}
	for _, k := range slices.Sorted(maps.Keys(c.Labels)) {
		fmt.Fprintf(&b, "%q=%q", k, c.Labels[k])
	}
	fmt.Fprintf(&b, "%q", c.Cell)
	return b.String()
}

// servesAlike tells whether two reports of a worker are of the same group.
func servesAlike(a, b *subjects.WorkerReport) bool {
	return a.Cell == b.Cell && maps.Equal(a.Labels, b.Labels) && slices.EqualFunc(a.Engines, b.Engines, func(a, b subjects.EngineReport) bool {
		return a.Name == b.Name && slices.Equal(a.Languages, b.Languages)
	})
}

func (s *shelf) add(c *candidate, t tier, strategy string) {
	c.place.tier, c.place.seat = t, len(s.seats)
	s.seats = append(s.seats, seated(c))
	switch strategy {
	case Pack:
		if s.order == nil {
			const degree = 16
			s.order = btree.NewG(degree, ranksBefore)
		}
		s.order.ReplaceOrInsert(c.place.rank)
	case Hash:
		if s.ring == nil {
			s.ring = &ring{}
		}
		s.ring.add(c.place.rank)
	}
}

func (s *shelf) remove(c *candidate) {
	if s.order != nil {
		s.order.Delete(c.place.rank)
	}
	if s.ring != nil {
		s.ring.remove(c.place.rank)
	}
	last := len(s.seats) - 1
	s.seats[c.place.seat] = s.seats[last]
	s.seats[c.place.seat].place.seat = c.place.seat
	s.seats[last] = seat{}
	s.seats = s.seats[:last]
}

// point is where a name is on the ring of all numbers.
func point[T ~string](name T) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // a hash takes everything
	return mixed(h.Sum64())
}

// mixed spreads numbers that are alike: these are the mixing steps of splitmix64.
func mixed(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
