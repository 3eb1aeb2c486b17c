package placement

import (
	"fmt"
	"strings"
	"testing"

	"stenobus/subjects"
)

func TestWhy(t *testing.T) {
	t.Parallel()
	drain := func(c *candidate) { c.Draining = true }
	suspect := func(c *candidate) { c.suspect = true }
	several := []*candidate{worker("a", 10, 3), worker("b", 10, 7)}
	first := func(int) int { return 0 } // draws the first, twice
	ends := func() func(int) int {      // draws the last, then the first
		calls := 0
		return func(n int) int { calls++; return (n - 1) * (calls % 2) }
	}
	for name, c := range map[string]struct {
		strategy string
		need     need
		all      []*candidate
		random   func(int) int
		want     string
	}{
		"spread": {Spread, need{}, several, ends(), "spread: load 3/10 against 7/10 of b; 2 known"},
		"promised": {Spread, need{}, []*candidate{with(worker("a", 10, 3), func(c *candidate) { c.pending = 2 }), worker("b", 10, 7)}, ends(),
			"spread: load 5/10 against 7/10 of b; 2 known"},
		"drawn twice": {Spread, need{}, several, first, "spread: load 3/10, drawn twice of 2 with room; 2 known"},
		"others": {Spread,
			need{options: subjects.Options{Engine: "tally"}, not: map[subjects.WorkerID]string{"x": "full", "gone": "worker_gone", "w1": ""}},
			append(several, worker("c", 1, 1), with(worker("d", 9, 0), drain), worker("x", 9, 0),
				with(worker("e", 9, 0), func(c *candidate) { c.Engines = nil })), ends(),
			"spread: load 3/10 against 7/10 of b; 6 known, 1 full, 1 draining, 1 that do not serve it, 2 tried in vain (gone: worker_gone, x: full), not w1, which it leaves"},
		"the only one": {Spread, need{}, []*candidate{worker("a", 1, 1), with(worker("b", 4, 1), suspect)}, first,
			"spread: load 1/4, the only one with room, though it did not answer lately; 2 known, 1 full"},
		"hopeful": {Pack, need{hopeful: true}, []*candidate{with(worker("a", 2, 1), func(c *candidate) { c.pending = 1 })}, nil,
			"pack: load 2/2, the only one with room, promised slots not counted; 1 known"},
		"pack": {Pack, need{}, several, nil, "pack: load 7/10, the fullest of 2 with room; 2 known"},
		"pack, refused": {Pack, need{not: map[subjects.WorkerID]string{"x": "full", "y": "full", "z": "full"}}, several, ends(),
			"pack: load 3/10 against 7/10 of b; 2 known, 3 tried in vain (x: full, y: full, z: full)"},
		"hash":            {Hash, need{session: "s"}, several[:1], nil, "hash: load 3/10, the only one with room; 1 known"},
		"dedicated":       {Dedicated, need{}, []*candidate{worker("a", 4, 1), worker("b", 4, 0)}, first, "dedicated: the only one without a session; 2 known, 1 in use"},
		"one of the empt": {Dedicated, need{}, []*candidate{worker("a", 4, 0), worker("b", 4, 0)}, first, "dedicated: one of 2 without a session; 2 known"},
		"a hostile name":  {Spread, need{}, []*candidate{worker("a", 10, 3), worker("b\n\x1b[2J", 10, 7)}, ends(), `spread: load 3/10 against 7/10 of "b\n\x1b[2J"; 2 known`},
	} {
		ch := choose(c.strategy, &c.need, c.all, c.random)
		if got := ch.why(c.strategy, &c.need, len(c.all)); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestWhyOfMany(t *testing.T) {
	t.Parallel()
	var all []*candidate
	not := map[subjects.WorkerID]string{}
	for i := range 400 {
		all = append(all, worker(fmt.Sprint("w", i), 10, i%11))
		if i < MaxTries {
			not[subjects.WorkerID(strings.Repeat("é", subjects.MaxID/2-2)+fmt.Sprint(i))] = subjects.CodeFull
		}
	}
	calls := 0
	n := need{not: not}
	ch := choose(Spread, &n, all, func(n int) int { calls++; return calls % n })
	got := ch.why(Spread, &n, len(all))
	if !strings.Contains(got, "; 16 drawn of 400 known, 36 full, 16 tried in vain (ééé") || len(got) > subjects.MaxWhy || !strings.HasSuffix(got, "é…") {
		t.Errorf("got %d bytes: %s", len(got), got)
	}
}
