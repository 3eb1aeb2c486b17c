// Package dialect is the seam between the gateway's neutral session and the
// protocols that clients speak. A dialect is a pure translation: it knows one
// protocol's words and nothing of the bus, of time or of other sessions. Each has a
// folder of its own beside this one and one line in the gateway's list.
package dialect

import (
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"stenobus/subjects"
)

// KeyProtocol begins the subprotocol in which a web page, that can't set headers, shows
// its API key to a dialect that says so. It is never echoed, so it stands behind another.
const KeyProtocol = "stenobus.key."

// PageKey is the key that a web page shows in that way, empty if there is none.
func PageKey(r *http.Request) string {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			if key, ok := strings.CutPrefix(strings.TrimSpace(name), KeyProtocol); ok {
				return key
			}
		}
	}
	return ""
}

// Dialect speaks one client protocol.
type Dialect interface {
	// Name is the dialect in logs, metrics and at /: one lower-case word.
	Name() string

	// Path is the end of the URL paths that it serves, such as "/transcribe".
	Path() string

	// About says to people in one line who connects there, and how.
	About() string

	// Key is the secret that a client shows in a way which only this protocol has, such
	// as a subprotocol, with its scheme left out; empty: none. What every client may use,
	// the Authorization header, is the gateway's to read.
	Key(r *http.Request) string

	// Refuse renders an answer before the upgrade in the way that this protocol's
	// clients read: it adds to the header and returns the body.
	Refuse(why Refusal, h http.Header) string

	// Open reads what the upgrade request asks for, before the upgrade. A refusal
	// becomes the HTTP answer.
	Open(r *http.Request) (Conversation, Request, *Refusal)
}

// Conversation translates one client's connection. Decode is called by the socket's
// reader only, the other methods by the session only: the two share no state
// unless the conversation guards it.
type Conversation interface {
	// Decode turns one message of the client into events, in order. It keeps nothing
	// of data. What can't be understood is a Notice event, never an error: one bad
	// message ends no session.
	Decode(kind websocket.MessageType, data []byte, emit func(Event))

	// Hello is what the client hears first after each connect, nil for nothing.
	Hello(w Welcome) [][]byte

	// Result renders an interim or a final, nil where the client wants none. Of an
	// interim's messages the last may be dropped for a later one, unless it is nil.
	Result(r Result) [][]byte

	// Note renders something that happened to the session, nil where the protocol
	// has no word for it.
	Note(n Note) [][]byte

	// Closing is the close frame of the connection's end in this protocol's words: most
	// return it unchanged.
	Closing(c Closing) Closing
}

// Closing is a close frame.
type Closing struct {
	Code   string // of the gateway's closed list, for example idle_timeout
	Status websocket.StatusCode
	Text   string // at most 123 bytes; what is longer is cut
}

// Request is what a client asks for when it connects.
type Request struct {
	SessionID string           // as the client wrote it, unchecked; empty: it gave none
	Options   subjects.Options // GraceMS is the gateway's to fill
	Default   Format           // format of a source that sends media without a start
	Protocol  string           // subprotocol to answer with; empty: the first that the client offers
	Private   bool             // subprotocols may hold secrets: none but Protocol is answered
	Header    http.Header      // goes into the answer to the upgrade; nil: nothing more
	IDHeader  string           // name of a header of that answer that tells the session's id; empty: none
	Idle      time.Duration    // without a message of the client, after which the session ends with idle_timeout; 0: the gateway's own
	Gapless   bool             // audio without time stamps has no pauses: its place is how much came before it
	Close     *Closing         // refuse the client with this close frame after the upgrade, where its protocol does so; nil: serve it
	Deltas    bool             // interims add to those before: none is dropped for a newer one
	Once      bool             // the client can't come back: its session ends with its connection, however that ends
	Resume    bool             // the client comes back: no life but an existing one will do
	After     uint64           // of Resume: the cursor of the last final that the client has, 0 for none
}

// Refusal is an answer before the upgrade.
type Refusal struct {
	Status     int           // HTTP status
	Code       string        // of the gateway's closed list; empty: bad_request
	Text       string        // for people, one line: names the field and what is allowed
	Field      string        // of the query, for protocols that name it apart; empty: none
	RetryAfter time.Duration // when to try again; 0: not with this request
}

// Plain is a refusal as a line of text, for protocols that have no form of their own.
func (r Refusal) Plain(h http.Header) string {
	h.Set("Content-Type", "text/plain; charset=utf-8")
	return r.Text
}

// Format of a source's audio.
type Format struct {
	Encoding   string // opus, ogg-opus, l16, mulaw or alaw
	SampleRate int    // samples/s
	Channels   int
}

// EventKind says what a client wants.
type EventKind int

// The kinds of events.
const (
	Start    EventKind = iota // a source begins, or goes on in another format
	Media                     // one frame of a source
	Stop                      // a source ends
	Flush                     // finalise what was spoken; Tag empty: of all sources
	End                       // the client is done and waits for its last finals
	Reply                     // send this back at once
	Notice                    // tell the client, by way of Note
	Unusable                  // nothing of what the client sends can be used, as Note says: the session ends with bad_audio
)

// Event is one thing that a client said.
type Event struct {
	Kind     EventKind
	Tag      string // the client's name of the source
	Format   Format // of Start
	Language string // of Start: BCP 47 tag; empty: the session's
	Implicit bool   // of Start: the client sent none, so a format known from before stands
	Payload  []byte // of Media: the frame, handed over to the session; of Reply: the message
	Packet   int64  // of Media: the client's packet number; -1: none
	TimeMS   int64  // of Media: position on the source's own clock, ms; -1: unknown
	Note     Note   // of Notice and Unusable
}

// Welcome is what a fresh connection may tell its client.
type Welcome struct {
	Session  subjects.SessionID
	Given    bool   // false: the client gave no usable id and Session is new
	Token    string // by which the client may come back
	Gateway  string
	GraceMS  int64
	Version  string
	Provider string // engine asked for, empty: any
	Began    time.Time
}

// Result is one hypothesis, neutral to dialects.
type Result struct {
	Type    string             `json:"type"` // interim or final
	Session subjects.SessionID `json:"session"`
	Tag     string             `json:"source"`
	Text    string             `json:"text"`
	Number  uint64             `json:"n,omitempty"`       // finals only: from 1 in the session's life
	Cursor  uint64             `json:"cursor,omitempty"`  // finals only: place in the results log, for resuming
	Flushed bool               `json:"flushed,omitempty"` // finals only: the last of what a Flush of this connection asked for

	FirstFrame uint64          `json:"first_frame"`
	LastFrame  uint64          `json:"last_frame"`
	StartMS    int64           `json:"start_ms"` // on the session clock
	EndMS      int64           `json:"end_ms"`
	Confidence float64         `json:"confidence,omitempty"`
	Words      []subjects.Word `json:"words,omitempty"`
	Language   string          `json:"language,omitempty"`
	Speaker    string          `json:"speaker,omitempty"`

	ID       string `json:"id"` // shared by a final and its interims
	TimeMS   int64  `json:"-"`  // Unix time of the result, ms
	OriginMS int64  `json:"-"`  // session clock at the source's first frame of this connection
}

// Types of a Result and of a Note.
const (
	TypeInterim = "interim"
	TypeFinal   = "final"
	TypeEvent   = "event"
)

// Events of a Note.
const (
	EventOpen     = "open"     // the connection is made; what a Welcome says
	EventWaiting  = "waiting"  // no worker has room yet
	EventReady    = "ready"    // a worker has the session
	EventResumed  = "resumed"  // a worker has the session, which goes on: Packets says from where
	EventMoved    = "moved"    // another worker has it
	EventProgress = "progress" // audio of Tag up to LastFrame is done and held no more words
	EventFlushed  = "flushed"  // all of Tag that a Flush asked for is done, and no final was left to say so; Tag empty: there was no audio
	EventWarning  = "warning"  // something the client sent was ignored or lost, the session goes on
	EventError    = "error"    // the session ends because of this
	EventEnded    = "ended"    // all is done; the ledger is in Accepted, Covered and Refused
)

// Note is something that happened to a session. Code is one of a closed list
// (see the gateway's codes), Field and Allowed say what was wrong with input.
type Note struct {
	Type    string             `json:"type"` // event
	Session subjects.SessionID `json:"session"`
	Event   string             `json:"event"`
	Code    string             `json:"code,omitempty"`
	Message string             `json:"message,omitempty"`
	Field   string             `json:"field,omitempty"`
	Allowed string             `json:"allowed,omitempty"`
	Count   uint64             `json:"count,omitempty"` // how often since the last such note

	Tag          string            `json:"source,omitempty"`
	EndMS        int64             `json:"-"` // of progress: session clock at the end of LastFrame; 0: unknown
	OriginMS     int64             `json:"-"` // of progress: as in a Result
	LastFrame    uint64            `json:"last_frame,omitempty"`
	Worker       string            `json:"worker,omitempty"`
	Packets      map[string]int64  `json:"packets,omitzero"` // of resumed, by source: the client's own number of the last packet here; nil: unknown
	RetryAfterMS int64             `json:"retry_after_ms,omitempty"`
	Accepted     map[string]uint64 `json:"accepted,omitempty"` // frames, by source
	Covered      map[string]uint64 `json:"covered,omitempty"`
	Refused      map[string]uint64 `json:"refused,omitempty"`
	Replayed     map[string]uint64 `json:"replayed,omitempty"` // sent again to a worker
	Unaccounted  *int64            `json:"unaccounted,omitempty"`
}
