package dispatcher

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"stenobus/dispatcher/placement"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

func TestAttach(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	w := r.worker("w1", 5)
	r.sees(1, d)

	first := r.granted(open("s", "n1"))
	same(r, "worker", first.Worker, w.id)
	if first.Life == 0 || first.Epoch != 1 || first.Attach != 1 {
		t.Fatalf("stamp %+v, want a life, epoch 1, attach 1", first.Stamp)
	}
	same(r, "the same nonce again", r.granted(open("s", "n1")), first)

	second := open("s", "n2")
	second.Options.Engine = "other" // a session's options do not change
	resumed := r.granted(second)
	same(r, "resumed", resumed.Stamp, subjects.Stamp{Life: first.Life, Epoch: 1, Attach: 2})
	same(r, "worker", resumed.Worker, w.id)
	same(r, "sessions of the worker", w.count(), 1)

	asked := w.asked(subjects.OpAssign)
	same(r, "assigns", len(asked), 3)
	same(r, "reason of the first", asked[0].Reason, subjects.ReasonOpen)
	same(r, "reason of the resume", asked[2].Reason, subjects.ReasonResume)
	same(r, "engine of the resume", asked[2].Options.Engine, "")

	// The first connection is out: it cannot move the session, whoever asks.
	r.refused(r.claim(moved(open("s", "n1"), first, subjects.MoveGone)).Error, subjects.CodeSuperseded)
}

// A gateway that got no answer in time asks a second dispatcher too. What that one can't do
// must not undo what the first has done: the gateway alone gives a claim up.
func TestSecondAskUndoesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{AssignWait: 50 * time.Millisecond})
	w := r.worker("w1", 5)
	r.sees(1, d)
	req := open("s", "n1")
	req.Sent = time.Now().Add(-300 * time.Millisecond).UTC().Format(time.RFC3339Nano) // by now two work on it
	first := r.granted(req)
	w.set(func(p *peer) { p.mute = true })
	r.refused(r.claim(req).Error, subjects.CodeNoWorker)
	same(r, "record", r.record(d, "s").Life, first.Life)

	r.refused(r.withdraw("s", "another"), subjects.CodeSuperseded)
	for range 2 { // the second finds nothing, which is as good
		if e := r.withdraw("s", "n1"); e != nil {
			t.Fatal(e)
		}
	}
	if h, err := d.store.read(r.ctx(), "s"); err != nil || h.there {
		t.Errorf("record %+v %v: it was withdrawn", h, err)
	}
}

// A worker takes a session and its answer is lost; meanwhile the claim is granted to a
// second ask. The first ask, which finds the worker silent, takes nothing away from it.
func TestLostAnswerOfAWorkerTakesNothingAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{AssignWait: 400 * time.Millisecond})
	w := r.worker("w1", 5)
	r.sees(1, d)
	w.set(func(p *peer) { p.mute = true })
	req := open("s", "n1")
	req.Sent = time.Now().Add(-300 * time.Millisecond).UTC().Format(time.RFC3339Nano) // by now two work on it
	first := make(chan subjects.ClaimReply, 1)
	go func() { first <- r.claim(req) }()
	subjectstest.Eventually(t, "the first ask", func() bool { return len(w.asked(subjects.OpAssign)) == 1 })
	w.set(func(p *peer) { p.mute = false })
	r.worker("w2", 5)
	r.sees(2, d)
	second := r.granted(req)
	reply := <-first
	if reply.Error != nil || reply.Stamp != second.Stamp || reply.Worker != w.id || second.Worker != w.id {
		t.Errorf("first ask got %+v, second %+v", reply, second)
	}
	if n := len(w.asked(subjects.OpRelease)); n != 0 {
		t.Errorf("the worker was told %d times to let the session go", n)
	}
}

// counted is the value of a counter.
func counted(r *rig, metrics prometheus.Gatherer, name string) float64 {
	r.Helper()
	families, err := metrics.Gather()
	if err != nil {
		r.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	r.Fatalf("there is no metric %s", name)
	return 0
}

// Whether a session has a record is told by the write that begins its life, and only where
// there is one it is read.
func TestClaimReadsWhatIsThere(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	metrics := prometheus.NewRegistry()
	d := r.dispatch(Config{Metrics: metrics})
	r.worker("w1", 10)
	r.sees(1, d)
	reads, err := r.nc.SubscribeSync("$JS.API.DIRECT.GET.>")
	if err != nil {
		t.Fatal(err)
	}
	count := func() int {
		n, _, err := reads.Pending()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first := r.granted(open("s", "n1"))
	same(r, "reads of a claim that begins a life", count(), 0)
	again := r.granted(open("s", "n1"))
	same(r, "the stamp of the same claim once more", again.Stamp, first.Stamp)
	same(r, "reads of the same claim once more", count(), 1)
	second := r.granted(open("s", "n2"))
	same(r, "the attach of another connection", second.Attach, 2)
	same(r, "the life of another connection", second.Life, first.Life)
	same(r, "reads of another connection's claim", count(), 2)
	same(r, "conflicts, none of them a race", counted(r, metrics, "stenobus_dispatcher_cas_conflicts_total"), 0)
}

// A claim looks for room before it knows whether its session has a worker: what it would have
// chosen in another cell is nothing that spilled over.
func TestClaimOfWhatIsThereSpillsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	metrics := prometheus.NewRegistry()
	d := r.dispatch(Config{Metrics: metrics, Cell: "east"})
	in := func(cell string) func(*subjects.WorkerReport) {
		return func(rep *subjects.WorkerReport) { rep.Cell = cell }
	}
	home := r.worker("w1", 1, in("east"))
	r.worker("w2", 10, in("west"))
	r.sees(2, d)
	same(r, "the worker of the first session", r.granted(open("s", "n1")).Worker, home.id)
	home.report()
	subjectstest.Eventually(r, "the cell is full", func() bool {
		search := d.fleet.Search("probe", subjects.Options{}, placement.Patience{}).From("east", false)
		defer search.Unreserve()
		_, room := search.Reserve()
		return !room
	})
	same(r, "the worker of its next connection", r.granted(open("s", "n2")).Worker, home.id)
	same(r, "sessions that spilled over", counted(r, metrics, "stenobus_dispatcher_spilled_total"), 0)
	same(r, "the worker of a session without room", r.granted(open("t", "n1")).Worker, "w2")
	same(r, "sessions that spilled over", counted(r, metrics, "stenobus_dispatcher_spilled_total"), 1)
}

// A client has left while its claim was asked again, and is back elsewhere already.
func TestClaimOfClientThatLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	w := r.worker("w1", 5)
	r.sees(1, d)
	stamp := func(ago time.Duration) string { return time.Now().Add(-ago).UTC().Format(time.RFC3339Nano) }
	first := r.granted(open("s", "n1"))

	before := open("s", "n2")
	before.Came = stamp(time.Minute)
	r.refused(r.claim(before).Error, subjects.CodeSuperseded)
	same(r, "record", r.record(d, "s").Stamp, first.Stamp)

	after := open("s", "n3") // it came later, said something and left: that is heard
	after.Came = stamp(-time.Second)
	same(r, "attach", r.granted(after).Attach, 2)

	fresh := open("other", "n4") // nobody has it: what it said is heard
	fresh.Came = stamp(time.Minute)
	same(r, "worker", r.granted(fresh).Worker, w.id)
}

func TestEndedLifeBeginsAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	w := r.worker("w1", 5)
	r.sees(1, d)
	first := r.granted(open("s", "n1"))
	w.set(func(p *peer) { delete(p.has, "s"); p.over["s"] = first.Life })

	second := r.granted(open("s", "n2"))
	if second.Life <= first.Life || second.Epoch != 1 || second.Attach != 1 {
		t.Fatalf("after life %d ended: %+v", first.Life, second.Stamp)
	}
	same(r, "record", r.record(d, "s").Stamp, second.Stamp)
}

func TestEndingIsPassedOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	w := r.worker("w1", 5)
	r.worker("w2", 5)
	r.sees(2, d)
	w.set(func(p *peer) { p.says = &subjects.Error{Code: subjects.CodeEnding, RetryAfterMS: 50} })
	d.fleet.Silent("w2", time.Now()) // so that w1 is asked

	refused := r.claim(open("s", "n1"))
	r.refused(refused.Error, subjects.CodeEnding)
	same(r, "retry", refused.Error.RetryAfterMS, 50)
	w.set(func(p *peer) { p.says = nil })
	same(r, "worker of the next try", r.granted(open("s", "n1")).Worker, w.id)
}

func TestWorkersThatDoNotTakeIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bad   func(*peer)
		epoch uint64
	}{
		"dead":     {(*peer).die, 2},
		"hung":     {func(p *peer) { p.set(func(p *peer) { p.mute = true }) }, 2},
		"full":     {func(p *peer) { p.set(func(p *peer) { p.says = subjects.Errorf(subjects.CodeFull, "full") }) }, 2},
		"draining": {func(p *peer) { p.set(func(p *peer) { p.says = subjects.Errorf(subjects.CodeDraining, "bye") }) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, subjects.BusConfig{})
			d := r.dispatch(Config{Strategy: StrategyPack, AssignWait: 100 * time.Millisecond})
			bad := r.worker("a", 5) // the first by id: pack asks it first
			good := r.worker("b", 5)
			r.sees(2, d)
			c.bad(bad)
			got := r.granted(open("s", "n1"))
			same(r, "worker", got.Worker, good.id)
			same(r, "epoch", got.Epoch, c.epoch)
			same(r, "record", r.record(d, "s").Worker, good.id)
			if name == "hung" {
				subjectstest.Eventually(t, "the hung one is told to let go", func() bool {
					return len(bad.asked(subjects.OpRelease)) == 1
				})
			}
			// It is set aside now: the next session does not wait for it.
			same(r, "epoch of the next", r.granted(open("s2", "n1")).Epoch, 1)
		})
	}
}

func TestResumeAfterWorkerDied(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{Strategy: StrategyPack})
	a, b := r.worker("a", 5), r.worker("b", 5)
	r.sees(2, d)
	first := r.granted(open("s", "n1"))
	same(r, "worker", first.Worker, a.id)
	a.die()
	got := r.granted(open("s", "n2"))
	same(r, "stamp", got.Stamp, subjects.Stamp{Life: first.Life, Epoch: 2, Attach: 2})
	same(r, "worker", got.Worker, b.id)
	same(r, "reason", r.record(d, "s").Reason, subjects.MoveGone)
}

func TestNoWorkerLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{AssignWait: 50 * time.Millisecond})
	r.refused(r.claim(open("s", "n1")).Error, subjects.CodeNoWorker)

	r.worker("full", 5).set(func(p *peer) { p.says = subjects.Errorf(subjects.CodeFull, "full") })
	r.worker("hung", 5).set(func(p *peer) { p.mute = true })
	r.worker("gone", 5).die()
	r.worker("draining", 5, func(w *subjects.WorkerReport) { w.Draining = true })
	r.sees(4, d)
	e := r.claim(open("s", "n1")).Error
	r.refused(e, subjects.CodeNoWorker)
	if !strings.Contains(e.Message, "4 known") || e.RetryAfterMS < 250 || e.RetryAfterMS > 1000 {
		t.Errorf("got %+v", e)
	}
	r.withdraw("s", "n1")
	same(r, "record left", r.record(d, "s").there, false)
	same(r, "waiting", d.Stats().Waiting, 1)

	ask := open("s2", "n1")
	ask.Options.Engine, ask.Options.Labels = "oracle", map[string]string{"zone": "b"}
	e = r.claim(ask).Error
	r.refused(e, subjects.CodeNoWorker)
	for _, part := range []string{"oracle", "zone=b", "tally"} {
		if !strings.Contains(e.Message, part) {
			t.Errorf("message %q does not name %q", e.Message, part)
		}
	}
	same(r, "waiting", d.Stats().Waiting, 2)
	r.withdraw("s2", "n1")
	keys, err := r.kv.Sessions.Keys(r.ctx())
	if !errors.Is(err, jetstream.ErrNoKeysFound) {
		t.Errorf("keys left: %v %v", keys, err)
	}
}

func TestThousandClaimsAtOnce(t *testing.T) {
	t.Parallel()
	for _, dispatchers := range []int{1, 3} {
		t.Run(fmt.Sprint(dispatchers), func(t *testing.T) {
			t.Parallel()
			const claims, workers, slots = 1000, 8, 25
			r := newRig(t, subjects.BusConfig{})
			var ds []*Dispatcher
			for range dispatchers {
				ds = append(ds, r.dispatch(Config{AssignWait: claimWait}))
			}
			var peers []*peer
			for i := range workers {
				peers = append(peers, r.worker(fmt.Sprintf("w%d", i), slots))
			}
			r.sees(workers, ds...)

			var ok, none atomic.Int64
			var wg sync.WaitGroup
			for i := range claims {
				wg.Go(func() {
					switch reply := r.patient(open(fmt.Sprintf("s%d", i), "n")); {
					case reply.Error == nil:
						ok.Add(1)
					case reply.Error.Code == subjects.CodeNoWorker:
						none.Add(1)
						r.withdraw(fmt.Sprintf("s%d", i), "n")
					default:
						r.Errorf("claim %d: %v", i, reply.Error)
					}
				})
			}
			wg.Wait()
			same(r, "granted", ok.Load(), workers*slots)
			same(r, "refused", none.Load(), claims-workers*slots)
			held := 0
			for _, p := range peers {
				held += p.count()
			}
			same(r, "sessions of workers", held, workers*slots)
			keys, err := r.kv.Sessions.Keys(r.ctx())
			if err != nil {
				t.Fatal(err)
			}
			same(r, "records", len(keys), workers*slots)
		})
	}
}

func TestDispatchersRaceForOneSession(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	var ds []*Dispatcher
	for range 8 {
		ds = append(ds, r.dispatch(Config{}))
	}
	for i := range 4 {
		r.worker(fmt.Sprintf("w%d", i), 50)
	}
	r.sees(4, ds...)
	for name, nonce := range map[string]func(int) string{
		"one connection":   func(int) string { return "n" },
		"many connections": func(i int) string { return fmt.Sprint("n", i) },
	} {
		replies := make([]subjects.ClaimReply, 24)
		var wg sync.WaitGroup
		for i := range replies {
			wg.Go(func() { replies[i] = r.claim(open(name, nonce(i))) })
		}
		wg.Wait()
		end := r.record(ds[0], name)
		attaches := map[uint64]bool{}
		for i, got := range replies {
			if got.Error != nil {
				r.refused(got.Error, subjects.CodeSuperseded)
				continue
			}
			if got.Life != end.Life || got.Epoch != 1 || got.Worker != end.Worker {
				t.Errorf("%s: reply %d is %+v, record is %+v", name, i, got, end.Record)
			}
			if name == "one connection" {
				same(r, "attach", got.Attach, 1)
			} else if attaches[got.Attach] {
				t.Errorf("attach %d was given twice", got.Attach)
			}
			attaches[got.Attach] = true
		}
		if !attaches[end.Attach] {
			t.Errorf("%s: nobody has attach %d of the record", name, end.Attach)
		}
	}
}

func TestHostileSessions(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	w := r.worker("w.*>", 50)
	r.sees(1, d)
	ids := []string{"*", ">", "a.b", "a", "a b", "\x00", "../x", "$KV", "é", "=41", strings.Repeat("x", subjects.MaxID)}
	lives := map[uint64]string{}
	for _, id := range ids {
		got := r.granted(open(id, "n"))
		if other, twice := lives[got.Life]; twice {
			t.Errorf("%q shares a life with %q", id, other)
		}
		lives[got.Life] = id
		same(r, "key", r.record(d, id).Session, subjects.SessionID(id))
	}
	same(r, "sessions", w.count(), len(ids))
	for _, id := range []string{"", strings.Repeat("x", subjects.MaxID+1)} {
		e := r.claim(open(id, "n")).Error
		r.refused(e, subjects.CodeBadRequest)
		if !strings.Contains(e.Message, "session") {
			t.Errorf("message %q does not name the field", e.Message)
		}
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	r.dispatch(Config{})
	big := open("s", "n")
	big.Options.Tags = []string{strings.Repeat("x", maxRequest)}
	half := open("s", "n")
	half.Epoch = 1
	for name, c := range map[string]struct {
		subject, data, code, names string
	}{
		"no JSON":       {subjects.Claim, "{", subjects.CodeBadRequest, "claim"},
		"empty":         {subjects.Claim, "", subjects.CodeBadRequest, "claim"},
		"no version":    {subjects.Claim, "{}", subjects.CodeBadRequest, "field v"},
		"wrong version": {subjects.Claim, `{"v":2}`, subjects.CodeVersion, "field v"},
		"wrong type":    {subjects.Claim, `{"v":1,"session":"s","epoch":"x"}`, subjects.CodeBadRequest, "epoch"},
		"no nonce":      {subjects.Claim, string(subjects.Encode(open("s", ""))), subjects.CodeBadRequest, "nonce"},
		"half a stamp":  {subjects.Claim, string(subjects.Encode(half)), subjects.CodeBadRequest, "life"},
		"too big":       {subjects.Claim, string(subjects.Encode(big)), subjects.CodeBadRequest, "bytes"},
		"renew":         {subjects.ClaimRenew, `{"v":1,"session":"s","worker":"w"}`, subjects.CodeBadRequest, "life"},
		"end":           {subjects.ClaimEnd, `{"v":1,"session":"","worker":"w"}`, subjects.CodeBadRequest, "session"},
		"end by nobody": {subjects.ClaimEnd, `{"v":1,"session":"s","worker":""}`, subjects.CodeBadRequest, "worker"},
		"end, version":  {subjects.ClaimEnd, `{"v":9}`, subjects.CodeVersion, "field v"},
	} {
		got := asked[subjects.KeepReply](r, c.subject, []byte(c.data)) // the error is where a ClaimReply has it
		if got.Error == nil || got.Error.Code != c.code || !strings.Contains(got.Error.Message, c.names) {
			t.Errorf("%s: got %v, want %s that names %s", name, got.Error, c.code, c.names)
		}
	}
}

// A dispatcher that hung finds old claims when it wakes. Nobody waits for them any more:
// they begin no life and take none from its client. A gateway whose clock is wrong insists.
func TestOldClaimsChangeNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	r.worker("a", 5)
	r.sees(1, d)
	at := func(age time.Duration, nonce string) subjects.ClaimRequest {
		req := open("s", nonce)
		req.Sent = time.Now().Add(-age).UTC().Format(time.RFC3339Nano)
		return req
	}
	for _, age := range []time.Duration{10 * time.Second, -10 * time.Second} {
		r.refused(r.claim(at(age, "late")).Error, subjects.CodeLate)
	}
	live := r.granted(at(0, "live"))
	r.refused(r.claim(at(10*time.Second, "late")).Error, subjects.CodeLate)
	same(r, "the record", r.record(d, "s").Stamp, live.Stamp)
	insists := at(10*time.Second, "other clock")
	insists.Insist = true
	same(r, "attach of who insists", r.granted(insists).Attach, live.Attach+1)
	bad := open("s", "n")
	bad.Sent = "yesterday"
	r.refused(r.claim(bad).Error, subjects.CodeBadRequest)
}
