package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/subjects/safeguard"
)

var (
	// errSuperseded ends a session whose log belongs to a later epoch or life.
	errSuperseded = errors.New("superseded")
	// errEnded ends a session whose life is over already.
	errEnded = errors.New("this life of the session has ended")
)

const (
	logQueue     = 64              // results that wait for the store before an engine has to
	writeTimeout = 2 * time.Second // of one try: while a stream elects its leader nobody answers
	writeBudget  = 2 * time.Minute // of one result, over all tries
)

// entry is one result on its way into the log.
type entry struct {
	kind  subjects.Kind
	cover *coverage                     // what it covers, nil for owner and ended
	build func(p subjects.Progress) any // the payload, once the progress is known
}

// resultLog writes one session's results, each fenced on the one before, so that a
// worker which was replaced while it slept is refused by the server. One goroutine
// runs it and owns all fields but queue; append may be called from any.
type resultLog struct {
	js      jetstream.JetStream
	results *subjects.Results
	id      subjects.SessionID
	stamp   func() subjects.Stamp
	queue   chan entry
	stored  func(e entry, seq uint64) // called after each write
	waits   func(err error)           // called after each try that failed

	last     uint64 // sequence that the next write expects
	progress subjects.Progress
	sources  atomic.Pointer[[]subjects.Source] // as the session knows them; written by its loop, never changed in place
	told     *[]subjects.Source                // as the log has them

	coveredAt time.Time // of the last result before this ownership, if it covers something
}

// append queues a result. It blocks while the queue is full: finals wait, bounded,
// and their engine with them. It reports false if ctx ended first.
func (l *resultLog) append(ctx context.Context, e entry) bool {
	select {
	case l.queue <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

// take makes the log this worker's: it reads where the session stands and writes
// owner on top of it.
func (l *resultLog) take(ctx context.Context, owner func(p subjects.Progress) any) error {
	e := entry{kind: subjects.KindOwner, build: owner}
	if l.begins() {
		if taken, err := l.open(ctx, e); taken || err != nil {
			return err
		}
		if l.last > 0 { // it has met something, and knows it now
			return l.write(ctx, e)
		}
	}
	if err := l.read(ctx); err != nil {
		return err
	}
	return l.write(ctx, e)
}

// begins tells whether the log is likely to be empty, and a write able to tell that it is not.
func (l *resultLog) begins() bool {
	own := l.stamp()
	return own.Epoch == 1 && own.Attach == 1 && !safeguard.FenceOff
}

// open writes owner into an empty log, without a read before it: the fence tells whether
// it is empty. It reports false where it is not, or where nobody answers.
func (l *resultLog) open(ctx context.Context, e entry) (bool, error) {
	l.last, l.progress = 0, fresh(0)
	switch err := l.try(ctx, e); {
	case err == nil:
		l.noteStored(e)
		return true, nil
	case errors.Is(err, errSuperseded), errors.Is(err, errEnded):
		return false, err
	}
	return false, nil
}

// read finds the last message of the log and adopts its progress.
func (l *resultLog) read(ctx context.Context) error {
	m, err := l.results.Last(ctx, l.id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		l.last, l.progress = 0, fresh(0)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the results log: %w", err)
	}
	return l.adopt(ctx, m)
}

// adopt goes on from the log's last message.
func (l *resultLog) adopt(ctx context.Context, m *jetstream.RawStreamMsg) error {
	var e subjects.Envelope
	if err := e.ParseMsg(&nats.Msg{Header: m.Header, Data: m.Data}); err != nil {
		return fmt.Errorf("last message of the results log: %w", err)
	}
	own := l.stamp()
	switch {
	case e.Life > own.Life, e.Life == own.Life && e.Epoch > own.Epoch:
		return fmt.Errorf("%w by life %d epoch %d", errSuperseded, e.Life, e.Epoch)
	case e.Life == own.Life && e.Kind == subjects.KindEnded:
		return errEnded
	}
	l.last = m.Sequence
	if e.Life < own.Life && !safeguard.LifeOff {
		l.progress = fresh(m.Sequence)
		return nil
	}
	var p struct{ subjects.Progress }
	if err := json.Unmarshal(m.Data, &p); err != nil {
		return fmt.Errorf("last message of the results log: %w", err)
	}
	l.progress = p.Progress
	if covers(e.Kind) {
		l.coveredAt = m.Time
	}
	return l.readSources(ctx)
}

// readSources finds the life's sources where an earlier message of the log has them.
func (l *resultLog) readSources(ctx context.Context) error {
	if l.progress.Sources == nil && l.progress.SourcesAt > 0 {
		m, err := l.results.Stream(l.id).GetMsg(ctx, l.progress.SourcesAt)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil // aged out: its gateway announces those that live
		}
		if err != nil {
			return fmt.Errorf("read the results log: %w", err)
		}
		p, err := subjects.Decode[subjects.Progress]("result", m.Data)
		if err != nil {
			return err
		}
		l.progress.Sources = p.Sources
	}
	l.told = &l.progress.Sources
	l.sources.Store(l.told)
	return nil
}

// fresh is the progress of a life that begins after a sequence.
func fresh(begin uint64) subjects.Progress {
	return subjects.Progress{Begin: begin, Covered: map[uint32]uint64{}, Frames: map[uint32]uint64{}}
}

// run writes what is queued until ctx ends, the log is taken over, or ended is written.
func (l *resultLog) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-l.queue:
			if err := l.write(ctx, e); err != nil {
				return err
			}
			if e.kind == subjects.KindEnded {
				return nil
			}
		}
	}
}

// write stores one result, for as long as it takes within its budget. A try that was
// refused or timed out is read back: our own message there means success.
func (l *resultLog) write(ctx context.Context, e entry) error {
	if e.cover != nil {
		e.cover.add(&l.progress)
	}
	if e.kind == subjects.KindFinal {
		l.progress.Finals++
	}
	try := func() (struct{}, error) {
		err := l.try(ctx, e)
		if errors.Is(err, errSuperseded) || errors.Is(err, errEnded) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 50*time.Millisecond, time.Second
	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(writeBudget),
		backoff.WithNotify(func(err error, _ time.Duration) { l.waits(fmt.Errorf("%s: %w", e.kind, err)) }))
	if err != nil {
		return fmt.Errorf("store %s: %w", e.kind, err)
	}
	l.noteStored(e)
	return nil
}

func (l *resultLog) noteStored(e entry) {
	if l.stored != nil {
		l.stored(e, l.last)
	}
}

func (l *resultLog) try(ctx context.Context, e entry) error {
	env := subjects.Envelope{Kind: e.kind, Stamp: l.stamp()}
	p, sources := l.progress, l.sources.Load()
	if p.Sources = nil; sources != nil && sources != l.told {
		p.Sources, p.SourcesAt = *sources, 0
	}
	msg := env.Msg(l.results.Subject(l.id), subjects.Encode(e.build(p)))
	tryCtx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var fence []jetstream.PublishOpt
	if !safeguard.FenceOff {
		fence = append(fence, jetstream.WithExpectLastSequencePerSubject(l.last))
	}
	ack, err := l.js.PublishMsg(tryCtx, msg, fence...)
	if err != nil {
		if err = l.readBack(ctx, e.kind, msg.Data, err); err != nil {
			return err
		}
	} else {
		l.last = ack.Sequence
	}
	if p.Sources != nil {
		l.told, l.progress.SourcesAt = sources, l.last
	}
	return nil
}

// readBack decides what a failed write means. Only this worker writes in its epoch,
// one message at a time, so a message of the epoch that it has not yet counted is
// the very one it wrote. An owner may find more: what this worker wrote when it had the
// session before, in the same epoch, and under its name before it was started again. Only
// its own words again are as good as its own.
func (l *resultLog) readBack(ctx context.Context, kind subjects.Kind, data []byte, cause error) error {
	readCtx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	m, err := l.results.Last(readCtx, l.id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		l.last = 0 // aged out
		return cause
	}
	if err != nil {
		return errors.Join(cause, err)
	}
	var e subjects.Envelope
	if err := e.ParseMsg(&nats.Msg{Header: m.Header, Data: m.Data}); err != nil {
		return errors.Join(cause, err)
	}
	own := l.stamp()
	switch {
	case !safeguard.FenceOff && (e.Life > own.Life || e.Life == own.Life && e.Epoch > own.Epoch):
		return fmt.Errorf("%w by life %d epoch %d", errSuperseded, e.Life, e.Epoch)
	case e.Life == own.Life && e.Epoch == own.Epoch && m.Sequence > l.last &&
		(kind != subjects.KindOwner || bytes.Equal(m.Data, data)):
		l.last = m.Sequence
		return nil
	case kind == subjects.KindOwner && m.Sequence != l.last:
		// The owner before us wrote once more after we read, or we did not read: its result
		// counts.
		if err := l.adopt(ctx, m); err != nil {
			return err
		}
	}
	return cause
}
