package placement

import (
	"testing"
	"time"

	"stenobus/subjects"
)

func TestFleetJudgesByAgeOnlyInCalm(t *testing.T) {
	t.Parallel()
	f, now := New(Spread, nil), time.Now()
	report := subjects.WorkerReport{Worker: "a", Slots: 1, Engines: []subjects.EngineReport{{Name: "tally"}}}
	const expiry = 10 * time.Second
	f.Put(report, now)
	f.Sweep(now.Add(2*expiry), expiry)
	if f.Size() != 1 {
		t.Fatal("dropped too early")
	}
	f.Troubled(now.Add(2 * expiry))
	f.Sweep(now.Add(2*expiry+aftermath-1), expiry)
	if f.Size() != 1 {
		t.Fatal("dropped by age soon after trouble")
	}
	f.Sweep(now.Add(2*expiry+aftermath), expiry)
	if f.Size() != 0 {
		t.Fatal("not dropped in calm")
	}

	f.Put(report, now)
	f.Listing()
	f.Listed(now)
	if n := f.Census(); n.Suspect != 1 {
		t.Errorf("a worker that the list lacks: %+v", n)
	}
	f.Sweep(now.Add(aftermath), expiry)
	if n := f.Census(); n.Ready != 1 {
		t.Errorf("a suspect after its time: %+v", n)
	}
}

func TestFleetTakesAbsurdReports(t *testing.T) {
	t.Parallel()
	f, now := New(Spread, nil), time.Now()
	engines := []subjects.EngineReport{{Name: "tally"}}
	const huge = int(^uint(0) >> 1)
	f.Put(subjects.WorkerReport{Worker: "a", Slots: huge, Sessions: -huge, Engines: engines}, now)
	f.Put(subjects.WorkerReport{Worker: "b", Slots: huge, Sessions: 0, Engines: engines}, now)
	f.Put(subjects.WorkerReport{Worker: "c", Slots: -1, Sessions: huge, Engines: engines}, now)
	for range 100 {
		p, ok := f.reserve(&need{})
		id := p.Worker
		if !ok || id == "c" {
			t.Fatalf("reserved %q, %v", id, ok)
		}
		f.Answered(id, subjects.WorkerReply{Slots: huge, Sessions: huge - 1})
		f.unreserve(id)
		f.Put(subjects.WorkerReport{Worker: id, Slots: huge, Engines: engines}, now)
	}
	f.Remove("nobody")
	for _, id := range []subjects.WorkerID{"a", "c", "b"} {
		f.Remove(id)
	}
	if f.Size() != 0 {
		t.Error("workers left")
	}
}

// Nobody is judged soon after the bus had trouble, and no list of records is needed to
// know that a worker still may have its session.
func TestFleetHas(t *testing.T) {
	t.Parallel()
	f := New(Spread, nil)
	now := time.Now().UTC()
	at := func(d time.Duration) string { return now.Add(d).Format(time.RFC3339Nano) }
	f.Put(subjects.WorkerReport{Worker: "w", Since: now.Format(time.RFC3339)}, now)
	for _, tt := range []struct {
		worker subjects.WorkerID
		since  string
		want   bool
	}{
		{"w", at(time.Hour), true},
		{"w", at(0), true},
		{"w", at(-time.Hour), false},
		{"w", "", true}, // a record that was brought back does not say
		{"other", at(time.Hour), false},
	} {
		if got := f.Has(tt.worker, tt.since); got != tt.want {
			t.Errorf("%s since %q: got %v", tt.worker, tt.since, got)
		}
	}
	f.Listed(now)
	f.Troubled(now)
	f.Listed(now)
	if f.Calm(now.Add(aftermath-time.Second)) || !f.Calm(now.Add(aftermath)) {
		t.Error("calm is not 15 s after trouble")
	}
}
