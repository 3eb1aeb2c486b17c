// Package dispatcher is the role that answers claims: it reads a session's record,
// chooses a worker, writes the record by compare-and-set, and asks the worker to take
// the session. It is never on the path of audio or words, it holds nothing that
// another dispatcher could not read from the bus, and any one serves any session.
//
// What keeps a session with one owner: life, epoch and attach only rise, each by a
// write that names the revision it replaces. What a dispatcher reads, or believes of
// the fleet, may be stale and decides nothing: the record's revision decides who owns
// a session, and the worker itself whether it has room.
package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/time/rate"

	"stenobus/dispatcher/placement"
	"stenobus/subjects"
)

// ServiceName is the name of every dispatcher among NATS micro services.
const ServiceName = "stenobus-dispatcher"

const (
	maxOpen   = 256              // requests of one kind served at once; more are told to come back
	faultLog  = 10 * time.Second // a fault that persists is logged so often
	firstList = 5 * time.Second  // how long a starting dispatcher waits for the list of workers
	flushWait = 2 * time.Second
)

// Dispatcher serves claims. Make it with New.
type Dispatcher struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	cfg     Config
	log     *slog.Logger
	metrics metrics
	fleet   *placement.Fleet
	waiting *demand
	store   *store            // set by Run before the first claim
	results *subjects.Results // likewise
	running atomic.Bool
	faults  sync.Map // message to *rate.Sometimes
	desk    desk
}

// New checks the configuration. It does no I/O.
func New(nc *nats.Conn, cfg Config) (*Dispatcher, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	d := &Dispatcher{
		nc: nc, js: js, cfg: cfg, log: cfg.Log.With("dispatcher", cfg.Name),
		fleet: placement.New(cfg.Strategy, nil), waiting: newDemand(),
	}
	if d.metrics, err = newMetrics(cfg.Metrics, d); err != nil {
		return nil, err
	}
	return d, nil
}

// Run serves until ctx ends, then finishes the claims that are open. It owns every
// goroutine it starts and returns after the last one. Call it once.
//
// The order on the way down: the queue group hands requests to other dispatchers, open
// ones are answered, then the view of the fleet ends, which they need.
func (d *Dispatcher) Run(ctx context.Context) error {
	bus, err := subjects.Await(ctx, d.js, d.cfg.Bus, func(err error) { d.log.Warn("the bus is not ready", "error", err) })
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if d.store, err = openStore(ctx, d.js, bus, d.cfg, d.metrics.conflicts); err != nil {
		return err
	}
	d.results = bus.Results
	work := context.WithoutCancel(ctx)
	watching, stopWatching := context.WithCancel(work)
	var watcher sync.WaitGroup
	watcher.Go(func() { d.watch(watching, bus.Workers) })
	watcher.Go(func() { d.seekOrphans(watching, bus.Sessions) })
	defer watcher.Wait()
	defer stopWatching()
	defer d.desk.close()
	select {
	case <-d.fleet.First():
	case <-ctx.Done():
		return nil
	case <-time.After(firstList): // it may as well be read later: claims are told that no worker is known
	}
	svc, err := d.serve(work)
	if err != nil {
		return err
	}
	d.running.Store(true)

	<-ctx.Done()
	d.running.Store(false)
	err = svc.Stop()
	flush, cancel := context.WithTimeout(work, flushWait)
	defer cancel()
	_ = d.nc.FlushWithContext(flush) // the server sends no more; if it is away, it sends none either
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("stop service: %w", err)
	}
	return nil
}

// cell is where this dispatcher lives.
func (d *Dispatcher) cell() string { return subjects.Cell(d.nc, d.cfg.Cell) }

// ensureOnce makes what the bus may have lost.
func (d *Dispatcher) ensureOnce(ctx context.Context) (*subjects.Bus, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return subjects.Ensure(ctx, d.js, d.cfg.Bus)
}

// Ready tells whether claims can be granted as well as they ever can.
func (d *Dispatcher) Ready(context.Context) error {
	switch {
	case !d.running.Load():
		return errors.New("dispatcher is not running")
	case !d.nc.IsConnected():
		return errors.New("dispatcher is not connected to the bus")
	case !d.fleet.Fed():
		return errors.New("dispatcher has not read the list of workers")
	}
	return nil
}

// Stats is a dispatcher's state at a moment, as it sees the fleet.
type Stats struct {
	Dispatcher string `json:"dispatcher"`
	Cell       string `json:"cell,omitempty"`
	Strategy   string `json:"strategy"`
	Workers    int    `json:"workers"`    // known
	Ready      int    `json:"ready"`      // of these, with room
	Full       int    `json:"full"`       // without
	Draining   int    `json:"draining"`   // that take nothing more
	Suspect    int    `json:"suspect"`    // that did not answer lately
	FreeSlots  int    `json:"free_slots"` // of those that take sessions
	Waiting    int    `json:"waiting"`    // sessions refused in the last 3 s for want of a slot
	Open       int    `json:"open"`       // requests being served
}

// Stats may be called at any time.
func (d *Dispatcher) Stats() Stats {
	n := d.fleet.Census()
	return Stats{
		Dispatcher: d.cfg.Name, Cell: d.cell(), Strategy: d.cfg.Strategy, Workers: n.Known, Ready: n.Ready, Full: n.Full,
		Draining: n.Draining, Suspect: n.Suspect, FreeSlots: n.Free,
		Waiting: d.waiting.sweep(time.Now()), Open: int(d.desk.open.Load()),
	}
}

// fault logs what was wrong with the bus or with input, each kind at a bounded rate.
func (d *Dispatcher) fault(msg string, err error) {
	s, ok := d.faults.Load(msg)
	if !ok {
		s, _ = d.faults.LoadOrStore(msg, &rate.Sometimes{First: 1, Interval: faultLog})
	}
	s.(*rate.Sometimes).Do(func() { d.log.Warn(msg, "error", err) })
}

// serve answers gateways and workers.
func (d *Dispatcher) serve(work context.Context) (micro.Service, error) {
	svc, err := micro.AddService(d.nc, micro.Config{
		Name: ServiceName, Version: "1.0.0", Description: "Stenobus dispatcher",
		Metadata: map[string]string{"dispatcher": d.cfg.Name, "program": d.cfg.Version, "strategy": d.cfg.Strategy},
	})
	if err != nil {
		return nil, fmt.Errorf("add service: %w", err)
	}
	for _, e := range []struct {
		name, subject string
		answer        func(context.Context, []byte) any
		busy          func(*subjects.Error) any
	}{
		{"claim", subjects.Claim, d.answerClaim, claimRefused},
		{"check", subjects.ClaimCheck, d.answerCheck, claimRefused},
		{"renew", subjects.ClaimRenew, d.keeper("renew", d.renew), keepRefused},
		{"end", subjects.ClaimEnd, d.keeper("end", d.end), keepRefused},
	} {
		places := make(chan struct{}, maxOpen)
		handle := micro.HandlerFunc(func(r micro.Request) {
			if r.Reply() == "" {
				return
			}
			d.desk.take(places, func(refused *subjects.Error) {
				if refused != nil {
					d.respond(r, e.busy(refused))
					return
				}
				ctx, cancel := context.WithTimeout(work, claimWait)
				defer cancel()
				d.respond(r, e.answer(ctx, r.Data()))
			})
		})
		err := errors.Join(
			svc.AddEndpoint(e.name, handle, micro.WithEndpointSubject(e.subject), micro.WithEndpointQueueGroup(subjects.ClaimQueue)),
			svc.AddEndpoint(e.name+"-here", handle, micro.WithEndpointSubject(subjects.Directly(e.subject, svc.Info().ID)),
				micro.WithEndpointQueueGroupDisabled()),
		)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("add endpoint %s: %w", e.name, err), svc.Stop())
		}
	}
	flush, cancel := context.WithTimeout(work, flushWait)
	defer cancel()
	if err := d.nc.FlushWithContext(flush); err != nil {
		d.fault("the bus is slow to answer", err)
	}
	return svc, nil
}

func (d *Dispatcher) respond(r micro.Request, reply any) {
	if err := r.Respond(subjects.Encode(reply)); err != nil {
		d.fault("a reply was not sent", err)
	}
}
