package gateway

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"stenobus/gateway/auth"
	"stenobus/gateway/dialect"
	"stenobus/gateway/mediajson"
	"stenobus/subjects"
)

// keyed is a dialect whose clients show a key in a way of their own.
type keyed struct {
	*mediajson.Dialect
	key string
}

func (k keyed) Key(*http.Request) string { return k.key }

func TestSubprotocolsRepeatNoSecret(t *testing.T) {
	t.Parallel()
	plain := dialect.Request{}
	for name, tt := range map[string]struct {
		offered string
		req     dialect.Request
		key     string
		want    []string
	}{
		"none":                   {"", plain, "", nil},
		"the first":              {"a, b", plain, "", []string{"a"}},
		"not a resume token":     {"stenobus.resume.x, b", plain, "", []string{"b"}},
		"not a key":              {"secret, token", plain, "secret", []string{"token"}},
		"nothing but a key":      {"secret", plain, "secret", nil},
		"what the dialect chose": {"secret, token", dialect.Request{Protocol: "token"}, "secret", []string{"token"}},
		"private":                {"token2, x", dialect.Request{Private: true}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Sec-WebSocket-Protocol", tt.offered)
			got := subprotocols(r, tt.req, keyed{mediajson.New(mediajson.Config{}), tt.key})
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAnswerTellsTheID(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	answer(w.Header(), dialect.Request{IDHeader: "x-id", Header: map[string][]string{"X-Note": {"n"}}}, subjects.SessionID("s"))
	if w.Header().Get("x-id") != "s" || w.Header().Get("x-note") != "n" {
		t.Errorf("header %v", w.Header())
	}
}

// A secret is found wherever a client may show it, and a dialect sees none of those in
// the query.
func TestSecretIsFoundAndHidden(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ query, header, value, secret, rest string }{
		{"a=1", "Authorization", "Bearer KEY", "KEY", "a=1"},
		{"", "Authorization", "token  KEY ", "KEY", ""},
		{"", "Authorization", "KEY", "KEY", ""},
		{"access_token=x", "Authorization", "Basic KEY", "", ""},
		{"", "X-Api-Key", "KEY", "KEY", ""},
		{"access_token=KEY", "", "", "KEY", ""},
		{"a=1&access_token=KEY&a=2", "", "", "KEY", "a=1&a=2"},
		{"access%5Ftoken=KEY&b=%26", "", "", "KEY", "b=%26"},
		{"access_token=KEY&access_token=KEY", "", "", "KEY", ""},
		{"access_tokens=x&x=access_token", "", "", "", "access_tokens=x&x=access_token"},
	} {
		r := httptest.NewRequest("GET", "/transcribe?"+tc.query, nil)
		if tc.header != "" {
			r.Header.Set(tc.header, tc.value)
		}
		if got := secret(r, mediajson.New(mediajson.Config{})); got != tc.secret {
			t.Errorf("%s %s: %s: secret %q, want %q", tc.query, tc.header, tc.value, got, tc.secret)
		}
		clean := withoutSecret(r)
		if clean.URL.RawQuery != tc.rest || strings.Contains(clean.RequestURI, "KEY") || clean.URL.Path != "/transcribe" {
			t.Errorf("%s: a dialect sees %q, want %q", tc.query, clean.URL, tc.rest)
		}
	}
}

func TestPermitted(t *testing.T) {
	t.Parallel()
	engines := []string{"pocketsphinx", "tally"}
	for name, tc := range map[string]struct {
		may     auth.Principal
		id      string
		given   bool
		engine  string // asked for
		want    string // of the refusal
		becomes string // the engine, of those who ask for none
	}{
		"no limits":                  {auth.Principal{}, "a", true, "tally", "", ""},
		"its session":                {auth.Principal{Sessions: []string{"a*"}}, "abc", true, "", "", ""},
		"another session":            {auth.Principal{Sessions: []string{"a*"}}, "bc", true, "", "session id \"bc\" is not among", ""},
		"no session named":           {auth.Principal{Sessions: []string{"a*"}}, "f81d", false, "", "name one", ""},
		"no session named, any does": {auth.Principal{Sessions: []string{"*"}}, "f81d", false, "", "", ""},
		"its provider":               {auth.Principal{Providers: []string{"tally"}}, "a", true, "tally", "", "tally"},
		"another provider":           {auth.Principal{Providers: []string{"tally"}}, "a", true, "pocketsphinx", "allows: tally", "tally"},
		"a provider of its own":      {auth.Principal{Providers: []string{"x", "*"}}, "a", true, "", "", "pocketsphinx"},
		"none of its providers":      {auth.Principal{Providers: []string{"x"}}, "a", true, "", "none is here: x", ""},
	} {
		c := credentials{may: tc.may}
		engine, refusal := c.engine(engines)
		if engine != tc.becomes {
			t.Errorf("%s: the engine is %q, want %q", name, engine, tc.becomes)
		}
		if tc.engine != "" {
			engine = tc.engine
		}
		if refusal == nil {
			refusal = c.permitted(subjects.SessionID(tc.id), tc.given, engine)
		}
		switch {
		case (refusal != nil) != (tc.want != ""):
			t.Errorf("%s: %+v, want %q", name, refusal, tc.want)
		case refusal != nil && (refusal.Status != 403 || !strings.Contains(refusal.Text, tc.want)):
			t.Errorf("%s: %+v, want 403 and %q", name, *refusal, tc.want)
		}
	}
}
