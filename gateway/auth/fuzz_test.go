package auth

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// FuzzTokens: whatever a client shows, the answer is a principal that logs and records
// can hold, or a reason without a word of the token. Claims are also signed well, so
// that what an issuer may write is met.
func FuzzTokens(f *testing.F) {
	k := testKeys()
	tokens := newTokens(f, TokensConfig{Keys: fixedKeys{{Key: k.ed.Public(), Algs: []string{"EdDSA"}}}})
	good := sign(f, jwt.SigningMethodEdDSA, k.ed, fresh(nil), nil)
	f.Add(good, `{"sub":"ann","exp":1900000060}`)
	f.Add("a.b.c", `{"sub":"ann","exp":1e400,"nbf":-1e300,"aud":[null]}`)
	f.Add(forge(`{"alg":"EdDSA","kid":null,"crit":1}`, "{}", ""), `{"sub":"ann","exp":1900000060,"stenobus":{"max_sessions":1e3,"sessions":["\u0000"]}}`)
	f.Add("", `null`)
	f.Fuzz(func(t *testing.T, token, claims string) {
		shown := []string{token}
		if json.Valid([]byte(claims)) {
			shown = append(shown, sign(t, jwt.SigningMethodEdDSA, k.ed, raw(claims), nil))
		}
		for _, s := range shown {
			p, err := tokens.Authenticate(t.Context(), s)
			if err == nil && (!printable(p.Name, MaxName) || p.MaxSessions < 0) {
				t.Errorf("principal %+v", p)
			}
			if err != nil {
				if !errors.Is(err, ErrUnknown) {
					t.Errorf("%v is not ErrUnknown", err)
				}
				nothingOf(t, err, s)
			}
		}
	})
}

// FuzzKeys: a file that is read can be written, and says the same.
func FuzzKeys(f *testing.F) {
	f.Add([]byte("# c\n" + `{"name":"a","sha256":"` + hashOf("x") + `","sessions":["*"],"providers":["p"],"max_sessions":3,"expires":"2031-12-24T18:00:00+01:00"}` + "\n"))
	f.Add([]byte(`{"name":"a","name":"b"}`))
	f.Add([]byte(`{"na\u006de":"\ud800","sha256":"` + hashOf("y") + `"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ParseKeys(text)
		if err != nil {
			return
		}
		var again []byte
		for _, k := range keys {
			if again, err = WithKey(again, k); err != nil {
				t.Fatalf("%+v can't be written: %v", k, err)
			}
		}
		back, err := ParseKeys(again)
		if err != nil || len(back) != len(keys) {
			t.Fatalf("%v, %d keys of %d in\n%s", err, len(back), len(keys), again)
		}
		for i := range keys {
			if back[i].Hash != keys[i].Hash || !reflect.DeepEqual(back[i].Principal, keys[i].Principal) || !back[i].Expires.Equal(keys[i].Expires) {
				t.Errorf("%+v became %+v", keys[i], back[i])
			}
		}
		rest, removed, err := WithoutKeys(text, func(Key) bool { return true })
		if left, _ := ParseKeys(rest); err != nil || len(removed) != len(keys) || len(left) != 0 {
			t.Errorf("%v, removed %d of %d, left %d", err, len(removed), len(keys), len(left))
		}
	})
}

// FuzzSet: whatever an issuer answers, what is kept are keys with algorithms.
func FuzzSet(f *testing.F) {
	k := testKeys()
	f.Add([]byte(rfc7517))
	f.Add([]byte(rfc8037))
	f.Add([]byte(set(f, jwk(f, "a", k.p521), jwk(f, "b", k.rsa))))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"_____________________________________________w","y":"AA"},null,7]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AA","e":"__________"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseSet(body)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for _, key := range keys {
			if key.Key == nil || len(key.Algs) == 0 {
				t.Errorf("%+v", key)
			}
		}
	})
}
