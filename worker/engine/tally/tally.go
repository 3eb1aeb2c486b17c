// Package tally is a measuring instrument in the shape of an engine. It recognises
// nothing: its finals state which frames they cover and a hash of their bytes, so
// that loss, duplication and order can be proved by anyone who kept the audio.
package tally

import (
	"context"
	"fmt"
	"hash"
	"hash/fnv"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"stenobus/worker"
)

// Config of a tally engine. The zero value works.
type Config struct {
	Every   int           // frames to a final; 0: 50
	Interim int           // frames to an interim; 0: 10; below 0: none
	Slow    time.Duration // time spent on each frame
	Hold    time.Duration // how long each final is held back after its last frame
	Stamp   bool          // say when the last frame came
	FailAt  uint64        // number of the frame on which a stream fails; 0: none
	Fails   int64         // how often it does so in all; 0: every time
}

// Engine counts frames. Make it with New.
type Engine struct {
	cfg   Config
	fails atomic.Int64
}

// New checks the configuration.
func New(cfg Config) (*Engine, error) {
	if cfg.Every == 0 {
		cfg.Every = 50
	}
	if cfg.Interim == 0 {
		cfg.Interim = 10
	}
	if cfg.Every < 1 || cfg.Slow < 0 || cfg.Hold < 0 || cfg.Fails < 0 {
		return nil, fmt.Errorf("tally: every is %d, allowed are 1 and more; slow %v, hold %v and fails %d must not be below 0",
			cfg.Every, cfg.Slow, cfg.Hold, cfg.Fails)
	}
	return &Engine{cfg: cfg}, nil
}

// Describe implements worker.Engine.
func (e *Engine) Describe() worker.Description { return worker.Description{Name: "tally"} }

// Open implements worker.Engine.
func (e *Engine) Open(_ context.Context, _ worker.StreamConfig, emit func(worker.Result)) (worker.Stream, error) {
	s := &stream{engine: e, emit: emit, count: newCount()}
	s.idle.L = &s.mu
	return s, nil
}

// stream counts one source's frames.
type stream struct {
	engine *Engine
	emit   func(worker.Result)
	count  *count

	mu     sync.Mutex // guards held and closed: finals held back are emitted by a timer
	idle   sync.Cond  // held became empty, or the stream closed
	held   []held
	closed bool
}

// held is a final that waits for its moment.
type held struct {
	result worker.Result
	due    time.Time
}

// Write implements worker.Stream.
func (s *stream) Write(ctx context.Context, a worker.Audio) error {
	cfg := s.engine.cfg
	if cfg.FailAt != 0 && a.Frame == cfg.FailAt && (cfg.Fails == 0 || s.engine.fails.Add(1) <= cfg.Fails) {
		return fmt.Errorf("tally: told to fail at frame %d", a.Frame)
	}
	if cfg.Slow > 0 {
		select {
		case <-time.After(cfg.Slow):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	s.count.add(a)
	if cfg.Stamp {
		s.count.at = time.Now()
	}
	switch {
	case s.count.frames >= cfg.Every:
		s.final()
	case cfg.Interim > 0 && s.count.frames%cfg.Interim == 0:
		s.emitNow(worker.Result{Text: s.count.String(), Through: a.Frame})
	}
	return nil
}

// Prompt implements worker.Prompt.
func (s *stream) Prompt() bool { return s.engine.cfg.Slow == 0 }

// Flush implements worker.Stream.
func (s *stream) Flush(ctx context.Context) error {
	if s.count.frames > 0 {
		s.final()
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.idle.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.held) > 0 && !s.closed && ctx.Err() == nil {
		s.idle.Wait()
	}
	return context.Cause(ctx)
}

// Close implements worker.Stream.
func (s *stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.held = true, nil
	s.idle.Broadcast()
	return nil
}

func (s *stream) final() {
	r := worker.Result{Final: true, Text: s.count.String(), Through: s.count.last, Confidence: 1}
	s.count = newCount()
	if s.engine.cfg.Hold == 0 {
		s.emitNow(r)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = append(s.held, held{r, time.Now().Add(s.engine.cfg.Hold)})
	if len(s.held) == 1 {
		time.AfterFunc(s.engine.cfg.Hold, s.release)
	}
}

// release emits the finals that are due and arms the timer for the next.
func (s *stream) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.held) > 0 && !s.closed {
		if wait := time.Until(s.held[0].due); wait > 0 {
			time.AfterFunc(wait, s.release)
			return
		}
		s.emit(s.held[0].result)
		s.held = s.held[1:]
	}
	s.idle.Broadcast()
}

// emitNow keeps interims and held finals from being emitted at once.
func (s *stream) emitNow(r worker.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.emit(r)
	}
}

// count is a run of frames and a hash of their bytes.
type count struct {
	ranges      strings.Builder
	begin, last uint64 // of the present range
	frames      int
	sum         hash.Hash64
	audio       []Run
	at          time.Time // when the last frame came; zero: nobody asked
}

func newCount() *count { return &count{sum: fnv.New64a()} }

func (c *count) add(a worker.Audio) {
	if c.frames == 0 || a.Frame != c.last+1 {
		c.endRange()
		c.begin = a.Frame
	}
	c.last = a.Frame
	c.frames++
	_, _ = c.sum.Write(a.Packet) // a hash never fails
	if n, ok := ReadNumber(a.Packet); ok {
		c.hear(n)
	}
}

func (c *count) hear(n Number) {
	if i := len(c.audio) - 1; i >= 0 && c.audio[i].follows(n) {
		c.audio[i].Last = n.N
		return
	}
	c.audio = append(c.audio, Run{n.Session, n.Source, n.N, n.N})
}

func (c *count) endRange() {
	if c.frames == 0 {
		return
	}
	if c.ranges.Len() > 0 {
		c.ranges.WriteByte(',')
	}
	c.ranges.WriteString(rangeText(c.begin, c.last))
}

// String is the text of a result, see Statement. Frames of other sources in between
// leave gaps in the ranges.
func (c *count) String() string {
	ranges := c.ranges.String()
	if ranges != "" {
		ranges += ","
	}
	text := fmt.Appendf(nil, "frames %s count %d fnv1a %016x", ranges+rangeText(c.begin, c.last), c.frames, c.sum.Sum64())
	if len(c.audio) > 0 {
		text = appendRuns(append(text, " audio "...), c.audio)
	}
	if !c.at.IsZero() {
		text = strconv.AppendInt(append(text, " at "...), c.at.UnixMicro(), 10)
	}
	return string(text)
}

func rangeText(a, b uint64) string {
	if a == b {
		return strconv.FormatUint(a, 10)
	}
	return strconv.FormatUint(a, 10) + "-" + strconv.FormatUint(b, 10)
}
