package systemtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"stenobus/cmd/stenobus/internal/front"
	"stenobus/cmd/stenobus/internal/front/fronttest"
	"stenobus/gateway"
	"stenobus/gateway/auth"
	"stenobus/subjects/subjectstest"
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
