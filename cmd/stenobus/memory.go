package main

import (
	"os"
	"runtime/debug"
)

// gcPercent is by how much the heap of a gateway or a worker may grow before the next
// garbage collection, where GOGC does not say otherwise. Go's own default, 100, doubles what
// a session takes. "stenobus bench --no-pipe --sessions 250" shows no more CPU for less than
// half of it; the price is in the 99th percentiles of latencies, as collections are more frequent.
const gcPercent = 40

// clientGCPercent is the same for a process that measures others: it seldom collects, since
// its own pauses would look like theirs.
const clientGCPercent = 400

// leanHeap is for processes whose memory many sessions fill.
func leanHeap() { collectAt(gcPercent) }

func collectAt(percent int) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(percent)
	}
}
