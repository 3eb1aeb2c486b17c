package dispatcher

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

func TestMove(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{Strategy: StrategyPack})
	a, b := r.worker("a", 5), r.worker("b", 5)
	r.sees(2, d)
	first := r.granted(open("s", "n"))
	same(r, "worker", first.Worker, a.id)

	move := moved(open("s", "n"), first, subjects.MoveDraining)
	got := r.granted(move)
	same(r, "stamp", got.Stamp, subjects.Stamp{Life: first.Life, Epoch: 2, Attach: 1})
	same(r, "worker", got.Worker, b.id)
	same(r, "reason told to the worker", b.asked(subjects.OpAssign)[0].Reason, subjects.MoveDraining)
	subjectstest.Eventually(t, "the old worker is released", func() bool { return len(a.asked(subjects.OpRelease)) == 1 })
	same(r, "released", a.asked(subjects.OpRelease)[0].Stamp, first.Stamp)

	same(r, "the same move again", r.granted(move), got)
	same(r, "record", r.record(d, "s").Stamp, got.Stamp)
}

func TestMoveManyTimesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	ds := []*Dispatcher{r.dispatch(Config{}), r.dispatch(Config{}), r.dispatch(Config{})}
	r.worker("a", 5)
	r.worker("b", 5)
	r.worker("c", 5)
	r.sees(3, ds...)
	first := r.granted(open("s", "n"))
	replies := make([]subjects.ClaimReply, 12)
	var wg sync.WaitGroup
	for i := range replies {
		wg.Go(func() { replies[i] = r.claim(moved(open("s", "n"), first, subjects.MoveSilent)) })
	}
	wg.Wait()
	for _, got := range replies {
		same(r, "answer", got, replies[0])
	}
	same(r, "epoch", replies[0].Epoch, 2)
	if replies[0].Worker == first.Worker {
		t.Errorf("moved to where it was: %s", first.Worker)
	}
}

func TestMoveWhereNobodyElseIs(t *testing.T) {
	t.Parallel()
	for reason, again := range map[string]bool{
		subjects.MoveDraining: false, subjects.MoveEngine: true, subjects.MoveSilent: true, subjects.MoveGone: false,
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, subjects.BusConfig{})
			d := r.dispatch(Config{})
			w := r.worker("a", 5, func(w *subjects.WorkerReport) {
				w.Since = time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
			})
			r.sees(1, d)
			first := r.granted(open("s", "n"))
			got := r.claim(moved(open("s", "n"), first, reason))
			if !again {
				r.refused(got.Error, subjects.CodeNoWorker)
				same(r, "the record stays as it was", r.record(d, "s").Stamp, first.Stamp)
				return
			}
			same(r, "epoch", got.Epoch, 2)
			same(r, "worker", got.Worker, w.id)
			told := w.asked(subjects.OpRelease)
			same(r, "releases before the assignment", len(told), 1)
		})
	}
}

func TestMoveToWorkerThatIsBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	r.worker("a", 5)
	r.sees(1, d)
	first := r.granted(open("s", "n"))
	// The worker has not begun before the session: it may be another process by now.
	got := r.claim(moved(open("s", "n"), first, subjects.MoveGone))
	if got.Error == nil {
		same(r, "epoch", got.Epoch, 2)
		return
	}
	// Unless a second began between them.
	r.refused(got.Error, subjects.CodeNoWorker)
	r.worker("a", 5)
	subjectstest.Eventually(t, "the session moves", func() bool {
		return r.claim(moved(open("s", "n"), first, subjects.MoveGone)).Error == nil
	})
}

func TestMovePassesWorkersOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{Strategy: StrategyPack, AssignWait: 100 * time.Millisecond})
	r.worker("a", 5)
	hung, gone, good := r.worker("b", 5), r.worker("c", 5), r.worker("d", 5)
	r.sees(4, d)
	hung.set(func(p *peer) { p.mute = true })
	first := r.granted(open("s", "n"))
	gone.die()
	got := r.granted(moved(open("s", "n"), first, subjects.MoveGone))
	same(r, "worker", got.Worker, good.id)
	same(r, "epoch", got.Epoch, 4)
}

func TestMoveOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	r.worker("a", 5)
	r.sees(1, d)

	lost := subjects.ClaimReply{Stamp: subjects.Stamp{Life: 7, Epoch: 3, Attach: 2}}
	got := r.granted(moved(open("lost", "n"), lost, subjects.MoveGone))
	same(r, "a lost record", got.Stamp, subjects.Stamp{Life: 7, Epoch: 4, Attach: 2})
	same(r, "its record", r.record(d, "lost").Stamp, got.Stamp)

	first := r.granted(open("s", "n"))
	if e := r.keep(subjects.ClaimEnd, "s", first); e != nil {
		t.Fatal(e)
	}
	r.refused(r.claim(moved(open("s", "n"), first, subjects.MoveGone)).Error, subjects.CodeEnded)
	r.granted(open("s", "n2"))
	r.refused(r.claim(moved(open("s", "n"), first, subjects.MoveGone)).Error, subjects.CodeSuperseded)
}

func TestMoveOfAnEndedLife(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{Strategy: StrategyPack})
	r.worker("a", 5)
	b := r.worker("b", 5)
	r.sees(2, d)
	first := r.granted(open("s", "n"))
	b.set(func(p *peer) { p.over["s"] = first.Life })
	r.refused(r.claim(moved(open("s", "n"), first, subjects.MoveGone)).Error, subjects.CodeEnded)
	same(r, "record left", r.record(d, "s").there, false)
}

// TestStopHandsRequestsOver stops a dispatcher among two while claims come in: none
// may stay without an answer.
func TestStopHandsRequestsOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	stays := r.dispatch(Config{})
	goes, stop := r.run(Config{})
	defer stop()
	r.worker("a", 1000)
	r.sees(1, stays, goes)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 25 {
				reply := r.patient(open(string(rune('a'+i))+string(rune('a'+n)), "n"))
				if reply.Error != nil {
					r.Errorf("claim: %v", reply.Error)
				}
				if i == 0 && n == 5 {
					wg.Go(stop)
				}
			}
		})
	}
	wg.Wait()
	if goes.Ready(r.ctx()) == nil {
		t.Error("a stopped dispatcher says that it is ready")
	}
	same(r, "open requests", goes.Stats().Open, 0)
}

func TestBusyDispatcherSaysSo(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{AssignWait: time.Second})
	r.worker("a", 2*maxOpen).set(func(p *peer) { p.mute = true })
	r.sees(1, d)
	inbox, err := r.nc.SubscribeSync(nats.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 * maxOpen {
		req := open(string(rune('a'+i)), "n")
		if err := r.nc.PublishRequest(subjects.Claim, inbox.Subject, subjects.Encode(req)); err != nil {
			t.Fatal(err)
		}
	}
	busy := 0
	for range 2 * maxOpen {
		m, err := inbox.NextMsgWithContext(r.ctx())
		if err != nil {
			t.Fatal(err)
		}
		reply, err := subjects.DecodeDoc[subjects.ClaimReply]("reply", m.Data)
		switch {
		case err != nil:
			t.Fatal(err)
		case reply.Error == nil:
			t.Error("a claim was granted that no worker accepted")
		case reply.Error.Code == subjects.CodeInternal && reply.Error.RetryAfterMS > 0:
			busy++
		}
	}
	if busy == 0 {
		t.Error("nobody was told that the dispatcher is busy")
	}
}

func TestSilentWorkersAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{AssignTries: 2, AssignWait: 50 * time.Millisecond})
	var peers []*peer
	for _, id := range []string{"a", "b", "c", "d"} {
		p := r.worker(id, 5)
		p.set(func(p *peer) { p.mute = true })
		peers = append(peers, p)
	}
	r.sees(len(peers), d)
	r.refused(r.claim(open("s", "n")).Error, subjects.CodeNoWorker)
	asked := 0
	for _, p := range peers {
		asked += len(p.asked(subjects.OpAssign))
	}
	same(r, "workers asked", asked, 2)
	same(r, "record left", r.record(d, "s").there, false)
}

func TestUnreadableRecordIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	r.worker("a", 5)
	r.sees(1, d)
	if _, err := r.kv.Sessions.PutString(r.ctx(), "s", `{"v":2}`); err != nil {
		t.Fatal(err)
	}
	e := r.claim(open("s", "n")).Error
	r.refused(e, subjects.CodeInternal)
	if !strings.Contains(e.Message, "record") || e.RetryAfterMS == 0 {
		t.Errorf("got %+v", e)
	}
	r.granted(open("other", "n"))
}
