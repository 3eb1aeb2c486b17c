package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// readyPoll is how often parts that are starting are asked whether they are ready.
const readyPoll = 50 * time.Millisecond

// part is something that runs as long as the program does.
type part struct {
	name  string
	run   func(context.Context) error // until its context ends; returns when nothing of it is left
	ready func(context.Context) error // nil: ready at once
}

// running is a part that was started.
type running struct {
	part
	stop context.CancelFunc
	done chan struct{}
	err  error // of run; read it after done
}

// runParts starts the parts together, calls announce when all are ready, and stops them
// one after the other, the last one first: when ctx ends, which is a clean end, or when
// any part ends by itself, which is an error.
func runParts(ctx context.Context, log *slog.Logger, announce func() error, parts ...part) error {
	ended := make(chan struct{}, len(parts))
	all := make([]*running, len(parts))
	for i, p := range parts {
		all[i] = launch(ctx, p, ended)
	}
	var err error
	ready := awaitReady(ctx, log, all, ended)
	if ready {
		err = announce()
	}
	if ready && err == nil {
		select {
		case <-ctx.Done():
		case <-ended:
		}
	}
	return errors.Join(err, stopParts(log, all))
}

// launch gives a part a context of its own: ctx must not end them all at once.
func launch(ctx context.Context, p part, ended chan<- struct{}) *running {
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{part: p, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = p.run(own)
		ended <- struct{}{}
	}()
	return r
}

// awaitReady returns true when every part is ready, false when one has ended or ctx has.
func awaitReady(ctx context.Context, log *slog.Logger, all []*running, ended <-chan struct{}) bool {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	last := time.Now()
	for {
		err := firstUnready(ctx, all)
		if err == nil {
			return true
		}
		if time.Since(last) >= logEvery {
			last = time.Now()
			log.Warn("not ready yet", "reason", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		case <-ended:
			return false
		}
	}
}

func firstUnready(ctx context.Context, all []*running) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	for _, r := range all {
		if r.ready == nil {
			continue
		}
		if err := r.ready(ctx); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

func stopParts(log *slog.Logger, all []*running) error {
	var errs []error
	for i := len(all) - 1; i >= 0; i-- {
		r := all[i]
		select {
		case <-r.done:
			if r.err == nil {
				r.err = errors.New("ended by itself")
			}
		default:
			log.Debug("stopping", "part", r.name)
		}
		r.stop()
		<-r.done
		if r.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.name, r.err))
		}
	}
	return errors.Join(errs...)
}
