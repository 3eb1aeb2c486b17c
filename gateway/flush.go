package gateway

import (
	"context"
	"fmt"

	"github.com/cenkalti/backoff/v5"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// maxFlushes is how many flushes of a session may wait for their answers.
const maxFlushes = 1000

// flushing is a flush that a client asked for and that results have not answered yet.
type flushing struct {
	source uint32
	tag    string
	last   uint64 // number of the source's last frame before it, of this connection; 0: there was none
	frames uint64 // then it is for these frames, of an earlier one
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

// flush numbers a flush of each source that it means, those included of which only an
// earlier connection had audio.
func (s *session) flush(r received) {
	var wait []flushing
	for tag, f := range s.feeds {
		if r.tag != "" && r.feed != f || !f.heard && s.snd.accepted[f.number] == 0 {
			continue
		}
		if !f.done { // else there is nothing new to finalise
			s.snd.push(entry{kind: subjects.KindFlush, source: f.number})
			f.done = true
		}
		wait = append(wait, flushing{f.number, tag, f.last, s.snd.accepted[f.number]})
	}
	if r.quiet {
		return
	}
	for tag, src := range s.resumed {
		n := src.Source
		if r.tag != "" && r.tag != tag || s.snd.accepted[n] == 0 {
			continue
		}
		if !s.old[n] {
			s.snd.push(entry{kind: subjects.KindFlush, source: n})
			s.old[n] = true
		}
		wait = append(wait, flushing{n, tag, 0, s.snd.accepted[n]})
	}
	s.awaitFlush(wait, r.tag)
}

// awaitFlush remembers what a client's flush was for. The answer is a final with Flushed,
// or a note where no final is due.
func (s *session) awaitFlush(wait []flushing, tag string) {
	if len(s.flushes)+len(wait) > maxFlushes {
		s.warn(dialect.Note{Code: "too_many_flushes", Field: "flush", Allowed: fmt.Sprintf("%d that wait for their answer", maxFlushes),
			Message: "a flush is not answered"})
		return
	}
	s.flushes = append(s.flushes, wait...)
	for _, f := range wait {
		s.booksWanted = s.booksWanted || f.last == 0 && s.booksAt == 0
	}
	if len(wait) == 0 {
		s.tell(dialect.Note{Event: dialect.EventFlushed, Tag: tag})
		return
	}
	s.tellFlushed()
}

// answered tells whether results that were delivered cover all that a flush is for.
func (s *session) answered(f flushing) bool {
	if f.last > 0 {
		return s.snd.covered[f.source] >= f.last
	}
	if s.booksAt == 0 || s.booksAt > s.tail.cursor {
		return false
	}
	n := s.books.Frames[f.source]
	for _, refused := range s.books.Refused[f.source] {
		n += refused
	}
	return n >= f.frames
}

// flushed tells whether what results cover of a source answers a flush, and forgets it.
func (s *session) flushed(source uint32) bool {
	for i, f := range s.flushes {
		if f.source == source {
			if !s.answered(f) {
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
		if s.answered(f) {
			s.tell(dialect.Note{Event: dialect.EventFlushed, Tag: f.tag, LastFrame: f.last})
		} else {
			kept = append(kept, f)
		}
	}
	s.flushes = kept
}

// note keeps what the newest result known counts.
func (s *session) note(seq uint64, p subjects.Progress) {
	if seq > s.booksAt {
		s.books, s.booksAt = p, seq
	}
}

// readBooks reads the newest result, for a flush of what an earlier connection said: there
// may be none to come that tells whether all of it is covered.
func (s *session) readBooks(ctx context.Context) {
	s.booksWanted = false
	s.srv.wg.Go(func() {
		l, err := backoff.Retry(ctx, func() (lastLife, error) { return findLastLife(ctx, s.srv.results, s.id) },
			backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(lastLifeWait))
		l.err = err
		s.post(func(context.Context) { s.booksRead(&l) })
	})
}

// booksRead takes what readBooks found. Its finals may still be on their way.
func (s *session) booksRead(l *lastLife) {
	switch {
	case l.err != nil:
		s.grumble("the newest result was not read", l.err)
		s.booksWanted = len(s.flushes) > 0 && s.booksAt == 0
	case l.life == s.stamp.Life:
		s.note(l.seq, l.progress)
		s.tail.seen = max(s.tail.seen, l.seq)
		s.expectResult()
		s.tellFlushed()
	}
}
