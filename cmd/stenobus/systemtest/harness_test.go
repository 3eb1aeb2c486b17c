package systemtest

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"stenobus/cmd/stenobus/internal/front"
	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
	"stenobus/worker/engine/tally"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// system is a deployment in one process, on a server of its own.
type system struct {
	t   testing.TB
	bus *subjectstest.Bus
	nc  *nats.Conn // the test's own
	js  jetstream.JetStream

	split   subjects.Split // of the results log
	secrets *secrets
}

// node is one running role.
type node struct {
	name string
	nc   *nats.Conn
	url  string // of a gateway

	http    *http.Client // that knows the gateway's certificate; nil: it has none
	secrets *secrets
	stop    context.CancelFunc
	done    chan struct{}
}

// end stops a role in order and waits for it.
func (n *node) end() {
	n.stop()
	<-n.done
}

// kill cuts a role off the bus first, so that it ends without a word, as a crash does.
func (n *node) kill() {
	n.nc.Close()
	n.end()
}

func newSystem(t testing.TB) *system {
	t.Helper()
	return newSplitSystem(t, 1)
}

// newSplitSystem has its results log split over so many streams.
func newSplitSystem(t testing.TB, n subjects.Split) *system {
	t.Helper()
	s := &system{t: t, bus: subjectstest.NewBus(t), secrets: watchSecrets(t), split: n}
	s.nc = s.bus.Dial()
	s.js, _ = jetstream.New(s.nc)
	s.bus.Ensure(s.nc, subjects.BusConfig{Split: n})
	return s
}

// resultsLog opens the results log as an outsider does.
func (s *system) resultsLog() *subjects.Results {
	s.t.Helper()
	r, err := subjects.OpenResults(s.ctx(), s.js)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *system) log() *slog.Logger {
	return slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}),
		slog.NewTextHandler(s.secrets, &slog.HandlerOptions{Level: slog.LevelDebug}),
	))
}

func (s *system) quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (s *system) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	s.t.Cleanup(cancel)
	return ctx
}

// start runs a role until the test ends or the node is stopped.
func (s *system) start(n *node, run func(context.Context) error) *node {
	ctx, cancel := context.WithCancel(context.Background())
	n.stop, n.done = cancel, make(chan struct{})
	go func() {
		defer close(n.done)
		if err := run(ctx); err != nil && !n.nc.IsClosed() {
			s.t.Errorf("%s: %v", n.name, err)
		}
	}()
	s.t.Cleanup(func() {
		n.end()
		n.nc.Close()
	})
	return n
}

func (s *system) dispatcher(cfg dispatcher.Config) *node {
	s.t.Helper()
	return s.dispatcherOn(s.bus.Dial(), cfg)
}

func (s *system) dispatcherOn(nc *nats.Conn, cfg dispatcher.Config) *node {
	s.t.Helper()
	cfg.Log, cfg.Bus.Split = s.log(), s.split
	d, err := dispatcher.New(nc, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	n := s.start(&node{name: "dispatcher", nc: nc}, d.Run)
	s.ready(d.Ready)
	return n
}

func (s *system) worker(cfg worker.Config, engines ...worker.Engine) *node {
	s.t.Helper()
	return s.workerOn(s.bus.Dial(), cfg, engines...)
}

func (s *system) workerOn(nc *nats.Conn, cfg worker.Config, engines ...worker.Engine) *node {
	s.t.Helper()
	if cfg.Log == nil {
		cfg.Log = s.log()
	}
	if cfg.DrainWait == 0 {
		cfg.DrainWait = time.Second
	}
	if len(engines) == 0 {
		engines = []worker.Engine{s.tally(tally.Config{})}
	}
	cfg.Bus.Split = s.split
	w, err := worker.New(nc, cfg, engines...)
	if err != nil {
		s.t.Fatal(err)
	}
	n := s.start(&node{name: "worker " + cfg.ID, nc: nc}, w.Run)
	s.ready(w.Ready)
	return n
}

func (s *system) tally(cfg tally.Config) worker.Engine {
	s.t.Helper()
	e, err := tally.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

func (s *system) gateway(cfg gateway.Config) *node {
	s.t.Helper()
	return s.gatewayOn(s.bus.Dial(), cfg)
}

func (s *system) gatewayOn(nc *nats.Conn, cfg gateway.Config) *node {
	s.t.Helper()
	n, g := s.bareGateway(nc, cfg)
	s.ready(g.Ready)
	return n
}

// gatewayAlone is a gateway without a dispatcher: it accepts clients and waits.
func (s *system) gatewayAlone(cfg gateway.Config) *node {
	s.t.Helper()
	n, g := s.bareGateway(s.bus.Dial(), cfg)
	subjectstest.Eventually(s.t, "the gateway runs", func() bool {
		err := g.Ready(s.ctx())
		return err == nil || strings.Contains(err.Error(), "no dispatcher")
	})
	return n
}

// bareGateway starts a gateway; what is extra changes its server before it listens.
func (s *system) bareGateway(nc *nats.Conn, cfg gateway.Config, extra ...func(*node, *httptest.Server)) (*node, *gateway.Server) {
	s.t.Helper()
	if cfg.Log == nil {
		cfg.Log = s.log()
	}
	if cfg.DrainWait == 0 {
		cfg.DrainWait = 2 * time.Second
	}
	if cfg.MaxSpeed == 0 {
		cfg.MaxSpeed = 1e6 // tests do not wait for real time, and their bytes are no real audio
	}
	cfg.Bus.Split = s.split
	g, err := gateway.New(nc, cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(g)
	server.Config = front.NewServer(g, front.Limits{}, cfg.Log)
	n := &node{name: "gateway", nc: nc, url: "ws", secrets: s.secrets}
	for _, with := range extra {
		with(n, server)
	}
	server.Start()
	n.url += server.URL[len("http"):]
	s.start(n, func(ctx context.Context) error {
		defer server.Close()
		return g.Run(ctx)
	})
	return n, g
}

// ready waits until a role says that it can serve.
func (s *system) ready(ask func(context.Context) error) {
	s.t.Helper()
	subjectstest.Eventually(s.t, "a role is ready", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return ask(ctx) == nil
	})
}

// keys lists the live keys of the sessions bucket.
func (s *system) keys() []string {
	s.t.Helper()
	kv, err := s.js.KeyValue(s.ctx(), subjects.SessionsBucket)
	if err != nil {
		s.t.Fatal(err)
	}
	lister, err := kv.ListKeys(s.ctx())
	if err != nil {
		s.t.Fatal(err)
	}
	var keys []string
	for k := range lister.Keys() {
		keys = append(keys, k)
	}
	return keys
}

// record reads a session's record, which must be there.
func (s *system) record(id string) subjects.Record {
	s.t.Helper()
	kv, err := s.js.KeyValue(s.ctx(), subjects.SessionsBucket)
	if err != nil {
		s.t.Fatal(err)
	}
	e, err := kv.Get(s.ctx(), subjects.SessionID(id).Token())
	if err != nil {
		s.t.Fatalf("record of %q: %v", id, err)
	}
	r, err := subjects.DecodeDoc[subjects.Record]("record", e.Value())
	if err != nil {
		s.t.Fatal(err)
	}
	if r.Life == 0 {
		r.Life = e.Revision()
	}
	return r
}
