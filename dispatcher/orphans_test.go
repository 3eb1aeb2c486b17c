package dispatcher

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

// logged makes an audio log, without which there is nothing to save.
func (r *rig) logged() {
	r.Helper()
	js, err := jetstream.New(r.nc)
	if err != nil {
		r.Fatal(err)
	}
	if err := subjects.EnsureAudio(r.ctx(), js, subjects.BusConfig{}); err != nil {
		r.Fatal(err)
	}
}

// gateway answers as a gateway of this name does.
func (r *rig) gateway(name string) micro.Service {
	r.Helper()
	svc, err := micro.AddService(r.bus.Dial(), micro.Config{
		Name: "stenobus-gateway", Version: "1.0.0", Metadata: map[string]string{"gateway": name},
	})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = svc.Stop() }) // its connection may be closed already
	return svc
}

// leave takes the worker out of the fleet.
func (p *peer) leave() {
	p.r.Helper()
	if err := p.r.kv.Workers.Purge(p.r.ctx(), p.id.Token(), jetstream.PurgeTTL(time.Second)); err != nil {
		p.r.Fatal(err)
	}
}

// brief is a claim of a session that does not wait long for its client.
func brief(session string) subjects.ClaimRequest {
	req := open(session, "n")
	req.Options.GraceMS = 100
	return req
}

func TestOrphanIsPlacedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	r.logged()
	ds := []*Dispatcher{r.dispatch(Config{}), r.dispatch(Config{})}
	a := r.worker("a", 5)
	r.sees(1, ds...)
	first := r.granted(brief("s"))
	b := r.worker("b", 5)
	c := r.worker("c", 5)
	a.die()
	a.leave()
	subjectstest.Eventually(t, "another worker has the session", func() bool { return b.count()+c.count() == 1 })
	asked := append(b.asked(subjects.OpAssign), c.asked(subjects.OpAssign)...)
	same(r, "stamp", asked[0].Stamp, subjects.Stamp{Life: first.Life, Epoch: 2, Attach: 1})
	same(r, "fresh", asked[0].Fresh, true)
	same(r, "reason", asked[0].Reason, subjects.MoveGone)
	r.sees(2, ds...)
	for _, d := range ds { // the other one finds it moved
		h := r.record(d, "s")
		same(r, "record", h.Stamp, asked[0].Stamp)
		same(r, "nonce", h.Nonce, "n")
	}
}

// A dispatcher that starts after everything died finds the session, too: its worker is
// back under the same name, but was started after the session.
func TestOrphanIsFoundAtTheStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	r.logged()
	d, stop := r.run(Config{})
	a := r.worker("a", 5)
	r.sees(1, d)
	first := r.granted(brief("s"))
	stop()
	a.die()
	again := r.worker("a", 5, func(w *subjects.WorkerReport) {
		w.Since = time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)
	})
	d = r.dispatch(Config{})
	subjectstest.Eventually(t, "the worker has the session again", func() bool { return again.count() == 1 })
	same(r, "record", r.record(d, "s").Stamp, subjects.Stamp{Life: first.Life, Epoch: 2, Attach: 1})
}

// A session is left alone while anybody else may still care for it.
func TestOrphanIsNoOrphan(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		log    bool
		care   func(r *rig, a *peer)
		judged string // subject on which it is seen that a dispatcher looks at the session
		times  int64
	}{
		"without a log":                     {false, func(_ *rig, a *peer) { a.die() }, "$JS.API.STREAM.INFO." + subjects.AudioStream, 1},
		"its gateway lives":                 {true, func(r *rig, a *peer) { r.gateway("g1"); a.die() }, gatewaysPing, 2},
		"only the worker's report was lost": {true, func(*rig, *peer) {}, gatewaysPing, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, subjects.BusConfig{})
			if tt.log {
				r.logged()
			}
			d := r.dispatch(Config{})
			a := r.worker("a", 5)
			r.sees(1, d)
			first := r.granted(brief("s"))
			b := r.worker("b", 5)
			tt.care(r, a)
			var judged atomic.Int64
			if _, err := r.nc.Subscribe(tt.judged, func(*nats.Msg) { judged.Add(1) }); err != nil {
				t.Fatal(err)
			}
			if err := r.nc.Flush(); err != nil {
				t.Fatal(err)
			}
			a.leave()
			subjectstest.Eventually(t, "it is looked at", func() bool { return judged.Load() >= tt.times })
			same(r, "sessions of the other worker", b.count(), 0)
			same(r, "record", r.record(d, "s").Stamp, first.Stamp)
		})
	}
}

func TestRecordOutlivesItsGrace(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	r.worker("a", 5)
	r.sees(1, d)
	for name, grace := range map[string]time.Duration{"short": 15 * time.Second, "long": 10 * time.Minute} {
		req := open(name, "n")
		req.Options.GraceMS = grace.Milliseconds()
		r.granted(req)
	}
	same(r, "short grace", r.ttl(d, "short"), "2m0s")
	same(r, "long grace", r.ttl(d, "long"), "11m0s")
}
