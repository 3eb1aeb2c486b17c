package subjects

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
)

// Access says who may come back to a life of a session. It travels on the bus and is
// stored with the session, so it holds a token's hash and never the token.
type Access struct {
	Principal string `json:"principal,omitempty"` // who opened the session, as its gateway knows its clients
	Token     string `json:"token,omitempty"`     // HashToken of the resume token
}

// Permits tells whether a connection may have the session: by the token of the life, by
// its principal, or by the id alone where neither the session nor the connection's
// gateway knows a principal. A token that was shown and is wrong is never made up for.
func (a Access) Permits(c Access, shown, authenticated bool) bool {
	switch {
	case shown:
		return equal(a.Token, c.Token)
	case a.Principal != "":
		return equal(a.Principal, c.Principal)
	case a.Token == "": // opened by a gateway that gave no tokens
		return true
	}
	return !authenticated
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// NewToken makes a resume token, for its client's eyes only: 26 characters, 128 bits.
func NewToken() string { return rand.Text() }

// HashToken is what the bus may know of a token: its SHA-256 in hexadecimal.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
