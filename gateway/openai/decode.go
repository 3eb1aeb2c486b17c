package openai

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

const (
	maxAppend  = 15 << 20 // bytes of audio in one event, as at the vendor's; the gateway's own bound is lower
	maxEventID = 512      // bytes of a client's event id
	maxExtras  = 64       // unknown fields that one connection is told of
)

// reader is the half of a conversation that the socket's reader owns.
type reader struct {
	cfg     Config
	turns   *turns
	pending []dialect.Event // said before the first message's events

	began settings        // those that the source was started with
	runs  bool            // the source was started
	odd   []byte          // the first half of a sample whose second is to come
	told  map[string]bool // unknown fields, by event and name
}

// message is one event of the client.
type message struct {
	fields
	kind, id string
}

// emitter takes the events of a message, in order.
type emitter func(dialect.Event)

// Decode takes text and binary messages alike.
func (r *reader) Decode(_ websocket.MessageType, data []byte, to func(dialect.Event)) {
	emit := emitter(to)
	for _, ev := range r.pending {
		emit(ev)
	}
	r.pending = nil
	o, ok := parse(data)
	if !ok {
		r.refuse(emit, "", fault{CodeBadJSON, "", "a JSON object with the field type", "The message is no JSON object."})
		return
	}
	m := &message{fields: fields{o: o, fault: &fault{}}}
	m.kind, m.id = m.text("type"), eventID(m.text("event_id"))
	switch {
	case m.failed():
	case m.kind == "input_audio_buffer.append":
		r.append(m, emit)
	case m.kind == "input_audio_buffer.commit":
		r.commit(m, emit)
	case m.kind == "input_audio_buffer.clear":
		r.clear(m, emit)
	case m.kind == "session.update", m.kind == "transcription_session.update":
		r.update(m, emit)
	case m.kind == "":
		m.fail(CodeMissing, "type", "the type of an event", "Missing required parameter: 'type'.")
	default:
		m.bad("type", m.kind, "'session.update', 'transcription_session.update', 'input_audio_buffer.append', 'input_audio_buffer.commit', 'input_audio_buffer.clear'")
	}
	if m.failed() {
		r.refuse(emit, m.id, *m.fault)
	}
}

func eventID(id string) string {
	if len(id) > maxEventID {
		return "" // nobody could match a shortened one
	}
	return valid(id)
}

// refuse tells the client at once, and the gateway's log: the writer knows these
// codes and does not tell them again.
func (r *reader) refuse(emit emitter, id string, f fault) {
	emit.reply(encode(errorEvent{r.turns.of(eventError), problem{
		Type: typeRequest, Code: f.code, Message: f.message, Param: orNull(f.param), EventID: orNull(id),
	}}))
	emit(notice(f.code, f.param, f.allowed, f.message))
}

func (emit emitter) reply(messages ...[]byte) {
	for _, m := range messages {
		emit(dialect.Event{Kind: dialect.Reply, Payload: m})
	}
}

// notice is the event for a warning in the gateway's log.
func notice(code, field, allowed, message string) dialect.Event {
	if field == "" {
		field = "message"
	}
	return dialect.Event{Kind: dialect.Notice, Note: dialect.Note{
		Event: dialect.EventWarning, Code: code, Field: field, Allowed: allowed, Message: message,
	}}
}

// notices is one warning for all wishes that one event holds.
func notices(told []ignored) []dialect.Event {
	if len(told) == 0 {
		return nil
	}
	names := make([]string, len(told))
	for i, t := range told {
		names[i] = t.Param
	}
	return []dialect.Event{notice(CodeIgnored, cutTo(strings.Join(names, ", "), 512), "what gateway/CLIENTS.md lists", "the client was told that this has no effect here")}
}

// extras tells of fields that an event does not have, each once: they harm nothing.
func (r *reader) extras(m *message, emit emitter) {
	for _, name := range m.unread() {
		key := m.kind + " " + cutTo(name, 64)
		if r.told[key] || len(r.told) >= maxExtras {
			continue
		}
		r.told[key] = true
		r.refuse(emit, m.id, fault{CodeUnknown, cutTo(name, 64), strings.Join(m.known, ", "),
			fmt.Sprintf("Unknown parameter: '%s'. It is ignored, the rest of the event is not.", cutTo(name, 64))})
	}
}

// append cuts audio into frames. Half a sample waits for the next event.
func (r *reader) append(m *message, emit emitter) {
	audio, ok := m.audio()
	if !ok {
		return
	}
	r.extras(m, emit)
	set := r.turns.settings()
	r.start(set, emit)
	if len(r.odd) > 0 {
		audio = append(r.odd, audio...)
	}
	width, size := set.format.width(), set.format.frame()
	whole := len(audio) / width * width
	r.odd = append([]byte(nil), audio[whole:]...)
	r.turns.append(set.format.lasts(whole))
	for audio = audio[:whole]; len(audio) > 0; {
		n := min(size, len(audio))
		emit(dialect.Event{Kind: dialect.Media, Tag: tag, Payload: audio[:n:n], Packet: -1, TimeMS: -1})
		audio = audio[n:]
	}
}

// start announces the source, again where format or language have changed since.
func (r *reader) start(set settings, emit emitter) {
	same := set.format == r.began.format && set.language == r.began.language
	if r.runs && same {
		return
	}
	if set.format != r.began.format {
		r.odd = nil // half of a sample of other audio
	}
	r.runs, r.began = true, set
	emit(dialect.Event{Kind: dialect.Start, Tag: tag, Format: set.format.neutral(), Language: set.language})
}

// audio decodes the field audio.
func (m *message) audio() ([]byte, bool) {
	const want = "audio as base64"
	raw := m.text("audio")
	switch {
	case m.failed():
		return nil, false
	case !m.has("audio"):
		m.fail(CodeMissing, "audio", want, "Missing required parameter: 'audio'.")
		return nil, false
	case base64.StdEncoding.DecodedLen(len(raw)) > maxAppend+2:
		m.fail(CodeBadValue, "audio", fmt.Sprintf("at most %d bytes", maxAppend), "Invalid 'audio': it is longer than %d bytes.", maxAppend)
		return nil, false
	}
	encoding := base64.StdEncoding
	if len(raw)%4 != 0 && !strings.ContainsAny(raw, "=\r\n") {
		encoding = base64.RawStdEncoding
	}
	audio, err := encoding.DecodeString(raw)
	if err != nil || len(audio) == 0 {
		m.fail(CodeBadValue, "audio", want, "Invalid 'audio': %d characters are no base64 of audio.", len(raw))
		return nil, false
	}
	return audio, true
}

// commit ends the open item. Its turn is known to the writer before its results can
// come, and its item to the client before its transcript.
func (r *reader) commit(m *message, emit emitter) {
	r.extras(m, emit)
	c, why := r.turns.commit()
	switch why {
	case CodeCommitEmpty:
		m.fail(why, "", "audio since the last commit", "Error committing input audio buffer: buffer too small. Nothing was appended that belongs to no item yet.")
		return
	case CodeTooMany:
		m.fail(why, "", fmt.Sprintf("%d", maxPending), "Too many commits and clears wait for their results: at most %d may.", maxPending)
		return
	}
	emit.reply(r.turns.added(c)...)
	emit(dialect.Event{Kind: dialect.Flush, Tag: tag})
}

// clear makes what belongs to no item yet nobody's. It was sent to a worker already,
// so its results are dropped when they come.
func (r *reader) clear(m *message, emit emitter) {
	r.extras(m, emit)
	flush, why := r.turns.clear()
	if why != "" {
		m.fail(why, "", fmt.Sprintf("%d", maxPending), "Too many commits and clears wait for their results: at most %d may.", maxPending)
		return
	}
	r.odd = nil
	emit.reply(encode(r.turns.of(eventCleared)))
	if flush {
		emit(dialect.Event{Kind: dialect.Flush, Tag: tag})
	}
}

// update changes the settings and answers in the shape of the question.
func (r *reader) update(m *message, emit emitter) {
	u := update{cfg: r.cfg, set: r.turns.settings()}
	ownBeta := m.kind == "transcription_session.update"
	asFlat := false
	if session, ok := m.object("session"); ok {
		asFlat = u.session(session)
	} else if !m.failed() && !m.has("model") {
		m.fail(CodeMissing, "session", "an object", "Missing required parameter: 'session'.")
	}
	if model := m.text("model"); model != "" { // of servers that imitate the API
		u.model(&m.fields, strings.ToLower(valid(model)))
	}
	m.rest()
	if m.failed() {
		return
	}
	r.turns.change(u.set, ownBeta)
	kind := eventUpdated
	if ownBeta {
		kind, asFlat = eventFlatUpdated, true
	}
	emit.reply(encode(sessionEvent{r.turns.of(kind), u.set.render(r.cfg, r.turns.session(), asFlat, sessionExtra{Ignored: u.told})}))
	for _, ev := range notices(u.told) {
		emit(ev)
	}
}
