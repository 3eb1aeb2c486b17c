package systemtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"

	"stenobus/cmd/stenobus/internal/front"
	"stenobus/cmd/stenobus/internal/front/fronttest"
	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/gateway/auth"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

// pollEvery is how often the files of these tests are looked at.
const pollEvery = 5 * time.Millisecond

// lock is what clients are authenticated with: a file of API keys, and tokens of an issuer.
type lock struct {
	s       *system
	auth    auth.Authenticator
	keys    string // the file
	private ed25519.PrivateKey
}

func (s *system) lock() *lock {
	s.t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		s.t.Fatal(err)
	}
	l := &lock{s: s, keys: s.file("keys", ""), private: private}
	keys, err := auth.OpenKeys(auth.KeysConfig{File: l.keys, Log: s.log(), Every: pollEvery})
	if err != nil {
		s.t.Fatal(err)
	}
	s.during(keys.Run)
	source, err := auth.OpenPublic(auth.FileConfig{
		File: s.file("public.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))), Log: s.log(),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	l.auth = auth.First{keys, l.tokens(source)}
	return l
}

func (l *lock) tokens(source auth.KeySource) auth.Authenticator {
	l.s.t.Helper()
	tokens, err := auth.NewTokens(auth.TokensConfig{Keys: source, Audience: []string{"stt"}})
	if err != nil {
		l.s.t.Fatal(err)
	}
	return tokens
}

// key gives a client a key, which is known when this returns.
func (l *lock) key(p auth.Principal) string {
	l.s.t.Helper()
	secret := auth.NewSecret()
	l.s.secrets.add(secret)
	file, err := os.ReadFile(l.keys)
	if err != nil {
		l.s.t.Fatal(err)
	}
	if file, err = auth.WithKey(file, auth.Key{Principal: p, Hash: auth.HashSecret(secret)}); err != nil {
		l.s.t.Fatal(err)
	}
	l.rewrite(file)
	subjectstest.Eventually(l.s.t, "the key is known", func() bool { return l.knows(secret) })
	return secret
}

// remove takes a client's keys away.
func (l *lock) remove(name, secret string) {
	l.s.t.Helper()
	file, err := os.ReadFile(l.keys)
	if err != nil {
		l.s.t.Fatal(err)
	}
	rest, _, err := auth.WithoutKeys(file, func(k auth.Key) bool { return k.Name == name })
	if err != nil {
		l.s.t.Fatal(err)
	}
	l.rewrite(rest)
	subjectstest.Eventually(l.s.t, "the key is no longer known", func() bool { return !l.knows(secret) })
}

func (l *lock) rewrite(file []byte) {
	l.s.t.Helper()
	if err := os.WriteFile(l.keys+".new", file, 0o600); err != nil {
		l.s.t.Fatal(err)
	}
	if err := os.Rename(l.keys+".new", l.keys); err != nil {
		l.s.t.Fatal(err)
	}
}

func (l *lock) knows(secret string) bool {
	_, err := l.auth.Authenticate(context.Background(), secret)
	return err == nil
}

// token is a token of the issuer. own are its limits.
func (l *lock) token(name string, exp time.Time, own map[string]any) string {
	l.s.t.Helper()
	claims := jwt.MapClaims{"sub": name, "aud": "stt", "exp": exp.Unix()}
	if own != nil {
		claims["stenobus"] = own
	}
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	token.Header["kid"] = "one"
	text, err := token.SignedString(l.private)
	if err != nil {
		l.s.t.Fatal(err)
	}
	l.s.secrets.add(text)
	l.s.secrets.add(text[strings.LastIndexByte(text, '.')+1:])
	return text
}

func (s *system) file(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// during runs something until the test ends.
func (s *system) during(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = run(ctx) })
	s.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

// paper is a gateway's certificate, which may be exchanged.
type paper struct {
	ca        *fronttest.Authority
	cert, key string
}

// secureGateway is a gateway that speaks TLS only.
func (s *system) secureGateway(cfg gateway.Config) (*node, *paper) {
	s.t.Helper()
	p := &paper{fronttest.NewAuthority(s.t), s.file("cert.pem", ""), s.file("key.pem", "")}
	p.ca.Issue(p.cert, p.key)
	c, err := front.OpenCertificate(p.cert, p.key, s.log(), nil, pollEvery)
	if err != nil {
		s.t.Fatal(err)
	}
	s.during(c.Run)
	n, g := s.bareGateway(s.bus.Dial(), cfg, func(n *node, server *httptest.Server) {
		server.Listener = front.Secure(server.Listener, c)
		t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.ca.Pool}}
		s.t.Cleanup(t.CloseIdleConnections)
		n.url, n.http = "wss", &http.Client{Transport: t}
	})
	s.ready(g.Ready)
	return n, p
}

// doorway is how clients of one protocol come in. A new protocol is one more line.
type doorway struct {
	path  string                              // and the query that its clients need
	show  func(r *shown, secret string)       // how they show a key or token
	say   string                              // one message
	kind  websocket.MessageType               // of say
	hear  string                              // is in an answer to it
	error func(status int, body string) error // of a refusal, nil where it is as this protocol's clients read it; optional
}

// shown is what a client adds to its request.
type shown struct {
	query     string
	header    http.Header
	protocols []string
}

func bearer(r *shown, secret string) { r.header.Set("Authorization", "Bearer "+secret) }

func doorways() map[string]doorway {
	const ping, pong = `{"event":"ping","id":7}`, `{"event":"pong","id":7}`
	return map[string]doorway{
		"mediajson":              {path: "/transcribe?sendBack=true", show: bearer, say: ping, kind: websocket.MessageText, hear: pong},
		"mediajson, by header":   {path: "/transcribe?sendBack=true", show: func(r *shown, secret string) { r.header.Set("X-Api-Key", secret) }, say: ping, kind: websocket.MessageText, hear: pong},
		"mediajson, by query":    {path: "/transcribe?sendBack=true", show: func(r *shown, secret string) { r.query = "&access_token=" + secret }, say: ping, kind: websocket.MessageText, hear: pong},
		"mediajson, by any path": {path: "/a/b/transcribe?sendBack=true", show: bearer, say: ping, kind: websocket.MessageText, hear: pong},
	}
}

// knock tries to come in. A refusal is a response, whose body can be read.
func (d doorway) knock(s *system, gw *node, secret string) (*websocket.Conn, *http.Response, error) {
	r := &shown{header: http.Header{}}
	if secret != "" {
		d.show(r, secret)
	}
	return websocket.Dial(s.ctx(), gw.url+d.path+r.query, &websocket.DialOptions{
		HTTPClient: gw.http, HTTPHeader: r.header, Subprotocols: r.protocols,
	})
}

// Over TLS each protocol lets in who shows a key or a token in the way of its clients,
// and nobody else, before the upgrade.
func TestDoorOfEachProtocol(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	l := s.lock()
	gw, _ := s.secureGateway(gateway.Config{Auth: l.auth})
	good := map[string]string{
		"key":   l.key(auth.Principal{Name: "ann"}),
		"token": l.token("eve", time.Now().Add(time.Hour), nil),
	}
	bad := map[string]string{
		"nothing":       "",
		"wrong key":     auth.NewSecret(),
		"cut key":       good["key"][:30],
		"expired token": l.token("eve", time.Now().Add(-time.Hour), nil),
		"cut token":     good["token"][:len(good["token"])-4],
	}
	for _, secret := range bad {
		s.secrets.add(secret)
	}
	for name, d := range doorways() {
		for what, secret := range bad {
			s.refused(d, gw, name+", "+what, secret, http.StatusUnauthorized, "unauthorized")
		}
		for what, secret := range good {
			conn, _, err := d.knock(s, gw, secret)
			if err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
				continue
			}
			if err := d.talk(s, conn); err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			_ = conn.CloseNow()
		}
	}
}

// refused checks an answer before the upgrade.
func (s *system) refused(d doorway, gw *node, what, secret string, status int, code string) {
	s.t.Helper()
	conn, resp, err := d.knock(s, gw, secret)
	if err == nil {
		_ = conn.CloseNow()
		s.t.Errorf("%s: it was let in", what)
		return
	}
	if resp == nil {
		s.t.Errorf("%s: %v", what, err)
		return
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != status || resp.Header.Get("Stenobus-Code") != code || len(body) == 0 {
		s.t.Errorf("%s: %d %s %q, want %d %s and why", what, resp.StatusCode, resp.Header.Get("Stenobus-Code"), body, status, code)
	}
	if s.secrets.in(string(body)) || s.secrets.in(fmt.Sprint(resp.Header)) {
		s.t.Errorf("%s: the answer holds a secret: %s", what, body)
	}
	if d.error != nil {
		if err := d.error(resp.StatusCode, string(body)); err != nil {
			s.t.Errorf("%s: %v", what, err)
		}
	}
}

// talk says one thing and waits for its answer.
func (d doorway) talk(s *system, conn *websocket.Conn) error {
	if err := conn.Write(s.ctx(), d.kind, []byte(d.say)); err != nil {
		return err
	}
	for {
		_, data, err := conn.Read(s.ctx())
		if err != nil {
			return fmt.Errorf("no answer with %q: %w", d.hear, err)
		}
		if strings.Contains(string(data), d.hear) {
			return nil
		}
	}
}

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
