package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"stenobus/cmd/stenobus/internal/ops"
	"stenobus/subjects"
)

// role is what gateway, dispatcher and worker have in common.
type role struct {
	name    string
	conn    *busConn
	serve   func(context.Context) error // Run
	healthy func(context.Context) error // Ready
	stats   func() any
	crowd   func() (open, streaming int) // sessions that fill its memory; nil: none do

	started  atomic.Bool // the bus was there and serve was called
	stopping atomic.Bool
}

// wiring is what every role's configuration gets besides its flags.
type wiring struct {
	log     *slog.Logger
	metrics prometheus.Registerer
	bus     subjects.BusConfig
	cell    string
}

// cellFlag is for roles on a bus of several clusters.
type cellFlag struct {
	Cell string `help:"Cell in which this process lives; by default the cluster of the NATS server that it is connected to." placeholder:"NAME" group:"NATS"`
}

var (
	errStopping = errors.New("stopping")
	errStarting = errors.New("starting")
)

// run waits for the bus, then runs the role until ctx ends or the bus is lost for good.
func (r *role) run(ctx context.Context) error {
	if err := r.conn.await(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it began
		}
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-r.conn.gone:
			cancel(r.conn.lost())
		case <-ctx.Done():
		}
		r.stopping.Store(true)
	}()
	r.started.Store(true)
	err := r.serve(ctx)
	cause := context.Cause(ctx)
	cancel(nil)
	<-watched
	switch {
	case cause == nil:
		return err
	case errors.Is(cause, context.Canceled): // told to stop
		if errors.Is(err, context.Canceled) {
			return nil // while it was still starting
		}
		return err
	}
	return errors.Join(cause, err)
}

// ready tells why the role can't do its work, if so.
func (r *role) ready(ctx context.Context) error { return r.able(ctx, r.healthy) }

func (r *role) able(ctx context.Context, healthy func(context.Context) error) error {
	if r.stopping.Load() {
		return errStopping
	}
	if err := r.conn.ready(); err != nil {
		return err
	}
	if !r.started.Load() {
		return errStarting
	}
	return healthy(ctx)
}

func (r *role) part() part {
	return part{name: r.name, run: r.run, ready: r.ready}
}

// pages are the role's pages for operators, with next below them for every other path.
func (r *role) pages(reg *prometheus.Registry, next http.Handler) http.Handler {
	healthy := ops.Remember(r.healthy) // it asks the bus, and strangers may ask
	ready := func(ctx context.Context) error { return r.able(ctx, healthy) }
	return &ops.Pages{Ready: ready, Stats: r.stats, Metrics: ops.Metrics(reg), Next: next}
}

// runRole runs one role against a bus elsewhere. The door may be nil.
func runRole(p *program, r *role, d *door, pages http.Handler) error {
	defer r.conn.close()
	var parts []part
	if r.crowd != nil {
		parts = append(parts, part{name: "heap", run: newHeap(r.crowd).run})
	}
	at := ""
	if d != nil {
		parts = append(append(parts, d.keepers...), httpPart(d, pages, p.log))
		at = "  " + d.address()
	}
	parts = append(parts, r.part())
	return runParts(p.ctx, p.log, func() error {
		_, err := fmt.Fprintf(p.stdout, "stenobus %s is ready:%s  %s\n", r.name, at, r.conn.ConnectedUrlRedacted())
		return err
	}, parts...)
}

// dial connects a role as the flags say.
func (f *natsFlags) dial(p *program, name string) (*busConn, error) {
	servers, err := f.servers()
	if err != nil {
		return nil, err
	}
	opts, err := f.options()
	if err != nil {
		return nil, err
	}
	return dialBus("stenobus "+name, servers, p.log.With("role", name), opts...)
}

// dialInside connects a role to the server in this process.
func (f *natsAuthFlags) dialInside(p *program, name string, s nats.InProcessConnProvider) (*busConn, error) {
	opts, err := f.options()
	if err != nil {
		return nil, err
	}
	return dialBus("stenobus "+name, "", p.log.With("role", name), append(opts, nats.InProcessServer(s))...)
}
