package gateway

import (
	"fmt"

	"stenobus/gateway/dialect"
)

// maxFlushes is how many flushes of a session may wait for their answers.
const maxFlushes = 1000

// flushing is a flush that a client asked for and that results have not answered yet.
type flushing struct {
	source uint32
	tag    string
	last   uint64 // number of the source's last frame before it
}

// finalise flushes every source for this gateway's own sake: the client is not told.
func (s *session) finalise() {
	r := received{kind: dialect.Flush, quiet: true}
	if !s.numbered {
		s.hold(r)
		return
	}
	s.number(r)
}

// awaitFlush remembers what a client's flush was for. The answer is a final with Flushed,
// or a note where no final is due.
func (s *session) awaitFlush(sources []*feed, tag string) {
	if len(s.flushes)+len(sources) > maxFlushes {
		s.warn(dialect.Note{Code: "too_many_flushes", Field: "flush", Allowed: fmt.Sprintf("%d that wait for their answer", maxFlushes),
			Message: "a flush is not answered"})
		return
	}
	for _, f := range sources {
		s.flushes = append(s.flushes, flushing{source: f.number, tag: s.byNum[f.number], last: f.last})
	}
	if len(sources) == 0 {
		s.tell(dialect.Note{Event: dialect.EventFlushed, Tag: tag})
		return
	}
	s.tellFlushed()
}

// flushed tells whether what results cover of a source answers a flush, and forgets it.
func (s *session) flushed(source uint32) bool {
	for i, f := range s.flushes {
		if f.source == source {
			if s.snd.covered[source] < f.last {
				return false
			}
			s.flushes = append(s.flushes[:i], s.flushes[i+1:]...)
			return true
		}
	}
	return false
}

// tellFlushed answers what no final will.
func (s *session) tellFlushed() {
	kept := s.flushes[:0]
	for _, f := range s.flushes {
		if s.snd.covered[f.source] >= f.last {
			s.tell(dialect.Note{Event: dialect.EventFlushed, Tag: f.tag, LastFrame: f.last})
		} else {
			kept = append(kept, f)
		}
	}
	s.flushes = kept
}
