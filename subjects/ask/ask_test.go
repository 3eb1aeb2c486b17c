package ask_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"stenobus/subjects/ask"
	"stenobus/subjects/subjectstest"
)

// Of two members of a queue group one is deaf: the other answers all the same.
func TestADeafMemberIsPassedOver(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	nc := bus.Dial()
	heard := make(chan struct{}, 100)
	for _, deaf := range []bool{true, false} {
		_, err := bus.Dial().QueueSubscribe("q", "members", func(m *nats.Msg) {
			if heard <- struct{}{}; deaf {
				return
			}
			_ = m.Respond([]byte("here"))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	subjectstest.Eventually(t, "both are there", func() bool { return bus.Server.NumSubscriptions() >= 2 })
	answered := 0
	for range 4 {
		if m, err := ask.Dispatchers(t.Context(), nc, "q", nil); err == nil && string(m.Data) == "here" {
			answered++
		}
	}
	if answered < 3 || len(heard) < answered { // 1 of 256 has bad luck
		t.Errorf("%d of 4 were answered, after %d requests", answered, len(heard))
	}
}

func TestNobodyIsThere(t *testing.T) {
	t.Parallel()
	nc := subjectstest.NewBus(t).Dial()
	if _, err := ask.Dispatchers(t.Context(), nc, "q", nil); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("got %v, want no responders at once", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ask.Dispatchers(ctx, nc, "q", nil); err == nil {
		t.Error("asked on after its caller had given up")
	}
}
