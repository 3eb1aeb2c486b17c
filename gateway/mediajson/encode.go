package mediajson

import (
	"bytes"
	"encoding/json"
	"strings"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// writer is the half of a conversation that the session owns.
type writer struct {
	cfg      Config
	finals   bool // the client wants finals
	interims bool // and interims
	extended bool // it understands the key stenobus

	speakers map[speaker]int // numbers from 0, in order of appearance
	heard    map[string]int  // by tag: how many speakers have a number
}

// speaker is an engine's label, which is of its source alone.
type speaker struct{ tag, label string }

const maxSpeakers = 1024 // of a conversation that get a number

type transcript struct {
	Transcript  []alternative   `json:"transcript"`
	IsInterim   bool            `json:"is_interim"`
	MessageID   string          `json:"message_id"`
	Type        string          `json:"type"`
	Event       string          `json:"event"`
	Participant participant     `json:"participant"`
	Timestamp   int64           `json:"timestamp"` // Unix, ms
	Speaker     *int            `json:"speaker,omitempty"`
	Language    string          `json:"language,omitempty"`
	Stenobus    *dialect.Result `json:"stenobus,omitempty"`
}

type alternative struct {
	Confidence float64 `json:"confidence,omitempty"` // absent: unknown
	Text       string  `json:"text"`
}

type participant struct {
	ID  string `json:"id"`
	Tag string `json:"tag"`
}

// Result is a transcription-result. A result without text has nothing for a client.
func (w *writer) Result(r dialect.Result) [][]byte {
	interim := r.Type == dialect.TypeInterim
	if interim && !w.interims || !interim && !w.finals || strings.TrimSpace(r.Text) == "" {
		return nil
	}
	const kind = "transcription-result"
	t := transcript{
		Transcript:  []alternative{{Confidence: r.Confidence, Text: r.Text}},
		IsInterim:   interim,
		MessageID:   r.ID,
		Type:        kind,
		Event:       kind,
		Participant: participant{ID: participantID(r.Tag), Tag: r.Tag},
		Timestamp:   r.TimeMS,
		Speaker:     w.speaker(r.Tag, r.Speaker),
		Language:    r.Language,
	}
	if w.extended {
		t.Stenobus = &r
	}
	return messages(t)
}

// speaker is the number of an engine's label within its source, nil for none.
func (w *writer) speaker(tag, label string) *int {
	if label == "" {
		return nil
	}
	key := speaker{tag, label}
	n, ok := w.speakers[key]
	if !ok {
		if len(w.speakers) >= maxSpeakers {
			return nil
		}
		n = w.heard[tag]
		w.heard[tag]++
		w.speakers[key] = n
	}
	return &n
}

// participantID is the hexadecimal run that a bridge puts before the first dash of a
// tag, else the whole tag.
func participantID(tag string) string {
	head, _, ok := strings.Cut(tag, "-")
	if !ok || head == "" || strings.Trim(head, "0123456789abcdefABCDEF") != "" {
		return tag
	}
	return head
}

// info is what clients may log and need not read.
type info struct {
	Event       string `json:"event"` // info
	Application string `json:"application"`
	*hello
	Stenobus any `json:"stenobus,omitempty"`
}

type hello struct {
	Provider           string      `json:"provider"`
	ProvidersAvailable []string    `json:"providersAvailable"`
	Config             helloConfig `json:"config"`
	SessionID          string      `json:"sessionId"`
	InstanceID         string      `json:"instanceId"`
	Version            string      `json:"version,omitempty"`
	ResumeToken        string      `json:"resumeToken,omitempty"` // shown by a client that comes back
}

type helloConfig struct {
	SessionResumeEnabled bool    `json:"sessionResumeEnabled"`
	GracePeriod          float64 `json:"gracePeriod"` // s
}

// welcome is what a client of the extension needs to know of its connection.
type welcome struct {
	Type    string             `json:"type"`  // event
	Event   string             `json:"event"` // open
	Session subjects.SessionID `json:"session"`
	Given   bool               `json:"given"` // the client gave the session's id
	GraceMS int64              `json:"grace_ms"`
}

// Hello is an info event: clients of the protocol expect one first.
func (w *writer) Hello(h dialect.Welcome) [][]byte {
	provider := h.Provider
	switch {
	case provider != "":
	case len(w.cfg.Engines) == 1:
		provider = w.cfg.Engines[0]
	default:
		provider = "any"
	}
	version := h.Version
	if version == "" {
		version = w.cfg.Version
	}
	i := info{
		Event: "info", Application: w.cfg.Application,
		hello: &hello{
			Provider:           provider,
			ProvidersAvailable: append([]string{}, w.cfg.Engines...), // never null
			Config:             helloConfig{SessionResumeEnabled: h.GraceMS > 0, GracePeriod: float64(h.GraceMS) / 1000},
			SessionID:          string(h.Session),
			InstanceID:         h.Gateway,
			Version:            version,
			ResumeToken:        h.Token,
		},
	}
	if w.extended {
		i.Stenobus = welcome{Type: dialect.TypeEvent, Event: dialect.EventOpen, Session: h.Session, Given: h.Given, GraceMS: h.GraceMS}
	}
	return messages(i)
}

// Note is an info event too. Clients that do not know the extension get what a person
// who reads their logs wants to see.
func (w *writer) Note(n dialect.Note) [][]byte {
	switch n.Event {
	case dialect.EventWarning, dialect.EventError, dialect.EventEnded, dialect.EventWaiting, dialect.EventMoved:
	default:
		if !w.extended {
			return nil
		}
	}
	return messages(info{Event: "info", Application: w.cfg.Application, Stenobus: n})
}

// Closing implements dialect.Conversation: the gateway's words are this protocol's.
func (w *writer) Closing(c dialect.Closing) dialect.Closing { return c }

// messages writes one message. The numbers in v come from JSON, so v always encodes;
// if it ever does not, the client hears nothing rather than half of it.
func messages(v any) [][]byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // nobody reads this as HTML
	if err := e.Encode(v); err != nil {
		return nil
	}
	return [][]byte{bytes.TrimSuffix(b.Bytes(), []byte("\n"))}
}
