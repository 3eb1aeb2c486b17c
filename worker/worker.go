// Package worker is the role that turns frames into words. A worker reports itself,
// accepts sessions from dispatchers, receives each session's frames in order, runs
// one engine stream per source and writes results that are fenced: once another
// worker owns a session, the server refuses this one's writes.
//
// It is a library too: implement [Engine], then New and Run.
package worker

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

	"stenobus/subjects"
)

// ServiceName is the name of every worker among NATS micro services.
const ServiceName = "stenobus-worker"

// Worker serves sessions with its engines. Make it with New.
type Worker struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	cfg     Config
	id      subjects.WorkerID
	engines []Engine // the first is the default
	log     *slog.Logger
	metrics metrics
	audio   *audioLog
	since   time.Time

	results  *subjects.Results // set by Run before the first session
	probe    string            // subject at which this worker is seen to be alive
	changed  chan struct{}     // load changed, report soon
	running  atomic.Bool
	grumbles sync.Map // message to *rate.Sometimes: what goes wrong again and again is logged now and then

	wg       sync.WaitGroup // sessions
	mu       sync.Mutex     // guards what follows
	sessions map[subjects.SessionID]*session
	draining bool
	ended    map[subjects.SessionID]uint64 // lives that ended here lately
}

// New checks the configuration. It does no I/O.
func New(nc *nats.Conn, cfg Config, engines ...Engine) (*Worker, error) {
	cfg = cfg.withDefaults()
	err := cfg.validate()
	if len(engines) == 0 {
		err = errors.Join(err, errors.New("worker needs an engine"))
	}
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	w := &Worker{
		nc: nc, js: js, cfg: cfg, id: subjects.WorkerID(cfg.ID), engines: engines,
		log:      cfg.Log.With("worker", cfg.ID),
		audio:    newAudioLog(js),
		since:    time.Now(),
		changed:  make(chan struct{}, 1),
		sessions: map[subjects.SessionID]*session{},
		ended:    map[subjects.SessionID]uint64{},
	}
	if w.metrics, err = newMetrics(cfg.Metrics, w); err != nil {
		return nil, err
	}
	return w, nil
}

// Run serves until ctx ends, then drains: it takes no new session, asks for other
// workers to take those it has, and gives up after Config.DrainWait. It owns every
// goroutine it starts and returns after the last one. Call it once.
//
// The order: the service answers before the first report is out, so that nobody is
// sent to a deaf worker; on the way down the report goes first.
func (w *Worker) Run(ctx context.Context) error {
	bus, err := w.ensure(ctx)
	if err != nil {
		return err
	}
	w.results = bus.Results
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	svc, err := w.serve(work)
	if err != nil {
		return err
	}
	w.running.Store(true)
	defer w.running.Store(false)
	reporting, stopReporting := context.WithCancel(work)
	var reporter sync.WaitGroup
	reporter.Go(func() { w.report(reporting, bus.Workers) })

	<-ctx.Done()
	w.drain()
	if !w.wait(w.cfg.DrainWait) {
		w.log.Warn("sessions were not taken over in time, they are left to others")
	}
	cancel(errDrained)
	w.wg.Wait()
	stopReporting()
	reporter.Wait()
	w.unreport(bus.Workers)
	if err := svc.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("stop service: %w", err)
	}
	return nil
}

// Ready tells whether the worker can take sessions.
func (w *Worker) Ready(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !w.running.Load():
		return errors.New("worker is not running")
	case !w.nc.IsConnected():
		return errors.New("worker is not connected to the bus")
	case w.draining:
		return errors.New("worker is draining")
	}
	return nil
}

// Stats is a worker's state at a moment.
type Stats struct {
	Worker    string   `json:"worker"`
	Cell      string   `json:"cell,omitempty"`
	Engines   []string `json:"engines"`
	Slots     int      `json:"slots"`
	Sessions  int      `json:"sessions"`
	Streaming int      `json:"streaming"` // sessions that had audio in the last 5 seconds
	Draining  bool     `json:"draining"`
}

// streamingFor is how long after its newest frame a session counts as streaming, ms.
const streamingFor = 5000

// cell is where this worker lives.
func (w *Worker) cell() string { return subjects.Cell(w.nc, w.cfg.Cell) }

// Stats may be called at any time.
func (w *Worker) Stats() Stats {
	st := Stats{Worker: string(w.id), Cell: w.cell(), Slots: w.cfg.Slots}
	for _, e := range w.engines {
		st.Engines = append(st.Engines, e.Describe().Name)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	st.Sessions, st.Draining = len(w.sessions), w.draining
	since := time.Now().UnixMilli() - streamingFor
	for _, s := range w.sessions {
		if s.audible.Load() >= since {
			st.Streaming++
		}
	}
	return st
}

// ensure waits for the bus to have what the protocol needs.
func (w *Worker) ensure(ctx context.Context) (*subjects.Bus, error) {
	return subjects.Await(ctx, w.js, w.cfg.Bus, func(err error) {
		w.log.Warn("the bus is not ready", "error", err)
	})
}

// serve answers dispatchers and probes.
func (w *Worker) serve(work context.Context) (micro.Service, error) {
	svc, err := micro.AddService(w.nc, micro.Config{
		Name: ServiceName, Version: "1.0.0", Description: "Stenobus worker",
		Metadata: map[string]string{"worker": string(w.id), "program": w.cfg.Version},
	})
	if err != nil {
		return nil, fmt.Errorf("add service: %w", err)
	}
	w.probe, err = micro.ControlSubject(micro.PingVerb, ServiceName, svc.Info().ID)
	if err != nil {
		return nil, fmt.Errorf("probe subject: %w", err)
	}
	err = svc.AddEndpoint("session", micro.HandlerFunc(func(r micro.Request) {
		w.answer(work, r)
	}), micro.WithEndpointSubject(subjects.Worker(w.id)), micro.WithEndpointQueueGroupDisabled())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("add endpoint: %w", err), svc.Stop())
	}
	return svc, w.nc.FlushWithContext(timeout(work, 5*time.Second))
}

// wait waits for the last session, up to d.
func (w *Worker) wait(d time.Duration) bool {
	done := make(chan struct{})
	go func() { w.wg.Wait(); close(done) }() // ends with the sessions, for which Run waits as well
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// drain takes nothing more and hands over every session.
func (w *Worker) drain() {
	w.mu.Lock()
	w.draining = true
	open := make([]*session, 0, len(w.sessions))
	for _, s := range w.sessions {
		open = append(open, s)
	}
	w.mu.Unlock()
	w.loadChanged()
	for _, s := range open {
		s.tell(control{op: subjects.OpDrain})
	}
}

func (w *Worker) loadChanged() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// publish sends a core message. It fails only where the connection is closed or has
// no room while it reconnects: the session repeats what matters.
func (w *Worker) publish(m *nats.Msg) {
	if err := w.nc.PublishMsg(m); err != nil {
		w.metrics.unsent.Inc()
	}
}

// grumble logs a fault that may persist or be a stranger's to cause, each message at
// most once in 10 s. Messages are constants, so the map stays small.
func (w *Worker) grumble(log *slog.Logger, msg string, err error) {
	s, _ := w.grumbles.LoadOrStore(msg, &rate.Sometimes{First: 1, Interval: 10 * time.Second})
	s.(*rate.Sometimes).Do(func() { log.Warn(msg, "error", err) })
}

// timeout is a context for one bounded call whose cancel nobody needs: it ends by itself.
func timeout(ctx context.Context, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(ctx, d)
	context.AfterFunc(ctx, cancel)
	return ctx
}
