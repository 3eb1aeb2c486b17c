package worker

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"stenobus/subjects"
)

// quick is an engine whose streams never wait, and fail when told to.
type quick struct {
	mu     sync.Mutex
	failAt uint64     // this frame, once
	heard  [][]uint64 // by stream
}

func (q *quick) Describe() Description { return Description{Name: "quick"} }

func (q *quick) Open(_ context.Context, _ StreamConfig, _ func(Result)) (Stream, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.heard = append(q.heard, nil)
	return q, nil
}

func (q *quick) Write(_ context.Context, a Audio) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	last := &q.heard[len(q.heard)-1]
	if *last = append(*last, a.Frame); a.Frame == q.failAt {
		q.failAt = 0
		return errors.New("told to fail")
	}
	return nil
}

func (q *quick) Prompt() bool                { return true }
func (q *quick) Flush(context.Context) error { return nil }
func (q *quick) Close() error                { return nil }

// sink takes a source's results.
type sink struct {
	entries chan entry
	roomy   chan struct{}
}

func (k *sink) interim(subjects.Utterance) {}
func (k *sink) append(_ context.Context, e entry) bool {
	k.entries <- e
	return true
}
func (k *sink) stamped() subjects.Stamp   { return subjects.Stamp{Life: 1, Epoch: 1, Attach: 1} }
func (k *sink) prompt() bool              { return true }
func (k *sink) undecodable(string, error) {}
func (k *sink) room() {
	select {
	case k.roomy <- struct{}{}:
	default:
	}
}

// hear hands n frames to a source as a session does, and ends it.
func hear(t *testing.T, q *quick, n uint64) (direct int, covered coverage) {
	t.Helper()
	k := &sink{entries: make(chan entry, 8), roomy: make(chan struct{}, 1)}
	cfg := sourceConfig{session: "s", engine: q, desc: q.Describe(), idleCommit: time.Hour, turnLimit: 24 * time.Hour}
	src := newSource(subjects.Source{Source: 1, Name: "a"}, cfg, k, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- src.run(t.Context()) }()
	for i := range n {
		f := openFrame{n: i + 1, count: 1, at: int64(i) * 20, packet: -1, payload: []byte{1}}
		if src.direct(t.Context(), f, time.Now()) {
			direct++
			continue
		}
		for len(src.queue) == cap(src.queue) {
			<-k.roomy
		}
		src.put(item{kind: subjects.KindFrames, frame: f})
	}
	close(src.queue)
	if err := <-ended; err != nil {
		t.Fatalf("run: %v", err)
	}
	return direct, *(<-k.entries).cover
}

// TestFramesOfAPromptEngineStayInOrder lets frames come while the engine's stream is opened
// and the first of them wait: some are queued, the others go past the source's goroutine.
func TestFramesOfAPromptEngineStayInOrder(t *testing.T) {
	t.Parallel()
	for range 200 {
		q := &quick{}
		direct, covered := hear(t, q, 300)
		if len(q.heard) != 1 || len(q.heard[0]) != 300 {
			t.Fatalf("%d streams, the first heard %d frames; want 1 and 300", len(q.heard), len(q.heard[0]))
		}
		for i, n := range q.heard[0] {
			if n != uint64(i)+1 {
				t.Fatalf("frame %d came as number %d, %d went direct", n, i+1, direct)
			}
		}
		if covered.frames != 300 {
			t.Fatalf("covered %d frames, want 300", covered.frames)
		}
	}
}

// TestStreamFailsOnAFrameThatWentDirect: the next stream hears all that no result covers,
// the frame on which the first one failed among it, and each once.
func TestStreamFailsOnAFrameThatWentDirect(t *testing.T) {
	t.Parallel()
	const failAt = 40
	q := &quick{failAt: failAt}
	k := &sink{entries: make(chan entry, 8), roomy: make(chan struct{}, 1)}
	cfg := sourceConfig{session: "s", engine: q, desc: q.Describe(), idleCommit: time.Hour, turnLimit: 24 * time.Hour}
	src := newSource(subjects.Source{Source: 1, Name: "a"}, cfg, k, slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- src.run(t.Context()) }()
	frame := func(n uint64) openFrame {
		return openFrame{n: n, count: 1, at: int64(n) * 20, packet: -1, payload: []byte{1}}
	}
	src.put(item{kind: subjects.KindFrames, frame: frame(1)})
	for n := uint64(2); n < failAt; n++ {
		for f := frame(n); !src.direct(t.Context(), f, time.Now()); { // the first one opens the stream meanwhile
			runtime.Gosched()
		}
	}
	for n := uint64(failAt); n <= 50; n++ {
		if f := frame(n); !src.direct(t.Context(), f, time.Now()) {
			src.put(item{kind: subjects.KindFrames, frame: f})
		}
	}
	close(src.queue)
	if err := <-ended; err != nil {
		t.Fatalf("run: %v", err)
	}
	if len(q.heard) != 2 || len(q.heard[1]) != 50 {
		t.Fatalf("streams heard %v; want a second one that hears all 50", q.heard)
	}
	for i, n := range q.heard[1] {
		if n != uint64(i)+1 {
			t.Errorf("frame %d came as number %d", n, i+1)
		}
	}
	if c := (<-k.entries).cover; c.frames != 50 {
		t.Errorf("covered %d frames, want 50", c.frames)
	}
}
