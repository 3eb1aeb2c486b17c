package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// What sessions take decides when a gateway or a worker collects garbage. Go's own rule, at
// 100 % growth, doubles what a session takes; a lower percentage alone collects so often, where
// many sessions speak, that collections are the 99th percentile of latencies. So each session
// has memory of its own, less than the budgets of "stenobus bench budgets" since the heap is
// not all of it, and garbage is collected when the memory of all is used up.
const (
	baseMemory       = 3 << 20  // bytes of heap and stacks without any session
	idleSession      = 30 << 10 // bytes of heap and stacks
	streamingSession = 84 << 10

	// Sessions that need more than theirs let the heap grow by leastGrowth, percent, between
	// collections. It grows by no more than mostGrowth where there are few.
	leastGrowth = 40
	mostGrowth  = 400

	heapLook    = time.Second
	heapChanges = 10 // percent; a smaller change is not worth stopping everything for
)

// clientGCPercent is the growth for a process that measures others: it seldom collects, since
// its own pauses would look like theirs.
const clientGCPercent = 400

// heap follows how many sessions there are.
type heap struct {
	crowd  func() (open, streaming int)
	growth int // percent, as set
}

func newHeap(crowd func() (open, streaming int)) *heap { return &heap{crowd: crowd} }

// run sets when garbage is collected until ctx ends.
func (h *heap) run(ctx context.Context) error {
	look := time.NewTicker(heapLook)
	defer look.Stop()
	for {
		open, streaming := h.crowd()
		live, stacks := heapInUse()
		if g := growth(live, stacks, open, streaming); g < h.growth-heapChanges || g > h.growth+heapChanges {
			collectAt(g)
			h.growth = g
		}
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// growth is by how much the heap may grow until the next collection, percent as for GOGC, of
// which live and stacks are the base, bytes.
func growth(live, stacks uint64, open, streaming int) int {
	allowed := baseMemory + max(0, open-streaming)*idleSession + streaming*streamingSession
	more := float64(allowed) - float64(live) - float64(stacks)
	return int(min(mostGrowth, max(leastGrowth, 100*more/float64(live+stacks+1))))
}

// heapInUse is what the last collection left, and what goroutines take, bytes.
func heapInUse() (live, stacks uint64) {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64(), s[1].Value.Uint64()
}

// collectAt sets the growth unless GOGC does.
func collectAt(percent int) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(percent)
	}
}
