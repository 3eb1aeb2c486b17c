package gateway

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

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
