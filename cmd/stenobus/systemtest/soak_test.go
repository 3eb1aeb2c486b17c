package systemtest

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

// Short sessions, one after another on eight connections at a time, end with
// goroutines, subscriptions, keys and memory where they began. STENOBUS_SOAK sets how
// many; "make soak" takes 10,000. It does not run in parallel: it counts goroutines.
func TestSoak(t *testing.T) {
	sessions := howMany("STENOBUS_SOAK", 200)
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	quiet := worker.Config{ID: "w1", Log: s.quiet()}
	s.worker(quiet)
	gw := s.gateway(gateway.Config{Log: s.quiet()})
	s.burst(gw, 64) // what is made once is made now
	subjectstest.Eventually(t, "the first sessions are gone", func() bool { return len(s.keys()) == 0 })
	before, heap := s.footprint(), liveHeap()
	for done := 0; done < sessions; {
		n := min(1000, sessions-done)
		s.burst(gw, n)
		done += n
		t.Logf("%d sessions, heap %d kB, %d goroutines", done, liveHeap()>>10, runtime.NumGoroutine())
	}
	s.nothingLeft(before)
	subjectstest.Eventually(t, "goroutines are back at the baseline", func() bool { return runtime.NumGoroutine() <= before.goroutines })
	// The embedded server keeps an index entry for each subject of its results stream:
	// that is their retention, not a leak, and below 2 kB a session.
	if grown := int64(liveHeap()) - int64(heap); grown > 4<<20+int64(sessions)*2048 {
		t.Errorf("the heap grew by %d kB over %d sessions", grown>>10, sessions)
	}
	stream, err := s.js.Stream(s.ctx(), subjects.ResultsStream)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("results kept: %d messages", stream.CachedInfo().State.Msgs)
}

func (s *system) burst(gw *node, n int) {
	s.t.Helper()
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				c, err := connect(s.t, gw, named(fmt.Sprintf("soak-%d", i)))
				if err != nil {
					s.t.Error(err)
					continue
				}
				go c.read()
				c.start("a")
				c.speak("a", 5)
				c.finish()
				c.hangUp()
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// howMany is a number that the environment may raise for a longer run.
func howMany(name string, usual int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return usual
}
