package dispatcher

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/prometheus/client_golang/prometheus"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

func TestFleetFollowsTheBucket(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	before := r.worker("before", 2)
	d := r.dispatch(Config{})
	r.sees(1, d) // the list
	after := r.worker("after", 3)
	r.sees(2, d) // an update
	same(r, "free slots", d.Stats().FreeSlots, 5)

	for range 3 {
		if e := r.claim(open(string(subjects.FreshSessionID()), "n")).Error; e != nil {
			t.Fatal(e)
		}
	}
	same(r, "free slots before any report", d.Stats().FreeSlots, 2)
	before.report()
	after.report()
	same(r, "free slots", d.Stats().FreeSlots, 2)

	after.set(func(p *peer) { p.rep.Draining = true })
	after.report()
	subjectstest.Eventually(t, "draining is seen", func() bool { return d.Stats().Draining == 1 })
	if err := r.kv.Workers.Purge(r.ctx(), after.id.Token(), jetstream.PurgeTTL(time.Second)); err != nil {
		t.Fatal(err)
	}
	r.sees(1, d) // a marker
	if _, err := r.kv.Workers.PutString(r.ctx(), "before", "no report"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.kv.Workers.Put(r.ctx(), "liar", subjects.Encode(subjects.WorkerReport{V: 1, Worker: "before"})); err != nil {
		t.Fatal(err)
	}
	r.worker("last", 1)
	r.sees(2, d) // the two are no reports
}

// TestWorkerThatStopsReporting checks that the server marks a key that expires, and
// that the marker takes the worker out.
func TestWorkerThatStopsReporting(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{WorkerExpiry: time.Second, TombstoneExpiry: time.Second})
	w, err := r.kv.Workers.WatchAll(r.ctx(), jetstream.UpdatesOnly())
	if err != nil {
		t.Fatal(err)
	}
	defer closeWatch(w)
	d := r.dispatch(Config{})
	r.worker("a", 5)
	r.sees(1, d)
	for e := range w.Updates() {
		if e.Operation() == jetstream.KeyValuePurge {
			break
		}
	}
	r.sees(0, d)
}

func TestFleetJudgesByAgeOnlyInCalm(t *testing.T) {
	t.Parallel()
	f, now := newFleet(), time.Now()
	report := subjects.WorkerReport{Worker: "a", Slots: 1, Engines: []subjects.EngineReport{{Name: "tally"}}}
	const expiry = 10 * time.Second
	f.put(report, now)
	f.sweep(now.Add(2*expiry), expiry)
	if f.size() != 1 {
		t.Fatal("dropped too early")
	}
	f.troubled(now.Add(2 * expiry))
	f.sweep(now.Add(2*expiry+aftermath-1), expiry)
	if f.size() != 1 {
		t.Fatal("dropped by age soon after trouble")
	}
	f.sweep(now.Add(2*expiry+aftermath), expiry)
	if f.size() != 0 {
		t.Fatal("not dropped in calm")
	}

	f.put(report, now)
	f.listing()
	f.listed(now)
	if n := f.census(); n.suspect != 1 {
		t.Errorf("a worker that the list lacks: %+v", n)
	}
	f.sweep(now.Add(aftermath), expiry)
	if n := f.census(); n.ready != 1 {
		t.Errorf("a suspect after its time: %+v", n)
	}
}

func TestFleetTakesAbsurdReports(t *testing.T) {
	t.Parallel()
	f, now := newFleet(), time.Now()
	engines := []subjects.EngineReport{{Name: "tally"}}
	const huge = int(^uint(0) >> 1)
	f.put(subjects.WorkerReport{Worker: "a", Slots: huge, Sessions: -huge, Engines: engines}, now)
	f.put(subjects.WorkerReport{Worker: "b", Slots: huge, Sessions: 0, Engines: engines}, now)
	f.put(subjects.WorkerReport{Worker: "c", Slots: -1, Sessions: huge, Engines: engines}, now)
	for range 100 {
		p, ok := f.reserve(StrategySpread, &need{})
		id := p.worker
		if !ok || id == "c" {
			t.Fatalf("reserved %q, %v", id, ok)
		}
		f.answered(id, subjects.WorkerReply{Slots: huge, Sessions: huge - 1})
		f.unreserve(id)
		f.put(subjects.WorkerReport{Worker: id, Slots: huge, Engines: engines}, now)
	}
	f.remove("nobody")
	for _, id := range []subjects.WorkerID{"a", "c", "b"} {
		f.remove(id)
	}
	if f.size() != 0 {
		t.Error("workers left")
	}
}

// TestReconnect takes a dispatcher's connection away, and then the bucket of workers,
// which is in memory and does not survive a restart of the server.
func TestReconnect(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	nc := r.bus.Dial(nats.ReconnectWait(10*time.Millisecond), nats.MaxReconnects(-1))
	d, err := New(nc, Config{})
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { stopped <- d.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	r.worker("a", 5)
	r.sees(1, d)
	subjectstest.Eventually(t, "ready", func() bool { return d.Ready(ctx) == nil })
	for range 3 {
		if err := nc.ForceReconnect(); err != nil {
			t.Fatal(err)
		}
	}
	r.worker("b", 5)
	r.sees(2, d)
	subjectstest.Eventually(t, "ready again", func() bool { return d.Ready(ctx) == nil })
	if e := r.claim(open("s", "n")).Error; e != nil {
		t.Fatal(e)
	}
	js, err := jetstream.New(r.nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteKeyValue(r.ctx(), subjects.WorkersBucket); err != nil {
		t.Fatal(err)
	}
	if err := nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	subjectstest.Eventually(t, "the bucket is made again", func() bool {
		_, err := r.kv.Workers.PutString(r.ctx(), "c", string(subjects.Encode(subjects.WorkerReport{V: 1, Worker: "c"})))
		return err == nil
	})
	r.sees(3, d)
}

func TestNewRefusesBadConfig(t *testing.T) {
	t.Parallel()
	nc := subjectstest.NewBus(t).Dial()
	_, err := New(nc, Config{
		Strategy: "best", AssignWait: time.Hour, AssignTries: -1, RecordExpiry: time.Millisecond,
		Bus: subjects.BusConfig{TombstoneExpiry: time.Millisecond},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"spread, pack, hash, dedicated", "AssignWait", "AssignTries", "RecordExpiry", "TombstoneExpiry"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not name %s", err, part)
		}
	}
	if _, err := New(nc, Config{}); err != nil {
		t.Errorf("zero config: %v", err)
	}
}

func TestServiceAndMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	reg := prometheus.NewPedanticRegistry()
	d := r.dispatch(Config{Name: "d1", Version: "v9", Metrics: reg})
	r.worker("a", 1)
	r.sees(1, d)
	got := r.granted(open("s", "n"))
	r.refused(r.claim(open("s2", "n")).Error, subjects.CodeNoWorker)
	if e := r.keep(subjects.ClaimEnd, "s", got); e != nil {
		t.Fatal(e)
	}
	subject, err := micro.ControlSubject(micro.PingVerb, ServiceName, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.nc.RequestWithContext(r.ctx(), subject, nil); err != nil {
		t.Errorf("ping: %v", err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			have[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"stenobus_dispatcher_claims_total attach ok":        1,
		"stenobus_dispatcher_claims_total attach no_worker": 1,
		"stenobus_dispatcher_assign_total ok":               1,
		"stenobus_dispatcher_keeps_total end ok":            1,
		"stenobus_dispatcher_workers full":                  1,
		"stenobus_dispatcher_waiting_sessions":              1,
		"stenobus_dispatcher_claim_duration_seconds":        2,
	} {
		if have[name] != want {
			t.Errorf("%s is %v, want %v (of %v)", name, have[name], want, have)
		}
	}
	if _, err := New(r.nc, Config{Metrics: reg}); err == nil {
		t.Error("a second dispatcher registered the same metrics")
	}
}
