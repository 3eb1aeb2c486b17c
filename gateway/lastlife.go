package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

const lastLifeWait = 10 * time.Second // over all tries to find out what became of a session

// lastLife is what the results log says of a life that nobody serves any more.
type lastLife struct {
	life  uint64
	begin uint64 // last sequence before it
	seq   uint64 // of its last message; 0: the log has nothing of the session
	ended *subjects.Ended
	err   error

	progress subjects.Progress // of its last message
}

// readLastLife finds out what became of the life that a client wants to resume.
func (s *session) readLastLife(ctx context.Context) {
	s.srv.wg.Go(func() {
		l, err := backoff.Retry(ctx, func() (lastLife, error) { return findLastLife(ctx, s.srv.results, s.id) },
			backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(lastLifeWait))
		l.err = err
		s.post(func(ctx context.Context) { s.resumeFrom(ctx, l) })
	})
}

func findLastLife(ctx context.Context, results *subjects.Results, id subjects.SessionID) (lastLife, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := results.Last(ctx, id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return lastLife{}, nil
	}
	if err != nil {
		return lastLife{}, fmt.Errorf("read the results log: %w", err)
	}
	var e subjects.Envelope
	if err := e.ParseMsg(&nats.Msg{Header: m.Header, Data: m.Data}); err != nil {
		return lastLife{}, backoff.Permanent(fmt.Errorf("last message of the results log: %w", err))
	}
	p, err := subjects.Decode[subjects.Progress](e.Kind, m.Data)
	if err != nil {
		return lastLife{}, backoff.Permanent(err)
	}
	l := lastLife{life: e.Life, begin: p.Begin, seq: m.Sequence, progress: p}
	if e.Kind == subjects.KindEnded {
		ended, err := subjects.Decode[subjects.Ended](e.Kind, m.Data)
		if err != nil {
			return lastLife{}, backoff.Permanent(err)
		}
		l.ended = &ended
	}
	return l, nil
}

// resumeFrom delivers what a client lacks of a life that is over, its end included. Of a
// life whose end is not in the log nobody can tell who may read it: another one begins.
func (s *session) resumeFrom(ctx context.Context, l lastLife) {
	switch {
	case s.phase != claiming:
		return
	case l.err != nil:
		s.close(endBus.because(l.err.Error()))
		return
	case l.ended == nil, l.ended.Access == subjects.Access{}: // there is none, or nobody can tell whose it was
		s.beginAnew(ctx)
		return
	case !s.claimRequest(subjects.ReasonResume).Permitted(l.ended.Access):
		if s.after > 0 {
			s.close(endForbidden)
		} else { // the id is used again, and its new life ended before it began
			s.beginAnew(ctx)
		}
		return
	}
	s.log.Info("the session is over, its client gets what it lacks", "life", l.life, "after", s.after)
	s.past = true
	s.stamp = subjects.Stamp{Life: l.life}
	s.tail.place(s.cursorWithin(l.begin, l.seq))
	s.tail.seen = l.seq
	s.tail.cursor = min(s.tail.cursor, l.seq-1) // its end is always told
	for n, name := range l.ended.Names {
		s.byNum[n] = name
	}
	s.over, s.closing = true, endDone
	s.clock.end = time.Now().Add(s.srv.cfg.EndWait)
	s.readMissed(ctx)
}

// beginAnew opens another life where there is none to resume.
func (s *session) beginAnew(ctx context.Context) {
	if s.away && len(s.held) == 0 {
		s.close(endDone) // nobody is left to begin it for
		return
	}
	s.resume, s.after = false, 0
	s.stamp, s.tail, s.nonce = subjects.Stamp{}, tail{}, freshNonce()
	s.startClaim(ctx, subjects.ReasonOpen)
}

// cursorWithin is where a client that has everything up to s.after goes on in a life
// that began after begin and reaches to last.
func (s *session) cursorWithin(begin, last uint64) uint64 {
	if s.after < begin && s.after != 0 {
		s.warn(dialect.Note{Code: "old_cursor", Field: "after", Allowed: fmt.Sprintf("0, or %d and more", begin),
			Message: fmt.Sprintf("cursor %d is of an earlier life of the session: this one begins after %d", s.after, begin)})
	}
	return min(max(s.after, begin), last)
}
