package dispatcher

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a bus with dispatchers and workers on it.
type rig struct {
	*testing.T
	bus *subjectstest.Bus
	nc  *nats.Conn
	kv  *subjects.Bus
}

func newRig(t *testing.T, cfg subjects.BusConfig) *rig {
	t.Helper()
	bus := subjectstest.NewBus(t)
	nc := bus.Dial()
	return &rig{T: t, bus: bus, nc: nc, kv: bus.Ensure(nc, cfg)}
}

// dispatch runs a dispatcher until the test ends, and waits until it is ready.
func (r *rig) dispatch(cfg Config) *Dispatcher {
	r.Helper()
	d, stop := r.run(cfg)
	r.Cleanup(stop)
	return d
}

// run starts a dispatcher. Its stop waits for it and may be called again.
func (r *rig) run(cfg Config) (*Dispatcher, func()) {
	r.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(r.Output(), nil))
	}
	d, err := New(r.bus.Dial(), cfg)
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.Errorf("run: %v", err)
		}
	})
	subjectstest.Eventually(r, "dispatcher is ready", func() bool { return d.Ready(ctx) == nil })
	return d, stop
}

// sees waits until a dispatcher knows of so many workers.
func (r *rig) sees(n int, ds ...*Dispatcher) {
	r.Helper()
	for _, d := range ds {
		subjectstest.Eventually(r, "fleet is seen", func() bool { return d.Stats().Workers == n })
	}
}

// peer is a worker that speaks the protocol and does no work.
type peer struct {
	r    *rig
	id   subjects.WorkerID
	nc   *nats.Conn
	sub  *nats.Subscription
	mu   sync.Mutex // guards what follows
	rep  subjects.WorkerReport
	has  map[subjects.SessionID]subjects.Stamp
	over map[subjects.SessionID]uint64 // lives that ended
	mute bool                          // it hears, and does not answer
	says *subjects.Error               // its answer to every assign, if set
	told []subjects.WorkerRequest
}

func (r *rig) worker(id string, slots int, shape ...func(*subjects.WorkerReport)) *peer {
	r.Helper()
	p := &peer{
		r: r, id: subjects.WorkerID(id),
		has: map[subjects.SessionID]subjects.Stamp{}, over: map[subjects.SessionID]uint64{},
		rep: subjects.WorkerReport{
			V: subjects.Version, Worker: subjects.WorkerID(id), Slots: slots,
			Engines: []subjects.EngineReport{{Name: "tally"}},
			Since:   time.Now().UTC().Format(time.RFC3339),
		},
	}
	for _, s := range shape {
		s(&p.rep)
	}
	nc := r.bus.Dial()
	sub, err := nc.Subscribe(subjects.Worker(p.id), p.heard)
	if err == nil {
		err = nc.FlushWithContext(r.ctx()) // its report goes another way and must not come first
	}
	if err != nil {
		r.Fatal(err)
	}
	p.nc, p.sub = nc, sub
	p.report()
	return p
}

// report writes the report that other tests of the fleet rely on.
func (p *peer) report() {
	p.r.Helper()
	p.mu.Lock()
	p.rep.Sessions = len(p.has)
	value := subjects.Encode(p.rep)
	p.mu.Unlock()
	if _, err := p.r.kv.Workers.Put(p.r.ctx(), p.id.Token(), value); err != nil {
		p.r.Fatal(err)
	}
}

// die goes away without a word.
func (p *peer) die() {
	p.r.Helper()
	if err := errors.Join(p.sub.Unsubscribe(), p.nc.FlushWithContext(p.r.ctx())); err != nil {
		p.r.Fatal(err)
	}
}

func (p *peer) set(f func(*peer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

func (p *peer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.has)
}

func (p *peer) asked(op string) []subjects.WorkerRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	var of []subjects.WorkerRequest
	for _, r := range p.told {
		if r.Op == op {
			of = append(of, r)
		}
	}
	return of
}

func (p *peer) heard(m *nats.Msg) {
	req, err := subjects.DecodeDoc[subjects.WorkerRequest]("worker request", m.Data)
	if err != nil {
		p.r.Errorf("worker %s: %v", p.id, err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, req)
	if own, has := p.has[req.Session]; req.Op == subjects.OpRelease && has && own.Life == req.Life && own.Epoch <= req.Epoch {
		delete(p.has, req.Session)
	}
	if p.mute || m.Reply == "" {
		return
	}
	reply := subjects.WorkerReply{V: subjects.Version, Slots: p.rep.Slots, Error: p.assign(req)}
	reply.Sessions = len(p.has)
	if err := m.Respond(subjects.Encode(reply)); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		p.r.Errorf("worker %s: %v", p.id, err)
	}
}

func (p *peer) assign(req subjects.WorkerRequest) *subjects.Error {
	own, has := p.has[req.Session]
	switch {
	case p.says != nil:
		return p.says
	case p.over[req.Session] == req.Life:
		return subjects.Errorf(subjects.CodeEnded, "over")
	case has && (own.Life > req.Life || own.Life == req.Life && (own.Epoch > req.Epoch || own.Attach > req.Attach)):
		return subjects.Errorf(subjects.CodeSuperseded, "at %+v", own)
	case !has && p.rep.Draining:
		return subjects.Errorf(subjects.CodeDraining, "draining")
	case !has && len(p.has) >= p.rep.Slots:
		return subjects.Errorf(subjects.CodeFull, "full")
	}
	p.has[req.Session] = req.Stamp
	return nil
}

// ctx bounds one call of a test.
func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	r.Cleanup(cancel)
	return ctx
}

// open is a claim that attaches.
func open(session, nonce string) subjects.ClaimRequest {
	return subjects.ClaimRequest{
		V: subjects.Version, Session: subjects.SessionID(session), Gateway: "g1", Nonce: nonce,
		Reason: subjects.ReasonOpen, Options: subjects.Options{GraceMS: 1000},
	}
}

// moved is the claim that asks for another worker than a reply named.
func moved(req subjects.ClaimRequest, from subjects.ClaimReply, reason string) subjects.ClaimRequest {
	req.Stamp, req.Reason = from.Stamp, reason
	return req
}

func (r *rig) claim(req subjects.ClaimRequest) subjects.ClaimReply {
	r.Helper()
	return asked[subjects.ClaimReply](r, subjects.Claim, subjects.Encode(req))
}

// patient claims as a gateway does: it asks again where a dispatcher is too busy.
func (r *rig) patient(req subjects.ClaimRequest) subjects.ClaimReply {
	r.Helper()
	for {
		reply := r.claim(req)
		if reply.Error == nil || reply.Error.Code != subjects.CodeInternal || r.Failed() {
			return reply
		}
		pause := time.Duration(reply.Error.RetryAfterMS) * time.Millisecond
		<-time.After(pause/2 + rand.N(pause))
	}
}

// granted claims and fails the test where that is refused.
func (r *rig) granted(req subjects.ClaimRequest) subjects.ClaimReply {
	r.Helper()
	reply := r.claim(req)
	if reply.Error != nil {
		r.Fatalf("claim %+v refused: %v", req, reply.Error)
	}
	return reply
}

// refused fails the test unless the error has the code.
func (r *rig) refused(err *subjects.Error, code string) {
	r.Helper()
	if err == nil || err.Code != code {
		r.Fatalf("got error %v, want code %s", err, code)
	}
}

func (r *rig) keep(subject string, id subjects.SessionID, of subjects.ClaimReply) *subjects.Error {
	r.Helper()
	return asked[subjects.KeepReply](r, subject, subjects.Encode(subjects.KeepRequest{
		V: subjects.Version, Session: id, Worker: of.Worker, Stamp: of.Stamp,
	})).Error
}

// withdraw gives a claim up, as a gateway does that got no worker in time.
func (r *rig) withdraw(session, nonce string) *subjects.Error {
	r.Helper()
	return asked[subjects.KeepReply](r, subjects.ClaimEnd, subjects.Encode(subjects.KeepRequest{
		V: subjects.Version, Session: subjects.SessionID(session), Nonce: nonce,
	})).Error
}

func asked[T any](r *rig, subject string, data []byte) T {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	m, err := r.nc.RequestWithContext(ctx, subject, data)
	if err != nil {
		r.Errorf("ask %s: %v", subject, err)
		var none T
		return none
	}
	reply, err := subjects.DecodeDoc[T]("reply", m.Data)
	if err != nil {
		r.Errorf("ask %s: %v", subject, err)
	}
	return reply
}

// record is what the bucket has for a session.
func (r *rig) record(d *Dispatcher, id string) held {
	r.Helper()
	h, err := d.store.read(r.ctx(), subjects.SessionID(id))
	if err != nil {
		r.Fatal(err)
	}
	return h
}

func same[T comparable](r *rig, what string, got, want T) {
	r.Helper()
	if got != want {
		r.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}
