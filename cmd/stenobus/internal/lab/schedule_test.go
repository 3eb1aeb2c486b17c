package lab

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"
)

func plan(seed uint64) Plan {
	return Plan{
		Seed: seed, Mix: FullMix(time.Hour, true, true), Duration: time.Hour,
		Gateways: 2, Dispatchers: 3, Workers: 4, Nodes: 3, Sessions: 100,
	}
}

func TestSameSeedSameSchedule(t *testing.T) {
	t.Parallel()
	first := Draw(plan(7))
	if again := Draw(plan(7)); !reflect.DeepEqual(first, again) {
		t.Error("the same seed gave another schedule")
	}
	if other := Draw(plan(8)); reflect.DeepEqual(first, other) {
		t.Error("another seed gave the same schedule")
	}
}

// What holds of every schedule, whatever the seed and the mix.
func TestSchedulesKeepFaultsApart(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		p := plan(seed)
		switch seed % 4 {
		case 1:
			p.Mix, p.Duration = QuickMix(false), 75*time.Second
		case 2:
			p.Mix, p.Duration = Mix{BusDown: 3, BusLeaderKill: 5, WorkerKill: 1}, time.Minute
		case 3:
			p.Mix = Mix{ClientCut: 5}
		}
		check(t, p, Draw(p))
	}
}

func check(t *testing.T, p Plan, schedule []Fault) {
	t.Helper()
	got := Mix{}
	var free, rested time.Duration
	for _, f := range schedule {
		got[f.Kind]++
		trait, _ := traitOf(f.Kind)
		if f.At < warmUp || f.For < trait.least || f.For > trait.most || f.Target < 0 || f.Target >= p.many(trait) || f.Other >= p.Workers {
			t.Fatalf("seed %d: bad fault %+v", p.Seed, f)
		}
		if trait.group == ofClient {
			continue
		}
		if f.At < free {
			t.Fatalf("seed %d: %+v begins before the one before has healed at %v", p.Seed, f, free)
		}
		free = f.At + f.span()
		if trait.group == ofBus {
			if f.At < rested {
				t.Fatalf("seed %d: %+v begins before the bus has rested until %v", p.Seed, f, rested)
			}
			rested = f.At + f.For + busRest
		}
	}
	if !maps.Equal(got, p.Mix) {
		t.Fatalf("seed %d: drawn %v, want %v", p.Seed, got, p.Mix)
	}
	if !slices.IsSortedFunc(schedule, func(a, b Fault) int { return int(a.At - b.At) }) {
		t.Fatalf("seed %d: out of order", p.Seed)
	}
}

// The documented long run fits into its hour, the quick one into its two minutes.
func TestMixesFit(t *testing.T) {
	t.Parallel()
	last := func(p Plan) (end time.Duration) {
		for _, f := range Draw(p) {
			end = max(end, f.At+f.span())
		}
		return end
	}
	for seed := range uint64(50) {
		if end := last(plan(seed)); end > time.Hour+time.Minute {
			t.Errorf("seed %d: the long run takes %v", seed, end)
		}
		p := plan(seed)
		p.Mix, p.Duration = QuickMix(false), 75*time.Second
		if end := last(p); end > 90*time.Second {
			t.Errorf("seed %d: the quick run takes %v", seed, end)
		}
	}
	for _, kind := range kinds {
		if want := map[group]int{ofProcess: 30, ofClient: 30, ofBus: 10}[kind.group]; kind.full != want {
			t.Errorf("%d of %s in an hour, want %d", kind.full, kind.kind, want)
		}
	}
}

func TestParseMix(t *testing.T) {
	t.Parallel()
	m, err := ParseMix("worker_kill=3,client_cut=10")
	if err != nil || !maps.Equal(m, Mix{WorkerKill: 3, ClientCut: 10}) {
		t.Errorf("%v, %v", m, err)
	}
	if m, err := ParseMix("none"); err != nil || len(m) != 0 {
		t.Errorf("%v, %v", m, err)
	}
	for _, text := range []string{"", "worker", "worker_kill", "worker_kill=x", "worker_kill=-1", "worker_kill=1,", "meteor=1"} {
		if m, err := ParseMix(text); err == nil {
			t.Errorf("%q gives %v", text, m)
		}
	}
	if only := (Mix{WorkerKill: 1, SecondSocket: 2}).Only(true); !maps.Equal(only, Mix{SecondSocket: 2}) {
		t.Errorf("clients alone have %v", only)
	}
}
