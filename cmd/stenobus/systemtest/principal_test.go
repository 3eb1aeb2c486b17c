package systemtest

import (
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/coder/websocket"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/gateway/auth"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

func showing(secret string) http.Header { return http.Header{"Authorization": {"Bearer " + secret}} }

// What a key or token allows is what its client gets, and a session is its principal's:
// the id alone opens it to nobody else.
func TestPrincipalsKeepToTheirOwn(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	l := s.lock()
	gw, _ := s.secureGateway(gateway.Config{Auth: l.auth})
	limits := auth.Principal{Name: "bob", Sessions: []string{"bobs-*", "shared"}, Providers: []string{"tally"}}
	ann, ann2, bob := l.key(auth.Principal{Name: "ann"}), l.key(auth.Principal{Name: "ann"}), l.key(limits)
	eve := l.token("eve", time.Now().Add(time.Hour), map[string]any{"sessions": limits.Sessions, "providers": limits.Providers})

	owner, err := dialAs(t, gw, named("shared"), showing(ann))
	if err != nil {
		t.Fatal(err)
	}
	owner.until("it is served", func() bool { return owner.note("ready", "") != nil })
	for name, try := range map[string]struct {
		query, secret, want string // want empty: let in
	}{
		"key, another id":               {named("anns"), bob, "status 403"},
		"token, another id":             {named("anns"), eve, "status 403"},
		"key, no id":                    {"", bob, "status 403"},
		"key, another provider":         {named("bobs-1") + "&provider=pocketsphinx", bob, "status 403"},
		"token, another provider":       {named("bobs-2") + "&provider=pocketsphinx", eve, "status 403"},
		"key, another's live session":   {named("shared"), bob, "status 403"},
		"token, another's live session": {named("shared"), eve, "status 403"},
		"key, its own":                  {named("bobs-3") + "&provider=tally", bob, ""},
		"token, its own":                {named("bobs-4") + "&provider=tally", eve, ""},
		"key, no provider":              {named("bobs-5"), bob, ""},
		"key without limits, no id":     {"provider=pocketsphinx", ann, ""},
	} {
		c, err := dialAs(t, gw, try.query, showing(try.secret))
		if (err == nil) != (try.want == "") || err != nil && !strings.Contains(err.Error(), try.want) {
			t.Errorf("%s: %v, want %q", name, err, try.want)
		}
		if err == nil && strings.Contains(name, "no provider") {
			c.until("it is served", func() bool { return c.note("ready", "") != nil })
			if got := s.record(c.id).Options.Engine; got != "tally" {
				t.Errorf("%s: the engine is %q, want the one that the key allows", name, got)
			}
		}
	}
	if s.record("shared").Attach != 1 {
		t.Error("the session noticed those who were refused")
	}
	again, err := dialAs(t, gw, named("shared"), showing(ann2)) // the same client with its other key
	if err != nil {
		t.Fatal(err)
	}
	again.until("it goes on", func() bool { return again.note("resumed", "") != nil })
}

// A key or token may bound how many sessions its client has at once. Coming back to one
// of them is always possible.
func TestSessionsOfAPrincipalAreBounded(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	l := s.lock()
	gw, _ := s.secureGateway(gateway.Config{Auth: l.auth})
	bob := l.key(auth.Principal{Name: "bob", MaxSessions: 2})
	eve := l.token("eve", time.Now().Add(time.Hour), map[string]any{"max_sessions": 1})
	in := func(id, secret string) *client {
		t.Helper()
		c, err := dialAs(t, gw, named(id), showing(secret))
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		c.until("it is served", func() bool { return c.note("ready", "") != nil || c.note("resumed", "") != nil })
		return c
	}
	full := func(secret string) {
		t.Helper()
		d := doorways()["mediajson"]
		d.path += "&sessionId=third"
		s.refused(d, gw, "one too many", secret, http.StatusTooManyRequests, "too_many_sessions")
	}
	in("b1", bob)
	b2 := in("b2", bob)
	full(bob)
	e1 := in("e1", eve) // others have room
	full(eve)
	in("b1", bob)
	full(bob)
	for _, c := range []*client{b2, e1} {
		c.end()
		c.closed()
	}
	subjectstest.Eventually(t, "there is room again", func() bool {
		_, err := dialAs(t, gw, named("third"), showing(bob))
		return err == nil
	})
	in("e2", eve)
}

// Who lost its key comes in no more; its session goes on to its end. So it does when the
// gateway's certificate changes.
func TestSessionsOutliveKeysAndCertificates(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	l := s.lock()
	gw, paper := s.secureGateway(gateway.Config{Auth: l.auth})
	ann, bob := l.key(auth.Principal{Name: "ann"}), l.key(auth.Principal{Name: "bob"})
	c, err := dialAs(t, gw, named("anns"), showing(ann))
	if err != nil {
		t.Fatal(err)
	}
	c.start("a")
	c.speak("a", 60)
	l.remove("ann", ann)
	if _, err := dialAs(t, gw, named("anns"), showing(ann)); err == nil || !strings.Contains(err.Error(), "status 401") {
		t.Errorf("with a key that was removed: %v, want 401", err)
	}
	c.speak("a", 60)
	issued := paper.ca.Issue(paper.cert, paper.key)
	subjectstest.Eventually(t, "new connections get the new certificate", func() bool { return s.serial(gw, bob).Cmp(issued) == 0 })
	c.speak("a", 60)
	c.finish()
}

// serial is the number of the certificate that a new connection gets.
func (s *system) serial(gw *node, secret string) *big.Int {
	s.t.Helper()
	gw.http.CloseIdleConnections()
	conn, resp, err := websocket.Dial(s.ctx(), gw.url+"/transcribe?sendBack=true", &websocket.DialOptions{HTTPClient: gw.http, HTTPHeader: showing(secret)})
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.CloseNow()
	return resp.TLS.PeerCertificates[0].SerialNumber
}

// A gateway is there before the issuer of its tokens is: until the keys are fetched
// clients are told to come again, those with API keys are let in.
func TestTokensWaitForTheirKeys(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	l := s.lock()
	var set atomic.Pointer[string]
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if text := set.Load(); text != nil {
			_, _ = io.WriteString(w, *text)
			return
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(issuer.Close)
	source, err := auth.NewJWKS(auth.JWKSConfig{URL: issuer.URL + "?secret=in-the-query", Log: s.log(), Retry: pollEvery})
	if err != nil {
		t.Fatal(err)
	}
	s.secrets.add("in-the-query")
	s.during(source.Run)
	gw, _ := s.secureGateway(gateway.Config{Auth: auth.First{l.auth.(auth.First)[0], l.tokens(source)}})
	ann, eve := l.key(auth.Principal{Name: "ann"}), l.token("eve", time.Now().Add(time.Hour), nil)
	d := doorways()["mediajson"]
	s.refused(d, gw, "a token before its keys", eve, http.StatusServiceUnavailable, "not_ready")
	s.refused(d, gw, "a wrong key before the keys of tokens", auth.NewSecret(), http.StatusUnauthorized, "unauthorized")
	if _, err := dialAs(t, gw, "", showing(ann)); err != nil {
		t.Errorf("a key before the keys of tokens: %v", err)
	}
	one, err := jwkset.NewJWKFromKey(l.private.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: "one"}})
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","x":%q}]}`, one.Marshal().X)
	set.Store(&text)
	subjectstest.Eventually(t, "the token is let in", func() bool {
		_, err := dialAs(t, gw, "", showing(eve))
		return err == nil
	})
}
