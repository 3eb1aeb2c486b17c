package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"stenobus/subjects"
)

// worker makes a candidate with an engine called tally that speaks some languages.
func worker(id string, slots, sessions int, languages ...string) *candidate {
	return &candidate{WorkerReport: subjects.WorkerReport{
		Worker: subjects.WorkerID(id), Slots: slots, Sessions: sessions,
		Engines: []subjects.EngineReport{{Name: "tally", Languages: languages}},
	}}
}

// choose chooses among workers as a fleet that knows no others does.
func choose(strategy string, n *need, all []*candidate, random func(int) int) choice {
	ix := newIndex(strategy)
	for _, c := range all {
		c.place = place{}
		ix.update(c)
	}
	return ix.choose(n, random)
}

func with(c *candidate, change func(*candidate)) *candidate {
	change(c)
	return c
}

func TestAdmits(t *testing.T) {
	t.Parallel()
	zone := func(c *candidate) { c.Labels = map[string]string{"zone": "a", "gpu": "1"} }
	for name, c := range map[string]struct {
		options subjects.Options
		worker  *candidate
		want    bool
	}{
		"nothing asked":    {subjects.Options{}, worker("w", 1, 0), true},
		"no slot":          {subjects.Options{}, worker("w", 1, 1), false},
		"over its slots":   {subjects.Options{}, worker("w", 1, 2), false},
		"slots promised":   {subjects.Options{}, with(worker("w", 2, 1), func(c *candidate) { c.pending = 1 }), false},
		"no engine at all": {subjects.Options{}, with(worker("w", 1, 0), func(c *candidate) { c.Engines = nil }), false},
		"draining":         {subjects.Options{}, with(worker("w", 1, 0), func(c *candidate) { c.Draining = true }), false},
		"tried":            {subjects.Options{}, worker("tried", 1, 0), false},
		"engine":           {subjects.Options{Engine: "tally"}, worker("w", 1, 0), true},
		"other engine":     {subjects.Options{Engine: "x"}, worker("w", 1, 0), false},
		"any language":     {subjects.Options{Language: "de"}, worker("w", 1, 0), true},
		"language":         {subjects.Options{Language: "en-US"}, worker("w", 1, 0, "de", "en-US"), true},
		"wider":            {subjects.Options{Language: "en"}, worker("w", 1, 0, "en-US"), true},
		"narrower":         {subjects.Options{Language: "EN-us"}, worker("w", 1, 0, "en"), true},
		"sibling":          {subjects.Options{Language: "en-GB"}, worker("w", 1, 0, "en-US"), true},
		"not a prefix":     {subjects.Options{Language: "eng"}, worker("w", 1, 0, "en"), false},
		"other language":   {subjects.Options{Language: "de"}, worker("w", 1, 0, "en"), false},
		"label":            {subjects.Options{Labels: map[string]string{"zone": "a"}}, with(worker("w", 1, 0), zone), true},
		"other label":      {subjects.Options{Labels: map[string]string{"zone": "b"}}, with(worker("w", 1, 0), zone), false},
		"missing label":    {subjects.Options{Labels: map[string]string{"x": ""}}, with(worker("w", 1, 0), zone), false},
		"language of another engine": {
			subjects.Options{Engine: "tally", Language: "de"},
			with(worker("w", 1, 0, "en"), func(c *candidate) {
				c.Engines = append(c.Engines, subjects.EngineReport{Name: "x", Languages: []string{"de"}})
			}), false,
		},
	} {
		n := need{options: c.options, not: map[subjects.WorkerID]string{"tried": ""}}
		if got := n.standing(c.worker) == fits; got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	suspect := func(c *candidate) { c.suspect = true }
	for name, c := range map[string]struct {
		strategy string
		all      []*candidate
		want     subjects.WorkerID // empty: nobody
	}{
		"nobody":              {Spread, nil, ""},
		"all full":            {Spread, []*candidate{worker("a", 1, 1)}, ""},
		"the only one":        {Spread, []*candidate{worker("a", 1, 1), worker("b", 1, 0)}, "b"},
		"trusted first":       {Spread, []*candidate{with(worker("a", 9, 0), suspect), worker("b", 9, 8)}, "b"},
		"suspect at last":     {Spread, []*candidate{with(worker("a", 9, 0), suspect), worker("b", 9, 9)}, "a"},
		"fullest":             {Pack, []*candidate{worker("a", 4, 1), worker("b", 4, 3), worker("c", 4, 4)}, "b"},
		"fullest by share":    {Pack, []*candidate{worker("a", 100, 50), worker("b", 4, 3)}, "b"},
		"ties by id":          {Pack, []*candidate{worker("b", 4, 1), worker("a", 8, 2)}, "a"},
		"fullest but suspect": {Pack, []*candidate{worker("a", 4, 1), with(worker("b", 4, 3), suspect)}, "a"},
		"empty":               {Dedicated, []*candidate{worker("a", 4, 1), worker("b", 4, 0)}, "b"},
		"nobody is empty":     {Dedicated, []*candidate{worker("a", 4, 1)}, ""},
	} {
		got := choose(c.strategy, &need{}, c.all, rand.IntN)
		if got.candidate == nil && c.want != "" || got.candidate != nil && got.Worker != c.want {
			t.Errorf("%s: got %+v, want %q", name, got.candidate, c.want)
		}
	}
}

func TestSpreadIsEven(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2)).IntN
	var all []*candidate
	for i := range 100 {
		all = append(all, worker(fmt.Sprint(i), 20, 0))
	}
	for range 1000 { // half of the slots
		choose(Spread, &need{}, all, random).Sessions++
	}
	for _, c := range all {
		if c.Sessions < 5 || c.Sessions > 15 {
			t.Errorf("worker %s has %d of 20 slots in use", c.Worker, c.Sessions)
		}
	}
}

func TestSpreadFindsTheNeedle(t *testing.T) {
	t.Parallel()
	var all []*candidate
	for i := range 1000 {
		all = append(all, worker(fmt.Sprint(i), 1, 1))
	}
	all[777].Sessions = 0
	if got := choose(Spread, &need{}, all, rand.IntN); got.candidate != all[777] {
		t.Errorf("got %+v", got.candidate)
	}
}

func TestHashMovesFew(t *testing.T) {
	t.Parallel()
	var all []*candidate
	for i := range 10 {
		all = append(all, worker(fmt.Sprint("worker-", i), 1000, 0))
	}
	of := func(session int, from []*candidate) subjects.WorkerID {
		return choose(Hash, &need{session: subjects.SessionID(fmt.Sprint("session-", session))}, from, nil).Worker
	}
	count, moved := map[subjects.WorkerID]int{}, 0
	for s := range 1000 {
		w := of(s, all)
		count[w]++
		if w != "worker-9" && of(s, all[:9]) != w {
			moved++
		}
	}
	if moved != 0 {
		t.Errorf("%d sessions changed their worker because another one left", moved)
	}
	for w, n := range count {
		if n < 60 || n > 140 {
			t.Errorf("worker %s has %d of 1000 sessions", w, n)
		}
	}
}

// FuzzChoose builds a fleet from bytes and checks every strategy's promises.
func FuzzChoose(f *testing.F) {
	f.Add([]byte{4, 0, 0, 4, 3, 1, 1, 1, 2}, "s", uint64(1))
	f.Add([]byte{}, "", uint64(0))
	f.Fuzz(func(t *testing.T, shape []byte, session string, seed uint64) {
		n := need{session: subjects.SessionID(session), not: map[subjects.WorkerID]string{"0": ""}}
		n.options.Language = "en-GB"
		var all []*candidate
		room, trusted := false, false
		for i := 0; i+2 < len(shape); i += 3 {
			c := worker(fmt.Sprint(i/3), int(shape[i]), int(shape[i+1]), []string{"en", "de"}[shape[i+2]&1])
			c.suspect, c.Draining, c.pending = shape[i+2]&2 != 0, shape[i+2]&4 != 0, int(shape[i+2]>>4)
			all = append(all, c)
			room = room || n.standing(c) == fits
			trusted = trusted || n.standing(c) == fits && !c.suspect
		}
		random := rand.New(rand.NewPCG(seed, 0)).IntN
		for _, strategy := range Strategies() {
			if got := choose(strategy, &need{hopeful: true}, all, random); got.candidate != nil && got.Slots <= got.Sessions {
				t.Errorf("%s: hoped for %+v", strategy, got.candidate)
			}
			got := choose(strategy, &n, all, random)
			if got.candidate == nil {
				if room && strategy != Dedicated {
					t.Errorf("%s: nobody, though there is room", strategy)
				}
				continue
			}
			if n.standing(got.candidate) != fits || got.free() < 1 {
				t.Errorf("%s: chose %+v", strategy, got.candidate)
			}
			if got.suspect && trusted && strategy != Dedicated {
				t.Errorf("%s: chose a suspect needlessly", strategy)
			}
			if strategy == Dedicated && got.Sessions+got.pending != 0 {
				t.Errorf("dedicated: chose %+v", got.candidate)
			}
			if strategy == Pack || strategy == Hash {
				if again := choose(strategy, &n, all, random); again.candidate != got.candidate {
					t.Errorf("%s: chose %s, then %s", strategy, got.Worker, again.Worker)
				}
			}
		}
	})
}
