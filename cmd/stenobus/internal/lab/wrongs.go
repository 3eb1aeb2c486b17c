package lab

import (
	"fmt"
	"sync"
	"time"
)

// Fail is a way in which the deployment may break a promise.
type Fail string

// The ways to fail. Every one of them must stay at 0.
const (
	FrameUnaccounted Fail = "frames_unaccounted" // neither covered by a result once, nor refused with a reason
	FinalLost        Fail = "finals_lost"        // stored, never delivered
	FinalDoubled     Fail = "finals_doubled"     // delivered or stored twice, or delivered and not stored
	FinalDisordered  Fail = "finals_disordered"  // delivered or stored out of order
	FinalStale       Fail = "stale_finals"       // stored by a worker that did not own the session
	InterimStale     Fail = "stale_interims"     // delivered after one of a later owner
	SessionLost      Fail = "sessions_lost"      // not carried to its end
	Leftover         Fail = "leftovers"          // something of a session remains
)

// How many are kept to be shown; all are counted. One cause may have thousands of effects
// of its kind, and must not hide those of another.
const (
	mostWrongs = 100
	mostOfKind = 20
)

// Wrong is one promise broken.
type Wrong struct {
	Fail Fail      `json:"fail"`
	N    uint64    `json:"n"` // how many frames or finals
	What string    `json:"what"`
	At   time.Time `json:"at"`
}

// wrongs collects what is found. Its methods may be called by several goroutines.
type wrongs struct {
	mu    sync.Mutex // guards what follows
	count map[Fail]uint64
	shown map[Fail]int
	first []Wrong
}

func newWrongs() *wrongs { return &wrongs{count: map[Fail]uint64{}, shown: map[Fail]int{}} }

func (w *wrongs) add(found ...Wrong) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range found {
		w.count[one.Fail] += one.N
		if w.shown[one.Fail] < mostOfKind && len(w.first) < mostWrongs {
			w.shown[one.Fail]++
			if one.At.IsZero() {
				one.At = time.Now()
			}
			w.first = append(w.first, one)
		}
	}
}

// total is how many there are in all.
func (w *wrongs) total() (n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.count {
		n += c
	}
	return n
}

func wrong(f Fail, n uint64, format string, args ...any) Wrong {
	return Wrong{Fail: f, N: n, What: fmt.Sprintf(format, args...)}
}
