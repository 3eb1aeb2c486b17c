package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
)

const (
	writeWait    = 10 * time.Second      // of one result; far more than any that is worth a figure
	writeAgain   = 50 * time.Millisecond // a worker's first pause too
	resultsBytes = 6 << 30               // room for the longest measurement; nats.conf has 8 GB
)

// LogConfig is a results log to be measured.
type LogConfig struct {
	Streams  int // it is split over
	Replicas int // of each stream: 1, or 3 in a cluster of as many processes
}

// Results measures a results log alone: as many sessions as Load says each write one
// result after the other, fenced, as fast as they are acknowledged, and one subscriber
// hears them all. It has a bus of its own; the writers and the subscriber are this process.
func Results(ctx context.Context, cfg Config, log LogConfig) (r LogResult, err error) {
	cfg.Progress("results log", "starting")
	err = cfg.Deployment.withBuses(ctx, log.Replicas, func(s *site, urls []string) error {
		b, err := dialLog(ctx, urls, log)
		if err != nil {
			return err
		}
		defer b.close()
		r, err = b.measure(ctx, &cfg, s)
		return err
	})
	return r, err
}

// logBench is the client's side of a measurement.
type logBench struct {
	LogConfig
	*busLink            // writes, as a worker does
	hears    *nats.Conn // as a gateway does

	stored, heard, again atomic.Uint64
}

// dialLog makes the streams and subscribes.
func dialLog(ctx context.Context, urls []string, log LogConfig) (b *logBench, err error) {
	b = &logBench{LogConfig: log}
	b.busLink, err = dialBus(ctx, urls, subjects.BusConfig{
		Split: subjects.Split(log.Streams), Replicas: log.Replicas, ResultsBytes: resultsBytes, ResultsEach: 1 << 40,
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.hears, err = nats.Connect(strings.Join(urls, ",")); err != nil {
		return nil, fmt.Errorf("connect to the bus: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	sub, err := b.hears.Subscribe(subjects.AllInboxes, func(*nats.Msg) { b.heard.Add(1) })
	if err == nil {
		err = errors.Join(sub.SetPendingLimits(-1, -1), b.hears.FlushWithContext(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return b, nil
}

func (b *logBench) close() {
	for _, nc := range []*nats.Conn{b.nc, b.hears} {
		if nc != nil {
			nc.Close()
		}
	}
}

// writer is one session.
type writer struct {
	b    *logBench
	id   subjects.SessionID
	n    uint64          // results written
	last uint64          // sequence that the next write expects
	took []time.Duration // from writing a result to its acknowledgement
}

func (b *logBench) measure(ctx context.Context, cfg *Config, s *site) (r LogResult, err error) {
	writers := make([]*writer, cfg.Load.Sessions)
	for i := range writers {
		writers[i] = &writer{b: b, id: subjects.SessionID("bench-" + strconv.Itoa(i))}
	}
	if err := together(writers, func(w *writer) error { return w.write(ctx) }); err != nil { // so that none is new
		return r, err
	}
	begin, err := s.usage()
	if err != nil {
		return r, err
	}
	before, from := b.stored.Load(), time.Now()
	to := from.Add(cfg.Duration)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_ = cfg.showUntil(ctx, "results log", to, func() string { return fmt.Sprintf("%d results stored", b.stored.Load()) })
	}()
	err = together(writers, func(w *writer) error { return w.writeUntil(ctx, to) })
	took := time.Since(from)
	end, usageErr := s.usage()
	<-shown
	if err := errors.Join(err, usageErr); err != nil {
		return r, err
	}
	r = b.result(writers, b.stored.Load()-before, took, begin, end)
	if r.StoredBytes, err = b.size(ctx); err != nil {
		return r, err
	}
	return r, b.awaitHeard(ctx, &r)
}

// size is what a result takes in a stream's file.
func (b *logBench) size(ctx context.Context) (float64, error) {
	var bytes, n uint64
	for _, s := range b.Results.Streams() {
		info, err := s.Info(ctx)
		if err != nil {
			return 0, fmt.Errorf("size of the results log: %w", err)
		}
		bytes, n = bytes+info.State.Bytes, n+info.State.Msgs
	}
	return round(ratio(float64(bytes), float64(n))), nil
}

// together does the same for all writers at once.
func together[W any](writers []W, do func(W) error) error {
	errs := make([]error, len(writers))
	var wg sync.WaitGroup
	for i, w := range writers {
		wg.Go(func() { errs[i] = do(w) })
	}
	wg.Wait()
	for _, err := range errs { // the first will do: thousands may have the same
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) writeUntil(ctx context.Context, to time.Time) error {
	for ctx.Err() == nil && time.Now().Before(to) {
		if err := w.write(ctx); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// write stores one result as a worker does: what was refused is read back and tried again.
func (w *writer) write(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	for {
		seq, err := w.try(ctx)
		if err == nil {
			w.n, w.last, w.took = w.n+1, seq, append(w.took, time.Since(began))
			w.b.stored.Add(1)
			return nil
		}
		w.b.again.Add(1)
		if pauseUntil(ctx, time.Now().Add(writeAgain)) != nil {
			return fmt.Errorf("a result was not stored: %w", err)
		}
	}
}

// try tells the sequence of the result, if it is stored. Nobody else writes here, so what
// is behind the last one is the one that seemed to fail.
func (w *writer) try(ctx context.Context) (uint64, error) {
	ack, err := w.b.js.PublishMsg(ctx, w.message(), jetstream.WithExpectLastSequencePerSubject(w.last))
	if err == nil {
		return ack.Sequence, nil
	}
	m, readErr := w.b.Results.Last(ctx, w.id)
	switch {
	case errors.Is(readErr, jetstream.ErrMsgNotFound):
	case readErr != nil:
		return 0, errors.Join(err, readErr)
	case m.Sequence > w.last:
		return m.Sequence, nil
	}
	return 0, err
}

// message is a final of a few words.
func (w *writer) message() *nats.Msg {
	frame := 50 * (w.n + 1)
	e := subjects.Envelope{Kind: subjects.KindFinal, Stamp: subjects.Stamp{Life: 1, Epoch: 1, Attach: 1}}
	return e.Msg(w.b.Results.Subject(w.id), subjects.Encode(subjects.Final{
		Progress: subjects.Progress{
			Finals: w.n + 1, Covered: map[uint32]uint64{1: frame}, Frames: map[uint32]uint64{1: frame}, SourcesAt: 1,
		},
		Utterance: subjects.Utterance{
			Source: 1, Name: "alice", Utterance: "1.1.1." + strconv.FormatUint(w.n+1, 10),
			Text: "we hear what you say and we send it back to you in writing", StartMS: 1000, EndMS: 5000,
			FirstFrame: frame - 49, LastFrame: frame, Confidence: 0.9, Language: "en",
		},
		Number: w.n + 1,
	}))
}

// awaitHeard waits for the last to come, and counts them.
func (b *logBench) awaitHeard(ctx context.Context, r *LogResult) error {
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	for b.heard.Load() < b.stored.Load() && pauseUntil(ctx, time.Now().Add(countPoll)) == nil {
	}
	r.Stored, r.Heard = b.stored.Load(), b.heard.Load()
	if r.Heard != r.Stored {
		return fmt.Errorf("of %d results stored %d were heard", r.Stored, r.Heard)
	}
	return nil
}
