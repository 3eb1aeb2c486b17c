package plain

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
	"stenobus/gateway/ogg"
)

// reader is the half of a conversation that the socket's reader owns.
type reader struct {
	format   dialect.Format
	language string      // of a config; empty: the session's
	spelt    bool        // the client said what its audio is, so nothing is guessed
	head     []byte      // first bytes, until they show what they are
	wav      *wav        // the audio is a WAV file
	refused  bool        // one that is not spoken here
	begun    bool        // the source was started in this format
	carry    []byte      // part of a sample
	ogg      ogg.Stream  // part of a page
	shape    func(shape) // takes a config's word on the shape of results; nil: they have one shape
}

// Decode takes audio from binary messages, and the rest from text messages.
func (r *reader) Decode(kind websocket.MessageType, data []byte, emit func(dialect.Event)) {
	switch {
	case kind == websocket.MessageText:
		r.text(data, emit)
	case len(data) == 0:
		emit(notice(CodeEmptyMessage, "audio", "binary messages of 1 byte or more", "an empty binary message is ignored"))
	default:
		r.audio(data, emit)
	}
}

// audio takes the bytes of a binary message, of which the first may say what they are.
func (r *reader) audio(data []byte, emit func(dialect.Event)) {
	if !r.spelt {
		r.head = append(r.head, data...)
		if !r.sniff() {
			return
		}
		data, r.head = r.head, nil
	}
	switch {
	case r.refused:
		emit(notice(CodeAudioRefused, "audio", wantWAV+", or a config before more audio", fmt.Sprintf("%d bytes of a refused WAV file are dropped", len(data))))
	case r.wav != nil:
		r.file(data, emit)
	default:
		r.media(data, emit)
	}
}

// sniff tells by its first bytes what the audio is, or that more of them must come.
func (r *reader) sniff() bool {
	begins := func(magic string) bool {
		n := min(len(magic), len(r.head))
		return string(r.head[:n]) == magic[:n]
	}
	switch {
	case begins("OggS") && len(r.head) >= 4:
		r.format = defaults(encodingOggOpus)
	case begins("RIFF") && len(r.head) >= riffHead:
		if string(r.head[8:riffHead]) == "WAVE" {
			r.wav = &wav{}
		}
	case begins("OggS"), begins("RIFF"):
		return false
	}
	r.spelt = true
	return true
}

// file takes the bytes of a WAV file.
func (r *reader) file(data []byte, emit func(dialect.Event)) {
	why := r.wav.feed(data, func(samples []byte) {
		if r.format != r.wav.format || !r.begun {
			r.restart(r.wav.format, r.language, emit)
		}
		r.media(samples, emit)
	})
	if why != "" {
		r.wav, r.refused = nil, true
		emit(notice(CodeBadWAV, "audio", wantWAV, "the WAV file can't be read: "+why))
	}
}

// restart takes up another format. The part of a sample before it is lost, and told.
func (r *reader) restart(f dialect.Format, language string, emit func(dialect.Event)) {
	if r.format == f && r.language == language && len(r.head) == 0 {
		return
	}
	r.rest(emit)
	r.begun = r.begun && r.format == f && r.language == language
	r.format, r.language = f, language
}

// rest gives up what is held back, at the end of the audio or of its format.
func (r *reader) rest(emit func(dialect.Event)) {
	if len(r.head) > 0 { // too short to be a file
		held := r.head
		r.head, r.spelt = nil, true
		r.media(held, emit)
	}
	if n := r.ogg.Rest(); n > 0 {
		emit(strayBytes(n))
	}
	if n := len(r.carry); n > 0 {
		r.carry = nil
		emit(notice(CodePartSample, "audio", fmt.Sprintf("whole samples of %d bytes", width(r.format.Encoding)*r.format.Channels),
			fmt.Sprintf("the last %d bytes are no whole sample", n)))
	}
}

// object is a JSON object. The last of several equal names counts.
type object map[string]json.RawMessage

const wantMessage = `{"eof":1}, {"reset":1}, {"config":{...}}, or event: end, flush, ping`

// text takes a text message.
func (r *reader) text(data []byte, emit func(dialect.Event)) {
	var msg object
	if err := json.Unmarshal(data, &msg); err != nil || msg == nil {
		emit(notice(CodeBadJSON, "message", "a JSON object: "+wantMessage, fmt.Sprintf("text message of %d bytes is no JSON object", len(data))))
		return
	}
	for _, kind := range []struct {
		name string
		take func(raw json.RawMessage, msg object, emit func(dialect.Event))
	}{{"eof", r.eof}, {"reset", r.reset}, {"config", r.config}, {"event", r.event}} {
		if raw, ok := msg[kind.name]; ok {
			delete(msg, kind.name)
			kind.take(raw, msg, emit)
			unknown("", msg, emit)
			return
		}
	}
	emit(notice(CodeUnknownMessage, "message", wantMessage, "message "+quote(data)+" is ignored"))
}

// unknown tells of fields that have no meaning.
func unknown(in string, fields object, emit func(dialect.Event)) {
	if len(fields) == 0 {
		return
	}
	name := slices.Min(slices.Collect(maps.Keys(fields)))
	emit(notice(CodeUnknownField, cut(in+name), "fields that the message has", fmt.Sprintf("field %s and %d more are ignored", quote([]byte(in+name)), len(fields)-1)))
}

func (r *reader) eof(raw json.RawMessage, _ object, emit func(dialect.Event)) {
	if yes(raw, "eof", emit) {
		r.rest(emit)
		emit(dialect.Event{Kind: dialect.End})
	}
}

func (r *reader) reset(raw json.RawMessage, _ object, emit func(dialect.Event)) {
	if yes(raw, "reset", emit) {
		emit(dialect.Event{Kind: dialect.Flush})
	}
}

// yes reads the 1 that means yes.
func yes(raw json.RawMessage, field string, emit func(dialect.Event)) bool {
	if s := string(raw); s == "1" || s == "true" {
		return true
	}
	emit(notice(CodeBadField, field, "1, true", field+" "+quote(raw)+" is ignored"))
	return false
}

func (r *reader) event(raw json.RawMessage, msg object, emit func(dialect.Event)) {
	var event string
	_ = json.Unmarshal(raw, &event) // what is no string is no event that is known
	switch event {
	case "end":
		r.rest(emit)
		emit(dialect.Event{Kind: dialect.End})
	case "flush":
		emit(dialect.Event{Kind: dialect.Flush})
	case "ping":
		emit(dialect.Event{Kind: dialect.Reply, Payload: pong(msg["id"])})
		delete(msg, "id")
	default:
		emit(notice(CodeUnknownMessage, "event", "end, flush, ping", "event "+quote(raw)+" is ignored"))
		clear(msg)
	}
}

// pong carries the id of its ping as it came, if that is a number or a short string.
func pong(id json.RawMessage) []byte {
	const maxID = 128 // bytes
	if len(id) == 0 || len(id) > maxID || strings.ContainsRune("{[", rune(id[0])) {
		return []byte(`{"type":"event","event":"pong"}`)
	}
	return encode(struct {
		Type  string          `json:"type"`
		Event string          `json:"event"`
		ID    json.RawMessage `json:"id"`
	}{dialect.TypeEvent, "pong", id})
}

// notice is the event for a warning.
func notice(code, field, allowed, message string) dialect.Event {
	return dialect.Event{Kind: dialect.Notice, Note: dialect.Note{
		Event: dialect.EventWarning, Code: code, Field: field, Allowed: allowed, Message: message,
	}}
}

// quote shows the beginning of what a client wrote.
func quote(b []byte) string { return fmt.Sprintf("%q", cut(string(b))) }

func cut(s string) string {
	const most = 64 // bytes
	return strings.ToValidUTF8(s[:min(len(s), most)], "\uFFFD")
}
