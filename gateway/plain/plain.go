// Package plain speaks the least protocol there is: raw audio in binary messages to a
// path that ends with /stream, its format in the query, and a JSON object for each
// result. It is what a five-line client, a web page or a shell pipe speaks.
//
// With format=vosk results have the shapes of the Vosk server, and its clients' rhythm
// of one answer for each binary message is kept: see vosk.
//
// Nothing that a client sends ends its session: what can't be used is dropped and a
// notice says so. To keep notices from flooding is the gateway's part.
package plain

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"stenobus/gateway/dialect"
)

// The codes of notices, a closed list.
const (
	CodeEmptyMessage   = "empty_message"   // a binary message without audio
	CodeBadPacket      = "bad_packet"      // a message too large to be one Opus packet
	CodeBadOgg         = "bad_ogg"         // bytes of an Ogg stream that belong to none of its pages
	CodePartSample     = "part_sample"     // the audio ended within a sample
	CodeBadWAV         = "bad_wav"         // a WAV file of a kind that is not spoken here
	CodeAudioRefused   = "audio_refused"   // audio after bad_wav: dropped until a config names its format
	CodeBadJSON        = "bad_json"        // a text message is no JSON object
	CodeUnknownMessage = "unknown_message" // an object that is none of the protocol's
	CodeUnknownField   = "unknown_field"   // a field that has no meaning in its message
	CodeBadField       = "bad_field"       // a field has the wrong type or is out of range
)

// source is the name of a client's one source.
const source = "audio"

// Config of the dialect. The zero value works.
type Config struct {
	Engines []string // what engine may name; empty: any name is passed on
}

// Dialect is the protocol, as configured.
type Dialect struct{ cfg Config }

// New makes the dialect. It keeps nothing of cfg that the caller may change.
func New(cfg Config) *Dialect {
	return &Dialect{cfg: Config{Engines: slices.Clone(cfg.Engines)}}
}

// Name implements dialect.Dialect.
func (d *Dialect) Name() string { return "plain" }

// Path is the end of the URL paths that clients connect to.
func (d *Dialect) Path() string { return "/stream" }

// About implements dialect.Dialect.
func (d *Dialect) About() string {
	return "anything: raw audio in binary messages, JSON results; ?sample_rate=HZ, or ?format=vosk"
}

// Key implements dialect.Dialect: a web page shows it as a subprotocol.
func (d *Dialect) Key(r *http.Request) string { return dialect.PageKey(r) }

// failure is an error in the protocol's words.
type failure struct {
	Type         string `json:"type"` // error
	Code         string `json:"code"`
	Message      string `json:"message"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
}

// Refuse implements dialect.Dialect.
func (d *Dialect) Refuse(why dialect.Refusal, h http.Header) string {
	h.Set("Content-Type", "application/json")
	return string(encode(failure{Type: "error", Code: why.Code, Message: why.Text, RetryAfterMS: why.RetryAfter.Milliseconds()})) + "\n"
}

// encode writes one message. What is encoded here always encodes: its numbers come
// from JSON and its texts are made UTF-8.
func encode(v any) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // nobody reads this as HTML
	if err := e.Encode(v); err != nil {
		return []byte("{}")
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

// conversation is one connection that hears neutral results. Its halves share no state:
// the reader belongs to the goroutine that reads the socket, the writer to the session.
type conversation struct {
	*reader
	*writer
}

var _ dialect.Dialect = (*Dialect)(nil)
