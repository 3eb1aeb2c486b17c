package dispatcher

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"stenobus/dispatcher/placement"
	"stenobus/subjects"
)

// Config of a dispatcher. The zero value works.
type Config struct {
	Name    string                // names this dispatcher on the bus and in logs; empty: random
	Version string                // of the program, for operators
	Log     *slog.Logger          // nil: no log
	Metrics prometheus.Registerer // nil: no metrics
	Bus     subjects.BusConfig    // for streams and buckets that are not there yet

	Cell  string // in which this dispatcher lives; empty: the cluster of its NATS server
	Spill string // when a session may be placed outside of its cell: full or never; empty: full

	Strategy     string        // how a worker is chosen: spread, pack, hash or dedicated; empty: spread
	AssignWait   time.Duration // a worker that has not answered for so long is passed over; 0: 500 ms
	AssignTries  int           // most workers that one claim waits for in vain; 0: 4
	RecordExpiry time.Duration // a session's record that is not renewed for so long is gone; 0: 2 min
}

// Strategies of placement: see package placement.
const (
	StrategySpread    = placement.Spread
	StrategyPack      = placement.Pack
	StrategyHash      = placement.Hash
	StrategyDedicated = placement.Dedicated
)

// Rules of spilling: see package placement.
const (
	SpillFull  = placement.SpillFull
	SpillNever = placement.SpillNever
)

// DefaultRecordExpiry is how long a session's record stays that nobody renews, unless its
// session's grace is longer.
const DefaultRecordExpiry = 2 * time.Minute

// minExpiry is the shortest expiry of a key that the server knows.
const minExpiry = time.Second

func (c Config) withDefaults() Config {
	c.Strategy = or(c.Strategy, StrategySpread)
	c.Spill = or(c.Spill, SpillFull)
	c.AssignWait = or(c.AssignWait, 500*time.Millisecond)
	c.AssignTries = or(c.AssignTries, 4)
	c.RecordExpiry = or(c.RecordExpiry, DefaultRecordExpiry)
	c.Bus.TombstoneExpiry = or(c.Bus.TombstoneExpiry, 5*time.Second)
	if c.Name == "" {
		c.Name = "dispatcher-" + string(subjects.FreshSessionID())[:8]
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if all := placement.Strategies(); !slices.Contains(all, c.Strategy) {
		errs = append(errs, fmt.Errorf("dispatcher Strategy is %q, allowed are %s", c.Strategy, strings.Join(all, ", ")))
	}
	if c.Spill != SpillFull && c.Spill != SpillNever {
		errs = append(errs, fmt.Errorf("dispatcher Spill is %q, allowed are %s, %s", c.Spill, SpillFull, SpillNever))
	}
	if c.AssignTries < 1 || c.AssignTries > placement.MaxTries {
		errs = append(errs, fmt.Errorf("dispatcher AssignTries is %d, allowed are 1 to %d", c.AssignTries, placement.MaxTries))
	}
	for _, d := range []struct {
		name     string
		v        time.Duration
		min, max time.Duration
	}{
		{"AssignWait", c.AssignWait, 10 * time.Millisecond, claimWait},
		{"RecordExpiry", c.RecordExpiry, minExpiry, 24 * time.Hour},
		{"Bus.TombstoneExpiry", c.Bus.TombstoneExpiry, minExpiry, time.Hour},
	} {
		if d.v < d.min || d.v > d.max {
			errs = append(errs, fmt.Errorf("dispatcher %s is %v, allowed are %v to %v", d.name, d.v, d.min, d.max))
		}
	}
	return errors.Join(errs...)
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}
