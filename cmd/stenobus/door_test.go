package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"stenobus/cmd/stenobus/internal/front/fronttest"
	"stenobus/subjects/subjectstest"
)

// newKey makes a key with the program.
func newKey(t *testing.T, file, name string, args ...string) string {
	t.Helper()
	o := invoke(t, append([]string{"keys", "add", name, "--file", file}, args...)...)
	o.check(t, exitOK, "stb_")
	return strings.TrimSpace(o.stdout)
}

func TestKeysCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys")
	first := newKey(t, file, "ann", "--session", "a,b*", "--session", "c", "--provider", "tally", "--max-sessions", "3", "--expires", "720h")
	invoke(t, "keys", "add", "ann", "--file", file).check(t, exitUsage, `"ann" has a key already`, "--another")
	second := newKey(t, file, "ann", "--another")
	newKey(t, file, "bob")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, mode %v, want 0600", err, info.Mode())
	}
	text, err := os.ReadFile(file)
	if err != nil || strings.Contains(string(text), first) || strings.Contains(string(text), second) {
		t.Errorf("%v, the file holds a key:\n%s", err, text)
	}
	list := invoke(t, "keys", "list", "--file", file)
	list.check(t, exitOK, "a,b*,c", "tally", "bob")
	var id string
	for line := range strings.Lines(list.stdout) {
		if f := strings.Fields(line); f[0] == "ann" && f[2] == "any" {
			id = f[1]
		}
	}
	invoke(t, "keys", "remove", "ann", "--file", file, "--id", id).check(t, exitOK, `removed 1 key of "ann"`)
	invoke(t, "keys", "remove", "ann", "--file", file, "--id", id).check(t, exitUsage, `no such key of "ann"`)
	invoke(t, "keys", "remove", "ann", "--file", file).check(t, exitOK, `removed 1 key of "ann"`)
	if o := invoke(t, "keys", "list", "--file", file); strings.Contains(o.stdout, "ann") || !strings.Contains(o.stdout, "bob") {
		t.Errorf("left are\n%s", o.stdout)
	}
	if left, err := filepath.Glob(file + "*"); err != nil || len(left) != 1 {
		t.Errorf("%v, files left: %v", err, left)
	}
}

func TestKeysCommandRefuses(t *testing.T) {
	t.Parallel()
	bad := writeFile(t, "bad", "# mine\n{\"name\":\"x\"}\n")
	busy := writeFile(t, "busy", "")
	if err := os.WriteFile(busy+".new", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(busy, link); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"no file named":    {[]string{"add", "a"}, exitUsage, []string{"--file", "stenobus keys add --help"}},
		"no such file":     {[]string{"list", "--file", "nowhere"}, exitUsage, []string{"--file", "nowhere"}},
		"bad line":         {[]string{"add", "a", "--file", bad}, exitUsage, []string{bad, "line 2", "field sha256 is missing"}},
		"bad name":         {[]string{"add", "a\nb", "--file", bad + "2"}, exitUsage, []string{"field name"}},
		"bad pattern":      {[]string{"add", "a", "--session", "", "--file", bad + "3"}, exitUsage, []string{"field sessions"}},
		"negative":         {[]string{"add", "a", "--max-sessions=-1", "--file", bad}, exitUsage, []string{"--max-sessions"}},
		"somebody else is": {[]string{"remove", "a", "--file", busy}, exitFailure, []string{busy + ".new", "another command"}},
		"link":             {[]string{"add", "a", "--file", link}, exitUsage, []string{"is a link", busy}},
	} {
		invoke(t, append([]string{"keys"}, tc.args...)...).check(t, tc.code, tc.want...)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	if text, err := os.ReadFile(bad); err != nil || string(text) != "# mine\n{\"name\":\"x\"}\n" {
		t.Errorf("%v, a file that can't be read was changed:\n%s", err, text)
	}
}

// A gateway is open to other machines only where somebody says who may come in.
func TestNobodyIsLetInByAccident(t *testing.T) {
	t.Parallel()
	keys := writeFile(t, "keys", "")
	text := writeFile(t, "text", "stb_LEAKED\n")
	up := []string{"up", "--engine", "tally", "--nats-listen", "127.0.0.1:0", "--data", t.TempDir()}
	for name, tc := range map[string]struct{ args, want []string }{
		"gateway":             {[]string{"gateway", "--listen", "0.0.0.0:0"}, []string{"--auth-keys", "--jwt-secret-file", "--jwt-key", "--jwks-url", "--principal-header", "--insecure-no-auth", "127.0.0.1"}},
		"up":                  {append(up, "--listen", ":0"), []string{"--auth-keys", "--gateway-principal-header", "--insecure-no-auth"}},
		"TLS alone":           {[]string{"gateway", "--listen", "127.0.0.1:0", "--tls-cert", text}, []string{"--tls-cert and --tls-key go together"}},
		"no certificate":      {[]string{"gateway", "--listen", "127.0.0.1:0", "--tls-cert", text, "--tls-key", text}, []string{"--tls-cert", text}},
		"no keys file":        {[]string{"gateway", "--listen", "127.0.0.1:0", "--auth-keys", "nowhere"}, []string{"--auth-keys", "nowhere"}},
		"bad keys file":       {[]string{"gateway", "--listen", "127.0.0.1:0", "--auth-keys", text}, []string{"--auth-keys", text, "line 1", "want a JSON object"}},
		"short secret":        {append(up, "--listen", "127.0.0.1:0", "--jwt-secret-file", text), []string{"--jwt-secret-file", text, "32 or more"}},
		"no PEM":              {[]string{"gateway", "--listen", "127.0.0.1:0", "--jwt-key", text}, []string{"--jwt-key", text, "PEM"}},
		"JWKS in the open":    {[]string{"gateway", "--listen", "127.0.0.1:0", "--jwks-url", "http://issuer/keys"}, []string{"--jwks-url", "https"}},
		"two kinds of tokens": {[]string{"gateway", "--jwt-key", text, "--jwks-url", "https://issuer/"}, []string{"--jwt-key", "--jwks-url"}},
		"audience of nothing": {[]string{"gateway", "--jwt-audience", "x"}, []string{"--jwt-audience", "need --jwt-secret-file"}},
		"leeway":              {[]string{"gateway", "--listen", "127.0.0.1:0", "--jwks-url", "https://issuer/", "--jwt-leeway", "1h"}, []string{"--jwt-leeway", "5m"}},
		"both":                {[]string{"gateway", "--insecure-no-auth", "--auth-keys", keys}, []string{"--insecure-no-auth", "--auth-keys"}},
		"keys and a proxy":    {[]string{"gateway", "--listen", "127.0.0.1:0", "--auth-keys", keys, "--principal-header", "X-User"}, []string{"Auth and PrincipalHeader"}},
		"header time":         {[]string{"gateway", "--header-timeout", "1h"}, []string{"--header-timeout", "100ms to 1m"}},
		"header bytes":        {[]string{"gateway", "--max-header-bytes", "10"}, []string{"--max-header-bytes", "1024"}},
		"nobody may wait":     {[]string{"gateway", "--max-waiting", "0"}, []string{"--max-waiting", "1 and more"}},
		"key file":            {[]string{"send", "--key-file", "nowhere", text}, []string{"--key-file", "nowhere"}},
		"empty key":           {[]string{"send", "--key-file", keys, text}, []string{"--key-file", "is empty"}},
		"no CA":               {[]string{"send", "--ca", text, text}, []string{"--ca", text, "no certificate"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := invoke(t, tc.args...)
			o.check(t, exitUsage, tc.want...)
			if strings.Contains(o.stderr, "LEAKED") {
				t.Errorf("a secret was shown: %s", o.stderr)
			}
		})
	}
}

func TestOpenDoorIsSaidAloud(t *testing.T) {
	t.Parallel()
	keys := writeFile(t, "keys", "")
	for flags, want := range map[string]string{
		"--insecure-no-auth":                "anybody who reaches this gateway may use it",
		"--auth-keys=" + keys:               "in the clear",
		"--gateway-principal-header=X-User": "",
	} {
		t.Run(flags, func(t *testing.T) {
			t.Parallel()
			p, _ := up(t, flags, "--listen", "0.0.0.0:0")
			warned := strings.Contains(p.stderr.String(), "level=WARN")
			if warned != (want != "") || !strings.Contains(p.stderr.String(), want) {
				t.Errorf("want a warning with %q:\n%s", want, p.stderr)
			}
		})
	}
}

// While the keys of tokens were never fetched no client could come in, so the gateway is
// not ready and says why. Who takes tokens made for any service is warned of it.
func TestReadyOnceTokensCanBeChecked(t *testing.T) {
	t.Parallel()
	var there atomic.Bool
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !there.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`) // RFC 8037, A.2
	}))
	defer issuer.Close()
	listen := deadPort(t)
	p := spawn(t, "up", "--engine", "tally", "--listen", listen, "--nats-listen", "127.0.0.1:0", "--data", t.TempDir(), "--jwks-url", issuer.URL)
	defer p.stop()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	readyz := func() (int, string) {
		resp, err := c.Get("http://" + listen + "/readyz")
		if err != nil {
			return 0, "" // it does not listen yet
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	subjectstest.Eventually(t, "it says that tokens can't be checked", func() bool {
		status, why := readyz()
		return status == http.StatusServiceUnavailable && strings.Contains(why, "tokens can't be checked")
	})
	there.Store(true)
	p.ready()
	subjectstest.Eventually(t, "it is ready", func() bool { status, _ := readyz(); return status == http.StatusOK })
	if n := strings.Count(p.stderr.String(), "--jwks-url without --jwt-audience"); n != 1 {
		t.Errorf("%d warnings of tokens for other services, want one:\n%s", n, p.stderr)
	}
	withAudience, _ := up(t, "--jwks-url", issuer.URL, "--jwt-audience", "stt")
	if strings.Contains(withAudience.stderr.String(), "level=WARN") {
		t.Errorf("a warning of nothing:\n%s", withAudience.stderr)
	}
}

// Keys and tokens over TLS, with the program on both sides; a key that is removed lets
// nobody in any more. Nothing of them is in any log.
func TestKeysAndTokensOverTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := fronttest.NewAuthority(t)
	cert, certKey := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "cert.key")
	ca.Issue(cert, certKey)
	keys := filepath.Join(dir, "keys")
	ann, bob := newKey(t, keys, "ann"), newKey(t, keys, "bob", "--session", "bobs-*")
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"sub": "eve", "aud": "stt", "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(private)
	if err != nil {
		t.Fatal(err)
	}
	p, at := up(t, "--log-level", "debug", "--auth-keys", keys, "--tls-cert", cert, "--tls-key", certKey, "--jwt-audience", "stt",
		"--jwt-key", writeFile(t, "public.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))))
	if !strings.HasPrefix(at[0], "wss://127.0.0.1:") {
		t.Fatalf("addresses %q", at)
	}
	wav := tone(t, "a.wav", time.Second)
	send := func(secret string, args ...string) outcome {
		if secret != "" {
			args = append(args, "--key-file", writeFile(t, "key", secret+"\n"))
		}
		o := invoke(t, append([]string{"send", "--url", at[0], "--ca", ca.File, wav}, args...)...)
		if secret != "" && strings.Contains(o.stdout+o.stderr, secret) {
			t.Errorf("the client shows its key: %s", o.stderr)
		}
		return o
	}
	send(ann).check(t, exitOK, "1 final")
	send(token).check(t, exitOK, "1 final")
	send(bob, "--session", "bobs-1").check(t, exitOK, "1 final")
	send("").check(t, exitRefused, "HTTP 401", "no API key or token")
	send("stb_"+strings.Repeat("x", 43)).check(t, exitRefused, "HTTP 401", "not known here")
	send(token[:len(token)-10]).check(t, exitRefused, "HTTP 401", "refused")
	send(bob).check(t, exitRefused, "HTTP 403", "name one")
	send(bob, "--session", "anns").check(t, exitRefused, "HTTP 403", "anns")
	invoke(t, "send", "--url", at[0], wav).check(t, exitRefused, "certificate")
	invoke(t, "keys", "remove", "ann", "--file", keys).check(t, exitOK)
	for deadline := time.Now().Add(testWait); send(ann).code != exitRefused; {
		if time.Now().After(deadline) {
			t.Fatal("a key that was removed still lets in")
		}
	}
	p.stop()
	for _, secret := range []string{ann, bob, token, token[strings.LastIndexByte(token, '.')+1:]} {
		if strings.Contains(p.stderr.String(), secret) {
			t.Errorf("%.12s… is in the log", secret)
		}
	}
}

func TestKeyFromTheEnvironment(t *testing.T) {
	t.Setenv(keyVariable, " stb_x\n")
	if key, err := (&clientFlags{}).key(); err != nil || key != "stb_x" {
		t.Errorf("%q, %v", key, err)
	}
	if key, err := (&clientFlags{KeyFile: writeFile(t, "key", "other\n")}).key(); err != nil || key != "other" {
		t.Errorf("a file comes first: %q, %v", key, err)
	}
	t.Setenv(keyVariable, "two words")
	if _, err := (&clientFlags{}).key(); err == nil || strings.Contains(err.Error(), "two words") {
		t.Errorf("a key with a space: %v", err)
	}
}
