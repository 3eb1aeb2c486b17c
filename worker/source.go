package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
// its frames. Its goroutine owns everything but queue and what mu guards.
type source struct {
	out   output
	cfg   sourceConfig
	queue chan item // closed by the session: finalise and end
	log   *slog.Logger

	decoder *audio.Decoder
	stream  Stream
	fails   int    // streams that failed since something was covered
	lastAt  int64  // ms on the session clock of the last frame
	newest  uint64 // highest number ever opened

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
	room() // the queue has room again
	undecodable(name string, err error)
}

func newSource(info subjects.Source, cfg sourceConfig, out output, log *slog.Logger) *source {
	return &source{
		out: out, cfg: cfg, info: info, log: log,
		queue: make(chan item, sourceQueue),
		acct:  account{source: info.Source, rate: int64(cfg.desc.SampleRate)},
	}
}

// run feeds the engine until the queue is closed (finalise, return nil), ctx ends, or
// the engine has failed too often. Audio that pauses is finalised, and a turn that
// lasts too long is.
func (s *source) run(ctx context.Context) error {
	defer s.close()
	fed, armed := time.Now(), true
	idle := time.NewTimer(s.cfg.idleCommit)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case it, ok := <-s.queue:
			s.out.room()
			if !ok {
				return s.guard(ctx, s.flush)
			}
			if err := s.guard(ctx, func(ctx context.Context) error { return s.do(ctx, it) }); err != nil {
				return err
			}
			if fed = time.Now(); !armed {
				armed = true
				idle.Reset(s.cfg.idleCommit)
			}
		case <-idle.C: // it was not set again for each frame
			if left := s.cfg.idleCommit - time.Since(fed); left > 0 {
				idle.Reset(left)
				continue
			}
			armed = false
			if err := s.rest(ctx); err != nil {
				return err
			}
		}
	}
}

// rest finalises what was spoken before a pause. A scarce stream goes back to its
// engine until the source speaks again.
func (s *source) rest(ctx context.Context) error {
	if s.openFrames() {
		if err := s.guard(ctx, s.flush); err != nil {
			return err
		}
	}
	if s.cfg.desc.Scarce && s.stream != nil {
		s.closeStream()
		s.mu.Lock()
		s.acct.restart()
		s.mu.Unlock()
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
	if s.lastAt > 0 && f.at-s.lastAt >= s.cfg.idleCommit.Milliseconds() && s.openFrames() && f.n > s.newest {
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
	s.mu.Lock()
	long := s.acct.span() >= s.cfg.turnLimit
	s.mu.Unlock()
	if long {
		return s.flush(ctx)
	}
	return nil
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
