package worker

import (
	"context"
	"time"
)

// Engine turns speech into text. One Engine serves every stream of a worker, so
// its methods are safe for concurrent use. Implementations live in worker/engine.
type Engine interface {
	// Describe says what the engine is and what it wants. The answer never changes.
	Describe() Description

	// Open starts a stream for one source of one session. It may take its time
	// (loading a model, dialling a provider) but gives up when ctx ends; ctx does
	// not bound the stream's life afterwards.
	//
	// The stream hands its results to emit, from any goroutine but never from two
	// at once, in the order of the audio, and never after Close has returned.
	Open(ctx context.Context, cfg StreamConfig, emit func(Result)) (Stream, error)
}

// Stream is one source's audio on its way through an engine. Its methods are
// called from one goroutine. After an error the stream is only closed: the worker
// opens another and writes again whatever no final has covered.
type Stream interface {
	// Write takes the next piece of audio, which is the stream's only until Write
	// returns. Blocking is how an engine that falls behind says so: the sender then
	// keeps the audio.
	Write(ctx context.Context, a Audio) error

	// Flush finalises all that was written. When it returns nil every final for it
	// has been emitted, and the worker counts all of it as covered.
	Flush(ctx context.Context) error

	// Close frees what the stream holds, without finalising.
	Close() error
}

// Prompt is a Stream that can tell that its next Write will not wait for anything: neither
// for others nor for more than some µs of work. Audio then reaches it without a goroutine
// in between.
type Prompt interface {
	Prompt() bool
}

// Description is what an engine tells dispatchers and operators of itself.
type Description struct {
	Name       string   // as chosen by --engine and by a claim's engine option
	Languages  []string // BCP 47 tags it understands; empty means any
	SampleRate int      // samples/s of the mono PCM it wants; 0: packets as they came, undecoded
	Scarce     bool     // a stream holds what others wait for: it is closed while its source is silent
}

// StreamConfig is what a stream may know of the source it serves.
type StreamConfig struct {
	Session  string            // the session's id
	Source   string            // the client's name of the source
	Language string            // BCP 47 tag that the client asked for; empty: the engine's default
	Options  map[string]string // the claim's further options, by name; unknown ones are ignored
}

// Audio is a piece of one source: PCM for an engine that states a sample rate,
// otherwise the packet as it came.
type Audio struct {
	Frame  uint64  // number of the frame in the session
	PCM    []int16 // mono, at the engine's sample rate
	Packet []byte  // the frame's bytes, if the engine's sample rate is 0
}

// Result is what an engine heard. An interim may be replaced by the next one; a
// final stands. A final with no text says that nothing was spoken up to End.
type Result struct {
	Final      bool
	Text       string
	Start, End time.Duration // on the stream's clock: 0 is the first sample written to it
	Through    uint64        // last frame covered, where the engine counts frames; 0: taken from End
	Confidence float64       // 0 to 1; 0: unknown
	Words      []Word
	Language   string // BCP 47 tag, where the engine recognised it
	Speaker    string // the engine's label, where it tells speakers apart
}

// Word is one word of a result.
type Word struct {
	Text       string
	Start, End time.Duration // on the stream's clock
	Confidence float64       // 0 to 1; 0: unknown
}
