package systemtest

import (
	"bytes"
	"strings"
	"testing"

	"stenobus/cmd/stenobus/internal/explain"
	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

// What the bus keeps of a session says who had it, why it moved and how that one was
// chosen, while it lives and after.
func TestExplainNamesBothWorkers(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	nodes := map[subjects.WorkerID]*node{"w1": s.worker(worker.Config{ID: "w1"}), "w2": s.worker(worker.Config{ID: "w2"})}
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("board room"))
	c.start("a")
	c.speak("a", 120)
	c.until("two finals", func() bool { return len(c.finals) == 2 })
	first := s.record("board room").Worker
	nodes[first].kill()
	c.speak("a", 120)
	c.until("finals of the second worker", func() bool { return len(c.finals) >= 4 })

	r, err := explain.Open(s.ctx(), s.nc)
	if err != nil {
		t.Fatal(err)
	}
	live, err := r.Read(s.ctx(), "board room")
	if err != nil || live.State != explain.StateLive || live.Record == nil || live.Record.Worker == first {
		t.Fatalf("while it lives: %+v, %v", live, err)
	}
	c.finish()
	subjectstest.Eventually(t, "the record is gone", func() bool { return len(s.keys()) == 0 })
	story, err := r.Read(s.ctx(), "board room")
	if err != nil || story.State != explain.StateEnded || len(story.Lives) != 1 {
		t.Fatalf("after its end: %+v, %v", story, err)
	}
	l := story.Lives[0]
	if len(l.Owners) != 2 || l.End.Reason != subjects.EndClient || *l.Unaccounted != 0 {
		t.Fatalf("life %+v", l)
	}
	a, b := l.Owners[0], l.Owners[1]
	if a.Worker != string(first) || a.Reason != subjects.ReasonOpen || !strings.HasPrefix(a.Why, "spread: load 0/") {
		t.Errorf("first owner %+v", a)
	}
	if b.Worker != string(live.Record.Worker) || b.Reason != subjects.MoveGone || b.GapMS == nil || b.FramesCovered < 100 ||
		!strings.Contains(b.Why, "not "+string(first)+", which it leaves") {
		t.Errorf("second owner %+v", b)
	}
	if acc := l.Ledger; len(acc) != 1 || *acc[0].Accepted != 240 || acc[0].Covered != 240 || *acc[0].Unaccounted != 0 {
		t.Errorf("ledger %+v", acc)
	}
	var text bytes.Buffer
	if err := explain.NewText(&text).Story(story); err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{a.Worker, b.Worker, "(worker_gone)", "240 accepted = 240 covered + 0 refused + 0 unaccounted"} {
		if !strings.Contains(text.String(), w) {
			t.Errorf("%q is missing in\n%s", w, &text)
		}
	}
	t.Logf("\n%s", &text)
}
