package systemtest

import (
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

// The system that this one replaces let clients without an id collide on "unknown".
func TestClientsWithoutAnIDNeverMeet(t *testing.T) {
	t.Parallel()
	const n = 120
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1", Slots: 2 * n})
	gw := s.gateway(gateway.Config{})
	given := []string{"", named(""), named(" "), named("unknown"), named("default"), named("null")}
	clients := make([]*client, n)
	var wg sync.WaitGroup
	limit := make(chan struct{}, 50)
	for i := range clients {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			c, err := tryDial(t, gw, given[i%len(given)])
			if err != nil {
				t.Error(err)
				return
			}
			clients[i] = c
			c.until("the client is served", func() bool { return c.note("ready", "") != nil })
		})
	}
	wg.Wait()
	ids := map[string]bool{}
	for _, c := range clients {
		if _, err := uuid.Parse(c.id); err != nil {
			t.Errorf("a client without an id was told %q", c.id)
		}
		ids[c.id] = true
	}
	if len(ids) != n {
		t.Errorf("%d distinct ids for %d clients", len(ids), n)
	}
	// A key that is written meanwhile is listed twice, and another one is not: nats.go counts messages.
	subjectstest.Eventually(t, "there is a key for each session", func() bool { return len(s.keys()) == n })
}

// N live sessions have N subjects and N keys, all made of the id, whatever it is.
func TestHostileIDsAreIsolated(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{})
	seen := map[string]bool{}
	sub, err := s.nc.SubscribeSync(subjects.AllFrames)
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{".", "*", ">", "a.b", "a", "b", "../x", "a\r\nb", "🙂", "a b", "a=2Eb", "$JS.API.>", strings.Repeat("x", 128)}
	clients := map[string]*client{}
	for _, id := range ids {
		c := dial(t, gw, named(id))
		c.start("a")
		c.speak("a", 60)
		clients[id] = c
	}
	subjectstest.Eventually(t, "every session has a key", func() bool { return len(s.keys()) == len(ids) })
	for _, key := range s.keys() {
		id, err := subjects.ParseSessionToken(key)
		if err != nil || clients[string(id)] == nil {
			t.Errorf("key %q: %v", key, err)
		}
	}
	for id, c := range clients {
		if got := s.record(id); string(got.Session) != id {
			t.Errorf("record of %q names %q", id, got.Session)
		}
		c.finish()
		if c.id != id {
			t.Errorf("client of %q was told %q", id, c.id)
		}
		for _, f := range c.finals {
			if string(f.Session) != id {
				t.Errorf("session %q got a result of %q", id, f.Session)
			}
		}
	}
	for n, _, _ := sub.Pending(); n > 0; n-- {
		m, err := sub.NextMsg(subjectstest.Wait)
		if err != nil {
			t.Fatal(err)
		}
		seen[m.Subject] = true
	}
	if len(seen) != len(ids) {
		t.Errorf("%d subjects for %d sessions: %v", len(seen), len(ids), seen)
	}
}

func TestBadIDsAreRefused(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gw := s.gatewayAlone(gateway.Config{})
	for _, id := range []string{strings.Repeat("x", 129), strings.Repeat("x", 10_000), "\xff\xfe"} {
		_, err := tryDial(t, gw, named(id))
		if err == nil || !strings.Contains(err.Error(), "status 4") {
			t.Errorf("%d bytes: %v, want a refusal before the upgrade", len(id), err)
		}
	}
}

// A second socket for a live session wins, the first is told so.
func TestSecondSocketWins(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gws := []*node{s.gateway(gateway.Config{}), s.gateway(gateway.Config{})}
	first := dial(t, gws[0], named("room"))
	first.start("a")
	first.speak("a", 100)
	first.until("a final", func() bool { return len(first.finals) == 2 })
	second := dial(t, gws[1], named("room"))
	if status, reason := first.closed(); status != 4409 {
		t.Errorf("the first socket was closed with %d %s", status, reason)
	}
	second.start("a")
	second.speak("a", 100)
	second.until("the second's finals", func() bool { return len(second.finals) == 2 })
	r := s.record("room")
	if r.Attach != 2 || r.Epoch != 1 {
		t.Errorf("the record stands at %+v, want attach 2 of epoch 1", r.Stamp)
	}
	second.end()
	if status, reason := second.closed(); status != 1000 {
		t.Errorf("the second was closed with %d %s", status, reason)
	}
	if got := second.finals[0].FirstFrame; got != 102 { // 101 is the flush with which the first yields
		t.Errorf("the second's first frame has number %d: the count goes on, want 102", got)
	}
	if ended := second.note("ended", ""); ended == nil || *ended.Unaccounted != 0 || ended.Accepted["a"] != 200 {
		t.Errorf("ledger %+v, want 200 frames accepted and none unaccounted", ended)
	}
}

// Twenty sockets ask for one id at once, at two gateways: one wins, the others are
// told, and the session's ledger still balances.
func TestTwentySocketsForOneID(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gws := []*node{s.gateway(gateway.Config{}), s.gateway(gateway.Config{})}
	before := s.nc.NumSubscriptions()
	const n = 20
	clients := make([]*client, n)
	var wg sync.WaitGroup
	for i := range clients {
		clients[i] = dial(t, gws[i%2], named("room"))
		wg.Go(func() {
			clients[i].start("a")
			clients[i].speak("a", 20)
		})
	}
	wg.Wait()
	open := func() (left []*client) {
		for _, c := range clients {
			select {
			case <-c.over:
			default:
				left = append(left, c)
			}
		}
		return left
	}
	subjectstest.Eventually(t, "one socket is left", func() bool { return len(open()) == 1 })
	last := open()[0]
	for _, c := range clients {
		if c == last {
			continue
		}
		if status, reason := c.closed(); status != 4409 {
			t.Errorf("closed with %d %s, want 4409", status, reason)
		}
	}
	last.speak("a", 50)
	last.end()
	if status, reason := last.closed(); status != 1000 {
		t.Errorf("the last was closed with %d %s", status, reason)
	}
	if ended := last.note("ended", ""); ended == nil || *ended.Unaccounted != 0 {
		t.Errorf("ledger %+v", ended)
	}
	subjectstest.Eventually(t, "no key is left", func() bool { return len(s.keys()) == 0 && s.nc.NumSubscriptions() == before })
}

// A client that drops its connection again and again, at either gateway, keeps its session.
func TestClientThatComesBackAgainAndAgain(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gws := []*node{s.gateway(gateway.Config{}), s.gateway(gateway.Config{})}
	for i := range 15 {
		c := dial(t, gws[i%2], named("room"))
		c.start("a")
		c.speak("a", 10)
		c.raw(`{"event":"ping","id":1}`)
		c.until("the gateway has read it all", func() bool { return len(c.pongs) == 1 })
		_ = c.conn.CloseNow()
	}
	c := dial(t, gws[0], named("room"))
	c.start("a")
	c.speak("a", 10)
	c.end()
	if status, reason := c.closed(); status != 1000 {
		t.Errorf("closed with %d %s", status, reason)
	}
	if ended := c.note("ended", ""); ended == nil || *ended.Unaccounted != 0 || ended.Accepted["a"] != 160 {
		t.Errorf("ledger %+v, want 160 frames and none unaccounted", ended)
	}
	s.ledgerOf("room", 160)
}
