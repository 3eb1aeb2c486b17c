package worker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

// deaf is an engine that hears nothing; these tests send no audio.
type deaf struct{}

func (deaf) Describe() Description { return Description{Name: "deaf", Languages: []string{"en-US"}} }
func (deaf) Open(context.Context, StreamConfig, func(Result)) (Stream, error) {
	return nil, fmt.Errorf("deaf engine opened")
}

// startWorker runs a worker until the test ends.
func startWorker(t *testing.T, bus *subjectstest.Bus, cfg Config) *Worker {
	t.Helper()
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	w, err := New(bus.Dial(), cfg, deaf{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	subjectstest.Eventually(t, "the worker is ready", func() bool { return w.Ready(ctx) == nil })
	return w
}

func request(t *testing.T, nc *nats.Conn, worker subjects.WorkerID, body []byte) subjects.WorkerReply {
	t.Helper()
	m, err := nc.Request(subjects.Worker(worker), body, subjectstest.Wait)
	if err != nil {
		t.Error(err)
		return subjects.WorkerReply{}
	}
	r, err := subjects.DecodeDoc[subjects.WorkerReply]("reply", m.Data)
	if err != nil {
		t.Error(err)
	}
	return r
}

func assign(id string, stamp subjects.Stamp, o subjects.Options) []byte {
	return subjects.Encode(subjects.WorkerRequest{
		V: 1, Op: subjects.OpAssign, Session: subjects.SessionID(id), Reason: subjects.ReasonOpen, Stamp: stamp, Options: o,
	})
}

// The slot is reserved when the worker accepts: of 200 assigns at once, as many are
// accepted as there are slots.
func TestSlotsAreReservedAtOnce(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	startWorker(t, bus, Config{ID: "w", Slots: 10, DrainWait: 10_000_000})
	nc := bus.Dial()
	var wg sync.WaitGroup
	codes := make(chan string, 200)
	for i := range 200 {
		wg.Go(func() {
			r := request(t, nc, "w", assign(fmt.Sprintf("s%d", i), subjects.Stamp{Life: 1, Epoch: 1, Attach: 1}, subjects.Options{}))
			if r.Error == nil {
				codes <- "accepted"
			} else {
				codes <- r.Error.Code
			}
		})
	}
	wg.Wait()
	close(codes)
	got := map[string]int{}
	for c := range codes {
		got[c]++
	}
	if got["accepted"] != 10 || got[subjects.CodeFull] != 190 {
		t.Errorf("got %v, want 10 accepted and 190 full", got)
	}
}

func TestAssignRefusals(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	startWorker(t, bus, Config{ID: "w", DrainWait: 10_000_000})
	nc := bus.Dial()
	ok := subjects.Stamp{Life: 5, Epoch: 2, Attach: 2}
	if r := request(t, nc, "w", assign("held", ok, subjects.Options{})); r.Error != nil {
		t.Fatal(r.Error)
	}
	for _, tt := range []struct {
		name string
		body []byte
		code string // empty: accepted
	}{
		{"the same again", assign("held", ok, subjects.Options{}), ""},
		{"a lower life", assign("held", subjects.Stamp{Life: 4, Epoch: 9, Attach: 9}, subjects.Options{}), subjects.CodeSuperseded},
		{"a lower epoch", assign("held", subjects.Stamp{Life: 5, Epoch: 1, Attach: 9}, subjects.Options{}), subjects.CodeSuperseded},
		{"a lower attach", assign("held", subjects.Stamp{Life: 5, Epoch: 2, Attach: 1}, subjects.Options{}), subjects.CodeSuperseded},
		{"another engine", assign("x", ok, subjects.Options{Engine: "other"}), subjects.CodeUnsupported},
		{"another language", assign("x", ok, subjects.Options{Language: "de"}), subjects.CodeUnsupported},
		{"a dialect of its language", assign("y", ok, subjects.Options{Language: "en-GB"}), ""},
		{"no stamp", assign("x", subjects.Stamp{}, subjects.Options{}), subjects.CodeBadRequest},
		{"no session", assign("", ok, subjects.Options{}), subjects.CodeBadRequest},
		{"unknown op", []byte(`{"v":1,"op":"dance","options":{"grace_ms":0}}`), subjects.CodeBadRequest},
		{"no JSON", []byte(`{`), subjects.CodeBadRequest},
		{"another version", []byte(`{"v":2,"op":"assign"}`), subjects.CodeVersion},
	} {
		r := request(t, nc, "w", tt.body)
		code := ""
		if r.Error != nil {
			code = r.Error.Code
		}
		if code != tt.code {
			t.Errorf("%s: %q %v, want %q", tt.name, code, r.Error, tt.code)
		}
	}
}

// What the dispatcher said of its choice stands in the results log, cut where it is too long.
func TestOwnerSaysWhy(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	startWorker(t, bus, Config{ID: "w", DrainWait: 10_000_000})
	nc := bus.Dial()
	results := bus.Ensure(nc, subjects.BusConfig{}).Results
	for _, why := range []string{"", "spread: load 3/10 against 7/10 of w2", strings.Repeat("x", 2*subjects.MaxWhy)} {
		id := subjects.SessionID(fmt.Sprint("s", len(why)))
		r := request(t, nc, "w", subjects.Encode(subjects.WorkerRequest{
			V: 1, Op: subjects.OpAssign, Session: id, Reason: subjects.ReasonOpen, Why: why,
			Stamp: subjects.Stamp{Life: 1, Epoch: 1, Attach: 1},
		}))
		if r.Error != nil {
			t.Fatal(r.Error)
		}
		subjectstest.Eventually(t, "owner is written", func() bool {
			m, err := results.Last(t.Context(), id)
			if err != nil {
				return false
			}
			o, err := subjects.Decode[subjects.Owner](subjects.KindOwner, m.Data)
			if err != nil || o.Reason != subjects.ReasonOpen || o.Why != subjects.BoundWhy(why) {
				t.Errorf("why of %d bytes: owner %s, %v", len(why), m.Data, err)
			}
			return true
		})
	}
}

// A dispatcher and a worker that disagree about the split of the results log find out
// before anything is written.
func TestAssignOfAnotherSplit(t *testing.T) {
	t.Parallel()
	for _, ours := range []subjects.Split{1, 3} {
		bus := subjectstest.NewBus(t)
		startWorker(t, bus, Config{ID: "w", DrainWait: 10_000_000, Bus: subjects.BusConfig{Split: ours}})
		nc := bus.Dial()
		for _, told := range []subjects.Split{1, 2, 3} {
			req := subjects.WorkerRequest{
				V: 1, Op: subjects.OpAssign, Session: "s", Reason: subjects.ReasonOpen, Stamp: subjects.Stamp{Life: 1, Epoch: 1, Attach: 1},
			}
			if place := told.Place("s"); told > 1 {
				req.Log = &place
			}
			e := request(t, nc, "w", subjects.Encode(req)).Error
			switch {
			case told == ours && e != nil:
				t.Errorf("a worker of %d told %d: %v", ours, told, e)
			case told != ours && (e == nil || e.Code != subjects.CodeBadRequest || !strings.Contains(e.Message, "field log") || !strings.Contains(e.Message, told.Place("s").Subject)):
				t.Errorf("a worker of %d told %d: %v, want bad_request that names the field log", ours, told, e)
			}
		}
	}
}
