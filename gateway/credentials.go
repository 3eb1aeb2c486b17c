package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"stenobus/gateway/auth"
	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// TokenHeader is where a client that comes back shows its resume token. A web page,
// which can't set headers, offers the subprotocol stenobus.resume.TOKEN behind another.
const (
	TokenHeader   = "Stenobus-Resume-Token"
	tokenProtocol = "stenobus.resume."

	secretParameter = "access_token" // RFC 6750, 2.3

	maxPrincipal = auth.MaxName // bytes
	maxToken     = 128          // bytes
)

// credentials are what a client's request shows of its right to a session.
type credentials struct {
	principal     string
	may           auth.Principal // what it may do, of a client that authenticated here
	authenticated bool           // the gateway knows its clients
	token         string         // shown, or made for this connection
	shown         bool
}

func (g *Server) credentials(r *http.Request, d dialect.Dialect) (credentials, *dialect.Refusal) {
	c := credentials{token: subjects.NewToken()}
	if g.cfg.Auth != nil {
		p, err := g.cfg.Auth.Authenticate(r.Context(), secret(r, d))
		if err != nil {
			return c, unauthorized(err)
		}
		c.authenticated, c.principal, c.may = true, p.Name, p
	}
	if name := g.cfg.PrincipalHeader; name != "" {
		c.authenticated = true
		values := r.Header.Values(name)
		if len(values) != 1 || !utf8.ValidString(values[0]) {
			return c, &dialect.Refusal{Status: http.StatusUnauthorized, Code: refusedUnauthorized, Text: fmt.Sprintf(
				"Unauthorized: the proxy's header %s is there %d times, it must be there once and be UTF-8", name, len(values))}
		}
		c.principal = values[0]
		if n := len(c.principal); n == 0 || n > maxPrincipal {
			return c, &dialect.Refusal{Status: http.StatusUnauthorized, Code: refusedUnauthorized, Text: fmt.Sprintf(
				"Unauthorized: the proxy's header %s has %d bytes, allowed are 1 to %d", name, n, maxPrincipal)}
		}
	}
	shown := r.Header.Get(TokenHeader)
	for _, p := range protocols(r) {
		if token, ok := strings.CutPrefix(p, tokenProtocol); ok && shown == "" {
			shown = token
		}
	}
	if n := len(shown); n > maxToken {
		return c, &dialect.Refusal{Status: http.StatusBadRequest, Text: fmt.Sprintf(
			"Invalid resume token: %d bytes exceed the maximum of %d", n, maxToken)}
	}
	if shown != "" {
		c.token, c.shown = shown, true
	}
	return c, nil
}

// secret is what a client shows to say who it is: in the Authorization header, in
// X-Api-Key, in a way of its dialect, or, for those that can only be given a URL, in the
// parameter access_token (RFC 6750, 2.3).
func secret(r *http.Request, d dialect.Dialect) string {
	if h := strings.TrimSpace(r.Header.Get("Authorization")); h != "" {
		scheme, key, ok := strings.Cut(h, " ")
		if !ok {
			return h
		}
		switch strings.ToLower(scheme) {
		case "bearer", "token":
			return strings.TrimSpace(key)
		}
		return ""
	}
	if key := r.Header.Get("X-Api-Key"); key != "" {
		return key
	}
	if key := d.Key(r); key != "" {
		return key
	}
	return r.URL.Query().Get(secretParameter)
}

// withoutSecret is the request as a dialect sees it: what it may repeat in an error, or
// refuse because it does not know it, holds no secret.
func withoutSecret(r *http.Request) *http.Request {
	kept := slices.DeleteFunc(strings.Split(r.URL.RawQuery, "&"), func(part string) bool {
		name, _, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(name)
		return err == nil && name == secretParameter
	})
	clean := r.WithContext(r.Context()) // a shallow copy
	u := *r.URL
	u.RawQuery = strings.Join(kept, "&")
	clean.URL, clean.RequestURI = &u, u.RequestURI()
	return clean
}

func unauthorized(err error) *dialect.Refusal {
	if errors.Is(err, auth.ErrUnknown) {
		return &dialect.Refusal{Status: http.StatusUnauthorized, Code: refusedUnauthorized, Text: "Unauthorized: " + err.Error()}
	}
	return &dialect.Refusal{
		Status: http.StatusServiceUnavailable, Code: refusedNotReady, RetryAfter: time.Second,
		Text: "clients can't be authenticated now: " + err.Error(),
	}
}

// permitted refuses what a client asks for that its key or token does not allow.
func (c credentials) permitted(id subjects.SessionID, given bool, engine string) *dialect.Refusal {
	switch {
	case c.may.MaySession(string(id)):
	case given:
		return forbidden(fmt.Sprintf("session id %.64q is not among those that this key or token allows", id))
	default:
		return forbidden("this key or token allows certain session ids only: name one")
	}
	if engine != "" && !c.may.MayProvider(engine) {
		return forbidden(fmt.Sprintf("provider %.64q is not among those that this key or token allows: %s", engine, strings.Join(c.may.Providers, ", ")))
	}
	return nil
}

// engine is what a client gets that asks for none in particular: any, or, where its key
// or token does not allow all, the first that it does.
func (c credentials) engine(engines []string) (string, *dialect.Refusal) {
	if len(c.may.Providers) == 0 {
		return "", nil
	}
	for _, name := range engines {
		if c.may.MayProvider(name) {
			return name, nil
		}
	}
	return "", forbidden("of the providers that this key or token allows none is here: " + strings.Join(c.may.Providers, ", "))
}

func forbidden(why string) *dialect.Refusal {
	return &dialect.Refusal{Status: http.StatusForbidden, Code: refusedForbidden, Text: "Forbidden: " + why}
}

func (c credentials) access() subjects.Access {
	return subjects.Access{Principal: c.principal, Token: subjects.HashToken(c.token)}
}

// protocols lists the subprotocols that a client offers.
func protocols(r *http.Request) (names []string) {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// subprotocols are what the answer to an upgrade may name.
func subprotocols(r *http.Request, req dialect.Request, d dialect.Dialect) []string {
	switch {
	case req.Protocol != "":
		return []string{req.Protocol}
	case req.Private:
		return nil
	}
	return chosen(protocols(r), d.Key(r))
}

// chosen echoes the first subprotocol that a client offers, as the bridge's peers do.
// One that holds a token, or the key that the client shows in its dialect's way, is
// never repeated.
func chosen(offered []string, key string) []string {
	for _, name := range offered {
		secret := strings.HasPrefix(name, tokenProtocol) || strings.HasPrefix(name, dialect.KeyProtocol) || name == key
		if !secret {
			return []string{name}
		}
	}
	return nil
}

// admit refuses, before the upgrade, a client without the right to the session that it
// names. Where nobody can tell the client is let in: the claim decides.
func (g *Server) admit(ctx context.Context, s *session) *dialect.Refusal {
	if !s.given || !s.creds.shown && !s.creds.authenticated {
		return nil
	}
	_, err := g.ask(ctx, subjects.ClaimCheck, s.claimRequest(subjects.ReasonOpen))
	var refused *subjects.Error
	if !errors.As(err, &refused) || refused.Code != subjects.CodeForbidden {
		return nil
	}
	return forbidden(refused.Message)
}
