package placesim

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"stenobus/dispatcher/placement"
)

// small is a run of a second or less.
func small() Config {
	return Config{
		Workers: []int{50, 200}, Sessions: 8000, Slots: 20, Load: 0.5, Length: 20 * time.Second, Skew: 1.5, Rare: 0.2,
		Dispatchers: 3, Strategy: placement.Spread, ReportEvery: 2 * time.Second, LagMin: time.Second, LagMax: 3 * time.Second,
		Crashes: 0.1, Drains: 0.1, Burst: 2, BurstFor: 2 * time.Second, Seed: 1,
	}
}

func simulate(t *testing.T, cfg Config) Result {
	t.Helper()
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// timeless is a result without what the machine has to do with.
func timeless(r Result) Result {
	r.CPURatio, r.OK = 0, false
	r.Fleets = slices.Clone(r.Fleets)
	for i := range r.Fleets {
		f := &r.Fleets[i]
		f.ClaimCPU, f.RefusalCPU, f.ReportCPU = 0, 0, 0
	}
	return r
}

func TestSameSeedSameResult(t *testing.T) {
	t.Parallel()
	for _, strategy := range []string{placement.Spread, placement.Pack, placement.Hash} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			cfg := small()
			cfg.Strategy, cfg.Workers, cfg.Sessions = strategy, []int{20, 50}, 2000
			a, b := timeless(simulate(t, cfg)), timeless(simulate(t, cfg))
			if !slices.Equal(a.Fleets, b.Fleets) {
				t.Errorf("%+v\nand then\n%+v", a, b)
			}
			cfg.Seed++
			if c := timeless(simulate(t, cfg)); slices.Equal(a.Fleets, c.Fleets) {
				t.Error("another seed, and the same result")
			}
		})
	}
}

func TestNobodyIsRefusedWhileThereIsRoom(t *testing.T) {
	t.Parallel()
	for _, strategy := range []string{placement.Spread, placement.Pack, placement.Hash} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			cfg := small()
			cfg.Strategy = strategy
			for _, f := range simulate(t, cfg).Fleets {
				want := cfg.Sessions * f.Workers / 200
				if f.RefusedFree > 0 || f.GivenUp > 0 || f.Placed < want*9/10 || f.Placed > want*11/10 || f.MostAtOnce > f.Slots {
					t.Errorf("%+v", f)
				}
				if f.Crashes == 0 || f.Drains == 0 || f.Moved == 0 {
					t.Errorf("no faults: %+v", f)
				}
				if strategy == placement.Spread && (f.RefusedSteady > 0 || f.LoadSD > 0.2 || math.Abs(f.LoadMean-cfg.Load) > 0.1) {
					t.Errorf("steady state: %+v", f)
				}
			}
		})
	}
}

func TestMoreThanTheFleetHasRoomFor(t *testing.T) {
	t.Parallel()
	cfg := small()
	cfg.Workers, cfg.Load, cfg.Sessions, cfg.Length = []int{10}, 1.5, 900, time.Minute
	for _, f := range simulate(t, cfg).Fleets {
		if f.RefusedFull+f.RefusedUnheard+f.RefusedTired == 0 || f.GivenUp == 0 || f.MostAtOnce > f.Slots {
			t.Errorf("%+v", f)
		}
	}
}

// What the simulation counts on the way is what is there at its end.
func TestBooksBalance(t *testing.T) {
	t.Parallel()
	cfg := small()
	s := newSim(&cfg, 100, 4000)
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	var free [kinds]int
	for i := range s.workers {
		w := &s.workers[i]
		if len(w.sessions) > w.slots || !w.alive && len(w.sessions) > 0 {
			t.Errorf("%s has %d sessions on %d slots", w.id, len(w.sessions), w.slots)
		}
		free[w.language] += w.free()
		for place, si := range w.sessions {
			if t2 := &s.sessions[si]; t2.worker != int32(i) || t2.place != int32(place) || int(t2.language) != w.language {
				t.Errorf("session %d is not where %s has it", si, w.id)
			}
		}
	}
	if free != s.free {
		t.Errorf("%v slots are free, counted %v", free, s.free)
	}
	for d := range s.views {
		v := &s.views[d]
		var known [kinds]int
		for i, h := range v.heard {
			if h.room && s.workers[i].free() > 0 {
				known[s.workers[i].language]++
			}
		}
		if known != v.known {
			t.Errorf("%v workers are known to have room, counted %v", known, v.known)
		}
	}
}

func TestQueueIsInOrder(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var q queue
	last, pushed, popped := time.Duration(0), 0, 0
	for range 10_000 {
		if len(q) == 0 || random.IntN(3) > 0 {
			q.push(event{at: last + time.Duration(random.IntN(1000))})
			pushed++
			continue
		}
		e := q.pop()
		if popped++; e.at < last {
			t.Fatalf("%v after %v", e.at, last)
		}
		last = e.at
	}
	if pushed-popped != len(q) {
		t.Errorf("%d in, %d out, %d left", pushed, popped, len(q))
	}
}

func TestLengths(t *testing.T) {
	t.Parallel()
	cfg := small()
	cfg.Skew = 1
	s := &sim{cfg: &cfg, rand: rand.New(rand.NewPCG(1, 2))}
	const n = 200_000
	var length, residual time.Duration
	for range n {
		length += s.length()
		residual += s.residual()
	}
	// What is left at a random moment is E[x²]/2E[x] on average: e^(sigma²)/2 times the mean.
	for name, c := range map[string]struct{ got, want float64 }{
		"length":   {length.Seconds() / n, cfg.Length.Seconds()},
		"residual": {residual.Seconds() / n, cfg.Length.Seconds() * math.E / 2},
	} {
		if math.Abs(c.got-c.want) > 0.05*c.want {
			t.Errorf("mean %s is %.1f s, want %.1f s", name, c.got, c.want)
		}
	}
}

func TestRunIsInterrupted(t *testing.T) {
	t.Parallel()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cfg := small()
	cfg.Progress = func(p Progress) {
		if p.Placed > 100 {
			cancel(why)
		}
	}
	cfg.Sessions = 5_000_000
	if _, err := Run(ctx, cfg); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
}

func TestWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fleets []Fleet
		want   string // part of what is said; empty: nothing is wrong
	}{
		"good":         {[]Fleet{{Workers: 10, ClaimCPU: 1}, {Workers: 100, ClaimCPU: 1.9}}, ""},
		"other order":  {[]Fleet{{Workers: 100, ClaimCPU: 1.9}, {Workers: 10, ClaimCPU: 1}}, ""},
		"one fleet":    {[]Fleet{{Workers: 10, ClaimCPU: 1}}, ""},
		"grows":        {[]Fleet{{Workers: 100, ClaimCPU: 2.1}, {Workers: 10, ClaimCPU: 1}}, "2.10 times"},
		"refused":      {[]Fleet{{Workers: 10, RefusedFreeRate: 0.002}, {Workers: 100}}, "reported slot"},
		"not in peace": {[]Fleet{{Workers: 10, RefusedSteadyRate: 0.002}}, "steady state"},
	} {
		r := Result{Fleets: c.fleets}
		r.judge()
		if wrong := r.Wrong(); r.OK != (c.want == "") || !strings.Contains(wrong, c.want) || c.want == "" && wrong != "" {
			t.Errorf("%s: %q", name, wrong)
		}
	}
}
