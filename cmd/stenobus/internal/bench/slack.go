package bench

import (
	"sync/atomic"
	"time"
)

const (
	// most is how late a timer of this program may strike: an idle one waits for its timers
	// in whole ms. That much is not the server's.
	most      = time.Millisecond
	slackRoom = 1024 // what was sent and may still be answered; a power of two
)

// slack remembers how late things were sent for no other reason than that this program's
// timer struck late. The sender notes it, the reader asks.
type slack [slackRoom]atomic.Uint32 // by number, ns

// note takes the time at which the sender woke for its nth thing, which was due. One that
// was still busy with the thing before has no slack: the server did not read.
func (s *slack) note(n uint64, due, woke time.Time, busy bool) {
	late := min(woke.Sub(due), most)
	if busy || late < 0 {
		late = 0
	}
	s[n%slackRoom].Store(uint32(late))
}

// of is from when a latency of the nth thing counts.
func (s *slack) of(n uint64, due time.Time) time.Time {
	return due.Add(time.Duration(s[n%slackRoom].Load()))
}
