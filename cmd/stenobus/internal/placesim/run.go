package placesim

import (
	"context"
	"fmt"
	"runtime"
	"slices"
)

// Run simulates one fleet after the other.
func Run(ctx context.Context, cfg Config) (Result, error) {
	// CPU is counted by thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := Result{
		Strategy: cfg.Strategy, Dispatchers: cfg.Dispatchers, Seed: cfg.Seed, Load: cfg.Load,
		LengthS: cfg.Length.Seconds(), Skew: cfg.Skew,
	}
	largest := slices.Max(cfg.Workers)
	for _, n := range cfg.Workers {
		s := newSim(&cfg, n, int(float64(cfg.Sessions)*float64(n)/float64(largest)))
		s.meter, s.reports = newMeter(), newMeter()
		if err := s.run(ctx); err != nil {
			return r, fmt.Errorf("simulate %d workers: %w", n, err)
		}
		r.Fleets = append(r.Fleets, s.result())
	}
	r.judge()
	return r, nil
}
