package mediajson

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
	"stenobus/subjects/safeguard"
)

// reader is the half of a conversation that the socket's reader owns.
type reader struct {
	format  dialect.Format // of tags that never sent a start
	resumes bool           // the client comes back to a session that knows its tags
	tags    map[string]*tag
	room    block

	pending  []dialect.Event // said before the first message's events
	diarized bool            // the URL asked for it

	long bool // set by tests: never take the short way
}

// object is a JSON object. As in the clients' own parsers names are case-sensitive
// and the last of several equal ones counts, with all that it holds.
type object map[string]json.RawMessage

// Decode takes text and binary messages alike.
func (r *reader) Decode(_ websocket.MessageType, data []byte, emit func(dialect.Event)) {
	for _, ev := range r.pending {
		emit(ev)
	}
	r.pending = nil
	if !r.long && !safeguard.ScanOff {
		if f, ok := scanMedia(data); ok {
			r.media(f, emit)
			return
		}
		if c, ok := scanControl(data); ok && r.control(c, emit) {
			return
		}
	}
	r.parse(data, emit)
}

// control obeys an event that was read in the short way. It reports false where the long
// way must be taken: to tell what is wrong.
func (r *reader) control(c control, emit func(dialect.Event)) bool {
	switch string(c.event) {
	case "start":
		format, ok := r.plainFormat(c.start.format)
		if !ok || len(c.start.tag) == 0 || len(c.start.tag) > maxTagUnits {
			return false
		}
		if t := r.track(string(c.start.tag), emit); t != nil {
			r.started(t, format, emit)
		}
		return true
	case "ping":
		emit(dialect.Event{Kind: dialect.Reply, Payload: pong(c.id)})
		return true
	}
	return false
}

// parse is the long way, which every message may take.
func (r *reader) parse(data []byte, emit func(dialect.Event)) {
	var msg object
	if err := json.Unmarshal(data, &msg); err != nil || msg == nil {
		why := "message is no JSON object"
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			why = fmt.Sprintf("message is no JSON: %v at byte %d", syntax, syntax.Offset)
		}
		emit(notice(dialect.Note{Code: CodeBadJSON, Field: "message", Allowed: "a JSON object with the field event", Message: why}))
		return
	}
	event, _ := text(msg["event"])
	switch event {
	case "media":
		r.parseMedia(msg, emit)
	case "start":
		r.start(msg, emit)
	case "stop":
		r.stop(msg, emit)
	case "ping":
		emit(dialect.Event{Kind: dialect.Reply, Payload: pong(msg["id"])})
	case "session-end":
		emit(dialect.Event{Kind: dialect.End})
	case "info", "pong", "sources", "start-translation", "stop-translation":
		// of the protocol, but nothing to do here
	default:
		emit(notice(dialect.Note{
			Code: CodeUnknownEvent, Field: "event", Allowed: "start, media, stop, ping, info, session-end",
			Message: fmt.Sprintf("event %.64q is ignored", event),
		}))
	}
}

// pong carries the id of its ping digit for digit, if that is a number.
func pong(id json.RawMessage) []byte {
	const maxID = 64
	if !isNumber(id) || len(id) > maxID {
		return []byte(`{"event":"pong"}`)
	}
	return fmt.Appendf(nil, `{"event":"pong","id":%s}`, id)
}

func (r *reader) start(msg object, emit func(dialect.Event)) {
	body, name, ok := named(msg, "start", emit)
	if !ok {
		return
	}
	t := r.track(name, emit)
	if t == nil {
		return
	}
	format, wrong := r.mediaFormat(body["mediaFormat"])
	if wrong != nil {
		t.block()
		wrong.Tag = name
		wrong.Message += ": media of this tag is dropped until a valid start"
		emit(notice(*wrong))
		return
	}
	r.started(t, format, emit)
	if string(body["diarize"]) == "true" && !r.diarized {
		emit(notice(dialect.Note{
			Code: CodeNotHonoured, Field: "start.diarize", Allowed: "diarize=true in the URL, which tells the engine for all sources", Tag: name,
			Message: fmt.Sprintf("diarize of source %.64q changes nothing: engines are told when a session begins", name),
		}))
	}
}

// started begins a source, or begins it anew.
func (r *reader) started(t *tag, format dialect.Format, emit func(dialect.Event)) {
	t.start(format)
	emit(dialect.Event{Kind: dialect.Start, Tag: t.name, Format: format})
}

func (r *reader) stop(msg object, emit func(dialect.Event)) {
	_, name, ok := named(msg, "stop", emit)
	if !ok {
		return
	}
	if t := r.tags[name]; t != nil {
		t.stop()
	}
	emit(dialect.Event{Kind: dialect.Stop, Tag: name})
}

func (r *reader) parseMedia(msg object, emit func(dialect.Event)) {
	body, name, ok := named(msg, "media", emit)
	if !ok {
		return
	}
	f := frame{tag: []byte(name)}
	payload, _ := text(body["payload"])
	f.payload = []byte(payload)
	for _, n := range []struct {
		name string
		to   *int64
	}{{"chunk", &f.chunk}, {"timestamp", &f.timestamp}} {
		*n.to, ok = number(body[n.name])
		if !ok {
			emit(notice(dialect.Note{
				Code: CodeBadField, Field: "media." + n.name, Allowed: "an integer from 0, as a number or a string", Tag: name,
				Message: fmt.Sprintf("%s %.64q counts as absent", n.name, []byte(body[n.name])),
			}))
		}
	}
	r.media(f, emit)
}

// named reads an event's body and the tag in it. What can't be used is told.
func named(msg object, event string, emit func(dialect.Event)) (body object, tag string, ok bool) {
	body, ok = nested(msg[event])
	if !ok {
		emit(notice(dialect.Note{Code: CodeBadField, Field: event, Allowed: "an object", Message: "event " + event + " has no object of that name"}))
		return nil, "", false
	}
	field, raw := event+".tag", body["tag"]
	tag, isText := text(raw)
	switch n := units(tag); {
	case absent(raw) || isText && tag == "":
		emit(notice(dialect.Note{Code: CodeMissingTag, Field: field, Allowed: "a string of 1 to 128 UTF-16 units", Message: "event " + event + " names no source"}))
	case !isText:
		emit(notice(dialect.Note{Code: CodeBadField, Field: field, Allowed: "a string of 1 to 128 UTF-16 units", Message: fmt.Sprintf("tag %.64q is no string", []byte(raw))}))
	case n > maxTagUnits:
		emit(notice(dialect.Note{Code: CodeBadField, Field: field, Allowed: "a string of 1 to 128 UTF-16 units", Message: fmt.Sprintf("tag %.32q... has %d UTF-16 units", tag, n)}))
	default:
		return body, tag, true
	}
	return nil, "", false
}

// notice is the event for a warning.
func notice(n dialect.Note) dialect.Event {
	n.Event = dialect.EventWarning
	return dialect.Event{Kind: dialect.Notice, Tag: n.Tag, Note: n}
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func isNumber(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9')
}

func text(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

func nested(raw json.RawMessage) (o object, ok bool) {
	if len(raw) == 0 || raw[0] != '{' {
		return nil, false
	}
	return o, json.Unmarshal(raw, &o) == nil
}

// number reads an integer from 0 that is written as a number or as a string: bridges
// do the latter. It is -1 where there is none; false says that there is something else.
func number(raw json.RawMessage) (int64, bool) {
	if absent(raw) {
		return -1, true
	}
	s, isText := text(raw)
	if isText {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 {
			return n, true
		}
		return -1, false
	}
	return integer(raw)
}

// integer reads a JSON number from 0 that is whole, however it is written.
func integer(raw json.RawMessage) (int64, bool) {
	if !isNumber(raw) {
		return -1, false
	}
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil && n >= 0 {
		return n, true
	}
	const maxExact = 1 << 53
	if f, err := strconv.ParseFloat(string(raw), 64); err == nil && f == math.Trunc(f) && f >= 0 && f <= maxExact {
		return int64(f), true
	}
	return -1, false
}
