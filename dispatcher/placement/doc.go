// Package placement decides which worker a session goes to. It is pure: reports, answers
// and times come in, a choice and its reason come out; there is no bus in it, so that a
// simulation runs the very same code.
//
// Nothing here is the truth. What a Fleet believes may be seconds old, and several
// dispatchers promise the same slot; the worker that is asked decides, and a Search goes
// on to the next one when it refuses.
package placement

// Strategies of placement.
const (
	Spread    = "spread"    // two random candidates, the one with the lower load
	Pack      = "pack"      // the fullest that still has room
	Hash      = "hash"      // the same worker for the same session id, while it lives and has room
	Dedicated = "dedicated" // only a worker without any session
)

// Strategies is all of them.
func Strategies() []string { return []string{Spread, Pack, Hash, Dedicated} }
