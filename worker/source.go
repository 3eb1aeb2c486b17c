package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"stenobus/subjects"
	"stenobus/subjects/safeguard"
	"stenobus/worker/audio"
)

const (
	sourceQueue   = 128 // entries between receiver and engine, a source
	engineTries   = 3   // engine streams in a row that may fail before the session moves
	engineBackoff = 200 * time.Millisecond
)

// item is one numbered entry for a source.
type item struct {
	kind  subjects.Kind // frames, flush, skip or start
	frame openFrame
	info  *subjects.Source // of start: the new format
}

// source is one speaker of a session: a decoder, an engine stream and the account of
// its frames. Whoever holds turn owns everything but queue and what mu guards: its
// goroutine, run, and for a moment the session's, see direct.
type source struct {
	out     output
	cfg     sourceConfig
	queue   chan item    // closed by the session: finalise and end
	pending atomic.Int64 // items that are in the queue, or in run's hands
	log     *slog.Logger

	turn    sync.Mutex
	decoder *audio.Decoder
	stream  Stream
	fails   int       // streams that failed since something was covered
	broken  error     // of the stream, when direct wrote to it
	lastAt  int64     // ms on the session clock of the last frame
	newest  uint64    // highest number ever opened
	fed     time.Time // when it last had something
	idle    *time.Timer
	resting bool // idle is not set: it is again with the next frame

	mu        sync.Mutex // an engine emits from any goroutine
	info      subjects.Source
	acct      account
	utterance uint64
	hot       bool // an interim of the present utterance is out
}

// sourceConfig is what sources of a session share.
type sourceConfig struct {
	session    subjects.SessionID
	engine     Engine
	desc       Description
	options    subjects.Options
	idleCommit time.Duration
	turnLimit  time.Duration
}

// output is where a source's results go; the session implements it.
type output interface {
	interim(u subjects.Utterance)
	append(ctx context.Context, e entry) bool
	stamped() subjects.Stamp
	room()        // the queue has room again
	prompt() bool // append would not wait
	undecodable(name string, err error)
}

func newSource(info subjects.Source, cfg sourceConfig, out output, log *slog.Logger) *source {
	return &source{
		out: out, cfg: cfg, info: info, log: log,
		queue: make(chan item, sourceQueue),
		acct:  account{source: info.Source, rate: int64(cfg.desc.SampleRate)},
	}
}

// put queues an item. Its caller, the only one who does, has seen that there is room.
func (s *source) put(it item) {
	s.pending.Add(1)
	s.queue <- it
}

// run feeds the engine until the queue is closed (finalise, return nil), ctx ends, or
// the engine has failed too often. Audio that pauses is finalised, and a turn that
// lasts too long is.
func (s *source) run(ctx context.Context) error {
	defer s.close()
	s.turn.Lock()
	defer s.turn.Unlock()
	s.fed, s.idle = time.Now(), time.NewTimer(s.cfg.idleCommit)
	defer s.idle.Stop()
	for {
		s.turn.Unlock()
		var do func() error
		select {
		case <-ctx.Done():
			do = func() error { return context.Cause(ctx) }
		case it, ok := <-s.queue:
			s.out.room()
			if !ok {
				s.turn.Lock()
				return s.guard(ctx, s.flush)
			}
			do = func() error { return s.take(ctx, it) }
		case <-s.idle.C:
			do = func() error { return s.idled(ctx) }
		}
		s.turn.Lock()
		if err := do(); err != nil {
			return err
		}
	}
}

// take hears one item.
func (s *source) take(ctx context.Context, it item) error {
	defer s.pending.Add(-1)
	err := s.guard(ctx, func(ctx context.Context) error { return s.do(ctx, it) })
	s.wake(time.Now())
	return err
}

// wake notes that the source had something.
func (s *source) wake(now time.Time) {
	if s.fed = now; s.resting {
		s.resting = false
		s.idle.Reset(s.cfg.idleCommit)
	}
}

// idled is called when the idle timer strikes, which was not set again for each frame.
func (s *source) idled(ctx context.Context) error {
	if left := s.cfg.idleCommit - time.Since(s.fed); left > 0 {
		s.idle.Reset(left)
		return nil
	}
	s.resting = true
	return s.rest(ctx)
}

// direct hears a frame at once, in run's stead, where nothing waits before it and neither
// the engine nor the log would: to wake run costs more than the frame. It reports false
// where the frame must be queued. Its caller is the only one who fills the queue.
func (s *source) direct(ctx context.Context, f openFrame, now time.Time) bool {
	if s.pending.Load() > 0 || !s.turn.TryLock() {
		return false
	}
	defer s.turn.Unlock()
	p, ok := s.stream.(Prompt)
	if !ok || s.broken != nil || f.n <= s.newest || s.pauses(f) || s.tooLong(f.at) || !s.out.prompt() || !p.Prompt() {
		return false
	}
	if err := s.frame(ctx, f); err != nil {
		s.broken = err
		return false // run makes another stream, which hears the frame among those not covered
	}
	s.wake(now)
	return true
}

// rest finalises what was spoken before a pause. A scarce stream goes back to its
// engine until the source speaks again.
func (s *source) rest(ctx context.Context) error {
	if s.openFrames() {
		if err := s.guard(ctx, s.flush); err != nil {
			return err
		}
	}
	closes := s.cfg.desc.Scarce && s.stream != nil
	if closes {
		s.closeStream()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.acct.shrink(); closes {
		s.acct.restart()
	}
	return nil
}

// guard runs one step. When the engine's stream fails a fresh one hears again what is
// not covered; after engineTries in a row the source gives up.
func (s *source) guard(ctx context.Context, step func(context.Context) error) error {
	err := step(ctx)
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = engineBackoff
	for err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.fails++
		s.log.Warn("engine stream failed", "source", s.info.Name, "engine", s.cfg.desc.Name, "try", s.fails, "error", err)
		if s.fails >= engineTries {
			return fmt.Errorf("source %q: engine %s: %w", s.info.Name, s.cfg.desc.Name, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait.NextBackOff()):
		}
		if err = s.again(ctx); err == nil {
			err = step(ctx)
		}
	}
	return nil
}

func (s *source) do(ctx context.Context, it item) error {
	if err := s.broken; err != nil {
		s.broken = nil
		return err
	}
	switch it.kind {
	case subjects.KindFrames:
		return s.frame(ctx, it.frame)
	case subjects.KindSkip:
		s.addOnce(it.frame)
		return nil
	case subjects.KindFlush:
		return s.flush(ctx)
	case subjects.KindStart:
		return s.restart(ctx, *it.info)
	}
	return nil
}

// frame hears one frame. A pause on the session clock ends the utterance, whatever
// the pace at which the audio arrives.
func (s *source) frame(ctx context.Context, f openFrame) error {
	if s.pauses(f) {
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
	s.lastAt = max(s.lastAt, f.at)
	if fresh := s.addOnce(f); !fresh {
		return nil // written already when the stream was made again
	}
	if err := s.write(ctx, f); err != nil {
		return err
	}
	if s.tooLong(f.at) {
		return s.flush(ctx)
	}
	return nil
}

// pauses tells whether there is a pause before a frame that ends what was spoken.
func (s *source) pauses(f openFrame) bool {
	return s.lastAt > 0 && f.at-s.lastAt >= s.cfg.idleCommit.Milliseconds() && f.n > s.newest && s.openFrames()
}

// tooLong tells whether a turn that has lasted to a time is long enough.
func (s *source) tooLong(at int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acct.spanTo(at) >= s.cfg.turnLimit
}

// addOnce opens the frame's account, unless a step that is tried again has done so.
func (s *source) addOnce(f openFrame) bool {
	if f.n <= s.newest && !safeguard.DuplicatesOff {
		return false
	}
	s.newest = f.n
	if f.refused != "" {
		f.at = s.lastAt
	}
	f.end = -1
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acct.add(f)
	return true
}

func (s *source) openFrames() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acct.open) > 0
}

// write gives one open frame to the engine, decoded if it wants that.
func (s *source) write(ctx context.Context, f openFrame) error {
	if err := s.ensure(ctx); err != nil {
		return err
	}
	if s.cfg.desc.SampleRate == 0 {
		s.mu.Lock()
		s.acct.wrote(0, f.n)
		s.mu.Unlock()
		return s.stream.Write(ctx, Audio{Frame: f.n, Packet: f.payload})
	}
	chunk, err := s.decode(f)
	if err != nil {
		s.refuse(f.n, subjects.RefusedUndecodable)
		s.out.undecodable(s.info.Name, err)
	}
	s.mu.Lock()
	s.acct.wrote(len(chunk.PCM), chunk.Through)
	s.mu.Unlock()
	if len(chunk.PCM) == 0 {
		return nil
	}
	return s.stream.Write(ctx, Audio{Frame: f.n, PCM: chunk.PCM})
}

// decode contains what hostile bytes may do to a decoder: a panic costs the frame and
// the decoder, not the worker.
func (s *source) decode(f openFrame) (chunk audio.Chunk, err error) {
	defer func() {
		if r := recover(); r != nil {
			s.decoder = nil
			chunk, err = audio.Chunk{Through: f.n}, fmt.Errorf("decoder panicked: %v", r)
		}
	}()
	return s.decoder.Decode(f.n, f.packet, time.Duration(f.at)*time.Millisecond, f.payload)
}

func (s *source) refuse(n uint64, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.acct.open {
		if s.acct.open[i].n == n {
			s.acct.open[i].refused = reason
		}
	}
}

// ensure makes the decoder and the engine's stream where they are missing.
func (s *source) ensure(ctx context.Context) error {
	if s.decoder == nil && s.cfg.desc.SampleRate != 0 {
		d, err := audio.NewDecoder(audio.Format{
			Encoding: s.info.Encoding, SampleRate: s.info.SampleRate, Channels: s.info.Channels,
		}, s.cfg.desc.SampleRate)
		if err != nil {
			return err
		}
		s.decoder = d
	}
	if s.stream != nil {
		return nil
	}
	language := s.info.Language
	if language == "" {
		language = s.cfg.options.Language
	}
	stream, err := s.cfg.engine.Open(ctx, StreamConfig{
		Session: string(s.cfg.session), Source: s.info.Name, Language: language, Options: s.cfg.options.Extra,
	}, func(r Result) { s.emit(ctx, r) })
	if err != nil {
		return err
	}
	s.stream = stream
	return nil
}

// again makes a fresh stream and writes to it what no result has covered.
func (s *source) again(ctx context.Context) error {
	s.close()
	s.mu.Lock()
	s.acct.restart()
	open := append([]openFrame(nil), s.acct.open...)
	s.mu.Unlock()
	for _, f := range open {
		if f.payload == nil {
			continue
		}
		if err := s.write(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// flush finalises what was spoken. What the engine covered with no final of its own
// held no words: a mark says so.
func (s *source) flush(ctx context.Context) error {
	if s.stream != nil {
		if err := s.stream.Flush(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	through := s.acct.last()
	s.mu.Unlock()
	s.emit(ctx, Result{Final: true, Through: through})
	s.fails = 0
	return nil
}

// restart goes on in another format.
func (s *source) restart(ctx context.Context, info subjects.Source) error {
	if err := s.flush(ctx); err != nil {
		return err
	}
	s.close()
	s.mu.Lock()
	s.info = info
	s.acct.restart()
	s.mu.Unlock()
	return nil
}

func (s *source) close() {
	s.closeStream()
	if s.decoder != nil {
		s.decoder.Close()
		s.decoder = nil
	}
}

func (s *source) closeStream() {
	if s.stream == nil {
		return
	}
	if err := s.stream.Close(); err != nil && !errors.Is(err, context.Canceled) {
		s.log.Warn("close engine stream", "source", s.info.Name, "error", err)
	}
	s.stream = nil
}
