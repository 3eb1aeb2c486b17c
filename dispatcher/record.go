package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"stenobus/subjects"
)

// errConflict is a compare-and-set that lost: the record is not what was read.
var errConflict = errors.New("the record has changed meanwhile")

// A record's key in the sessions bucket is written through its stream, because the
// key-value interface drops the expiry on update and hides the revision of a
// tombstone. These are that interface's own headers.
const (
	headerOperation = "KV-Operation"
	operationPurge  = "PURGE"
	operationDelete = "DEL"
)

// graceMargin is how much longer than its session's grace a record is kept, unless
// records are to expire sooner.
const graceMargin = time.Minute

// store holds the records of sessions. A read may be stale; only a write decides.
type store struct {
	js        jetstream.JetStream
	kv        jetstream.KeyValue
	stream    jetstream.Stream // behind kv
	expiry    time.Duration    // of a record
	tombstone time.Duration    // how long a deletion is remembered
	conflicts prometheus.Counter
}

// held is a record as it was read or written.
type held struct {
	subjects.Record
	rev   uint64 // to expect at the next write; 0: the key was never there
	there bool   // false: no record, rev is that of a tombstone
	ended bool   // no record because the session was ended, not because it expired

	unread bool // nothing was read: that the key was never there is a guess
}

func openStore(ctx context.Context, js jetstream.JetStream, bus *subjects.Bus, cfg Config, conflicts prometheus.Counter) (*store, error) {
	status, err := bus.Sessions.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", subjects.SessionsBucket, err)
	}
	name := "KV_" + subjects.SessionsBucket
	if s, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		name = s.StreamInfo().Config.Name
	}
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", subjects.SessionsBucket, err)
	}
	return &store{
		js: js, kv: bus.Sessions, stream: stream, expiry: cfg.RecordExpiry,
		tombstone: cfg.Bus.TombstoneExpiry, conflicts: conflicts,
	}, nil
}

// read finds the record of a session, or that there is none. A record whose life is
// still unwritten has its revision for life.
func (s *store) read(ctx context.Context, id subjects.SessionID) (held, error) {
	m, err := s.stream.GetLastMsgForSubject(ctx, subjects.SessionRecord(id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return held{}, nil
	}
	if err != nil {
		return held{}, fmt.Errorf("read record: %w", err)
	}
	op := m.Header.Get(headerOperation)
	if op == operationPurge || op == operationDelete || m.Header.Get(jetstream.MarkerReasonHeader) != "" {
		return held{rev: m.Sequence, ended: op != ""}, nil
	}
	rec, err := subjects.DecodeDoc[subjects.Record]("session record", m.Data)
	if err != nil {
		return held{}, unreadable(m.Sequence, err)
	}
	if rec.Session != id {
		return held{}, unreadable(m.Sequence, fmt.Errorf("field session is %q, its key is of %q", rec.Session, id))
	}
	if rec.Life == 0 {
		rec.Life = m.Sequence
	}
	return held{Record: rec, rev: m.Sequence, there: true}, nil
}

// unreadable refuses a record that trying again at once would not mend. It expires.
func unreadable(rev uint64, err error) error {
	return &subjects.Error{
		Code: subjects.CodeInternal, RetryAfterMS: 1000,
		Message: fmt.Sprintf("session record at revision %d: %v", rev, err),
	}
}

// write replaces what was read, whether a record or nothing, and starts its expiry
// anew. A rec of life 0 begins a life: the revision it gets.
func (s *store) write(ctx context.Context, was held, rec subjects.Record) (held, error) {
	rec.V = subjects.Version
	m := &nats.Msg{Subject: subjects.SessionRecord(rec.Session), Data: subjects.Encode(rec)}
	ack, err := s.js.PublishMsg(ctx, m, jetstream.WithMsgTTL(s.lifetime(rec)), jetstream.WithExpectLastSequencePerSubject(was.rev))
	if err = failed("write record", err); errors.Is(err, errConflict) && !was.unread {
		s.conflicts.Inc()
	}
	if err != nil {
		return held{}, err
	}
	if rec.Life == 0 {
		rec.Life = ack.Sequence
	}
	return held{Record: rec, rev: ack.Sequence, there: true}, nil
}

// lifetime is how long a record stays that nobody renews: longer than its session waits
// for a client, or there would be nothing to come back to.
func (s *store) lifetime(rec subjects.Record) time.Duration {
	return max(s.expiry, graceOf(rec)+min(s.expiry, graceMargin))
}

// graceOf is how long a session waits for a client. Gateways allow an hour at most.
func graceOf(rec subjects.Record) time.Duration {
	return time.Duration(min(max(rec.Options.GraceMS, 0), time.Hour.Milliseconds())) * time.Millisecond
}

// remove deletes what was read. The tombstone, which watchers see, expires by itself.
func (s *store) remove(ctx context.Context, was held) error {
	err := s.kv.Purge(ctx, was.Session.Token(), jetstream.LastRevision(was.rev), jetstream.PurgeTTL(s.tombstone))
	if err = failed("remove record", err); errors.Is(err, errConflict) {
		s.conflicts.Inc()
	}
	return err
}

// failed says what went wrong with a write, nil for nothing.
func failed(doing string, err error) error {
	var api *jetstream.APIError
	if err == nil {
		return nil
	}
	if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return errConflict
	}
	return fmt.Errorf("%s: %w", doing, err)
}
