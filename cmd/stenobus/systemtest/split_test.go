package systemtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"stenobus/cmd/stenobus/internal/explain"
	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
	"stenobus/worker/engine/tally"
)

// idsOfEachPart are as many ids as a log has streams, each with its results in another.
func idsOfEachPart(n subjects.Split) (ids []string) {
	seen := map[string]bool{}
	for i := 0; len(seen) < n.Count(); i++ {
		id := fmt.Sprintf("room %d", i)
		if p := n.Place(subjects.SessionID(id)); !seen[p.Stream] {
			seen[p.Stream] = true
			ids = append(ids, id)
		}
	}
	return ids
}

// With the results log split every session has its finals once, through the death of its
// worker and the loss of its client, whichever stream they are in; and whoever has only
// an id finds them.
func TestSplitResultsLog(t *testing.T) {
	t.Parallel()
	s := newSplitSystem(t, 3)
	s.dispatcher(dispatcher.Config{})
	doomed := s.worker(worker.Config{ID: "w1"})
	gw, other := s.gateway(gateway.Config{}), s.gateway(gateway.Config{})
	ids := idsOfEachPart(3)
	clients := map[string]*client{}
	for _, id := range ids {
		c := dial(t, gw, named(id))
		c.start("a")
		c.speak("a", 70)
		c.until("a final", func() bool { return len(c.finals) == 1 })
		clients[id] = c
	}
	s.worker(worker.Config{ID: "w2"})
	doomed.kill()
	for _, id := range ids {
		t.Run(id, func(t *testing.T) { s.carriesOn(t, clients[id], other, id) })
	}
	for _, stream := range s.resultsLog().Streams() {
		if info, err := stream.Info(s.ctx()); err != nil || info.State.NumSubjects != 1 || info.State.Consumers != 0 {
			t.Errorf("%s has %+v, %v", info.Config.Name, info.State, err)
		}
	}
}

// carriesOn takes a session, whose worker has died, through the loss of its client to its
// end.
func (s *system) carriesOn(t *testing.T, c *client, other *node, id string) {
	c.speak("a", 60)
	c.until("finals of the second worker", func() bool { return len(c.finals) >= 2 })
	c.settle()
	_ = c.conn.CloseNow()
	<-c.over
	had := len(c.finals)
	back := dial(t, other, after(id, c.finals[0].Cursor))
	back.until("it is told from where to go on", func() bool { return back.note("resumed", "") != nil })
	back.until("the finals behind the cursor", func() bool { return len(back.finals) >= had-1 })
	back.chunk["a"] = 130
	back.speak("a", 50)
	back.end()
	back.closed()
	finals, _ := s.stored(subjects.SessionID(id))
	if got := append(c.finals[:1:1], back.finals...); len(got) != len(finals) {
		t.Errorf("%d finals reached the client, %d are stored", len(got), len(finals))
	}
	s.ledgerOf(id, 180)
	r, err := explain.Open(s.ctx(), s.nc)
	if err != nil {
		t.Fatal(err)
	}
	story, err := r.Read(s.ctx(), subjects.SessionID(id))
	if err != nil || story.Log != s.split.Place(subjects.SessionID(id)) || len(story.Lives) != 1 || len(story.Lives[0].Owners) != 2 {
		t.Errorf("explained as %+v, %v", story, err)
	}
}

// A role that was told another number, or none, does not start, and says why.
func TestRoleOfAnotherSplit(t *testing.T) {
	t.Parallel()
	s := newSplitSystem(t, 3)
	cfg := subjects.BusConfig{Split: 2}
	d, err1 := dispatcher.New(s.bus.Dial(), dispatcher.Config{Log: s.log(), Bus: cfg})
	w, err2 := worker.New(s.bus.Dial(), worker.Config{ID: "w", Log: s.log()}, s.tally(tally.Config{}))
	g, err3 := gateway.New(s.bus.Dial(), gateway.Config{Log: s.log(), Bus: cfg})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"dispatcher": d.Run(s.ctx()), "worker": w.Run(s.ctx()), "gateway": g.Run(s.ctx())} {
		if !errors.Is(err, subjects.ErrIncompatible) || !strings.Contains(err.Error(), "has 3 streams") {
			t.Errorf("%s: %v, want an error that says that the log has 3 streams", name, err)
		}
	}
}

// The log is made anew with another split while a gateway runs on: it gets no session
// whose results it could not read again.
func TestGatewayFromBeforeTheSplit(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gw := s.gatewayAlone(gateway.Config{})
	if err := s.js.DeleteStream(s.ctx(), subjects.ResultsStream); err != nil {
		t.Fatal(err)
	}
	s.split = 3
	s.bus.Ensure(s.nc, subjects.BusConfig{Split: 3})
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w"})
	c := dial(t, gw, named("room"))
	_, reason := c.closed()
	if !strings.Contains(reason, "--bus-results-streams") {
		t.Errorf("closed with %q, want a reason that names the flag", reason)
	}
	subjectstest.Eventually(t, "nothing is left of it", func() bool { return len(s.keys()) == 0 })
}
