package auth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// The set of RFC 7517, A.1: of its two keys one is for encryption.
const rfc7517 = `{"keys":[
 {"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"enc","kid":"1"},
 {"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}]}`

// The key of RFC 8037, A.2, and the signature that A.4 makes with it.
const (
	rfc8037    = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	rfc8037JWS = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)

func TestSetsOfTheRFCs(t *testing.T) {
	t.Parallel()
	keys, err := parseSet([]byte(rfc7517))
	if err != nil || len(keys) != 1 || keys[0].ID != "2011-04-29" || fmt.Sprint(keys[0].Algs) != "[RS256]" {
		t.Fatalf("RFC 7517: %v, %+v", err, keys)
	}
	r := keys[0].Key.(*rsa.PublicKey)
	thumb := sha256.Sum256(fmt.Appendf(nil, `{"e":"AQAB","kty":"RSA","n":%q}`, base64.RawURLEncoding.EncodeToString(r.N.Bytes())))
	if got := base64.RawURLEncoding.EncodeToString(thumb[:]); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" { // RFC 7638, 3.1
		t.Errorf("the thumbprint of the RSA key is %s", got)
	}
	if keys, err = parseSet([]byte(rfc8037)); err != nil || len(keys) != 1 || fmt.Sprint(keys[0].Algs) != "[EdDSA]" {
		t.Fatalf("RFC 8037: %v, %+v", err, keys)
	}
	text, sig := rfc8037JWS[:strings.LastIndexByte(rfc8037JWS, '.')], rfc8037JWS[strings.LastIndexByte(rfc8037JWS, '.')+1:]
	signature, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil || !ed25519.Verify(keys[0].Key.(ed25519.PublicKey), []byte(text), signature) {
		t.Error("the signature of RFC 8037 is not good")
	}
}

// jwk is a public key as an object of a set.
func jwk(t testing.TB, kid string, key crypto.Signer) map[string]any {
	t.Helper()
	j, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(j.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func set(t testing.TB, keys ...map[string]any) string {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseSet(t *testing.T) {
	t.Parallel()
	k := testKeys()
	with := func(m map[string]any, field string, v any) map[string]any {
		m[field] = v
		return m
	}
	for name, tc := range map[string]struct {
		body string
		keys int
		want string
	}{
		"all kinds":           {set(t, jwk(t, "a", k.rsa), jwk(t, "b", k.p256), jwk(t, "c", k.p384), jwk(t, "d", k.p521), jwk(t, "e", k.ed)), 5, ""},
		"no JSON":             {"<html>", 0, "no set of keys"},
		"keys is no list":     {`{"keys":{}}`, 0, "no set of keys"},
		"empty":               {`{}`, 0, "0 keys"},
		"only a secret":       {`{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}`, 0, "secret key in public"},
		"private half":        {set(t, with(jwk(t, "a", k.ed), "d", "AAAA")), 1, ""},
		"for encryption":      {set(t, with(jwk(t, "a", k.rsa), "use", "enc")), 0, "use: not for signatures"},
		"for signing only":    {set(t, with(jwk(t, "a", k.rsa), "key_ops", []string{"sign"})), 0, "key_ops"},
		"for checking":        {set(t, with(jwk(t, "a", k.rsa), "key_ops", []string{"verify"})), 1, ""},
		"alg of another key":  {set(t, with(jwk(t, "a", k.rsa), "alg", "HS256")), 0, "alg: \"HS256\" does not belong"},
		"alg of encryption":   {set(t, with(jwk(t, "a", k.rsa), "alg", "RSA-OAEP")), 0, "does not belong"},
		"not on its curve":    {set(t, with(jwk(t, "a", k.p256), "x", "AAAA")), 0, "not on the specified curve"},
		"unknown beside good": {set(t, map[string]any{"kty": "XX"}, jwk(t, "a", k.ed)), 1, ""},
		"x5u is not fetched":  {set(t, with(jwk(t, "a", k.ed), "x5u", "http://127.0.0.1:1/")), 1, ""},
		"many":                {`{"keys":[` + strings.Repeat(`{},`, 100) + `{}]}`, 0, "101 keys, allowed are 100"},
		"large":               {strings.Repeat(" ", maxSetBytes+1), 0, "more than 1048576 bytes"},
	} {
		keys, err := parseSet([]byte(tc.body))
		if len(keys) != tc.keys || tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %d keys, %v, want %d, %q", name, len(keys), err, tc.keys, tc.want)
		}
	}
}

// issuer is a server that hands out a set, or what a test says.
type issuer struct {
	*httptest.Server
	answer  atomic.Pointer[http.HandlerFunc]
	fetches atomic.Int64
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.fetches.Add(1)
		(*i.answer.Load())(w, r)
	}))
	i.is(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "out of order", http.StatusBadGateway) })
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) is(h http.HandlerFunc) { i.answer.Store(&h) }

func (i *issuer) has(body string) {
	i.is(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
}

func (i *issuer) jwks(t *testing.T, cfg JWKSConfig) *JWKS {
	t.Helper()
	cfg.URL = i.URL + "/keys?token=LEAK"
	cfg.Log = quiet()
	j, err := NewJWKS(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// A gateway starts before its issuer does, learns new keys when they are used, and lives
// through an outage on what it knows.
func TestJWKSRotationAndOutage(t *testing.T) {
	t.Parallel()
	k := testKeys()
	i := newIssuer(t)
	reg := prometheus.NewRegistry()
	j := i.jwks(t, JWKSConfig{Retry: time.Millisecond, Unknown: time.Nanosecond, Refresh: time.Hour, Metrics: reg})
	during(t, j.Run)
	tokens := newTokens(t, TokensConfig{Keys: j})
	try := func(method jwt.SigningMethod, key any, kid string) error {
		var header map[string]any
		if kid != "" {
			header = map[string]any{"kid": kid}
		}
		_, err := tokens.Authenticate(t.Context(), sign(t, method, key, fresh(nil), header))
		return err
	}
	until(t, "it was asked in vain", func() bool { return i.fetches.Load() > 3 })
	if err := try(jwt.SigningMethodEdDSA, k.ed, "one"); !errors.Is(err, ErrNotReady) || errors.Is(err, ErrUnknown) || strings.Contains(err.Error(), "LEAK") {
		t.Errorf("before the first fetch: %v, want not ready", err)
	}
	i.has(set(t, jwk(t, "one", k.ed)))
	until(t, "the first key is here", func() bool { return try(jwt.SigningMethodEdDSA, k.ed, "one") == nil })
	if err := try(jwt.SigningMethodEdDSA, k.ed, ""); err != nil {
		t.Errorf("a token without a kid: %v", err)
	}
	if err := try(jwt.SigningMethodES256, k.p256, "one"); err == nil || !strings.Contains(err.Error(), "alg") {
		t.Errorf("another alg with the same kid: %v", err)
	}
	// A new key works the first time it is used, at once.
	i.has(set(t, jwk(t, "two", k.p256)))
	if err := try(jwt.SigningMethodES256, k.p256, "two"); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	if err := try(jwt.SigningMethodEdDSA, k.ed, "one"); err == nil || !strings.Contains(err.Error(), "kid names no key") {
		t.Errorf("the old key after a rotation: %v", err)
	}
	i.is(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	if err := try(jwt.SigningMethodEdDSA, k.ed, "three"); !errors.Is(err, ErrNotReady) || errors.Is(err, ErrUnknown) {
		t.Errorf("a new kid in an outage: %v, want not ready: it may be good", err)
	}
	if err := try(jwt.SigningMethodES256, k.p256, "two"); err != nil {
		t.Errorf("a known kid in an outage: %v", err)
	}
	if n, err := reg.Gather(); err != nil || len(n) != 2 {
		t.Errorf("metrics: %v, %v", n, err)
	}
}

// While the issuer can't be asked nobody can tell whether a new kid is good: not when the
// fetch has failed a moment ago, and not while it hangs.
func TestNewKidInAnOutage(t *testing.T) {
	t.Parallel()
	k := testKeys()
	i := newIssuer(t)
	i.has(set(t, jwk(t, "old", k.ed)))
	j := i.jwks(t, JWKSConfig{Unknown: time.Hour, Retry: time.Hour, Timeout: 100 * time.Millisecond})
	if err := j.Ready(t.Context()); !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "tokens can't be checked") {
		t.Errorf("before the first fetch: %v", err)
	}
	during(t, j.Run)
	until(t, "the keys are here", func() bool { return j.Ready(t.Context()) == nil })
	i.is(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for _, how := range []string{"while it hangs", "a moment later"} {
		if keys, err := j.VerifyKeys(t.Context(), "new"); !errors.Is(err, ErrNotReady) {
			t.Errorf("%s: %d keys, %v", how, len(keys), err)
		}
	}
	if err := j.Ready(t.Context()); err != nil {
		t.Errorf("with the keys of before the outage: %v", err)
	}
}

// Whoever shows tokens with made-up kids makes the gateway fetch no more often than set.
func TestUnknownKidsAreBounded(t *testing.T) {
	t.Parallel()
	k := testKeys()
	i := newIssuer(t)
	i.has(set(t, jwk(t, "one", k.ed)))
	j := i.jwks(t, JWKSConfig{Unknown: time.Hour})
	during(t, j.Run)
	until(t, "the keys are here", func() bool { _, err := j.known(""); return err == nil })
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			if keys, err := j.VerifyKeys(t.Context(), fmt.Sprint(n)); err != nil || len(keys) != 0 {
				t.Errorf("kid %d: %v, %v", n, keys, err)
			}
		})
	}
	wg.Wait()
	if n := i.fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want the first and one more", n)
	}
}

func TestKeysGoStale(t *testing.T) {
	t.Parallel()
	k := testKeys()
	i := newIssuer(t)
	i.has(set(t, jwk(t, "one", k.ed)))
	j := i.jwks(t, JWKSConfig{MaxStale: time.Nanosecond, Refresh: time.Hour})
	during(t, j.Run)
	until(t, "a fetch", func() bool { return j.set.Load() != nil })
	if _, err := j.VerifyKeys(t.Context(), "one"); !errors.Is(err, ErrNotReady) {
		t.Errorf("keys beyond their age: %v", err)
	}
}

func TestFetchIsBounded(t *testing.T) {
	t.Parallel()
	k := testKeys()
	elsewhere := newIssuer(t)
	elsewhere.has(set(t, jwk(t, "one", k.ed)))
	gone := make(chan struct{})
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   string // empty: it is good
	}{
		"status":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, "HTTP 204"},
		"too long": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2*maxSetBytes)) }, "more than 1048576"},
		"too slow": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); close(gone) }, "deadline"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) }, ""},
		"redirect in the open": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, "want https://"},
		"redirect in a circle": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) }, "more than 3 redirects"},
		"cut off":              {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			i.is(tc.answer)
			cfg := JWKSConfig{Timeout: testWait}
			if name == "too slow" {
				cfg.Timeout = 50 * time.Millisecond
			}
			j := i.jwks(t, cfg)
			defer j.client.CloseIdleConnections()
			keys, err := j.fetch(t.Context())
			if tc.want == "" && (err != nil || len(keys) != 1) || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%d keys, %v, want %q", len(keys), err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "LEAK") {
				t.Errorf("the error shows the query: %v", err)
			}
			if name == "too slow" {
				<-gone
			}
		})
	}
}

func TestWhereKeysMayCome(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://issuer/keys":        "",
		"http://127.0.0.1:8080/keys": "",
		"http://[::1]/keys":          "",
		"http://localhost/keys":      "",
		"http://issuer/keys":         "want https",
		"http://127.0.0.1.evil/keys": "want https",
		"ftp://issuer/keys":          "want https",
		"file:///etc/keys":           "no host",
		"issuer/keys":                "no host",
		"https://u:LEAK@issuer/keys": "user or a password",
		"https://LEAK\x7f":           "not a URL",
	} {
		_, err := NewJWKS(JWKSConfig{URL: text, Log: slog.New(slog.DiscardHandler)})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "LEAK")) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
