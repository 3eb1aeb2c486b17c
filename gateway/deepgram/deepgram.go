// Package deepgram speaks the live protocol of the vendor of that name, so that its
// client libraries and what was written for it may be pointed here: binary audio and
// small JSON messages over a WebSocket at /v1/listen, one source a connection, results
// as Results messages with times in seconds of audio.
//
// Parameters of the query are honoured, or refused with the allowed values before the
// upgrade, where they would change what results mean. Those that are neither are named
// in the header dg-warning of the answer, which nobody else has, and in one notice.
//
// The wire format follows the vendor's published schema as its client libraries for
// Go, JavaScript and Python read it.
package deepgram

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"stenobus/gateway/dialect"
)

// The codes of notices, a closed list.
const (
	CodeBadJSON     = "bad_json"     // a text message is no JSON object
	CodeUnknownType = "unknown_type" // a type that the protocol does not have
	CodeBadPayload  = "bad_payload"  // bytes that are no audio, between audio
	CodeCutOff      = "cut_off"      // the stream ended within a sample, a page or a header
	CodeParameters  = "parameters"   // parameters that count for nothing, or not for all that they promise
)

// tag is the name of a connection's only source.
const tag = "audio"

// defaultIdle is how long the vendor waits for a message.
const defaultIdle = 10 * time.Second

// Encodings as the rest of Stenobus names them.
const (
	encodingOpus    = "opus"
	encodingOggOpus = "ogg-opus"
	encodingL16     = "l16"
	encodingMuLaw   = "mulaw"
	encodingALaw    = "alaw"
)

// Config of the dialect. The zero value works.
type Config struct {
	Version string        // of the program: model_info tells it
	Engines []string      // what a model may name
	Idle    time.Duration // without a message, after which a session ends; 0 or more than the vendor's 10 s: these
}

// Dialect is the protocol, as configured.
type Dialect struct{ cfg Config }

// New makes the dialect. It keeps nothing of cfg that the caller may change.
func New(cfg Config) *Dialect {
	if cfg.Idle <= 0 || cfg.Idle > defaultIdle {
		cfg.Idle = defaultIdle
	}
	cfg.Engines = slices.Clone(cfg.Engines)
	return &Dialect{cfg: cfg}
}

// Name implements dialect.Dialect.
func (d *Dialect) Name() string { return "deepgram" }

// Path is the end of the URL paths that clients connect to.
func (d *Dialect) Path() string { return "/v1/listen" }

// About implements dialect.Dialect.
func (d *Dialect) About() string {
	return "Deepgram's live clients: binary audio, one source; ?encoding=linear16&sample_rate=16000&interim_results=true"
}

// Key is what follows token or bearer among the subprotocols: browsers can send no
// header.
func (d *Dialect) Key(r *http.Request) string {
	_, key := offered(r)
	return key
}

// offered is the scheme that a client offers as a subprotocol, and the key behind it.
func offered(r *http.Request) (scheme, key string) {
	var names []string
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	for i, name := range names[:max(0, len(names)-1)] {
		if s := strings.ToLower(name); s == "token" || s == "bearer" {
			return name, names[i+1]
		}
	}
	return "", ""
}

// conversation is one connection. Its halves share only the number of channels, which
// a container's header tells: the reader belongs to the goroutine that reads the
// socket, the writer to the session.
type conversation struct {
	*reader
	*writer
}

// channels is how many the audio has.
type channels struct{ n atomic.Int32 }

var _ dialect.Dialect = (*Dialect)(nil)
