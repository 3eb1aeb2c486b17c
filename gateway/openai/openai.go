// Package openai speaks the transcription sessions of the OpenAI Realtime API: JSON
// events over a WebSocket at a path that ends with /v1/realtime, one source a
// connection, its audio as base64 in input_audio_buffer.append events. The shapes are
// those of the types in the official package openai for Node 6.49 (resources/realtime,
// and resources/beta/realtime for clients that still speak the beta).
//
// An item is what one completed transcript is about. With turn_detection null that is
// the audio between two commits; with server_vad the engine ends an item with each
// final, and a commit ends the one that is open.
//
// What a client asks for and can't have is of two kinds. A wrong value or an unknown
// name is refused: an error event names it, and nothing of that event is done. A valid
// wish that no engine here fulfils, such as a prompt, changes nothing about the
// transcript's form: the rest is done, and the session that is answered shows what
// holds and lists the wish in stenobus.ignored. Most clients give up at an error event,
// and the vendor's own examples name such wishes.
//
// Nothing that a client sends ends its session.
package openai

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"

	"stenobus/gateway/dialect"
)

// The codes of error events about a client's own events, a closed list. Those that
// the vendor has are the vendor's.
const (
	CodeBadJSON     = "invalid_json"
	CodeUnknown     = "unknown_parameter"
	CodeMissing     = "missing_required_parameter"
	CodeBadType     = "invalid_type"
	CodeBadValue    = "invalid_value"
	CodeCommitEmpty = "input_audio_buffer_commit_empty"
	CodeTooMany     = "too_many_commits" // waiting for their transcripts
	CodeIgnored     = "not_honoured"     // never in an error event: for the gateway's log
)

// tag is the name of a connection's only source.
const tag = "audio"

const (
	protocol    = "realtime"
	keyProtocol = "openai-insecure-api-key."
	idText      = 12 // characters of a connection's part of ids
)

// Config of the dialect. The zero value works.
type Config struct {
	Engines []string // what a model may name; empty: any name is taken for an engine's
}

// Dialect is the protocol, as configured.
type Dialect struct {
	cfg   Config
	fresh func() string // makes a connection's part of the ids that it gives out
}

// New makes the dialect. It keeps nothing of cfg that the caller may change.
func New(cfg Config) *Dialect {
	cfg.Engines = slices.Clone(cfg.Engines)
	return &Dialect{cfg: cfg, fresh: func() string { return rand.Text()[:idText] }}
}

// Name implements dialect.Dialect.
func (d *Dialect) Name() string { return "openai" }

// Path is the end of the URL paths that clients connect to.
func (d *Dialect) Path() string { return "/v1/realtime" }

// About implements dialect.Dialect.
func (d *Dialect) About() string {
	return "clients of the OpenAI Realtime API: transcription sessions; ?intent=transcription"
}

// Key is what browsers show in a subprotocol, as they can set no header.
func (d *Dialect) Key(r *http.Request) string {
	for _, name := range offered(r) {
		if key, ok := strings.CutPrefix(name, keyProtocol); ok {
			return key
		}
	}
	return ""
}

// offered lists the subprotocols of an upgrade.
func offered(r *http.Request) (names []string) {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// conversation is one connection. What its halves share is in turns, under a lock: the
// reader belongs to the goroutine that reads the socket, the writer to the session.
type conversation struct {
	*reader
	*writer
}

var _ dialect.Dialect = (*Dialect)(nil)
