package gateway

import (
	"stenobus/gateway/dialect"
)

// What an entry takes beside its audio, bytes, with the room that a growing slice has to
// spare. It counts against --window-bytes, or frames of a byte would take far more.
const (
	entryCost = 192 // of the window, or held
	startCost = 192 // more where its source begins
	runCost   = 24  // of a run of numbers given up
)

// received is what a client said that has no number yet.
type received struct {
	kind   dialect.EventKind
	quiet  bool // of a flush: the client did not ask for it
	tooBig bool // of a frame: no message holds it

	tag     string
	feed    *feed      // of its source, nil for all of them
	start   *beginning // of a start
	payload []byte
	packet  int64
	at      int64 // ms on the session clock, without its offset
}

// beginning is how a source begins, or goes on in another format.
type beginning struct {
	format   dialect.Format
	language string
	implicit bool // the client did not say so
}

// hold keeps what has no number until the count is known.
func (s *session) hold(r received) {
	s.held = append(s.held, r)
	s.heldB += r.size()
}

func (r *received) size() int {
	if r.start != nil {
		return entryCost + startCost
	}
	return entryCost + len(r.payload)
}

func (s *session) heldFrames() (n int) {
	for _, r := range s.held {
		if r.kind == dialect.Media {
			n++
		}
	}
	return n
}

// size is what an entry takes, bytes.
func (e *entry) size() int {
	n := entryCost + len(e.payload) + runCost*len(e.runs)
	if e.starts != nil {
		n += startCost
	}
	return n
}
