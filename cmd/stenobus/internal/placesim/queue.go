package placesim

import "time"

// event is something that happens at a moment. What a, b and n are is said where events
// of its kind are handled.
type event struct {
	at   time.Duration
	kind kind
	a, b int32
	n    int32
}

// queue is a binary heap of events: the next one is first. It is not container/heap, which
// would put each of the tens of millions of events into an interface.
type queue []event

func (q *queue) push(e event) {
	*q = append(*q, e)
	h := *q
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if h[up].at <= e.at {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

// pop takes the next event. There must be one.
func (q *queue) pop() event {
	h := *q
	top, e := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	*q = h
	for i := 0; len(h) > 0; {
		down := 2*i + 1
		if down+1 < len(h) && h[down+1].at < h[down].at {
			down++
		}
		if down >= len(h) || e.at <= h[down].at {
			h[i] = e
			break
		}
		h[i] = h[down]
		i = down
	}
	return top
}
