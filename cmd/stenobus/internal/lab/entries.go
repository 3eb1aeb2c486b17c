package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/worker/engine/tally"
)

const (
	readBatch    = 2000
	readWait     = 5 * time.Second // what has not come by then is asked for again
	readPause    = 250 * time.Millisecond
	readTries    = 40 // in a row without any progress
	consumerIdle = 30 * time.Second
)

// entry is one stored message of a session's results log.
type entry struct {
	seq  uint64
	at   time.Time
	kind subjects.Kind
	subjects.Stamp
	source   string // the client's name of it
	text     string
	covers   tally.Statement   // of a final
	unclear  error             // why that can't be read, if so
	accepted map[string]uint64 // of ended, by source
	progress subjects.Progress
	reason   string
	worker   string
}

// readEntries reads the results of the run's sessions in the order of the log: one pass
// over each of its streams, whatever the number of sessions.
func (o *onlooker) readEntries(ctx context.Context, visit func(session uint32, e entry, err error)) error {
	infos, err := o.lastResults(ctx)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if err := o.readStream(ctx, info.Config.Name, info.State.LastSeq, visit); err != nil {
			return err
		}
	}
	return nil
}

// readStream reads a stream up to its last message. Where the bus fails on the way it
// goes on behind the last one that it has read.
func (o *onlooker) readStream(ctx context.Context, stream string, last uint64, visit func(uint32, entry, error)) (err error) {
	if last == 0 {
		return nil
	}
	seq := uint64(0)
	for tries := 0; ; tries++ {
		before := seq
		seq, err = o.readFrom(ctx, stream, seq+1, last, visit)
		if seq >= last {
			return nil
		}
		if seq > before {
			tries = 0
		}
		if tries >= readTries || pause(ctx, readPause) != nil {
			return fmt.Errorf("read the results: stopped at %d of %d: %w", seq, last, errors.Join(err, context.Cause(ctx)))
		}
	}
}

// readFrom reads with one consumer, and tells how far it came.
func (o *onlooker) readFrom(ctx context.Context, stream string, first, last uint64, visit func(uint32, entry, error)) (seq uint64, err error) {
	seq = first - 1
	consumer, err := o.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerIdle,
	})
	if err != nil {
		return seq, err
	}
	defer func() {
		done, cancel := context.WithTimeout(context.WithoutCancel(ctx), readWait)
		defer cancel()
		_ = o.js.DeleteConsumer(done, stream, consumer.CachedInfo().Name) // or it goes by itself
	}()
	messages, err := consumer.Messages(jetstream.PullMaxMessages(readBatch), jetstream.PullExpiry(readWait))
	if err != nil {
		return seq, err
	}
	defer messages.Stop()
	for seq < last {
		m, err := messages.Next(jetstream.NextMaxWait(readWait))
		if err != nil {
			return seq, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return seq, err
		}
		if meta.Sequence.Stream <= seq {
			return seq, fmt.Errorf("message %d came after %d", meta.Sequence.Stream, seq)
		}
		seq = meta.Sequence.Stream
		o.visit(m, meta, visit)
	}
	return seq, nil
}

// lastResults tells how far each stream of the results log goes.
func (o *onlooker) lastResults(ctx context.Context) ([]*jetstream.StreamInfo, error) {
	for tries := 0; ; tries++ {
		infos, err := o.resultsInfo(ctx)
		if err == nil {
			return infos, nil
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, nil
		}
		if tries >= readTries || pause(ctx, time.Second) != nil {
			return nil, fmt.Errorf("read the results: %w", err)
		}
	}
}

func (o *onlooker) visit(m jetstream.Msg, meta *jetstream.MsgMetadata, visit func(uint32, entry, error)) {
	id, err := subjects.ParseResult(m.Subject())
	if err != nil {
		return
	}
	if session, ok := o.crew.indexOf(id); ok {
		e, err := parseEntry(m.Headers(), m.Data())
		e.seq, e.at = meta.Sequence.Stream, meta.Timestamp
		o.name(id, e.Life, &e.covers)
		visit(session, e, err)
	}
}

// parseEntry reads a message of the results log.
func parseEntry(header nats.Header, data []byte) (e entry, err error) {
	var env subjects.Envelope
	if err := env.ParseMsg(&nats.Msg{Header: header, Data: data}); err != nil {
		return e, err
	}
	e.kind, e.Stamp = env.Kind, env.Stamp
	switch env.Kind {
	case subjects.KindOwner:
		var o subjects.Owner
		if o, err = subjects.Decode[subjects.Owner](env.Kind, data); err == nil {
			e.progress, e.reason, e.worker = o.Progress, o.Reason, o.Worker
		}
	case subjects.KindFinal:
		var f subjects.Final
		if f, err = subjects.Decode[subjects.Final](env.Kind, data); err == nil {
			e.progress, e.source, e.text = f.Progress, f.Name, f.Text
			e.covers, e.unclear = tally.Parse(f.Text)
		}
	case subjects.KindMark:
		var m subjects.Mark
		if m, err = subjects.Decode[subjects.Mark](env.Kind, data); err == nil {
			e.progress = m.Progress
		}
	case subjects.KindEnded:
		var n subjects.Ended
		if n, err = subjects.Decode[subjects.Ended](env.Kind, data); err == nil {
			e.progress, e.reason = n.Progress, n.Reason
			e.accepted = map[string]uint64{}
			for source, frames := range n.Accepted {
				e.accepted[fmt.Sprint(source)] += frames
			}
		}
	}
	return e, err
}
