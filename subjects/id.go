package subjects

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/google/uuid"
)

// MaxID is the longest id accepted, in bytes. Escaped it stays far below the
// 4,096 bytes that NATS allows a subject and its reply together.
const MaxID = 128

// Errors of ids and subjects; every refusal wraps one of them and says what is wrong.
var (
	ErrID      = errors.New("bad id")
	ErrSubject = errors.New("bad subject")
)

// SessionID names a session as its client did. It is never empty, at most MaxID
// bytes of valid UTF-8, and may hold any character: only its token goes into subjects.
type SessionID string

// WorkerID names a worker, by the same rules as a SessionID.
type WorkerID string

// NewSessionID checks an id that came from outside.
func NewSessionID(s string) (SessionID, error) {
	return SessionID(s), checkID("session", s)
}

// FreshSessionID is a new random id, for a client that gave none.
func FreshSessionID() SessionID { return SessionID(uuid.NewString()) }

// NewWorkerID checks an id that came from outside.
func NewWorkerID(s string) (WorkerID, error) {
	return WorkerID(s), checkID("worker", s)
}

// Token is the id as one legal subject token: A-Z a-z 0-9 _ and - stay, every other
// byte becomes "=" and two upper-case hex digits. Different ids have different tokens.
func (id SessionID) Token() string { return escape(string(id)) }

// Token is the id as one legal subject token, by the rule of SessionID.Token.
func (id WorkerID) Token() string { return escape(string(id)) }

// ParseSessionToken is the exact inverse of SessionID.Token: it refuses every token
// that Token does not make.
func ParseSessionToken(token string) (SessionID, error) {
	s, err := unescape(token)
	if err != nil {
		return "", err
	}
	return NewSessionID(s)
}

// ParseWorkerToken is the exact inverse of WorkerID.Token.
func ParseWorkerToken(token string) (WorkerID, error) {
	s, err := unescape(token)
	if err != nil {
		return "", err
	}
	return NewWorkerID(s)
}

func checkID(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: %s id is empty", ErrID, what)
	case len(s) > MaxID:
		return fmt.Errorf("%w: %s id has %d bytes, at most %d are allowed", ErrID, what, len(s), MaxID)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: %s id is not valid UTF-8", ErrID, what)
	}
	return nil
}

func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func escape(s string) string {
	const hex = "0123456789ABCDEF"
	n := 0
	for i := range len(s) {
		if !plain(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	out := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; plain(c) {
			out = append(out, c)
		} else {
			out = append(out, '=', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

func unescape(token string) (string, error) {
	out := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		c := token[i]
		if plain(c) {
			out = append(out, c)
			continue
		}
		if c != '=' || i+2 >= len(token) {
			return "", fmt.Errorf("%w: token %q", ErrSubject, token)
		}
		hi, lo := unhex(token[i+1]), unhex(token[i+2])
		if hi < 0 || lo < 0 || plain(byte(hi<<4|lo)) {
			return "", fmt.Errorf("%w: token %q", ErrSubject, token)
		}
		out = append(out, byte(hi<<4|lo))
		i += 2
	}
	return string(out), nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
