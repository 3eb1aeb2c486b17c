package systemtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

// dialAs connects with headers; the error holds HTTP status and body of a refusal.
func dialAs(t *testing.T, gw *node, query string, header http.Header, protocols ...string) (*client, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, gw.url+"/transcribe?sendBack=true&stenobus=1&"+query, &websocket.DialOptions{HTTPClient: gw.http, HTTPHeader: header, Subprotocols: protocols})
	if err != nil {
		if resp != nil {
			body, _ := io.ReadAll(resp.Body) // what the library kept of it
			return nil, fmt.Errorf("status %d: %s: %w", resp.StatusCode, body, err)
		}
		return nil, err
	}
	c := newClient(t, conn)
	c.secrets = gw.secrets
	go c.read()
	t.Cleanup(c.hangUp)
	return c, nil
}

// Who may have a live session: its principal, whoever shows its token, and, where
// nobody is authenticated, whoever knows its id. All others are refused before the
// upgrade, and the session does not notice.
func TestRightsToResume(t *testing.T) {
	t.Parallel()
	const header = "X-User"
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	closed, open := s.gateway(gateway.Config{PrincipalHeader: header}), s.gateway(gateway.Config{})
	as := func(user, token string) http.Header {
		h := http.Header{}
		if user != "" {
			h.Set(header, user)
		}
		if token != "" {
			h.Set(gateway.TokenHeader, token)
		}
		return h
	}
	if _, err := dialAs(t, closed, named("anns"), as("", "")); err == nil || !strings.Contains(err.Error(), "status 401") {
		t.Errorf("a client without a principal: %v, want 401", err)
	}
	ann, err := dialAs(t, closed, named("anns"), as("ann", ""))
	if err != nil {
		t.Fatal(err)
	}
	ann.until("it is served", func() bool { return ann.note("ready", "") != nil })
	bare, err := dialAs(t, open, named("bare"), as("", ""))
	if err != nil {
		t.Fatal(err)
	}
	bare.until("it is served", func() bool { return bare.note("ready", "") != nil })

	for name, try := range map[string]struct {
		gw    *node
		id    string
		shows http.Header
	}{
		"another principal":                   {closed, "anns", as("bob", "")},
		"a wrong token":                       {closed, "anns", as("ann", "wrong")},
		"a wrong token without a principal":   {open, "anns", as("", "wrong")},
		"a wrong token for a bare session":    {open, "bare", as("", "wrong")},
		"the id alone where others have more": {closed, "bare", as("bob", "")},
	} {
		if _, err := dialAs(t, try.gw, named(try.id), try.shows); err == nil || !strings.Contains(err.Error(), "status 403") {
			t.Errorf("%s: %v, want 403", name, err)
		}
	}
	intruder, err := dialAs(t, open, named("anns"), as("", "")) // nothing was shown that could be checked before
	if err != nil {
		t.Fatal(err)
	}
	if status, reason := intruder.closed(); status != websocket.StatusPolicyViolation || !strings.Contains(reason, "forbidden") {
		t.Errorf("the bare id of a session with a principal: closed with %d %s", status, reason)
	}
	if ann.told("", "") != nil || s.record("anns").Attach != 1 {
		t.Error("the session noticed those who were refused")
	}

	same, err := dialAs(t, closed, named("anns"), as("ann", ""))
	if err != nil {
		t.Fatalf("the same principal: %v", err)
	}
	same.until("it is served", func() bool { return same.note("resumed", "") != nil })
	byToken, err := dialAs(t, open, named("anns"), as("", same.token))
	if err != nil {
		t.Fatalf("the token: %v", err)
	}
	byToken.until("it is served", func() bool { return byToken.note("resumed", "") != nil })
	if byToken.token != same.token {
		t.Error("a client that showed its token was given another")
	}
	byProtocol, err := dialAs(t, open, named("anns"), as("", ""), "stenobus", "stenobus.resume."+same.token)
	if err != nil {
		t.Fatalf("the token as a subprotocol: %v", err)
	}
	byProtocol.until("it is served", func() bool { return byProtocol.note("resumed", "") != nil })
	if got := byProtocol.conn.Subprotocol(); got != "stenobus" {
		t.Errorf("the subprotocol is %q: a token must not be repeated", got)
	}
	bareAgain, err := dialAs(t, open, named("bare"), as("", ""))
	if err != nil {
		t.Fatal(err)
	}
	bareAgain.until("the bare id suffices where nobody is authenticated", func() bool { return bareAgain.note("resumed", "") != nil })
	for _, c := range []*client{byProtocol, bareAgain} {
		c.end()
		c.closed()
	}
	// The rights outlive the session, as its finals do.
	if _, err := dialAs(t, closed, after("anns", 1), as("bob", "")); err == nil || !strings.Contains(err.Error(), "status 403") {
		t.Errorf("another principal after the end: %v, want 403", err)
	}
	if late, err := dialAs(t, closed, after("anns", 1), as("ann", "")); err != nil {
		t.Error(err)
	} else if status, reason := late.closed(); status != websocket.StatusNormalClosure {
		t.Errorf("the principal after the end: closed with %d %s", status, reason)
	}
}

// Tokens are for their clients alone: neither logs nor the bus see one.
func TestTokensStayOffTheBus(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	seen := &strings.Builder{}
	sub, err := s.nc.SubscribeSync(">")
	if err != nil {
		t.Fatal(err)
	}
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 60)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	back, err := dialAs(t, gw, named("room"), http.Header{gateway.TokenHeader: {c.token}})
	if err != nil {
		t.Fatal(err)
	}
	back.until("it is served", func() bool { return back.note("resumed", "") != nil })
	back.end()
	back.closed()
	for n, _, _ := sub.Pending(); n > 0; n-- {
		m, err := sub.NextMsg(subjectstest.Wait)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(seen, m.Subject, m.Header, string(m.Data))
	}
	if len(c.token) < 26 || strings.Contains(seen.String(), c.token) {
		t.Errorf("token %q is on the bus", c.token)
	}
	if !strings.Contains(seen.String(), subjects.HashToken(c.token)) {
		t.Error("its hash is not: this test looks at the wrong thing")
	}
}
