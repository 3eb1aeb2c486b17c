package placement

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"stenobus/subjects"
)

// agrees checks that the index is what its candidates say.
func agrees(t *testing.T, f *Fleet) {
	t.Helper()
	ix, free, members := f.index, 0, 0
	for i, c := range ix.all {
		p := c.place
		s := &p.group.tiers[p.tier]
		switch {
		case p.index != i, ix.members[c.Worker] != c:
			t.Errorf("%s is not where it should be", c.Worker)
		case p.tier != ix.tierOf(c), s.seats[p.seat] != seated(c):
			t.Errorf("%s: %+v is in tier %d as %+v", c.Worker, c.WorkerReport, p.tier, s.seats[p.seat])
		case ix.named[signature(c)] != p.group, !servesAlike(&p.group.one.WorkerReport, &c.WorkerReport):
			t.Errorf("%s is in a group of another kind", c.Worker)
		}
		if s.order != nil {
			if r, ok := s.order.Get(p.rank); !ok || r.candidate != c || ix.strategy == Pack && r.key != keyOf(Pack, c) {
				t.Errorf("%s has no rank", c.Worker)
			}
		}
		if s.ring != nil && s.ring.after(p.rank.key, func(other *candidate) bool { return other != c }) != p.rank {
			t.Errorf("%s is not on the ring", c.Worker)
		}
		if !c.Draining {
			free += c.free()
		}
	}
	for i, g := range ix.groups {
		seats := 0
		for _, s := range g.tiers {
			seats += len(s.seats)
			if s.order != nil && s.order.Len() != len(s.seats) {
				t.Errorf("%d of %d members have a rank", s.order.Len(), len(s.seats))
			}
			if s.ring != nil && s.ring.size != len(s.seats) {
				t.Errorf("%d of %d members are on the ring", s.ring.size, len(s.seats))
			}
		}
		if members += seats; g.index != i || g.size != seats || seats == 0 {
			t.Errorf("group %d has %d members, counts %d", i, seats, g.size)
		}
	}
	if free != ix.free || members != len(ix.all) || len(ix.members) != len(ix.all) || len(ix.named) != len(ix.groups) {
		t.Errorf("%d free slots, counted %d; %d members in groups, %d in all", free, ix.free, members, len(ix.all))
	}
}

// act lets something happen to a fleet, as b says.
func act(f *Fleet, what, who, how byte, now time.Time) {
	id := subjects.WorkerID(fmt.Sprint(who % 24))
	switch what % 9 {
	case 0:
		f.Remove(id)
	case 1:
		f.Silent(id, now)
	case 2:
		f.Listing()
		f.Listed(now)
	case 3:
		f.Sweep(now.Add(time.Duration(how)*time.Second), 10*time.Second)
	case 4:
		reply := subjects.WorkerReply{Slots: int(how % 16), Sessions: int(how / 16)}
		if code := []string{"", subjects.CodeFull, subjects.CodeDraining}[how%3]; code != "" {
			reply.Error = subjects.Errorf(code, "no")
		}
		f.Answered(id, reply)
	case 5:
		f.unreserve(id)
	case 6:
		n := need{session: subjects.SessionID(id)}
		n.options.Language = []string{"", "en", "de"}[how%3]
		f.reserve(&n)
	default:
		r := subjects.WorkerReport{
			Worker: id, Slots: int(how % 16), Sessions: int(how / 16), Draining: what > 250,
			Engines: []subjects.EngineReport{{Name: "tally", Languages: []string{[]string{"en", "de"}[what/9%2]}}},
		}
		if how > 200 {
			r.Labels = map[string]string{"zone": fmt.Sprint(how % 4)}
		}
		f.Put(r, now)
	}
}

// FuzzIndex lets anything happen to a fleet, in any order.
func FuzzIndex(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		events := make([]byte, 600)
		for i := range events {
			events[i] = byte(random.Uint32())
		}
		f.Add(events)
	}
	f.Fuzz(func(t *testing.T, events []byte) {
		now := time.Now()
		for _, strategy := range Strategies() {
			fleet := New(strategy, rand.New(rand.NewPCG(1, 2)).IntN)
			for e := events; len(e) >= 3; e = e[3:] {
				act(fleet, e[0], e[1], e[2], now)
			}
			agrees(t, fleet)
		}
	})
}

// Where no two workers are alike, all are found nevertheless.
func TestEveryWorkerDiffers(t *testing.T) {
	t.Parallel()
	for _, strategy := range Strategies() {
		f := New(strategy, rand.New(rand.NewPCG(1, 2)).IntN)
		for i := range 10 * manyGroups {
			r := worker(fmt.Sprint("w", i), 1, 0).WorkerReport
			r.Labels = map[string]string{"host": fmt.Sprint(i), "zone": fmt.Sprint(i % 2)}
			f.Put(r, time.Time{})
		}
		agrees(t, f)
		one := need{options: subjects.Options{Labels: map[string]string{"host": "77"}}}
		if p, ok := f.reserve(&one); !ok || p.Worker != "w77" {
			t.Errorf("%s: got %q for the host that was asked for", strategy, p.Worker)
		}
		zone := need{options: subjects.Options{Labels: map[string]string{"zone": "0"}}}
		for range 10 * manyGroups / 2 {
			p, ok := f.reserve(&zone)
			if !ok {
				t.Fatalf("%s: refused while there is room", strategy)
			}
			f.Answered(p.Worker, subjects.WorkerReply{Slots: 1, Sessions: 1})
			f.unreserve(p.Worker)
		}
		if p, ok := f.reserve(&zone); ok {
			t.Errorf("%s: %s has no room", strategy, p.Worker)
		}
		if c := f.Census(); c.Full != 10*manyGroups/2+1 && strategy != Dedicated {
			t.Errorf("%s: %+v", strategy, c)
		}
	}
}

// The one worker with room is found at once, however many have none, and it is told how
// many were passed over.
func TestNeedleIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	draws := 0
	f := New(Spread, func(n int) int { draws++; return n - 1 })
	for i := range 1000 {
		f.Put(worker(fmt.Sprint(i), 2, 2).WorkerReport, time.Time{})
	}
	f.Answered("77", subjects.WorkerReply{Slots: 2, Sessions: 2})
	f.Put(worker("77", 2, 1).WorkerReport, time.Time{})
	got, ok := f.reserve(&need{})
	if !ok || got.Worker != "77" || got.Why != "spread: load 1/2, the only one with room; 1000 known, 999 full" || draws > 2 {
		t.Errorf("got %+v after %d draws", got, draws)
	}
}
