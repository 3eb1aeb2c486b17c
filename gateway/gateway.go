// Package gateway is the role that clients connect to. It speaks each client
// dialect at its edge, turns it into one neutral session, and is that session's
// sender: it numbers frames, keeps them until stored results cover them, and sends
// again what is missing. It holds a bounded window of audio, never truth: kill it,
// and the client resumes elsewhere.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"golang.org/x/time/rate"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
	"stenobus/subjects/ask"
)

// ServiceName is the name of every gateway among NATS micro services.
const ServiceName = "stenobus-gateway"

// Server accepts clients. Make it with New, mount it as an http.Handler, and call Run.
type Server struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	cfg      Config
	log      *slog.Logger
	metrics  metrics
	dialects []dialect.Dialect
	page     page
	probes   *probes
	attempts *attempts

	departures *departures // of sessions that wait to share messages

	results *subjects.Results // set by Run before the first session
	probe   string            // likewise: a request here is answered while this gateway lives
	open    atomic.Bool       // Run accepts sessions
	work    context.Context   // of sessions: outlives Run's ctx while they leave; set by Run
	stop    chan struct{}     // closed: sessions leave
	wg      sync.WaitGroup    // helpers of sessions
	faults  sync.Map          // message to *rate.Sometimes: what goes wrong again and again is logged now and then

	together sync.Mutex // of all sessions, where a build for benchmarks wants that: see safeguard.ApartOff

	mu       sync.Mutex // guards what follows
	sessions map[*session]*presence
	held     holdings // of the principals, the same sessions
	loops    sync.WaitGroup
}

// presence is what others may know of a session.
type presence struct{ away bool }

// New checks the configuration. It does no I/O.
func New(nc *nats.Conn, cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Name == "" {
		cfg.Name = "gateway-" + string(subjects.FreshSessionID())[:8]
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	g := &Server{
		nc: nc, js: js, cfg: cfg, log: cfg.Log.With("gateway", cfg.Name), dialects: dialects(cfg),
		probes: newProbes(nc), attempts: newAttempts(cfg.ConnectRate), departures: newDepartures(cfg.Share), stop: make(chan struct{}),
		sessions: map[*session]*presence{}, held: holdings{},
	}
	if g.page, err = newPage(cfg.Version, g.dialects); err != nil {
		return nil, err
	}
	if g.metrics, err = newMetrics(cfg.Metrics, g); err != nil {
		return nil, err
	}
	return g, nil
}

// Run serves until ctx ends. Then it refuses new clients, lets every session finalise
// and deliver what was spoken, tells the clients to connect elsewhere, and returns
// after its last goroutine, at the latest after Config.DrainWait. Call it once.
func (g *Server) Run(ctx context.Context) error {
	bus, err := subjects.Await(ctx, g.js, g.cfg.Bus, func(err error) { g.log.Warn("the bus is not ready", "error", err) })
	if err != nil {
		return err
	}
	g.results = bus.Results
	svc, err := micro.AddService(g.nc, micro.Config{
		Name: ServiceName, Version: "1.0.0", Description: "Stenobus gateway",
		Metadata: g.metadata(),
	})
	if err != nil {
		return fmt.Errorf("add service: %w", err)
	}
	if g.probe, err = micro.ControlSubject(micro.PingVerb, ServiceName, svc.Info().ID); err != nil {
		return errors.Join(fmt.Errorf("probe subject: %w", err), svc.Stop())
	}
	if err := g.openAudioLog(ctx); err != nil {
		return errors.Join(err, svc.Stop())
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if g.cfg.AudioLog {
		g.wg.Go(func() { g.keepAudioLog(work) })
	}
	if g.cfg.Share > 0 {
		g.wg.Go(func() { g.departures.run(work) })
	}
	g.work = work
	g.open.Store(true)

	<-ctx.Done()
	g.mu.Lock() // no session begins after this
	g.open.Store(false)
	g.mu.Unlock()
	close(g.stop)
	bound := time.AfterFunc(g.cfg.DrainWait, cancel)
	defer bound.Stop()
	g.loops.Wait()
	cancel()
	g.wg.Wait()
	g.probes.wg.Wait()
	if err := svc.Stop(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		return fmt.Errorf("stop service: %w", err)
	}
	return nil
}

// Ready tells whether clients can be served: the bus and a dispatcher answer.
func (g *Server) Ready(ctx context.Context) error {
	switch {
	case !g.open.Load():
		return errors.New("gateway is not running")
	case !g.nc.IsConnected():
		return errors.New("gateway is not connected to the bus")
	}
	if _, err := g.nc.RequestWithContext(ctx, ask.Ping, nil); err != nil {
		return fmt.Errorf("no dispatcher answers: %w", err)
	}
	return nil
}

// Stats is a gateway's state at a moment.
type Stats struct {
	Gateway   string `json:"gateway"`
	Cell      string `json:"cell,omitempty"`
	Active    int    `json:"active"`    // sessions with a client
	Detached  int    `json:"detached"`  // sessions that wait for their client
	Streaming int    `json:"streaming"` // sessions that had audio in the last 5 seconds
}

// streamingFor is how long after its newest frame a session counts as streaming, ms.
const streamingFor = 5000

// Stats may be called at any time.
func (g *Server) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	st := Stats{Gateway: g.cfg.Name, Cell: subjects.Cell(g.nc, g.cfg.Cell)}
	since := time.Now().UnixMilli() - streamingFor
	for s, p := range g.sessions {
		if p.away {
			st.Detached++
		} else {
			st.Active++
		}
		if s.audible.Load() >= since {
			st.Streaming++
		}
	}
	return st
}

// ServeHTTP upgrades requests to one of the dialects' paths.
func (g *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for _, d := range g.dialects {
		if strings.HasSuffix(r.URL.Path, d.Path()) {
			g.serve(w, r, d)
			return
		}
	}
	g.elsewhere(w, r)
}

// serve checks everything that can be checked before the upgrade, then leaves the client's
// socket to a goroutine of its own: that of the request holds its memory as long as it runs.
func (g *Server) serve(w http.ResponseWriter, r *http.Request, d dialect.Dialect) {
	s, req, refusal := g.request(w, r, d)
	if refusal == nil {
		refusal = g.enter(s)
	}
	if refusal != nil {
		g.refuse(w, d.Refuse, *refusal)
		return
	}
	if req.Close != nil {
		defer g.loops.Done()
		defer g.exit(s)
		g.closeAtOnce(w, r, req, d)
		return
	}
	answer(w.Header(), req, s.id)
	conn, err := g.upgrade(w, r, req, d, s.mail.knock)
	if err != nil {
		defer g.loops.Done()
		g.exit(s)
		return // the connection can't be taken over
	}
	conn.greet(s.given, s.conv.Hello(dialect.Welcome{ // an answer to the ping is a sign of life
		Session: s.id, Given: s.given, Gateway: g.cfg.Name, GraceMS: s.opts.GraceMS,
		Version: g.cfg.Version, Provider: s.opts.Engine, Token: s.creds.token, Began: s.began,
	}))
	go func() {
		defer g.loops.Done()
		g.converse(s, conn)
	}()
}

// closeAtOnce refuses a client in the way of protocols that do so after the upgrade.
func (g *Server) closeAtOnce(w http.ResponseWriter, r *http.Request, req dialect.Request, d dialect.Dialect) {
	conn, err := g.upgrade(w, r, req, d, func() {})
	if err != nil {
		return // the connection can't be taken over
	}
	g.metrics.ends.WithLabelValues(known(req.Close.Code)).Inc()
	_ = conn.finish(g.work, req.Close.Status, cut(req.Close.Text)) // the client may be gone already
}

// enter counts a session in, unless the gateway is closed or full. Every enter that
// succeeds is followed by one loops.Done.
func (g *Server) enter(s *session) *dialect.Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case !g.open.Load():
		return notOpen()
	case len(g.sessions) >= g.cfg.MaxSessions:
		return &dialect.Refusal{
			Status: http.StatusServiceUnavailable, Code: refusedFull, RetryAfter: time.Second,
			Text: fmt.Sprintf("gateway has %d of %d sessions: try another", len(g.sessions), g.cfg.MaxSessions),
		}
	}
	if refusal := g.held.take(s, g.cfg.MaxPrincipal); refusal != nil {
		return refusal
	}
	g.sessions[s] = &presence{}
	g.loops.Add(1)
	return nil
}

func (g *Server) exit(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.sessions[s]; p != nil && !p.away {
		g.held.giveBack(s)
	}
	delete(g.sessions, s)
}

// present is how many sessions there are.
func (g *Server) present() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.sessions)
}

// clientLeft counts a session among those that wait for their client.
func (g *Server) clientLeft(s *session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p := g.sessions[s]; p != nil && !p.away {
		p.away = true
		g.held.giveBack(s) // who is not here takes nobody's place
	}
}

// converse runs the session's loop and, where there is something to write, its socket's
// writer. It is the socket's reader.
func (g *Server) converse(s *session, conn *socket) {
	var own sync.WaitGroup
	own.Go(func() {
		defer s.mail.close()
		defer g.exit(s)
		defer s.contain()
		s.fail(s.run(g.work, g.stop))
	})
	s.out.open(func() { // the loop runs until it has ended the outbox, so that own is not done before
		own.Go(func() {
			if err := s.out.run(g.work, conn); errors.Is(err, errSlow) {
				g.cutOff(s.id)
			}
		})
	})
	err := s.readSafely(g.work, conn)
	s.post(func(ctx context.Context) { s.hangup(ctx, err) })
	own.Wait()
}

// cutOff notes that a client reads too slowly. Its finals stay in the store.
func (g *Server) cutOff(id subjects.SessionID) {
	g.metrics.ends.WithLabelValues(endSlow.code).Inc()
	g.log.Warn("client reads too slowly, it is cut off", "session", string(id))
}

// grumble logs a fault of the bus or of another process, each message at most once in
// noticeEvery, however many sessions meet it. Messages are constants, so the map stays small.
func (g *Server) grumble(log *slog.Logger, msg string, err error) {
	t, _ := g.faults.LoadOrStore(msg, &rate.Sometimes{First: 1, Interval: noticeEvery})
	t.(*rate.Sometimes).Do(func() { log.Warn(msg, "error", err) })
}

// contain keeps a bug that one session meets from ending the others.
func (s *session) contain() {
	if r := recover(); r != nil {
		s.log.Error("session failed", "panic", r, "stack", string(debug.Stack()))
		s.close(endInternal)
	}
}
