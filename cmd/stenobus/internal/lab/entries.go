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
	readBatch = 5000             // each batch makes an ordered consumer anew, which asks all nodes
	readWait  = 15 * time.Second // a batch that has not come by then is asked for again
	readTries = 12
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

// readEntries reads the results of the run's sessions in the order of the log, in
// batches: one pass over the stream, whatever the number of sessions.
func (o *onlooker) readEntries(ctx context.Context, visit func(session uint32, e entry, err error)) error {
	last, err := o.lastResult(ctx)
	if err != nil || last == 0 {
		return err
	}
	consumer, err := o.js.OrderedConsumer(ctx, subjects.ResultsStream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subjects.AllResults}, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return fmt.Errorf("read the results: %w", err)
	}
	var seq uint64
	for tries := 0; ; tries++ {
		before := seq
		if seq, err = o.readBatches(consumer, seq, last, visit); err == nil && seq >= last {
			return nil
		}
		if seq > before {
			tries = 0
		}
		if tries >= readTries || ctx.Err() != nil {
			return fmt.Errorf("read the results: stopped at %d of %d: %w", seq, last, errors.Join(err, context.Cause(ctx)))
		}
	}
}

// lastResult is the sequence of the stream's last message.
func (o *onlooker) lastResult(ctx context.Context) (uint64, error) {
	for tries := 0; ; tries++ {
		info, err := o.resultsInfo(ctx)
		if err == nil {
			return info.State.LastSeq, nil
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return 0, nil
		}
		if tries >= readTries || pause(ctx, time.Second) != nil {
			return 0, fmt.Errorf("read the results: %w", err)
		}
	}
}

// readBatches goes on behind seq until the last message or a batch that does not come.
// An ordered consumer begins each batch where the one before ended.
func (o *onlooker) readBatches(consumer jetstream.Consumer, seq, last uint64, visit func(uint32, entry, error)) (uint64, error) {
	for seq < last {
		batch, err := consumer.Fetch(int(min(readBatch, last-seq)), jetstream.FetchMaxWait(readWait))
		if err != nil {
			return seq, err
		}
		n := 0
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return seq, err
			}
			seq = meta.Sequence.Stream
			n++
			o.visit(m, meta, visit)
		}
		if err := batch.Error(); err != nil {
			return seq, err
		}
		if n == 0 {
			return seq, errors.New("no more came")
		}
	}
	return seq, nil
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
