package systemtest

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
	"stenobus/worker/engine/tally"
)

// footprint is what sessions could leave behind in this process and on the bus.
type footprint struct {
	goroutines int
	subs       uint32
	keys       int
}

func (s *system) footprint() footprint {
	return footprint{runtime.NumGoroutine(), s.bus.Server.NumSubscriptions(), len(s.keys())}
}

// nothingLeft waits until no session's subscription or key remains. Other tests run in
// parallel, so goroutines are TestMain's and the soak's to count.
func (s *system) nothingLeft(before footprint) {
	s.t.Helper()
	subjectstest.Eventually(s.t, "no subscription and no key is left", func() bool {
		now := s.footprint()
		return now.subs <= before.subs && now.keys == 0
	})
}

// small is a deployment of one each, with an engine that holds finals back, so that
// the end of a session has something to wait for.
func small(t *testing.T, gcfg gateway.Config, wcfg worker.Config) (*system, *node) {
	t.Helper()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(wcfg, s.tally(tally.Config{Hold: 100 * time.Millisecond}))
	gw := s.gateway(gcfg)
	return s, gw
}

func TestEveryEndLeavesNothing(t *testing.T) {
	t.Parallel()
	short := gateway.Config{Grace: 200 * time.Millisecond}
	for _, tt := range []struct {
		name   string
		end    func(c *client)
		status websocket.StatusCode // -1: the socket is gone before
		all    bool                 // every final reaches the socket
	}{
		{"session-end", func(c *client) { c.end() }, websocket.StatusNormalClosure, true},
		{"close 1000", func(c *client) { _ = c.conn.Close(websocket.StatusNormalClosure, "") }, -1, false},
		{"close 1001", func(c *client) { _ = c.conn.Close(websocket.StatusGoingAway, "closing") }, -1, false},
		{"close without a code", func(c *client) { _ = c.conn.Close(websocket.StatusNoStatusRcvd, "") }, -1, false},
		{"broken connection", func(c *client) { _ = c.conn.CloseNow() }, -1, false},
		{"message too big", func(c *client) { c.raw(`{"event":"media","media":{"payload":"` + strings.Repeat("A", 5<<20) + `"}}`) }, websocket.StatusMessageTooBig, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, gw := small(t, short, worker.Config{ID: "w1"})
			before := s.footprint()
			c := dial(t, gw, named("room"))
			c.start("a")
			c.speak("a", 70)
			c.until("a final", func() bool { return len(c.finals) == 1 })
			tt.end(c)
			status, reason := c.closed()
			if tt.status != -1 && status != tt.status {
				t.Errorf("closed with %d %s, want %d", status, reason, tt.status)
			}
			if tt.all {
				c.verify()
			}
			s.nothingLeft(before)
			s.ledgerOf("room", 70)
		})
	}
}

// ledgerOf reads the results log as an outsider and checks that the session's last
// message accounts for every frame.
func (s *system) ledgerOf(id string, frames uint64) {
	s.t.Helper()
	m, err := s.resultsLog().Last(s.ctx(), subjects.SessionID(id))
	if err != nil {
		s.t.Fatal(err)
	}
	e, err := subjects.Decode[subjects.Ended](subjects.KindEnded, m.Data)
	if err != nil || !strings.Contains(m.Header.Get(subjects.HeaderName), " ended ") {
		s.t.Fatalf("the last message is %s %s (%v), want ended", m.Header.Get(subjects.HeaderName), m.Data, err)
	}
	var covered uint64
	for _, n := range e.Frames {
		covered += n
	}
	if covered != frames || e.Unaccounted != 0 {
		s.t.Errorf("%d of %d frames are covered, %d unaccounted", covered, frames, e.Unaccounted)
	}
}

func TestWorkerRefusesThenNothingIsLeft(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1", Slots: 1})
	gw := s.gateway(gateway.Config{ClaimWait: 500 * time.Millisecond})
	first := dial(t, gw, named("first"))
	first.until("it is served", func() bool { return first.note("ready", "") != nil })
	before := s.footprint()
	second := dial(t, gw, named("second"))
	second.start("a")
	second.speak("a", 10)
	status, reason := second.closed()
	if status != websocket.StatusTryAgainLater || !strings.Contains(reason, "no_worker") {
		t.Errorf("closed with %d %s, want 1013 no_worker", status, reason)
	}
	subjectstest.Eventually(t, "only the first session has a key", func() bool { return len(s.keys()) == 1 })
	subjectstest.Eventually(t, "only the first session has a subscription", func() bool { return s.footprint().subs <= before.subs })
	first.start("a")
	first.speak("a", 60)
	first.finish()
}

// A gateway that stops delivers what was spoken, tells its clients to come back, and
// the session goes on at another gateway without a word lost.
func TestGatewayStops(t *testing.T) {
	t.Parallel()
	s, gw := small(t, gateway.Config{DrainWait: 5 * time.Second, Grace: 10 * time.Second}, worker.Config{ID: "w1"})
	other := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	gw.end()
	status, reason := c.closed()
	if status != websocket.StatusServiceRestart || !strings.Contains(reason, "connect again") {
		t.Errorf("closed with %d %s, want 1012", status, reason)
	}
	if got := c.finals[len(c.finals)-1].LastFrame; got != 70 {
		t.Errorf("the last final covers to frame %d, want 70", got)
	}
	back := dial(t, other, named("room"))
	back.start("a")
	back.speak("a", 30)
	back.end()
	if status, reason := back.closed(); status != websocket.StatusNormalClosure {
		t.Errorf("closed with %d %s", status, reason)
	}
	s.ledgerOf("room", 100)
	if r := back.finals[0]; r.FirstFrame <= 70 {
		t.Errorf("the count goes on at %d, want above 70", r.FirstFrame)
	}
}

// A client comes back within its grace: the same session, at another gateway.
func TestResumeWithinGrace(t *testing.T) {
	t.Parallel()
	s, gw := small(t, gateway.Config{}, worker.Config{ID: "w1"})
	other := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	_ = c.conn.CloseNow()
	back := dial(t, other, named("room"))
	back.start("a")
	back.speak("a", 30)
	back.end()
	back.closed()
	s.ledgerOf("room", 100)
	if got := back.note("ended", ""); got == nil || got.Accepted["a"] != 100 {
		t.Errorf("ledger %+v", got)
	}
}

// The gateway dies without a word: the worker ends the session after its grace.
func TestGatewayLost(t *testing.T) {
	t.Parallel()
	s, gw := small(t, gateway.Config{Grace: 200 * time.Millisecond}, worker.Config{ID: "w1"})
	before := s.footprint()
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	gw.kill()
	s.nothingLeft(before)
	s.ledgerOf("room", 70)
}

// The same id, used again at once, is a new life: it loses no word and sees nothing
// of the old one, however often.
func TestIDIsUsedAgainAtOnce(t *testing.T) {
	t.Parallel()
	_, gw := small(t, gateway.Config{}, worker.Config{ID: "w1"})
	for range 5 {
		c := dial(t, gw, named("room"))
		c.start("a")
		c.speak("a", 70)
		if c.rnd.IntN(2) == 0 {
			c.finish()
			continue
		}
		_ = c.conn.Close(websocket.StatusGoingAway, "closing") // and does not wait for its finals
	}
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.finish()
	if len(c.finals) == 0 || c.finals[0].FirstFrame != 1 || c.finals[0].Number != 1 {
		t.Errorf("the new life's first final is %+v", c.finals)
	}
}

// The old life's audio still waits at its gateway when the id is used again: it is
// transcribed to its last frame, and the new life begins after it, untouched.
func TestIDIsUsedAgainBeforeItsBacklogIsHeard(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"}, s.tally(tally.Config{Slow: time.Millisecond}))
	gw, other := s.gateway(gateway.Config{}), s.gateway(gateway.Config{})
	first := dial(t, gw, named("room"))
	first.start("a")
	first.speak("a", 1500) // more than may be in flight
	_ = first.conn.Close(websocket.StatusGoingAway, "closing")
	second := dial(t, other, named("room"))
	second.start("a")
	second.speak("a", 70)
	second.finish()
	if second.finals[0].FirstFrame != 1 || second.note("ended", "").Accepted["a"] != 70 {
		t.Errorf("the new life has %+v and began with %+v", second.note("ended", ""), second.finals[0])
	}
	if got := s.totals("room"); len(got) != 2 || got[0] != 1500 || got[1] != 70 {
		t.Errorf("the lives covered %v frames, want 1500 and 70", got)
	}
}

// A second socket takes over while the first one's audio still waits at its gateway.
func TestSecondSocketWaitsForTheFirstOnesAudio(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"}, s.tally(tally.Config{Slow: time.Millisecond}))
	gw, other := s.gateway(gateway.Config{}), s.gateway(gateway.Config{})
	first := dial(t, gw, named("room"))
	first.start("a")
	first.speak("a", 1500)
	first.raw(`{"event":"ping","id":1}`)
	first.until("the gateway has read it all", func() bool { return len(first.pongs) == 1 })
	second := dial(t, other, named("room"))
	second.start("a")
	second.speak("a", 70)
	if status, reason := first.closed(); status != 4409 {
		t.Errorf("the first was closed with %d %s", status, reason)
	}
	second.end()
	if status, reason := second.closed(); status != websocket.StatusNormalClosure {
		t.Errorf("the second was closed with %d %s", status, reason)
	}
	if got := s.totals("room"); len(got) != 1 || got[0] != 1570 {
		t.Errorf("the life covered %v frames, want 1570", got)
	}
	second.stayed() // the first gateway yielded
}

// totals reads, life by life, how many frames the results log says were covered.
func (s *system) totals(id string) (covered []uint64) {
	s.t.Helper()
	stream, err := s.js.Stream(s.ctx(), subjects.ResultsStream)
	if err != nil {
		s.t.Fatal(err)
	}
	subject := subjects.Result(subjects.SessionID(id))
	for seq := uint64(1); ; seq++ {
		m, err := stream.GetMsg(s.ctx(), seq, jetstream.WithGetMsgSubject(subject))
		if err != nil {
			return covered
		}
		if seq = m.Sequence; !strings.Contains(m.Header.Get(subjects.HeaderName), " ended ") {
			continue
		}
		e, err := subjects.Decode[subjects.Ended](subjects.KindEnded, m.Data)
		if err != nil || e.Unaccounted != 0 {
			s.t.Errorf("ended: %+v, %v", e, err)
		}
		var n uint64
		for _, c := range e.Frames {
			n += c
		}
		covered = append(covered, n)
	}
}

// Clients are turned away while their claims are under way. Whether the claim is granted
// before that or after, neither a record nor a session of the worker is left of it, though
// nobody would miss them for a minute.
func TestClaimOfClientTurnedAway(t *testing.T) {
	t.Parallel()
	const clients, atOnce = 40, 20
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{Grace: time.Minute})
	given := s.givenUp()
	before := s.footprint()
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for range clients / atOnce {
				l, err := listen(t, gw, "", nil)
				if err != nil {
					t.Error(err)
					return
				}
				l.send([]byte("\x1a\x45\xdf\xa3 WebM, which is not taken"))
				<-l.over
			}
		})
	}
	wg.Wait()
	subjectstest.Eventually(t, "every claim is over", func() bool { return given() == clients })
	s.nothingLeft(before)
	subjectstest.Eventually(t, "the worker has room for others", func() bool { return s.report("w1").Sessions == 0 })
}

// givenUp counts the sessions whose records were to be deleted: a claim is withdrawn only
// after its answer.
func (s *system) givenUp() func() int {
	s.t.Helper()
	var mu sync.Mutex
	seen := map[subjects.SessionID]bool{}
	_, err := s.nc.Subscribe(subjects.ClaimEnd, func(m *nats.Msg) {
		if req, err := subjects.DecodeDoc[subjects.KeepRequest]("keep", m.Data); err == nil {
			mu.Lock()
			defer mu.Unlock()
			seen[req.Session] = true
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.nc.Flush(); err != nil {
		s.t.Fatal(err)
	}
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
}
