package plain

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// open connects as a client with this query.
func open(tb testing.TB, query string) (dialect.Conversation, dialect.Request) {
	tb.Helper()
	conv, req, refusal := New(Config{Engines: []string{"Pocket", "tally"}}).Open(request(query))
	if refusal != nil {
		tb.Fatalf("%q refused: %d %s", query, refusal.Status, refusal.Text)
	}
	return conv, req
}

func request(query string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/stream", nil)
	r.URL.RawQuery = query
	return r
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	names := strings.Join(parameters, ", ")
	for name, tc := range map[string]struct {
		query, says string
		status      int
	}{
		"unknown":            {"rate=8000", `parameter "rate" is not known here, allowed: ` + names, 400},
		"case":               {"Encoding=l16", `parameter "Encoding" is not known here`, 400},
		"sendBack":           {"sendBack=true", `parameter "sendBack" is not known here`, 400},
		"twice":              {"sample_rate=8000&sample_rate=16000", `parameter "sample_rate" is given 2 times, allowed: once`, 400},
		"encoding":           {"encoding=mp3", `parameter "encoding" is "mp3", allowed: ` + wantEncoding, 400},
		"encoding empty":     {"encoding=", `parameter "encoding" is "", allowed: ` + wantEncoding, 400},
		"rate low":           {"sample_rate=999", `parameter "sample_rate" is "999", allowed: a whole number from 1000 to 384000`, 400},
		"rate no number":     {"sample_rate=16k", `parameter "sample_rate" is "16k"`, 400},
		"rate empty":         {"sample_rate=", `parameter "sample_rate" is ""`, 400},
		"channels":           {"channels=9", `parameter "channels" is "9", allowed: a whole number from 1 to 8`, 400},
		"channels of opus":   {"encoding=opus&channels=3", `allowed: a whole number from 1 to 2`, 400},
		"interims":           {"interims=1", `parameter "interims" is "1", allowed: true, false`, 400},
		"format":             {"format=xml", `parameter "format" is "xml", allowed: json, vosk`, 400},
		"language":           {"language=en_US", `parameter "language" is "en_US", allowed: a BCP 47 tag`, 400},
		"after alone":        {"after=7", `parameter "after" is "7", allowed: only together with session`, 400},
		"after no number":    {"session=a&after=-1", `allowed: 0, or the cursor of a final`, 400},
		"session":            {"session=" + strings.Repeat("x", 129), `parameter "session" is "xxx`, 400},
		"engine":             {"engine=none", `parameter "engine" is "none", allowed: Pocket, tally`, 400},
		"tag empty":          {"tag=", `parameter "tag" is ""`, 400},
		"tag long":           {"tag=" + strings.Repeat("x", 129), `parameter "tag"`, 400},
		"tags":               {strings.Repeat("tag=a&", 65), `at most 64 tags`, 400},
		"extra name":         {"x-A=1", `parameter "x-A" is "1", allowed: x- and 1 to 64`, 400},
		"extra without name": {"x-=1", `parameter "x-"`, 400},
		"extra long":         {"x-a=" + strings.Repeat("x", 1025), `at most 1024 bytes`, 400},
		"no UTF-8":           {"x-a=%ff", `parameter "x-a"`, 400},
		"no query":           {"language=%zz", "query can't be read", 400},
		"semicolon":          {"a=b;c=d", "query can't be read", 400},
		"too long":           {"tag=" + strings.Repeat("y", maxQuery), "query has 16388 bytes, allowed are 16384", 414},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conv, _, got := New(Config{Engines: []string{"Pocket", "tally"}}).Open(request(tc.query))
			if got == nil || conv != nil {
				t.Fatal("not refused")
			}
			if got.Status != tc.status || !strings.Contains(got.Text, tc.says) || len(got.Text) > 500 {
				t.Errorf("got %d %s\nwant %d %s", got.Status, got.Text, tc.status, tc.says)
			}
		})
	}
}

func TestOpenAccepts(t *testing.T) {
	t.Parallel()
	l16 := dialect.Format{Encoding: "l16", SampleRate: 16000, Channels: 1}
	as := func(f dialect.Format, more ...func(*dialect.Request)) dialect.Request {
		r := dialect.Request{Default: f, Gapless: true}
		for _, m := range more {
			m(&r)
		}
		return r
	}
	for name, tc := range map[string]struct {
		query string
		want  dialect.Request
	}{
		"nothing":      {"", as(l16)},
		"other names":  {"encoding=S16LE", as(l16)},
		"linear16":     {"encoding=linear16&sample_rate=48000&channels=2", as(dialect.Format{Encoding: "l16", SampleRate: 48000, Channels: 2})},
		"pcm":          {"encoding=pcm&sample_rate=8000", as(dialect.Format{Encoding: "l16", SampleRate: 8000, Channels: 1})},
		"telephone":    {"encoding=mulaw", as(dialect.Format{Encoding: "mulaw", SampleRate: 8000, Channels: 1})},
		"a-law":        {"encoding=alaw&sample_rate=16000", as(dialect.Format{Encoding: "alaw", SampleRate: 16000, Channels: 1})},
		"opus":         {"encoding=opus&channels=1", as(dialect.Format{Encoding: "opus", SampleRate: 48000, Channels: 1})},
		"ogg":          {"encoding=ogg-opus", as(dialect.Format{Encoding: "ogg-opus", SampleRate: 48000, Channels: 2})},
		"key":          {"access_token=secret", as(l16)},
		"vosk":         {"format=vosk&interims=false&sample_rate=8000", dialect.Request{Default: dialect.Format{Encoding: "l16", SampleRate: 8000, Channels: 1}, Gapless: true, Options: subjects.Options{NoInterims: true}}},
		"no engine":    {"engine=&session=", as(l16)},
		"a session id": {"session=..%2Fx", as(l16, func(r *dialect.Request) { r.SessionID = "../x" })},
		"resume": {"session=a&after=17&format=json", as(l16, func(r *dialect.Request) {
			r.SessionID, r.Resume, r.After = "a", true, 17
		})},
		"options": {"engine=POCKET&language=pt-BR&tag=a&tag=b&x-endpointing=850&x-smart_turn=0.5", as(l16, func(r *dialect.Request) {
			r.Options = subjects.Options{
				Engine: "Pocket", Language: "pt-BR", Tags: []string{"a", "b"},
				Extra: map[string]string{"endpointing": "850", "smart_turn": "0.5"},
			}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, got := open(t, tc.query); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
		})
	}
}

func TestAnyEngine(t *testing.T) {
	t.Parallel()
	_, req, refusal := New(Config{}).Open(request("engine=whatever"))
	if refusal != nil || req.Options.Engine != "whatever" {
		t.Errorf("got %+v %+v", req, refusal)
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	for offered, want := range map[string]string{
		"":                                 "",
		"stenobus":                         "",
		"stenobus, stenobus.key.abc":       "abc",
		"stenobus.resume.t,stenobus.key.k": "k",
	} {
		r := request("")
		r.Header.Set("Sec-WebSocket-Protocol", offered)
		if got := New(Config{}).Key(r); got != want {
			t.Errorf("%q: key %q, want %q", offered, got, want)
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	got := New(Config{}).Refuse(dialect.Refusal{Status: 503, Code: "gateway_full", Text: `"full"`, RetryAfter: time.Second}, h)
	want := `{"type":"error","code":"gateway_full","message":"\"full\"","retry_after_ms":1000}` + "\n"
	if got != want || h.Get("Content-Type") != "application/json" {
		t.Errorf("got %s as %s", got, h.Get("Content-Type"))
	}
}
