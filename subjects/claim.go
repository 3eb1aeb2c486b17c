package subjects

import (
	"encoding/json"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// Options are a client's wishes, as the gateway read them from its request.
type Options struct {
	Engine     string            `json:"engine,omitempty"`      // name of the engine; empty: any
	Language   string            `json:"language,omitempty"`    // BCP 47 tag; empty: the engine's default
	Labels     map[string]string `json:"labels,omitempty"`      // a worker must carry all of these
	Tags       []string          `json:"tags,omitempty"`        // passed on to providers and results
	Extra      map[string]string `json:"extra,omitempty"`       // engine's own options by name
	NoInterims bool              `json:"no_interims,omitempty"` // nobody wants interims
	GraceMS    int64             `json:"grace_ms"`              // how long the session outlives its gateway, ms
	Access                       // who may come back to the session; in a claim: what its connection has to show
}

// ClaimRequest asks a dispatcher to attach a client to a session, or, with an Epoch,
// to move the session away from the owner of that epoch. It may be sent again: the
// nonce tells a repetition from a second connection.
type ClaimRequest struct {
	V       int       `json:"v"`
	Session SessionID `json:"session"`
	Gateway string    `json:"gateway"`
	Probe   string    `json:"probe,omitempty"` // a request here is answered while the gateway lives
	Nonce   string    `json:"nonce"`           // one for each connection of a client
	Reason  string    `json:"reason"`          // open, or why the session must move
	Stamp             // of the ownership to leave; zero to attach
	Fresh   bool      `json:"fresh,omitempty"` // of a move: the gateway has numbered nothing yet; an attach never has
	Options Options   `json:"options"`
	Split   Split     `json:"split,omitempty"` // as the gateway knows the results log; another one than the dispatcher's is refused

	Cell string `json:"cell,omitempty"` // of the gateway, where the session is to be placed; empty: the dispatcher's

	Resume        bool   `json:"resume,omitempty"`        // attach to a life that exists or refuse with ended: begin none
	After         uint64 `json:"after,omitempty"`         // of Resume: the client has the results up to here; 0: none of them
	Shown         bool   `json:"shown,omitempty"`         // the client showed the token of Options; otherwise it is new
	Authenticated bool   `json:"authenticated,omitempty"` // the gateway knows its clients: an id alone gives no right

	Sent   string `json:"sent,omitempty"`   // when the gateway asked, RFC 3339; a dispatcher that slept finds old claims before it
	Insist bool   `json:"insist,omitempty"` // this gateway was told late: its clock differs, and it still asks
	Came   string `json:"came,omitempty"`   // only if the client has left by now: when it had come, RFC 3339; it takes nothing from a later one
}

// Permitted tells whether the claim may attach to a life with this access.
func (c ClaimRequest) Permitted(life Access) bool {
	return life.Permits(c.Options.Access, c.Shown, c.Authenticated)
}

// ReasonOpen and ReasonResume are why a claim that is no move was granted.
const (
	ReasonOpen   = "open"
	ReasonResume = "resume"
)

// Moves tells whether the claim is a move rather than an attach.
func (c ClaimRequest) Moves() bool { return c.Epoch != 0 }

// ClaimReply answers a claim: the stamp to use from now on, or why not.
type ClaimReply struct {
	V int `json:"v"`
	Stamp
	Worker WorkerID `json:"worker,omitempty"`
	Error  *Error   `json:"error,omitempty"`
}

// KeepRequest renews or ends a session's record; the dispatcher answers with a KeepReply.
type KeepRequest struct {
	V       int       `json:"v"`
	Session SessionID `json:"session"`
	Worker  WorkerID  `json:"worker"`
	Stamp
	Nonce   string  `json:"nonce,omitempty"` // of end: a claim that its gateway has given up; worker and stamp are not looked at then
	Options Options `json:"options"`         // of the session, for a record that has to be written again
}

// KeepReply answers a KeepRequest.
type KeepReply struct {
	V     int    `json:"v"`
	Error *Error `json:"error,omitempty"` // superseded: the record is another owner's by now
}

// Operations of a worker.
const (
	OpAssign  = "assign"  // take this session, or note its new attach
	OpRelease = "release" // drop this session without a word, another worker has it
	OpDrain   = "drain"   // take nothing more and hand over what you have
)

// WorkerRequest is what a dispatcher (or, to drain, an operator) asks of a worker.
type WorkerRequest struct {
	V       int       `json:"v"`
	Op      string    `json:"op"`
	Session SessionID `json:"session,omitempty"`
	Gateway string    `json:"gateway,omitempty"`
	Probe   string    `json:"probe,omitempty"` // of assign: a request here is answered while the gateway of the attach lives
	Reason  string    `json:"reason,omitempty"`
	Why     string    `json:"why,omitempty"` // of an assign: how the worker was chosen, see Record
	Stamp
	Fresh   bool      `json:"fresh,omitempty"` // of assign: the gateway holds nothing of what was sent before
	Options Options   `json:"options"`
	Log     *LogPlace `json:"log,omitempty"` // of assign: where the session's results go; nil: where they go unsplit
}

// Place is where the results go.
func (r WorkerRequest) Place() LogPlace {
	if r.Log == nil {
		return Split(0).Place(r.Session)
	}
	return *r.Log
}

// WorkerReply answers a WorkerRequest.
type WorkerReply struct {
	V        int    `json:"v"`
	Slots    int    `json:"slots"`    // sessions it may hold
	Sessions int    `json:"sessions"` // sessions it holds, this one included
	Error    *Error `json:"error,omitempty"`
}

// Codes of an Error. The list is closed within a major version.
const (
	CodeNoWorker    = "no_worker"   // nobody has room now; try again after RetryAfterMS
	CodeUnsupported = "unsupported" // no worker known could ever serve these options
	CodeSuperseded  = "superseded"  // a later attach, epoch or life has the session
	CodeLate        = "late"        // the claim seems to have been long under way; whoever still waits asks again with insist
	CodeForbidden   = "forbidden"   // the claim shows no right to this session
	CodeFull        = "full"        // this worker has no free slot
	CodeDraining    = "draining"    // this worker takes nothing more
	CodeEnding      = "ending"      // this life's last results are being stored; try again after RetryAfterMS
	CodeEnded       = "ended"       // this life of the session is over
	CodeBadRequest  = "bad_request" // the request itself is wrong
	CodeVersion     = "version"     // another major version
	CodeInternal    = "internal"    // the bus or a store failed; try again
)

// Error is a refusal that crosses the bus.
type Error struct {
	Code         string `json:"code"`
	Message      string `json:"message"` // for people: names the rule and the numbers
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an Error.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Record is the value of a session's key in the sessions bucket.
type Record struct {
	V       int       `json:"v"`
	Stamp             // Life 0: this value created the record, its revision is the life
	Nonce   string    `json:"nonce"`             // of the attach
	Session SessionID `json:"session"`           // as the client wrote it; the key is its token
	Gateway string    `json:"gateway"`           // of the attach
	Probe   string    `json:"probe,omitempty"`   // of the gateway
	Worker  WorkerID  `json:"worker"`            // of the epoch
	Reason  string    `json:"reason"`            // why the epoch began
	Why     string    `json:"why,omitempty"`     // how its worker was chosen, for people; at most MaxWhy bytes
	Since   string    `json:"since"`             // when, RFC 3339
	Joined  string    `json:"joined,omitempty"`  // when the attach was granted, RFC 3339
	Granted bool      `json:"granted,omitempty"` // the first attach was granted though another dispatcher may work on the same claim
	Options Options   `json:"options"`
}

// MaxWhy is the longest text that says how a worker was chosen, in bytes.
const MaxWhy = 300

// BoundWhy cuts such a text to MaxWhy bytes, between two characters.
func BoundWhy(s string) string {
	if len(s) <= MaxWhy {
		return s
	}
	n := MaxWhy - len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// WorkerReport is the value of a worker's key in the workers bucket. It expires
// unless repeated.
type WorkerReport struct {
	V        int               `json:"v"`
	Worker   WorkerID          `json:"worker"`
	Engines  []EngineReport    `json:"engines"`
	Labels   map[string]string `json:"labels,omitempty"`
	Cell     string            `json:"cell,omitempty"` // in which it lives; absent: in every one
	Slots    int               `json:"slots"`          // sessions it may hold
	Sessions int               `json:"sessions"`       // sessions it holds
	Draining bool              `json:"draining,omitempty"`
	Follows  bool              `json:"follows_log,omitempty"` // it writes where the log of an assign says
	Version  string            `json:"version"`               // of the program
	Since    string            `json:"since"`                 // start of the worker, RFC 3339
}

// EngineReport is one engine of a worker.
type EngineReport struct {
	Name      string   `json:"name"`
	Languages []string `json:"languages,omitempty"` // BCP 47 tags; absent: any
}

// DecodeDoc reads a document that carries its version in the field v, V in T, and refuses
// another major version with an error that says both.
func DecodeDoc[T any](what string, payload []byte) (T, error) {
	var v T
	err := json.Unmarshal(payload, &v)
	if err == nil && reflect.ValueOf(&v).Elem().FieldByName("V").Int() == Version {
		return v, nil
	}
	if other := checkVersion(what, payload); other != nil { // before the rest: its fields may have other types
		var none T
		return none, other
	}
	if err != nil {
		err = fmt.Errorf("%w: %s: %w", ErrMessage, what, err)
	}
	return v, err
}

// checkVersion says what is wrong with a document's version, nil if nothing is.
func checkVersion(what string, payload []byte) error {
	var version struct {
		V *int `json:"v"`
	}
	if err := json.Unmarshal(payload, &version); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMessage, what, err)
	}
	if version.V == nil {
		return fmt.Errorf("%w: %s without the field v", ErrMessage, what)
	}
	if *version.V != Version {
		return fmt.Errorf("%w: %s has %d, this program speaks %d", ErrVersion, what, *version.V, Version)
	}
	return nil
}
