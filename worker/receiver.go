package worker

import (
	"slices"

	"stenobus/subjects"
)

// maxHeld bounds the messages that a receiver keeps while it waits for a hole to be
// filled. Beyond it early messages are dropped: they are holes themselves by then.
const maxHeld = 512

// maxRoom bounds the memory that a receiver keeps where nothing waits, messages.
const maxRoom = 8

// arrival is a numbered message: numbers n to to, both included.
type arrival struct {
	n, to    uint64
	envelope subjects.Envelope
	payload  []byte
	logged   bool // read from the audio log
}

// receiver puts the numbered messages of one session in order. It is pure: what to
// acknowledge and when is the session's to decide.
type receiver struct {
	next  uint64    // the number to be taken next; 0 until the sender has said where it begins
	top   uint64    // the highest number known to exist
	held  []arrival // early messages, and the one that is taken now, by n
	room  []arrival // empty: memory for the next that come, so that frames in order allocate nothing
	dups  uint64    // numbers that came again
	early uint64    // messages that came before their turn
	spare int       // messages held beyond maxHeld, see adopt
}

// begin sets where the count goes on. Numbers below are never taken.
func (r *receiver) begin(n uint64) {
	r.next = n
	r.top = max(r.top, n-1)
}

// offer adds a message. It reports false where the message was dropped for want
// of room; a message that holds the next number is always taken in.
func (r *receiver) offer(a arrival) bool {
	r.top = max(r.top, a.to)
	if r.next != 0 && a.to < r.next {
		r.dups += a.to - a.n + 1
		return true
	}
	i, found := slices.BinarySearchFunc(r.held, a.n, func(h arrival, n uint64) int {
		switch {
		case h.n < n:
			return -1
		case h.n > n:
			return 1
		}
		return 0
	})
	if found && r.held[i].to >= a.to {
		r.dups += a.to - a.n + 1
		return true
	}
	if len(r.held) >= maxHeld+r.spare {
		if r.next == 0 || a.n > r.next {
			return false
		}
		r.held = r.held[:len(r.held)-1] // what fills the hole comes first, or it would never be filled
	}
	if a.n != r.next {
		r.early++
	}
	if r.held == nil {
		r.held = r.room
	}
	r.held = slices.Insert(r.held, i, a)
	if r.room == nil && cap(r.held) <= maxRoom {
		r.room = r.held[:0:1] // the first of them has gone when all have
	}
	return true
}

// adopt takes in messages that were read from a log, however many: their reader bounds
// them. Those that come from the sender have their own room beside them.
func (r *receiver) adopt(list []arrival) {
	if len(list) == 0 {
		return
	}
	r.top = max(r.top, list[len(list)-1].to)
	r.spare += len(list)
	r.held = inOrder(append(r.held, list...))
}

// peek returns the message that holds the next number, if it is there.
func (r *receiver) peek() (*arrival, bool) {
	for len(r.held) > 0 && r.next != 0 {
		h := &r.held[0]
		switch {
		case h.n > r.next:
			return nil, false
		case h.to < r.next: // overtaken by a longer message
			r.dups += h.to - h.n + 1
			r.pop()
		default:
			return h, true
		}
	}
	return nil, false
}

// take moves on by one number; a message wholly taken is forgotten.
func (r *receiver) take() {
	r.next++
	if len(r.held) > 0 && r.held[0].to < r.next {
		r.pop()
	}
}

// takeTo moves on past number n, for a message that counts as one, such as a skip.
func (r *receiver) takeTo(n uint64) {
	r.next = n
	r.take()
}

func (r *receiver) pop() {
	r.held[0] = arrival{} // let the payload go
	r.held = r.held[1:]
	r.spare = max(0, r.spare-1)
	if len(r.held) == 0 {
		r.held = nil
	}
}

// hole is the first range that is known to exist and has not come.
func (r *receiver) hole() (from, to uint64, ok bool) {
	if r.next == 0 || r.next > r.top {
		return 0, 0, false
	}
	if len(r.held) == 0 {
		return r.next, r.top, true
	}
	if r.held[0].n <= r.next { // it is here, only not taken yet
		return 0, 0, false
	}
	return r.next, r.held[0].n - 1, true
}
