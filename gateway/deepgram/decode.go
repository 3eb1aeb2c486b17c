package deepgram

import (
	"encoding/json"
	"fmt"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

// reader is the half of a conversation that the socket's reader owns.
type reader struct {
	channels *channels
	input    input
	emit     func(dialect.Event) // of the Decode that is under way
	pending  []dialect.Event     // said before the first message's events
	unusable bool                // nothing that comes can be used any more
}

// input turns the client's binary messages into frames.
type input interface {
	take(data []byte, r *reader)

	// rest gives up, at the end of the stream, what is held back for more of it.
	rest(r *reader)
}

// inputOf is what an encoding needs; none: the audio itself says what it is.
func inputOf(f dialect.Format) input {
	switch f.Encoding {
	case encodingL16, encodingMuLaw, encodingALaw:
		return newSamples(f)
	case encodingOpus:
		return &packets{format: f}
	case encodingOggOpus:
		return &oggPages{format: f}
	}
	return &sniffer{}
}

// Decode takes audio in binary messages and commands in text. A binary message without
// a byte is what old clients end a stream with.
func (r *reader) Decode(kind websocket.MessageType, data []byte, emit func(dialect.Event)) {
	r.emit = emit
	defer func() { r.emit = nil }()
	for _, ev := range r.pending {
		emit(ev)
	}
	r.pending = nil
	switch {
	case kind == websocket.MessageText:
		r.command(data)
	case r.unusable:
	case len(data) == 0:
		r.end()
	default:
		r.input.take(data, r)
	}
}

// end is the client's. What came and is no whole piece of audio is nobody's to transcribe.
func (r *reader) end() {
	if !r.unusable {
		r.input.rest(r)
	}
	r.emit(dialect.Event{Kind: dialect.End})
}

// cutOff tells of what is dropped at the end of the stream: bytes of something longer.
func (r *reader) cutOff(bytes int, of string) {
	if bytes == 0 {
		return
	}
	r.emit(notice(dialect.Note{Code: CodeCutOff, Field: "audio", Allowed: "a stream that ends with a whole " + of, Tag: tag,
		Message: fmt.Sprintf("the stream ended within a %s: its last %d bytes are dropped", of, bytes)}))
}

func (r *reader) command(data []byte) {
	const allowed = "KeepAlive, Finalize, CloseStream"
	var m struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		r.emit(notice(dialect.Note{Code: CodeBadJSON, Field: "message", Allowed: "a JSON object with the field type: " + allowed,
			Message: "a text message is no JSON object with a type"}))
		return
	}
	switch m.Type {
	case "KeepAlive": // that it came is all
	case "Finalize":
		r.emit(dialect.Event{Kind: dialect.Flush})
	case "CloseStream":
		r.end()
	default:
		r.emit(notice(dialect.Note{Code: CodeUnknownType, Field: "type", Allowed: allowed, Message: fmt.Sprintf("type %s is ignored", quote(m.Type))}))
	}
}

// start begins the source, in another format as well.
func (r *reader) start(f dialect.Format) {
	r.channels.n.Store(int32(max(1, f.Channels)))
	r.emit(dialect.Event{Kind: dialect.Start, Tag: tag, Format: f})
}

// frame hands one frame over; atMS is its place in the audio, -1 where that follows
// from what came before.
func (r *reader) frame(payload []byte, atMS int64) {
	r.emit(dialect.Event{Kind: dialect.Media, Tag: tag, Payload: payload, Packet: -1, TimeMS: atMS})
}

// refuse ends the session: the audio is of no kind that is known here.
func (r *reader) refuse(format string, args ...any) {
	r.unusable = true
	r.emit(dialect.Event{Kind: dialect.Unusable, Note: dialect.Note{
		Field: "audio", Allowed: "WAV with linear16, mulaw or alaw; Ogg with Opus; or raw audio with encoding and sample_rate",
		Message: fmt.Sprintf(format, args...),
	}})
}

// garbage tells of bytes that are no audio.
func (r *reader) garbage(format string, args ...any) {
	r.emit(notice(dialect.Note{Code: CodeBadPayload, Field: "audio", Allowed: "audio of one kind without gaps", Tag: tag, Message: fmt.Sprintf(format, args...)}))
}

// notice is the event for a warning.
func notice(n dialect.Note) dialect.Event {
	n.Event = dialect.EventWarning
	return dialect.Event{Kind: dialect.Notice, Tag: n.Tag, Note: n}
}
