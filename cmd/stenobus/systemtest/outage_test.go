package systemtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/gateway/dialect"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

// settle waits until the gateway has taken all that its client sent.
func (c *client) settle() {
	c.t.Helper()
	c.mu.Lock()
	n := len(c.pongs)
	c.mu.Unlock()
	c.raw(`{"event":"ping","id":1}`)
	c.until("the gateway has read it all", func() bool { return len(c.pongs) > n })
}

// The whole bus goes away while a client speaks on, and comes back: nothing is lost.
func TestBusIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	s.bus.Stop()
	c.speak("a", 250) // five seconds of audio
	c.settle()
	s.bus.Start()
	c.speak("a", 70)
	c.finish()
}

// The bus is away for longer than the window holds: the client is told with 1013 how
// much was accepted, exactly that is transcribed once the bus is back, and nothing more.
func TestBusIsAwayForTooLong(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{Window: 2 * time.Second, Grace: time.Second})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	s.bus.Stop()
	subjectstest.Eventually(t, "the gateway has noticed", func() bool { return !gw.nc.IsConnected() })
	c.speak("a", 200) // four seconds
	status, reason := c.closed()
	if status != websocket.StatusTryAgainLater || !strings.Contains(reason, "bus_down") {
		t.Errorf("closed with %d %s, want 1013 bus_down", status, reason)
	}
	told := c.note(dialect.EventError, "bus_down")
	if told == nil || told.Accepted["a"] <= 70 || told.Accepted["a"] > 270 {
		t.Fatalf("the client was told %+v", told)
	}
	s.bus.Start()
	subjectstest.Eventually(t, "the session has ended", func() bool { return s.endedWith("room") != nil })
	e := s.endedWith("room")
	if e.Reason != subjects.EndGrace || e.Accepted[1] != told.Accepted["a"] || e.Frames[1] != told.Accepted["a"] || e.Unaccounted != 0 {
		t.Errorf("%d frames were accepted, the ledger says %+v", told.Accepted["a"], e)
	}
}

// A client that was turned away comes back when the bus does: what it said before is
// heard before what it says now.
func TestComingBackAfterAnOutage(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	cfg := gateway.Config{Window: 2 * time.Second}
	gw, other := s.gateway(cfg), s.gateway(cfg)
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	s.bus.Stop()
	subjectstest.Eventually(t, "the gateway has noticed", func() bool { return !gw.nc.IsConnected() })
	c.speak("a", 200)
	c.closed()
	accepted := c.note(dialect.EventError, "bus_down").Accepted["a"]
	s.bus.Start()
	back := dial(t, other, after("room", c.finals[0].Cursor))
	back.until("it may go on", func() bool { return back.note("resumed", "") != nil })
	if got := back.told("resumed", "").Packets["a"]; got != int64(accepted) {
		t.Errorf("the session goes on behind packet %d, want %d", got, accepted)
	}
	back.chunk["a"] = int(accepted)
	back.speak("a", 50)
	back.end()
	back.closed()
	s.ledgerOf("room", accepted+50)
}

// endedWith reads the end of a session from the store, nil where there is none yet.
func (s *system) endedWith(id subjects.SessionID) *subjects.Ended {
	ctx, cancel := context.WithTimeout(s.ctx(), time.Second)
	defer cancel()
	stream, err := s.js.Stream(ctx, subjects.ResultsStream)
	if err != nil {
		return nil
	}
	m, err := stream.GetLastMsgForSubject(ctx, subjects.Result(id))
	if err != nil || !strings.Contains(m.Header.Get(subjects.HeaderName), " ended ") {
		return nil
	}
	e, err := subjects.Decode[subjects.Ended](subjects.KindEnded, m.Data)
	if err != nil {
		s.t.Fatal(err)
	}
	return &e
}

// The store takes no more results: they wait in their worker while audio and interims
// go on, and are stored when there is room again.
func TestStoreIsFull(t *testing.T) {
	t.Parallel()
	s, gw := small(t, gateway.Config{}, worker.Config{ID: "w1"})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	limit := s.limitResults(1)
	c.speak("a", 130)
	c.until("interims go on", func() bool { return c.inter[len(c.inter)-1].LastFrame >= 190 })
	if n := len(c.finals); n != 1 {
		t.Errorf("%d finals while the store is full", n)
	}
	s.limitResults(limit)
	c.finish()
	c.stayed()
}

// limitResults sets how many bytes the store of results may hold, and tells how many it
// could before.
func (s *system) limitResults(bytes int64) (before int64) {
	s.t.Helper()
	stream, err := s.js.Stream(s.ctx(), subjects.ResultsStream)
	if err != nil {
		s.t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	before, cfg.MaxBytes = cfg.MaxBytes, bytes
	var updated jetstream.Stream
	if updated, err = s.js.UpdateStream(s.ctx(), cfg); err != nil || updated.CachedInfo().Config.MaxBytes != bytes {
		s.t.Fatalf("limit the results: %v", err)
	}
	return before
}
