package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"maps"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signers are the private halves that tests sign with; making an RSA key takes a while.
type signers struct {
	secret           []byte
	rsa              *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed               ed25519.PrivateKey
}

var testKeys = sync.OnceValue(func() signers {
	curve := func(c elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			panic(err)
		}
		return k
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return signers{
		secret: []byte(strings.Repeat("0123456789abcdef", 4)), rsa: r,
		p256: curve(elliptic.P256()), p384: curve(elliptic.P384()), p521: curve(elliptic.P521()), ed: ed,
	}
})

func publicPEM(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// fixedKeys is a KeySource without a file.
type fixedKeys []VerifyKey

func (f fixedKeys) VerifyKeys(context.Context, string) ([]VerifyKey, error) { return f, nil }

var testNow = time.Unix(1_900_000_000, 0)

func sign(t testing.TB, method jwt.SigningMethod, key any, claims jwt.Claims, header map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	maps.Copy(token.Header, header)
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// fresh are claims of a good token, changed as a test says; nil takes one out.
func fresh(change jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{"sub": "ann", "exp": testNow.Unix() + 60}
	for k, v := range change {
		if v == nil {
			delete(c, k)
			continue
		}
		c[k] = v
	}
	return c
}

func newTokens(t testing.TB, cfg TokensConfig) *Tokens {
	t.Helper()
	cfg.Now = func() time.Time { return testNow }
	tokens, err := NewTokens(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// Every algorithm is good with its own key, and with no other.
func TestAlgorithmsBelongToKeys(t *testing.T) {
	t.Parallel()
	k := testKeys()
	keys := map[string]struct {
		private any
		file    string
		open    func(FileConfig) (*KeyFile, error)
		algs    []string
	}{
		"secret": {k.secret, string(k.secret) + "\n", OpenSecret, []string{"HS256", "HS384", "HS512"}},
		"rsa":    {k.rsa, publicPEM(t, k.rsa), OpenPublic, []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}},
		"p256":   {k.p256, publicPEM(t, k.p256), OpenPublic, []string{"ES256"}},
		"p384":   {k.p384, publicPEM(t, k.p384), OpenPublic, []string{"ES384"}},
		"p521":   {k.p521, publicPEM(t, k.p521), OpenPublic, []string{"ES512"}},
		"ed":     {k.ed, publicPEM(t, k.ed), OpenPublic, []string{"EdDSA"}},
	}
	for name, key := range keys {
		source, err := key.open(FileConfig{File: file(t, key.file)})
		if err != nil {
			t.Fatal(name, err)
		}
		tokens := newTokens(t, TokensConfig{Keys: source})
		for other, signer := range keys {
			for _, alg := range signer.algs {
				token := sign(t, jwt.GetSigningMethod(alg), signer.private, fresh(nil), nil)
				p, err := tokens.Authenticate(t.Context(), token)
				if good := other == name; good && (err != nil || p.Name != "ann") || !good && !errors.Is(err, ErrUnknown) {
					t.Errorf("key %s, token %s of %s: %+v, %v", name, alg, other, p, err)
				}
			}
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	k := testKeys()
	rsaPEM := publicPEM(t, k.rsa)
	keys, err := parsePublic([]byte(rsaPEM + publicPEM(t, k.ed)))
	if err != nil {
		t.Fatal(err)
	}
	ed := func(change jwt.MapClaims, header map[string]any) string {
		return sign(t, jwt.SigningMethodEdDSA, k.ed, fresh(change), header)
	}
	now := testNow.Unix()
	strict := TokensConfig{Audience: []string{"stt", "stt2"}, Issuer: "https://issuer"}
	good := jwt.MapClaims{"aud": "stt", "iss": "https://issuer"}
	with := func(key string, v any) jwt.MapClaims {
		c := maps.Clone(good)
		c[key] = v
		return c
	}
	own := func(v any) jwt.MapClaims { return jwt.MapClaims{"stenobus": v} }
	for name, tc := range map[string]struct {
		cfg   TokensConfig
		token string
		want  string // empty: it is good
	}{
		"good":             {TokensConfig{}, ed(nil, nil), ""},
		"expired":          {TokensConfig{}, ed(jwt.MapClaims{"exp": now}, nil), "it has expired"},
		"within leeway":    {TokensConfig{Leeway: 10 * time.Second}, ed(jwt.MapClaims{"exp": now - 9}, nil), ""},
		"beyond leeway":    {TokensConfig{Leeway: 10 * time.Second}, ed(jwt.MapClaims{"exp": now - 10}, nil), "it has expired"},
		"no exp":           {TokensConfig{}, ed(jwt.MapClaims{"exp": nil}, nil), "lacks a claim that is needed here: exp, sub"},
		"exp is a text":    {TokensConfig{}, ed(jwt.MapClaims{"exp": "never"}, nil), "wrong type"},
		"nbf":              {TokensConfig{}, ed(jwt.MapClaims{"nbf": now + 1}, nil), "not valid yet"},
		"iat":              {TokensConfig{}, ed(jwt.MapClaims{"iat": now + 1}, nil), "issued in the future"},
		"past nbf and iat": {TokensConfig{}, ed(jwt.MapClaims{"nbf": now, "iat": now}, nil), ""},
		"aud and iss":      {strict, ed(good, nil), ""},
		"aud in a list":    {strict, ed(with("aud", []string{"x", "stt2"}), nil), ""},
		"another aud":      {strict, ed(with("aud", "tts"), nil), "another audience"},
		"no aud":           {strict, ed(with("aud", nil), nil), "lacks a claim that is needed here: exp, sub, aud, iss"},
		"another iss":      {strict, ed(with("iss", "https://issuer/"), nil), "another issuer"},
		"no iss":           {strict, ed(with("iss", nil), nil), "lacks a claim"},
		"no sub":           {TokensConfig{}, ed(jwt.MapClaims{"sub": nil}, nil), "claim sub: want"},
		"sub is a number":  {TokensConfig{}, ed(jwt.MapClaims{"sub": 7}, nil), "claim sub: want"},
		"control in sub":   {TokensConfig{}, ed(jwt.MapClaims{"sub": "a\nb"}, nil), "claim sub: want"},
		"long sub":         {TokensConfig{}, ed(jwt.MapClaims{"sub": strings.Repeat("a", 257)}, nil), "claim sub: want"},
		"claim of a name":  {TokensConfig{NameClaim: "user"}, ed(jwt.MapClaims{"user": "ann", "sub": nil}, nil), ""},

		"limits":            {TokensConfig{}, ed(own(map[string]any{"sessions": []string{"a*"}, "providers": []string{"tally"}, "max_sessions": 2}), nil), ""},
		"limits elsewhere":  {TokensConfig{Claim: "x"}, ed(own(7), nil), ""},
		"limits no object":  {TokensConfig{}, ed(own("a*"), nil), "claim stenobus: want a JSON object"},
		"limits null":       {TokensConfig{}, sign(t, jwt.SigningMethodEdDSA, k.ed, raw(`{"sub":"ann","exp":1900000060,"stenobus":null}`), nil), "claim stenobus: want a JSON object"},
		"misspelt limit":    {TokensConfig{}, ed(own(map[string]any{"session": []string{"a"}}), nil), "allowed are sessions, providers, max_sessions"},
		"empty sessions":    {TokensConfig{}, ed(own(map[string]any{"sessions": []string{}}), nil), "field sessions: want a list"},
		"max_sessions text": {TokensConfig{}, ed(own(map[string]any{"max_sessions": "2"}), nil), "field max_sessions: want"},

		"alg none":           {TokensConfig{}, sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, fresh(nil), nil), "alg is not allowed"},
		"alg of nobody":      {TokensConfig{}, forge(`{"alg":"XX1"}`, `{}`, "AA"), "alg is not known"},
		"no alg":             {TokensConfig{}, forge(`{"kid":"x"}`, `{}`, "AA"), "alg is not known"},
		"confusion, PEM":     {TokensConfig{}, sign(t, jwt.SigningMethodHS256, []byte(rsaPEM), fresh(nil), nil), "alg does not belong to the key"},
		"confusion, DER":     {TokensConfig{}, sign(t, jwt.SigningMethodHS256, der(t, rsaPEM), fresh(nil), nil), "alg does not belong to the key"},
		"another signer":     {TokensConfig{}, sign(t, jwt.SigningMethodES256, k.p256, fresh(nil), nil), "alg does not belong"},
		"broken signature":   {TokensConfig{}, broken(ed(nil, nil)), "signature is wrong"},
		"changed claims":     {TokensConfig{}, swapClaims(ed(nil, nil), `{"sub":"bob","exp":1900000060}`), "signature is wrong"},
		"critical extension": {TokensConfig{}, ed(nil, map[string]any{"crit": []string{"b64"}, "b64": false}), "crit"},
		"kid is a number":    {TokensConfig{}, ed(nil, map[string]any{"kid": 7}), "kid is no text"},
		"header is no JSON":  {TokensConfig{}, forge("x", "{}", "AA"), "malformed"},
		"header is a list":   {TokensConfig{}, forge("[]", "{}", "AA"), "malformed"},
		"not base64":         {TokensConfig{}, "!.!.!", "malformed"},
		"empty parts":        {TokensConfig{}, "..", "malformed"},
		"oversized":          {TokensConfig{}, ed(jwt.MapClaims{"x": strings.Repeat("x", maxTokenBytes)}, nil), "allowed are 8192"},
		"claims are null":    {TokensConfig{}, sign(t, jwt.SigningMethodEdDSA, k.ed, raw("null"), nil), "lacks a claim"},
		"claims are a list":  {TokensConfig{}, sign(t, jwt.SigningMethodEdDSA, k.ed, raw("[]"), nil), "malformed"},
		"no token":           {TokensConfig{}, "hello", "not known here"},
		"four parts":         {TokensConfig{}, "a.b.c.d", "not known here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.cfg.Keys = fixedKeys(keys)
			p, err := newTokens(t, tc.cfg).Authenticate(t.Context(), tc.token)
			switch {
			case tc.want == "" && (err != nil || p.Name != "ann"):
				t.Errorf("got %+v, %v", p, err)
			case tc.want != "" && (!errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %s", err, tc.want)
			case err != nil:
				nothingOf(t, err, tc.token)
			}
			if name == "limits" && !reflect.DeepEqual(p, Principal{"ann", []string{"a*"}, []string{"tally"}, 2}) {
				t.Errorf("limits are %+v", p)
			}
		})
	}
}

// nothingOf fails where an error repeats what a token holds.
func nothingOf(t *testing.T, err error, token string) {
	t.Helper()
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
}

// raw is a payload as it is.
type raw string

func (r raw) MarshalJSON() ([]byte, error)               { return []byte(r), nil }
func (raw) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (raw) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (raw) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (raw) GetIssuer() (string, error)                   { return "", nil }
func (raw) GetSubject() (string, error)                  { return "", nil }
func (raw) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }
func forge(header, claims, signature string) string {
	return b64(header) + "." + b64(claims) + "." + signature
}
func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
func swapClaims(token, claims string) string {
	parts := strings.Split(token, ".")
	return parts[0] + "." + b64(claims) + "." + parts[2]
}

// broken changes the first character of a signature; in its last one bits may be idle.
func broken(token string) string {
	i := strings.LastIndexByte(token, '.') + 1
	c := byte('A')
	if token[i] == c {
		c = 'B'
	}
	return token[:i] + string(c) + token[i+1:]
}

func der(t *testing.T, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	return block.Bytes
}

func TestBadKeyFiles(t *testing.T) {
	t.Parallel()
	k := testKeys()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k.ed)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		open    func(FileConfig) (*KeyFile, error)
		content string
		want    string
	}{
		"short secret":   {OpenSecret, "0123456789\r\n", "has 10 bytes, want 32 or more"},
		"PEM as secret":  {OpenSecret, publicPEM(t, k.rsa), "holds a PEM block"},
		"large secret":   {OpenSecret, strings.Repeat("x", maxKeyBytes+1), "more than 65536 bytes"},
		"no PEM":         {OpenPublic, "hello", "0 keys, want 1"},
		"private key":    {OpenPublic, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "needs no private key"},
		"small RSA":      {OpenPublic, publicPEM(t, small), "1024 bits, allowed are 2048"},
		"P-224":          {OpenPublic, publicPEM(t, p224), "P-256, P-384 and P-521"},
		"not a key":      {OpenPublic, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})), "PEM block 1: "},
		"many keys":      {OpenPublic, strings.Repeat(publicPEM(t, k.ed), 17), "17 keys, want 1 to 16"},
		"second is none": {OpenPublic, publicPEM(t, k.ed) + publicPEM(t, p224), "PEM block 2: "},
	} {
		path := file(t, tc.content)
		if _, err := tc.open(FileConfig{File: path}); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %s and the file", name, err, tc.want)
		}
	}
	if _, err := NewTokens(TokensConfig{Leeway: time.Hour}); err == nil {
		t.Error("a leeway of an hour is accepted")
	}
}

func TestKeyFileIsReadAgain(t *testing.T) {
	t.Parallel()
	k := testKeys()
	path := file(t, publicPEM(t, k.p256))
	source, err := OpenPublic(FileConfig{File: path, Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	during(t, source.Run)
	tokens := newTokens(t, TokensConfig{Keys: source})
	good := func(method jwt.SigningMethod, key any) bool {
		_, err := tokens.Authenticate(t.Context(), sign(t, method, key, fresh(nil), nil))
		return err == nil
	}
	replace(t, path, publicPEM(t, k.p256)+publicPEM(t, k.ed))
	until(t, "both keys are known", func() bool {
		return good(jwt.SigningMethodEdDSA, k.ed) && good(jwt.SigningMethodES256, k.p256)
	})
	replace(t, path, publicPEM(t, k.ed))
	until(t, "the old one is not", func() bool {
		return good(jwt.SigningMethodEdDSA, k.ed) && !good(jwt.SigningMethodES256, k.p256)
	})
}
