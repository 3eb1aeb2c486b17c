package plain

import (
	"strings"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// writer is the half of a conversation that the session owns: results and notes as
// Stenobus itself has them.
type writer struct{ interims bool }

// welcome is what a client hears first.
type welcome struct {
	Type        string             `json:"type"`  // event
	Event       string             `json:"event"` // open
	Session     subjects.SessionID `json:"session"`
	Given       bool               `json:"given"` // the client gave the session's id
	ResumeToken string             `json:"resume_token,omitempty"`
	GraceMS     int64              `json:"grace_ms"` // how long the session waits for a client whose connection broke
	Gateway     string             `json:"gateway"`
	Version     string             `json:"version,omitempty"`
}

// Hello implements dialect.Conversation.
func (w *writer) Hello(h dialect.Welcome) [][]byte {
	return [][]byte{encode(welcome{
		Type: dialect.TypeEvent, Event: dialect.EventOpen, Session: h.Session, Given: h.Given,
		ResumeToken: h.Token, GraceMS: h.GraceMS, Gateway: h.Gateway, Version: h.Version,
	})}
}

// Result implements dialect.Conversation. A result without text has nothing for a
// client, unless it answers a flush.
func (w *writer) Result(r dialect.Result) [][]byte {
	if r.Type == dialect.TypeInterim && !w.interims || strings.TrimSpace(r.Text) == "" && !r.Flushed {
		return nil
	}
	return [][]byte{encode(r)}
}

// Note implements dialect.Conversation. Progress is left out: it has nothing for
// somebody who reads.
func (w *writer) Note(n dialect.Note) [][]byte {
	if n.Event == dialect.EventProgress {
		return nil
	}
	return [][]byte{encode(n)}
}

// Closing implements dialect.Conversation: the gateway's words are this protocol's.
func (w *writer) Closing(c dialect.Closing) dialect.Closing { return c }
