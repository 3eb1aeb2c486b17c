package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"stenobus/subjects"
)

// Config of a worker. The zero value works.
type Config struct {
	ID      string                // names this worker on the bus; empty: random
	Cell    string                // in which this worker lives; empty: the cluster of its NATS server
	Labels  map[string]string     // what claims may ask for, beside engine and language
	Slots   int                   // most sessions at once; 0: 100
	Version string                // of the program, for operators
	Log     *slog.Logger          // nil: no log
	Metrics prometheus.Registerer // nil: no metrics
	Bus     subjects.BusConfig    // for streams and buckets that are not there yet

	IdleCommit time.Duration // audio of a source that pauses for so long finalises its utterance; 0: 2 s
	TurnLimit  time.Duration // most audio of a source without a final or a mark; 0: 10 s
	DrainWait  time.Duration // how long a stopping worker waits for others to take its sessions; 0: 10 s
	QueueBytes int           // most bytes of a session waiting for its engine; 0: 16 MiB
}

func (c Config) withDefaults() Config {
	c.Slots = or(c.Slots, 100)
	c.IdleCommit = or(c.IdleCommit, 2*time.Second)
	c.TurnLimit = or(c.TurnLimit, DefaultTurnLimit)
	c.DrainWait = or(c.DrainWait, 10*time.Second)
	c.QueueBytes = or(c.QueueBytes, 16<<20)
	if c.ID == "" {
		c.ID = "worker-" + string(subjects.FreshSessionID())[:8]
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if _, err := subjects.NewWorkerID(c.ID); err != nil {
		errs = append(errs, fmt.Errorf("worker ID: %w", err))
	}
	if c.Slots < 1 {
		errs = append(errs, fmt.Errorf("worker Slots is %d, allowed are 1 and more", c.Slots))
	}
	if c.QueueBytes < 64<<10 {
		errs = append(errs, fmt.Errorf("worker QueueBytes is %d, allowed are 65536 and more", c.QueueBytes))
	}
	for _, d := range []struct {
		name     string
		v        time.Duration
		min, max time.Duration
	}{
		{"IdleCommit", c.IdleCommit, 50 * time.Millisecond, time.Minute},
		{"TurnLimit", c.TurnLimit, 100 * time.Millisecond, time.Minute},
		{"DrainWait", c.DrainWait, 10 * time.Millisecond, time.Hour},
	} {
		if d.v < d.min || d.v > d.max {
			errs = append(errs, fmt.Errorf("worker %s is %v, allowed are %v to %v", d.name, d.v, d.min, d.max))
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
