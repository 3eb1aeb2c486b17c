// Package auth tells who a client is from the secret that it shows when it connects: an
// API key that a file knows by its hash, or a signed token (JWT). It never logs a secret
// and never puts one into an error.
package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Errors of an Authenticator. Their texts are for the client.
var (
	ErrMissing = errors.New("no API key or token was shown")
	ErrUnknown = errors.New("the API key or token is not known here")

	// errOther is of an authenticator that secrets of this form do not belong to.
	errOther = fmt.Errorf("%w", ErrUnknown)
)

// What a principal may hold, whether a file or a token says so.
const (
	MaxName     = 256 // bytes
	maxPatterns = 100
	maxPattern  = 256 // bytes
)

// Principal is who a client is, and what it may do.
type Principal struct {
	Name        string   // never empty; the same for all connections of one client
	Sessions    []string // patterns of the session ids that it may use, where * stands for any characters; empty: any
	Providers   []string // engines that it may ask for; empty: any
	MaxSessions int      // at once on one gateway; 0: as many as the gateway's limit for each principal
}

// Authenticator knows clients by a secret. Any goroutine may call it.
type Authenticator interface {
	// Authenticate returns the principal that a secret belongs to, or an error that
	// says why there is none and nothing of the secret. It wraps ErrUnknown unless
	// nobody could tell, such as when the keys of tokens can't be fetched.
	Authenticate(ctx context.Context, secret string) (Principal, error)
}

// First asks one authenticator after the other; the first that knows the secret decides.
type First []Authenticator

// Authenticate implements Authenticator. Of several refusals the client is told that of
// the one which the secret was meant for.
func (list First) Authenticate(ctx context.Context, secret string) (Principal, error) {
	if secret == "" {
		return Principal{}, known(ErrMissing)
	}
	failed := error(ErrUnknown)
	for _, a := range list {
		p, err := a.Authenticate(ctx, secret)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, errOther) {
			failed = err
		}
	}
	return Principal{}, failed
}

// refused is a reason that is also ErrUnknown: the client is told the reason alone.
type refused struct{ why error }

func (r refused) Error() string   { return r.why.Error() }
func (r refused) Unwrap() []error { return []error{ErrUnknown, r.why} }

// known makes why an answer to the client: somebody could tell, and says no.
func known(why error) error { return refused{why} }

// MaySession tells whether the principal may use a session id that a client named.
func (p Principal) MaySession(id string) bool { return allows(p.Sessions, id) }

// MayProvider tells whether it may ask for an engine by name.
func (p Principal) MayProvider(name string) bool { return allows(p.Providers, name) }

func allows(patterns []string, s string) bool {
	if len(patterns) == 0 {
		return true
	}
	for _, pattern := range patterns {
		if match(pattern, s) {
			return true
		}
	}
	return false
}

// match compares s with a pattern in which * stands for any characters, none included.
func match(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return s == first
	}
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, rest, found := strings.Cut(s, part)
		if !found {
			return false
		}
		s = rest
	}
	return true
}
