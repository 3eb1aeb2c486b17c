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

	"stenobus/cmd/stenobus/internal/child"
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
	dir, remove, err := tempDir()
	if err != nil {
		return r, err
	}
	defer remove()
	cfg.Progress("results log", "starting")
	s := &site{}
	defer func() { err = errors.Join(err, s.stop()) }()
	urls, err := s.startBuses(ctx, &cfg.Deployment, dir, log.Replicas)
	if err != nil {
		return r, err
	}
	b, err := dialLog(ctx, urls, log)
	if err != nil {
		return r, err
	}
	defer b.close()
	return b.measure(ctx, &cfg, s)
}

// startBuses starts one bus, or as many as are a cluster.
func (s *site) startBuses(ctx context.Context, d *Deployment, dir string, n int) (urls []string, err error) {
	cluster, err := child.FreePorts(n)
	if err != nil {
		return nil, err
	}
	for i := range n {
		args := []string{"bus", "--listen", "127.0.0.1:0", "--data", dir + "/" + strconv.Itoa(i+1)}
		if n > 1 {
			args = append(args, "--name", "bus-"+strconv.Itoa(i+1), "--cluster-listen", cluster[i], "--routes", "nats://"+strings.Join(cluster, ",nats://"))
		}
		c, err := s.start(ctx, d, roleBus, args...)
		if err != nil {
			return nil, err
		}
		urls = append(urls, c.URL())
	}
	return urls, nil
}

// logBench is the client's side of a measurement.
type logBench struct {
	LogConfig
	writes, hears *nats.Conn // as a worker and a gateway have one each
	js            jetstream.JetStream
	results       *subjects.Results

	stored, heard, again atomic.Uint64
}

// dialLog makes the streams and subscribes.
func dialLog(ctx context.Context, urls []string, log LogConfig) (b *logBench, err error) {
	b = &logBench{LogConfig: log}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.writes, err = nats.Connect(strings.Join(urls, ",")); err != nil {
		return nil, fmt.Errorf("connect to the bus: %w", err)
	}
	if b.hears, err = nats.Connect(strings.Join(urls, ",")); err != nil {
		return nil, fmt.Errorf("connect to the bus: %w", err)
	}
	if b.js, err = jetstream.New(b.writes); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	bus, err := subjects.Await(ctx, b.js, subjects.BusConfig{
		Split: subjects.Split(log.Streams), Replicas: log.Replicas, ResultsBytes: resultsBytes, ResultsEach: 1 << 40,
	}, func(error) {}) // a cluster takes a while to elect its leader
	if err != nil {
		return nil, err
	}
	b.results = bus.Results
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
	for _, nc := range []*nats.Conn{b.writes, b.hears} {
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
		b.show(ctx, cfg, to)
	}()
	err = together(writers, func(w *writer) error { return w.writeUntil(ctx, to) })
	took := time.Since(from)
	end, usageErr := s.usage()
	<-shown
	if err := errors.Join(err, usageErr); err != nil {
		return r, err
	}
	r = b.result(writers, b.stored.Load()-before, took, begin, end)
	return r, b.awaitHeard(ctx, &r)
}

// together does the same for all writers at once.
func together(writers []*writer, do func(*writer) error) error {
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
	m, readErr := w.b.results.Last(ctx, w.id)
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
	return e.Msg(w.b.results.Subject(w.id), subjects.Encode(subjects.Final{
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

// show tells every second how far it is.
func (b *logBench) show(ctx context.Context, cfg *Config, to time.Time) {
	for now := time.Now(); now.Before(to); now = time.Now() {
		cfg.Progress("results log", fmt.Sprintf("%.0f s to go, %d results stored", to.Sub(now).Seconds(), b.stored.Load()))
		next := now.Add(showEvery)
		if next.After(to) {
			next = to
		}
		if pauseUntil(ctx, next) != nil {
			return
		}
	}
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
