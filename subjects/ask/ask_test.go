package ask_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
	"stenobus/subjects/ask"
	"stenobus/subjects/subjectstest"
)

// member joins the queue group. One that hangs is subscribed and never answers.
func member(t *testing.T, bus *subjectstest.Bus, id string, hangs, old bool, asked *atomic.Int64) {
	t.Helper()
	nc := bus.Dial()
	serve := func(m *nats.Msg) {
		if asked.Add(1); !hangs {
			_ = m.Respond([]byte(id))
		}
	}
	_, err1 := nc.QueueSubscribe(subjects.Claim, subjects.ClaimQueue, serve)
	_, err2 := nc.Subscribe(ask.Ping, func(m *nats.Msg) {
		if !hangs {
			_ = m.Respond([]byte(`{"id":"` + id + `"}`))
		}
	})
	err3 := nc.Flush()
	if !old {
		_, err3 = nc.Subscribe(subjects.Directly(subjects.Claim, id), serve)
	}
	if err := errors.Join(err1, err2, err3, nc.Flush()); err != nil {
		t.Fatal(err)
	}
}

// Of two members of a queue group one hangs: the other answers all the same, every time.
func TestAMemberThatHangsIsPassedOver(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	nc := bus.Dial()
	var asked atomic.Int64
	member(t, bus, "hangs", true, false, &asked)
	member(t, bus, "lives", false, false, &asked)
	const n = 10
	for range n {
		if m, err := ask.Dispatchers(t.Context(), nc, subjects.Claim, nil); err != nil || string(m.Data) != "lives" {
			t.Fatalf("got %v", err)
		}
	}
	if asked.Load() > 2*n {
		t.Errorf("%d requests for %d questions", asked.Load(), n)
	}
}

// A dispatcher of an older version has no subject of its own.
func TestAnOldMemberIsAskedByItsGroup(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	var asked atomic.Int64
	member(t, bus, "hangs", true, false, &asked)
	member(t, bus, "old", false, true, &asked)
	answered := 0
	for range 6 {
		if m, err := ask.Dispatchers(t.Context(), bus.Dial(), subjects.Claim, nil); err == nil && string(m.Data) == "old" {
			answered++
		}
	}
	if answered == 0 {
		t.Error("nobody answered") // each is asked twice at random: 1 of 4 may fail, all of them 1 of 4096
	}
}

func TestNobodyIsThere(t *testing.T) {
	t.Parallel()
	nc := subjectstest.NewBus(t).Dial()
	if _, err := ask.Dispatchers(t.Context(), nc, subjects.Claim, nil); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("got %v, want no responders at once", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ask.Dispatchers(ctx, nc, subjects.Claim, nil); err == nil {
		t.Error("asked on after its caller had given up")
	}
}
