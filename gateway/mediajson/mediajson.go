// Package mediajson speaks the protocol in which conference bridges send audio to a
// transcriber: JSON messages with an event field over a WebSocket at a path that ends
// with /transcribe, audio as base64 in media events, one source a tag.
//
// What is beyond that protocol never changes what its clients see. Notices travel in
// the key stenobus of info events, which clients of the protocol only log. A client
// that connects with stenobus=1 also gets that key, with the neutral result, in every
// transcription-result, and all notes instead of those that concern it.
//
// Nothing that a client sends ends its session: what can't be used is dropped and a
// notice says so, once for each refusal. To keep notices from flooding is the
// gateway's part.
package mediajson

import (
	"net/http"
	"slices"

	"stenobus/gateway/dialect"
)

// The codes of notices, a closed list.
const (
	CodeBadJSON          = "bad_json"           // a message is no JSON object
	CodeUnknownEvent     = "unknown_event"      // an event that the protocol does not have
	CodeBadField         = "bad_field"          // a field has the wrong type or is out of range
	CodeBadEncoding      = "bad_encoding"       // a start names no encoding that is spoken here
	CodeBadPayload       = "bad_payload"        // a media's payload is missing, no base64 or no whole samples
	CodeMissingTag       = "missing_tag"        // a start, media or stop names no source
	CodeMediaBeforeStart = "media_before_start" // media of a tag never started: the URL's format holds
	CodeBlockedTag       = "blocked_tag"        // media of a tag whose start was refused
	CodeOldPacket        = "old_packet"         // a packet that came already, or too late
	CodePacketRestart    = "packet_restart"     // packet numbers began anew without a start
	CodeUnknownProvider  = "unknown_provider"   // the provider asked for is no engine here: the connection is closed
	CodeBadParameter     = "bad_parameter"      // a parameter of the URL can't be read and counts as absent
	CodeNotHonoured      = "not_honoured"       // a wish that is the session's, not a source's
	CodeTooManySources   = "too_many_sources"   // more tags than one connection may name
)

const (
	defaultApplication = "stenobus"
	maxTagUnits        = 128  // of a tag, in UTF-16 units, as clients count
	maxTags            = 4096 // of one connection; the gateway's own bound is far lower
	ticksPerMS         = 48   // of a media's timestamp
	maxBack            = 1000 // packets; a number further back begins a new numbering
)

// Encodings as the rest of Stenobus names them.
const (
	encodingOpus    = "opus"
	encodingOggOpus = "ogg-opus"
	encodingL16     = "l16"
)

// Config of the dialect. The zero value works.
type Config struct {
	Version     string   // told to clients
	Application string   // likewise; empty: stenobus
	Engines     []string // what a provider may name; empty: any name is passed on
}

// Dialect is the protocol, as configured.
type Dialect struct{ cfg Config }

// New makes the dialect. It keeps nothing of cfg that the caller may change.
func New(cfg Config) *Dialect {
	if cfg.Application == "" {
		cfg.Application = defaultApplication
	}
	cfg.Engines = slices.Clone(cfg.Engines)
	return &Dialect{cfg: cfg}
}

// Name implements dialect.Dialect.
func (d *Dialect) Name() string { return "mediajson" }

// Path is the end of the URL paths that bridges connect to.
func (d *Dialect) Path() string { return "/transcribe" }

// About implements dialect.Dialect.
func (d *Dialect) About() string {
	return "conference bridges: JSON events with base64 audio, many sources on one socket; ?sessionId=ID&sendBack=true"
}

// Key implements dialect.Dialect: the protocol has none of its own, and a web page shows
// it as a subprotocol.
func (d *Dialect) Key(r *http.Request) string { return dialect.PageKey(r) }

// Refuse implements dialect.Dialect.
func (d *Dialect) Refuse(why dialect.Refusal, h http.Header) string { return why.Plain(h) }

// conversation is one connection. Its halves share no state: the reader belongs to
// the goroutine that reads the socket, the writer to the session.
type conversation struct {
	*reader
	*writer
}

var _ dialect.Dialect = (*Dialect)(nil)
