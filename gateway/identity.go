package gateway

import (
	"strings"

	"stenobus/subjects"
)

// resolveID decides once who a session is; every later party reads the id from the
// claim or the subject. A client that gave none, or one of the words that programs
// write where they have none, gets a fresh id: two of them never share a session.
func resolveID(raw string) (id subjects.SessionID, given bool, err error) {
	if placeholder(raw) {
		return subjects.FreshSessionID(), false, nil
	}
	id, err = subjects.NewSessionID(raw)
	return id, true, err
}

func placeholder(raw string) bool {
	switch strings.ToLower(strings.TrimSpace(raw)) {
	case "", "unknown", "default", "null", "nil", "none", "undefined", "global", "nan", "[object object]":
		return true
	}
	return false
}
