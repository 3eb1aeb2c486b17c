package explain

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
)

const (
	askWait   = 5 * time.Second // of one question to the bus
	pageSize  = 256             // messages asked for at once
	idle      = 10 * time.Second
	lookEvery = 5 * time.Second // how often a follower looks whether it missed something

	timeHeader = "Nats-Time-Stamp" // when the server stored what it sends on
)

// ErrNoTrace is wrapped where the bus knows nothing of a session.
var ErrNoTrace = errors.New("no trace")

// Reader reads what a bus keeps of sessions, and changes nothing there.
type Reader struct {
	nc      *nats.Conn
	results *subjects.Results
	records jetstream.KeyValue
	kept    time.Duration
}

// Open finds the stream and the bucket. It creates neither.
func Open(ctx context.Context, nc *nats.Conn) (*Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	results, err := subjects.OpenResults(ctx, js)
	if err != nil {
		return nil, err
	}
	records, err := js.KeyValue(ctx, subjects.SessionsBucket)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", subjects.SessionsBucket, err)
	}
	return &Reader{nc: nc, results: results, records: records, kept: results.Streams()[0].CachedInfo().Config.MaxAge}, nil
}

// Find reads the session that a person names, by the id that clients write or by its
// token. byToken says that it was the latter: nothing is known of such an id.
func (r *Reader) Find(ctx context.Context, name string) (s *Story, byToken bool, err error) {
	id, err := subjects.NewSessionID(name)
	if err != nil {
		return nil, false, err
	}
	if s, err = r.Read(ctx, id); !errors.Is(err, ErrNoTrace) {
		return s, false, err
	}
	other, bad := subjects.ParseSessionToken(name)
	if bad != nil || other == id {
		return nil, false, err
	}
	s, otherErr := r.Read(ctx, other)
	if errors.Is(otherErr, ErrNoTrace) {
		return nil, false, fmt.Errorf("%w; nor of %q, whose token that would be", err, string(other))
	}
	return s, true, otherErr
}

// Read tells the story of a session up to now.
func (r *Reader) Read(ctx context.Context, id subjects.SessionID) (*Story, error) {
	s := NewStory(id, r.results.Place(id), r.kept)
	// The record first: whoever ends a session writes its end before the record goes.
	rec, fault := r.record(ctx, id)
	var unreadable *badRecord
	if fault != nil && !errors.As(fault, &unreadable) {
		return nil, fault
	}
	if err := r.scan(ctx, id, 0, func(e Entry) error { s.Add(e); return nil }); err != nil {
		return nil, err
	}
	if rec == nil && fault == nil && s.Messages > 0 { // it may have begun since
		if rec, fault = r.record(ctx, id); fault != nil && !errors.As(fault, &unreadable) {
			return nil, fault
		}
	}
	if rec == nil && fault == nil && s.Messages == 0 {
		return nil, fmt.Errorf("%w of a session with the id %q: no key %s in the bucket %s, and nothing on %s in the stream %s, which keeps results for %s",
			ErrNoTrace, string(id), id.Token(), subjects.SessionsBucket, s.Log.Subject, s.Log.Stream, span(r.kept))
	}
	if fault != nil {
		s.RecordFault = fault.Error()
	}
	s.Settle(rec, time.Now())
	if len(s.Lives) == 0 {
		return nil, fmt.Errorf("nothing of session %q can be read: %s %v", string(id), s.RecordFault, s.Unreadable)
	}
	return s, nil
}

// badRecord is a record that is there and can't be read.
type badRecord struct{ error }

func (b *badRecord) Unwrap() error { return b.error }

// record reads a session's record, nil if there is none.
func (r *Reader) record(ctx context.Context, id subjects.SessionID) (*subjects.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	e, err := r.records.Get(ctx, id.Token())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	rec, err := subjects.DecodeDoc[subjects.Record]("record", e.Value())
	if err != nil {
		return nil, &badRecord{fmt.Errorf("revision %d: %w", e.Revision(), err)}
	}
	if rec.Life == 0 {
		rec.Life = e.Revision()
	}
	return &rec, nil
}

// scan visits a session's results after a sequence, in order, up to the newest. The
// consumer that it needs is gone when it returns.
func (r *Reader) scan(ctx context.Context, id subjects.SessionID, after uint64, visit func(Entry) error) error {
	bound, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	stream := r.results.Stream(id)
	cons, err := stream.CreateConsumer(bound, jetstream.ConsumerConfig{
		Description: "stenobus explain", FilterSubject: r.results.Subject(id), AckPolicy: jetstream.AckNonePolicy,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: idle,
	})
	if err != nil {
		return fmt.Errorf("read the results log: %w", err)
	}
	defer func() {
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), askWait)
		defer cancel()
		_ = stream.DeleteConsumer(bound, cons.CachedInfo().Name) // if not, it goes by itself when it is idle
	}()
	left := cons.CachedInfo().NumPending
	for seen := uint64(0); left > 0; {
		page, err := cons.Fetch(int(min(left, pageSize)), jetstream.FetchMaxWait(askWait))
		if err != nil {
			return fmt.Errorf("read the results log: %w", err)
		}
		before := seen
		for m := range page.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return fmt.Errorf("read the results log: %w", err)
			}
			if seen++; meta.Sequence.Consumer != seen {
				return fmt.Errorf("read the results log: message %d came where %d was due", meta.Sequence.Consumer, seen)
			}
			left = meta.NumPending
			if err := visit(entry(meta.Sequence.Stream, meta.Timestamp, m.Headers(), m.Data())); err != nil {
				return err
			}
		}
		if err := errors.Join(page.Error(), context.Cause(ctx)); err != nil {
			return fmt.Errorf("read the results log: %w", err)
		}
		if seen == before {
			return fmt.Errorf("read the results log: %d messages are missing after %v", left, askWait)
		}
	}
	return nil
}

func entry(seq uint64, at time.Time, h nats.Header, data []byte) Entry {
	e := Entry{Seq: seq, At: at, Data: data}
	e.Fault = e.Envelope.ParseMsg(&nats.Msg{Header: h, Data: data})
	return e
}

// Follow adds to a story what is stored from now on, until the session has ended or is
// lost, or ctx ends, which is no error. It calls tell after each message.
func (r *Reader) Follow(ctx context.Context, s *Story, tell func(Event) error) error {
	notices := make(chan *nats.Msg, pageSize)
	sub, err := r.nc.ChanSubscribe(subjects.Inbox(s.Session, subjects.ChannelResult), notices)
	if err != nil {
		return fmt.Errorf("follow the results: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only where the connection is gone with it
	look := time.NewTimer(0)                 // at once: something may have come since the story was read
	defer look.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case m := <-notices:
			e, ok := s.next(m)
			if !ok {
				look.Reset(0)
				continue
			}
			if err := tell(s.Add(e)); err != nil {
				return err
			}
			if e.Envelope.Kind != subjects.KindEnded {
				continue
			}
		case <-look.C:
		}
		look.Reset(lookEvery)
		over, err := r.catchUp(ctx, s, tell)
		if over || err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// next takes a republished message if it is the one after the newest known. Notices may
// get lost: what is missing is read.
func (s *Story) next(m *nats.Msg) (Entry, bool) {
	seq, err1 := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
	before, err2 := strconv.ParseUint(m.Header.Get(jetstream.LastSequenceHeader), 10, 64)
	at, err3 := time.Parse(time.RFC3339Nano, m.Header.Get(timeHeader))
	if err := errors.Join(err1, err2, err3); err != nil || seq <= s.last || before > s.last {
		return Entry{}, false
	}
	return entry(seq, at, m.Header, m.Data), true
}

// catchUp reads what no notice told of, and whether the session goes on.
func (r *Reader) catchUp(ctx context.Context, s *Story, tell func(Event) error) (over bool, err error) {
	rec, fault := r.record(ctx, s.Session)
	if err := r.scan(ctx, s.Session, s.last, func(e Entry) error { return tell(s.Add(e)) }); err != nil {
		return false, err
	}
	if fault != nil { // of the bus, or of a record that its owner may mend
		return false, nil
	}
	s.RecordFault = ""
	s.Settle(rec, time.Now())
	return s.State != StateLive, nil
}
