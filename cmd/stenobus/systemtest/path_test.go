package systemtest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

func TestSpeechComesBack(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("meeting 1"))
	for _, tag := range tags(2) {
		c.start(tag)
	}
	for range 30 {
		for _, tag := range tags(2) {
			c.speak(tag, 7)
		}
	}
	c.finish()
	if c.id != "meeting 1" {
		t.Errorf("the client was told id %q", c.id)
	}
	if len(c.inter) == 0 {
		t.Error("no interim came")
	}
	if keys := s.keys(); len(keys) != 0 {
		t.Errorf("keys %v are left after the close frame", keys)
	}
}

// A gateway and a worker know how many of their sessions have audio: the memory that they may
// use until garbage is collected follows from it.
func TestWhoStreamsIsCounted(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	gauges := prometheus.NewRegistry()
	s.worker(worker.Config{ID: "w1", Metrics: gauges})
	gw := s.gateway(gateway.Config{Metrics: gauges})
	clients := []*client{dial(t, gw, ""), dial(t, gw, "")}
	for _, c := range clients {
		c.start("a")
	}
	subjectstest.Eventually(t, "two sessions are open", func() bool { return gauge(t, gauges, "stenobus_worker_sessions") == 2 })
	clients[0].speak("a", 50)
	for _, name := range []string{"stenobus_gateway_sessions_streaming", "stenobus_worker_sessions_streaming"} {
		subjectstest.Eventually(t, name+" is 1", func() bool { return gauge(t, gauges, name) == 1 })
	}
	for _, c := range clients {
		c.finish()
	}
	for _, name := range []string{"stenobus_gateway_sessions_streaming", "stenobus_worker_sessions_streaming"} {
		subjectstest.Eventually(t, name+" is 0", func() bool { return gauge(t, gauges, name) == 0 })
	}
}

// gauge is the value of one without labels; -1 if there is none.
func gauge(t *testing.T, from prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}

// Shared messages are the same frames.
func TestFramesShareMessages(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{Share: 60 * time.Millisecond})
	c := dial(t, gw, "")
	c.start("a")
	c.speak("a", 300)
	c.finish()
}

func TestManySessionsSpread(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for range 2 {
		s.dispatcher(dispatcher.Config{})
	}
	for i := range 3 {
		s.worker(worker.Config{ID: fmt.Sprintf("w%d", i+1)})
	}
	gws := []*node{s.gateway(gateway.Config{}), s.gateway(gateway.Config{})}
	subjectstest.Eventually(t, "three workers are reported", func() bool {
		kv, err := s.js.KeyValue(s.ctx(), "transcribe_workers")
		if err != nil {
			return false
		}
		keys, err := kv.Keys(s.ctx())
		return err == nil && len(keys) == 3
	})
	const n = 24
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = dial(t, gws[i%2], named(fmt.Sprintf("room-%d", i)))
		clients[i].start("a")
	}
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() { c.speak("a", 60) })
	}
	wg.Wait()
	subjectstest.Eventually(t, "every session has a key", func() bool { return len(s.keys()) == n })
	workers := map[string]int{}
	for i := range clients {
		workers[string(s.record(fmt.Sprintf("room-%d", i)).Worker)]++
	}
	if len(workers) != 3 {
		t.Errorf("sessions are on %v, want all three workers", workers)
	}
	for _, c := range clients {
		c.finish()
	}
}
