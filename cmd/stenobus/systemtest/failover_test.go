package systemtest

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
	"stenobus/worker/engine/tally"
)

// A fleet that starts after the session opened still hears its first frame.
func TestLateFleetHearsTheFirstWord(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gw := s.gatewayAlone(gateway.Config{})
	c := dial(t, gw, named("early"))
	c.start("a")
	c.speak("a", 200)
	c.until("the client is told that it waits", func() bool { return c.note("waiting", "") != nil })
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	c.speak("a", 30)
	c.until("the first final", func() bool { return len(c.finals) > 0 })
	c.finish()
	if first := c.finals[0].FirstFrame; first != 1 {
		t.Errorf("the first final begins at frame %d", first)
	}
}

// A worker dies in the middle of an utterance: another goes on from the first frame
// that no result covers, and every frame is in one final.
func TestWorkerDiesInMidUtterance(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	nodes := map[subjects.WorkerID]*node{}
	for _, id := range []string{"w1", "w2", "w3"} {
		nodes[subjects.WorkerID(id)] = s.worker(worker.Config{ID: id})
	}
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.start("b")
	for range 3 {
		c.speak("a", 70) // never a multiple of tally's 50
		c.speak("b", 33)
		finals := len(c.order) / 60
		c.until("some finals", func() bool { return len(c.finals) >= finals })
		owner := s.record("room").Worker
		if nodes[owner] == nil {
			break
		}
		if len(nodes) == 1 {
			break
		}
		nodes[owner].kill()
		delete(nodes, owner)
	}
	c.speak("a", 70)
	c.finish()
	if r := c.note("moved", ""); r == nil {
		t.Error("the client was not told that its session moved")
	}
}

// A worker that sleeps through its replacement wakes to a refusal: nobody sees its words.
func TestSleeperIsFenced(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	link := s.bus.Link()
	s.workerOn(link.Dial(t), worker.Config{ID: "sleeper"})
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 120)
	c.until("two finals", func() bool { return len(c.finals) == 2 })
	link.Freeze()
	s.worker(worker.Config{ID: "relief"})
	c.speak("a", 120)
	c.until("the relief's finals", func() bool { return len(c.finals) >= 4 })
	link.Thaw()
	c.speak("a", 20)
	c.finish()
	if r := c.note("moved", ""); r == nil || r.Worker != "relief" {
		t.Errorf("moved: %+v", r)
	}
}

// Frames vanish on their way while the worker is not subscribed.
func TestHolesAreFilled(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	lossy := s.bus.Link()
	s.workerOn(lossy.Dial(t), worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 75)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	lossy.Lose(true)
	c.speak("a", 100)
	subjectstest.Eventually(t, "frames are lost", func() bool { return lossy.Lost() > 0 })
	lossy.Lose(false)
	c.speak("a", 50)
	c.until("finals after the loss", func() bool { return len(c.finals) >= 4 })
	c.finish()
	c.stayed()
}

// stayed checks that a fault was mended in place, not by another worker.
func (c *client) stayed() {
	c.t.Helper()
	if moved := c.told("moved", ""); moved != nil {
		c.t.Errorf("the session had to move: %+v", moved)
	}
}

// The very last frame before a silence is lost: the gateway repeats its number.
func TestLostTailShows(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	lossy := s.bus.Link()
	s.workerOn(lossy.Dial(t), worker.Config{ID: "w1", IdleCommit: 2 * time.Second})
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	acked := s.acks("room")
	c.speak("a", 49)
	subjectstest.Eventually(t, "the worker has 49 frames", func() bool { return acked.Load() == 49 })
	lossy.LoseNext(1)
	c.speak("a", 1) // the fiftieth completes a final
	c.until("the final that needs the lost frame", func() bool { return len(c.finals) > 0 })
	if lossy.Lost() != 1 {
		t.Fatalf("%d messages lost, want 1", lossy.Lost())
	}
	c.until("frame 50 is covered", func() bool { return c.finals[len(c.finals)-1].LastFrame == 50 })
	c.finish()
	c.stayed()
}

// acks follows what a session's worker acknowledges.
func (s *system) acks(id subjects.SessionID) *atomic.Uint64 {
	s.t.Helper()
	var n atomic.Uint64
	_, err := s.nc.Subscribe(subjects.Inbox(id, subjects.ChannelAck), func(m *nats.Msg) {
		var e subjects.Envelope
		if e.ParseMsg(m) == nil {
			n.Store(max(n.Load(), e.N))
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.nc.Flush(); err != nil {
		s.t.Fatal(err)
	}
	return &n
}

// report reads what a worker says of itself.
func (s *system) report(id subjects.WorkerID) subjects.WorkerReport {
	s.t.Helper()
	kv, err := s.js.KeyValue(s.ctx(), subjects.WorkersBucket)
	if err != nil {
		s.t.Fatal(err)
	}
	v, err := kv.Get(s.ctx(), id.Token())
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := subjects.DecodeDoc[subjects.WorkerReport]("report", v.Value())
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// A worker that hears of a higher epoch stops at once: it neither writes nor talks on.
func TestHigherEpochStopsAWorker(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 60)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	stamp := s.record("room").Stamp
	stamp.Epoch++
	subjectstest.Eventually(t, "the worker reports its session", func() bool { return s.report("w1").Sessions == 1 })
	e := subjects.Envelope{Kind: subjects.KindLast, Stamp: stamp, N: 1}
	if err := s.nc.PublishMsg(e.Msg(subjects.Frames("room"), nil)); err != nil {
		t.Fatal(err)
	}
	subjectstest.Eventually(t, "the worker has let go", func() bool { return s.report("w1").Sessions == 0 })
	c.speak("a", 60) // the gateway finds another owner, here the same worker in its next epoch
	c.finish()
}

// An engine that fails once hears again what is not covered; one that always fails
// is left for another worker.
func TestEngineFails(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"}, s.tally(tally.Config{FailAt: 77, Fails: 1}))
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("once"))
	c.start("a")
	c.speak("a", 130)
	c.finish()
}

func TestEngineFailsForGood(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "bad"}, s.tally(tally.Config{FailAt: 77}))
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	s.worker(worker.Config{ID: "good"})
	c.speak("a", 60)
	c.until("the session moved", func() bool { n := c.note("moved", ""); return n != nil && n.Worker == "good" })
	c.finish()
}

// A worker told to stop hands its sessions over without a gap.
func TestDrainHandsOver(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	old := s.worker(worker.Config{ID: "old", DrainWait: 10 * time.Second})
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 130)
	c.until("finals", func() bool { return len(c.finals) == 2 })
	s.worker(worker.Config{ID: "new"})
	old.end()
	c.speak("a", 130)
	c.finish()
	if got := c.note("moved", ""); got == nil || got.Worker != "new" {
		t.Errorf("moved: %+v", got)
	}
}

// A dispatcher that dies takes nothing with it; the next claim goes to another.
func TestDispatcherDies(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	first := s.dispatcher(dispatcher.Config{})
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{})
	a := dial(t, gw, named("a"))
	a.start("a")
	a.speak("a", 60)
	a.until("a final", func() bool { return len(a.finals) == 1 })
	first.kill()
	b := dial(t, gw, named("b"))
	b.start("a")
	b.speak("a", 60)
	a.speak("a", 60)
	a.finish()
	b.finish()
}

// Onlookers change nothing: the same death is seen while somebody watches everything.
func TestWatchingChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	var watched atomic.Int64
	if _, err := s.nc.Subscribe("transcribe.>", func(*nats.Msg) { watched.Add(1) }); err != nil {
		t.Fatal(err)
	}
	s.dispatcher(dispatcher.Config{})
	nodes := map[subjects.WorkerID]*node{"w1": s.worker(worker.Config{ID: "w1"}), "w2": s.worker(worker.Config{ID: "w2"})}
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 120)
	c.until("a final", func() bool { return len(c.finals) == 2 })
	nodes[s.record("room").Worker].kill()
	c.speak("a", 120)
	c.finish()
	if watched.Load() < 10 {
		t.Errorf("the watcher saw %d messages", watched.Load())
	}
}

// One of two dispatchers hangs: it may be asked first, then the one that answers a ping is.
func TestDispatcherHangs(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	link := s.bus.Link()
	s.dispatcherOn(link.Dial(t), dispatcher.Config{})
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{})
	link.Freeze()
	var clients []*client
	for i := range 20 { // some of their claims go to the one that hangs
		c := dial(t, gw, named(fmt.Sprintf("room-%d", i)))
		c.start("a")
		c.speak("a", 60)
		clients = append(clients, c)
	}
	for _, c := range clients {
		c.finish()
		if n := c.told("waiting", ""); n != nil {
			t.Errorf("a claim was given up: %+v", n)
		}
	}
	link.Thaw()
}

// A client comes back elsewhere while its gateway lives, and then its worker dies before
// the utterance is over: the first gateway kept what it had sent until results covered it.
func TestWorkerDiesAfterAHandOver(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	first := s.worker(worker.Config{ID: "w1", IdleCommit: time.Minute, TurnLimit: time.Minute},
		s.tally(tally.Config{Hold: 500 * time.Millisecond})) // its results come well after it has the audio
	gw, other := s.gateway(gateway.Config{}), s.gateway(gateway.Config{})
	acked := s.acks("room")
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 30) // no final of its own: tally makes one of 50
	subjectstest.Eventually(t, "the worker has its frames", func() bool { return acked.Load() == 30 })
	back := dial(t, other, named("room"))
	back.until("the session is handed over", func() bool { return back.note("resumed", "") != nil })
	s.worker(worker.Config{ID: "w2"})
	first.kill()
	back.start("a")
	back.speak("a", 30)
	back.end()
	back.closed()
	s.ledgerOf("room", 60)
}

// A gateway dies, and then the worker before a result covers what that gateway had sent.
// Nobody has that audio any more, and everybody says so: client, ledger and store.
func TestGatewayAndThenWorkerDie(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	first := s.worker(worker.Config{ID: "w1"}, s.tally(tally.Config{Hold: time.Minute}))
	gw, other := s.gateway(gateway.Config{}), s.gateway(gateway.Config{})
	acked := s.acks("room")
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 30)
	subjectstest.Eventually(t, "the worker has its frames", func() bool { return acked.Load() == 30 })
	gw.kill()
	back := dial(t, other, named("room"))
	back.until("the session is handed over", func() bool { return back.note("resumed", "") != nil })
	s.worker(worker.Config{ID: "w2"})
	first.kill()
	back.start("a")
	back.speak("a", 40)
	back.end()
	back.closed()
	if n := back.note("warning", subjects.RefusedLost); n == nil || n.Count != 30 {
		t.Errorf("the client was told %+v, want 30 frames lost", n)
	}
	s.ledgerOf("room", 40)
	e := s.endedWith("room")
	if n := e.Refused[1][subjects.RefusedLost]; e.Accepted[1] != 70 || n != 30 {
		t.Errorf("of 70 frames accepted 30 were lost; the store says %d and %d", e.Accepted[1], n)
	}
}
