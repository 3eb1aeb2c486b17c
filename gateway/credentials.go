package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// TokenHeader is where a client that comes back shows its resume token. A web page,
// which can't set headers, offers the subprotocol stenobus.resume.TOKEN behind another.
const (
	TokenHeader   = "Stenobus-Resume-Token"
	tokenProtocol = "stenobus.resume."

	maxPrincipal = 256 // bytes
	maxToken     = 128 // bytes
)

// credentials are what a client's request shows of its right to a session.
type credentials struct {
	principal     string
	authenticated bool   // the gateway knows its clients
	token         string // shown, or made for this connection
	shown         bool
}

func (g *Server) credentials(r *http.Request) (credentials, *dialect.Refusal) {
	c := credentials{token: subjects.NewToken()}
	if name := g.cfg.PrincipalHeader; name != "" {
		c.authenticated = true
		c.principal = r.Header.Get(name)
		if n := len(c.principal); n == 0 || n > maxPrincipal {
			return c, &dialect.Refusal{Status: http.StatusUnauthorized, Text: fmt.Sprintf(
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

// chosen echoes the first subprotocol that a client offers, as the bridge's peers do.
// One that holds a token is never repeated.
func chosen(offered []string) []string {
	for _, name := range offered {
		if !strings.HasPrefix(name, tokenProtocol) {
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
	return &dialect.Refusal{Status: http.StatusForbidden, Text: "Forbidden: " + refused.Message}
}
