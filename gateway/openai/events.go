package openai

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// Types of server events.
const (
	eventError       = "error"
	eventCreated     = "session.created"
	eventUpdated     = "session.updated"
	eventFlatUpdated = "transcription_session.updated"

	eventCommitted = "input_audio_buffer.committed"
	eventCleared   = "input_audio_buffer.cleared"
	eventStarted   = "input_audio_buffer.speech_started"
	eventStopped   = "input_audio_buffer.speech_stopped"

	eventItemAdded   = "conversation.item.added"
	eventItemDone    = "conversation.item.done"
	eventItemCreated = "conversation.item.created" // of the beta, which has neither of those two

	eventDelta     = "conversation.item.input_audio_transcription.delta"
	eventCompleted = "conversation.item.input_audio_transcription.completed"
	eventFailed    = "conversation.item.input_audio_transcription.failed"
)

// event is what every server event begins with.
type event struct {
	Type string `json:"type"`
	ID   string `json:"event_id"`
}

type errorEvent struct {
	event
	Error problem `json:"error"`
}

// problem is an error of the API. Null stands for what there is none of.
type problem struct {
	Type    string  `json:"type"`
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
	EventID *string `json:"event_id"` // of the client's event
}

type sessionEvent struct {
	event
	Session any `json:"session"` // *nested or *flat
}

type committedEvent struct {
	event
	Item     string  `json:"item_id"`
	Previous *string `json:"previous_item_id"`
}

type startedEvent struct {
	event
	Item    string `json:"item_id"`
	StartMS int64  `json:"audio_start_ms"` // in the audio that was appended
}

type stoppedEvent struct {
	event
	Item  string `json:"item_id"`
	EndMS int64  `json:"audio_end_ms"`
}

type itemEvent struct {
	event
	Previous *string `json:"previous_item_id"`
	Item     item    `json:"item"`
}

type item struct {
	ID      string    `json:"id"`
	Object  string    `json:"object"` // realtime.item
	Type    string    `json:"type"`   // message
	Status  string    `json:"status"` // in_progress, completed or incomplete
	Role    string    `json:"role"`   // user
	Content []content `json:"content"`
}

type content struct {
	Type       string  `json:"type"` // input_audio
	Transcript *string `json:"transcript"`
}

type deltaEvent struct {
	event
	Item  string `json:"item_id"`
	Index int    `json:"content_index"`
	Delta string `json:"delta"`
}

type completedEvent struct {
	event
	Item       string `json:"item_id"`
	Index      int    `json:"content_index"`
	Transcript string `json:"transcript"`
	Usage      usage  `json:"usage"`
}

type usage struct {
	Type    string  `json:"type"`    // duration
	Seconds float64 `json:"seconds"` // of audio
}

type failedEvent struct {
	event
	Item  string  `json:"item_id"`
	Index int     `json:"content_index"`
	Error problem `json:"error"`
}

// of begins an event of a type.
func (t *turns) of(kind string) event {
	return event{Type: kind, ID: "event_" + t.ids + strconv.FormatUint(t.events.Add(1), 10)}
}

func (t *turns) itemEvent(kind, id, previous, status string, transcript *string) itemEvent {
	return itemEvent{event: t.of(kind), Previous: orNull(previous), Item: item{
		ID: id, Object: "realtime.item", Type: "message", Status: status, Role: "user",
		Content: []content{{Type: "input_audio", Transcript: transcript}},
	}}
}

// added tells of a new item, in the words of the beta too where that is spoken.
func (t *turns) added(c committed) [][]byte {
	out := [][]byte{
		encode(committedEvent{t.of(eventCommitted), c.item, orNull(c.previous)}),
		encode(t.itemEvent(eventItemAdded, c.item, c.previous, "in_progress", nil)),
	}
	if t.speaksBeta() {
		out = append(out, encode(t.itemEvent(eventItemCreated, c.item, c.previous, "in_progress", nil)))
	}
	return out
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// encode writes a message. Its values come from JSON or are valid text, so it always
// encodes; were it not so, the client would hear nothing rather than half of it.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // nobody reads this as HTML
	if err := e.Encode(v); err != nil {
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
