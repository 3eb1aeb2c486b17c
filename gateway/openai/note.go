package openai

import (
	"slices"

	"stenobus/gateway/dialect"
)

// Codes of the gateway's ends that are special here.
const (
	tooLong  = "session_too_long" // it lasted as long as one may
	noWorker = "no_worker"        // for as long as one is waited for
)

// own are the codes that the reader tells by itself.
var own = []string{CodeBadJSON, CodeUnknown, CodeMissing, CodeBadType, CodeBadValue, CodeCommitEmpty, CodeTooMany, CodeIgnored}

// byClient are the codes of ends that a client brought about; others are the server's.
var byClient = []string{"audio_too_fast", "message_too_big", "bad_audio", "forbidden", "idle_timeout", "slow_client", tooLong}

// Note renders what concerns the client. The API has no words for the rest.
func (w *writer) Note(n dialect.Note) [][]byte {
	switch n.Event {
	case dialect.EventFlushed:
		return w.answered()
	case dialect.EventProgress:
		return w.silent(n)
	case dialect.EventWarning:
		if slices.Contains(own, n.Code) {
			return nil
		}
		return [][]byte{encode(w.errorOf(n, typeRequest))}
	case dialect.EventError:
		kind := typeServer
		if slices.Contains(byClient, n.Code) {
			kind = typeRequest
		}
		e := w.errorOf(n, kind)
		w.fault = &e.Error
		if n.Code == noWorker { // nobody has the audio, so nothing more will come
			return append(w.failed(), encode(e))
		}
		return [][]byte{encode(e)}
	case dialect.EventEnded:
		return w.leftover()
	}
	return nil
}

func (w *writer) errorOf(n dialect.Note, kind string) errorEvent {
	p := problem{Type: kind, Code: n.Code, Message: valid(n.Message), Param: orNull(param(n.Field))}
	if n.Code == tooLong {
		p.Code = "session_expired"
	}
	if n.Allowed != "" {
		p.Message += " (allowed: " + valid(n.Allowed) + ")"
	}
	return errorEvent{w.turns.of(eventError), p}
}

// param is the client's name of what the gateway calls by its own.
func param(field string) string {
	switch field {
	case "media.payload":
		return "audio"
	case "event":
		return "type"
	}
	return valid(field)
}

// silent ends an item whose speech turned out to be none: the client waits for it.
func (w *writer) silent(n dialect.Note) [][]byte {
	if w.utterance == "" || n.LastFrame < w.lastFrame {
		return nil
	}
	end := w.end
	w.close(w.utterance)
	if !w.spoken {
		return nil
	}
	c, ok := w.turns.finish(end)
	if !ok { // the client's own commit ends it
		return nil
	}
	out := [][]byte{encode(stoppedEvent{w.turns.of(eventStopped), c.item, end.Milliseconds()})}
	out = append(out, w.turns.added(c)...)
	return append(out, w.completed(c, 0)...)
}

// failed tells of every item that waits for results that will not come.
func (w *writer) failed() (out [][]byte) {
	for {
		turn, ok := w.turns.answer()
		switch {
		case !ok:
			return out
		case turn.clear:
			continue
		}
		out = append(out, encode(failedEvent{event: w.turns.of(eventFailed), Item: turn.item, Error: *w.fault}))
	}
}

// leftover is what the client still waits for when a session ends, and what was
// transcribed and never committed.
func (w *writer) leftover() (out [][]byte) {
	if w.fault != nil {
		out = w.failed()
	}
	for w.turns.now().ended {
		out = append(out, w.answered()...)
	}
	if w.item != w.turns.now().open || w.finals == "" {
		return out
	}
	if c, length, ok := w.turns.rest(); ok {
		out = append(out, w.turns.added(c)...)
		out = append(out, w.completed(c, length)...)
	}
	return out
}
