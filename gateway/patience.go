package gateway

import (
	"context"
	"time"

	"stenobus/gateway/dialect"
)

const (
	patienceFor = 60                    // messages without sense that a client may send beyond those with
	nonsenseGap = 10 * time.Millisecond // between two that are read after that
)

// patience bounds what a client costs that sends nothing but nonsense: it is not closed, as
// others' extensions look like nonsense too, and so does a source whose packets come again, but
// read more slowly: not as slowly that what follows the packets of one speaker would be late. It
// belongs to the connection's reader.
type patience struct {
	wrong int // messages without sense, less those with
}

// try counts a message by what became of it, and returns how long not to read.
func (p *patience) try(events []dialect.Event) time.Duration {
	if !senseless(events) {
		p.wrong = max(0, p.wrong-1)
		return 0
	}
	if p.wrong < patienceFor {
		p.wrong++
		return 0
	}
	return nonsenseGap
}

// senseless tells whether a message was good for nothing but complaints. One without any
// events was understood: a reply went out, or nothing was to be done.
func senseless(events []dialect.Event) bool {
	for _, ev := range events {
		if ev.Kind != dialect.Notice {
			return false
		}
	}
	return len(events) > 0
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
