package deepgram

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

const raw = "encoding=linear16&sample_rate=16000"

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	for query, want := range map[string]string{
		"encoding=mp3":                              `encoding: "mp3". Allowed: linear16, mulaw, alaw, opus, ogg-opus`,
		"encoding=linear32&sample_rate=8000":        `encoding: "linear32"`,
		"encoding=flac":                             `encoding: "flac"`,
		"encoding=linear16":                         `sample_rate: "". Allowed: a whole number from 1000 to 384000, which encoding linear16 needs`,
		"encoding=mulaw":                            `sample_rate: ""`,
		"encoding=linear16&sample_rate=x":           `sample_rate: "x". Allowed: a whole number`,
		"encoding=linear16&sample_rate=16e3":        `sample_rate: "16e3"`,
		"encoding=linear16&sample_rate=0":           `sample_rate: "0"`,
		"encoding=linear16&sample_rate=500000":      `sample_rate: "500000"`,
		raw + "&channels=0":                         `channels: "0". Allowed: a whole number from 1 to 8`,
		raw + "&channels=9":                         `channels: "9"`,
		"encoding=opus&channels=3":                  `channels: "3". Allowed: a whole number from 1 to 2`,
		raw + "&channels=2&multichannel=true":       `multichannel: "true". Allowed: false, or true with channels=1`,
		"multichannel=true":                         `multichannel: "true"`,
		"interim_results=yes":                       `interim_results: "yes". Allowed: true, false`,
		"vad_events=2":                              `vad_events: "2"`,
		"smart_format=x":                            `smart_format: "x"`,
		"language=english!":                         `language: "english!". Allowed: a BCP 47 tag such as en-US, or multi`,
		"endpointing=-1":                            `endpointing: "-1". Allowed: ms from 0 to 60000, true, false`,
		"endpointing=soon":                          `endpointing: "soon"`,
		"utterance_end_ms=1000":                     `utterance_end_ms: "1000". Allowed: only with interim_results=true`,
		"interim_results=true&utterance_end_ms=999": `utterance_end_ms: "999". Allowed: a whole number from 1000 to 60000`,
		"tag=" + strings.Repeat("x", 129):           `tag: "` + long[:64] + `...". Allowed: at most 128 characters`,
		strings.Repeat("tag=a,b&", 33):              `tag: "66 values". Allowed: at most 64`,
		"extra=novalue":                             `extra: "novalue". Allowed: key:value`,
		"model=" + long:                             `model: "` + long[:64] + `...". Allowed: at most 256 characters`,
		"alternatives=3":                            `alternatives: "3"`,
		"diarize=true":                              `diarize: "true". Allowed: false`,
		"diarize=True":                              `diarize: "True"`,
		"diarize_model=latest":                      `diarize_model: "latest". Allowed: no value, this is not offered here`,
		"redact=false&redact=pci":                   `redact: "pci"`,
		"search=hello":                              `search: "hello"`,
		"replace=a:b":                               `replace: "a:b"`,
		"detect_entities=1":                         `detect_entities: "1"`,
		"detect_language=true":                      `detect_language: "true"`,
		"callback=https://example.com/":             `callback: "https://example.com/"`,
		"keyterm=stenobus":                          `keyterm: "stenobus"`,
		`keywords=%5B%22a:2%22%5D`:                  `keywords: "[\"a:2\"]"`,
		"profanity_filter=true":                     `profanity_filter: "true"`,
		"dictation=true":                            `dictation: "true"`,
		"numerals=true":                             `numerals: "true"`,
		"filler_words=yes":                          `filler_words: "yes". Allowed: true, false`,
		"measurements=true":                         `measurements: "true"`,
	} {
		conv, _, got := New(Config{}).Open(request(query))
		if got == nil || conv != nil {
			t.Errorf("%.60s is not refused", query)
			continue
		}
		if got.Status != http.StatusBadRequest || !strings.HasPrefix(got.Text, "Invalid query parameter "+want) {
			t.Errorf("%.60s\ngot  %d %s\nwant %s", query, got.Status, got.Text, want)
		}
	}
	for query, status := range map[string]int{"a=%zz": 400, "x=" + strings.Repeat("y", maxQuery): 414} {
		if _, _, got := New(Config{}).Open(request(query)); got == nil || got.Status != status {
			t.Errorf("%.20s: %+v, want %d", query, got, status)
		}
	}
}

func TestOpenAccepts(t *testing.T) {
	t.Parallel()
	l16 := dialect.Format{Encoding: "l16", SampleRate: 16000, Channels: 1}
	for _, tt := range []struct {
		query   string
		format  dialect.Format
		options subjects.Options
		warns   string
	}{
		{"", dialect.Format{}, subjects.Options{}, ""},
		{raw, l16, subjects.Options{}, ""},
		{"encoding=LINEAR16&sample_rate=16000&channels=2", dialect.Format{Encoding: "l16", SampleRate: 16000, Channels: 2}, subjects.Options{}, ""},
		{raw + "&multichannel=true", l16, subjects.Options{}, ""},
		{"encoding=mulaw&sample_rate=8000", dialect.Format{Encoding: "mulaw", SampleRate: 8000, Channels: 1}, subjects.Options{}, ""},
		{"encoding=alaw&sample_rate=8000&channels=2", dialect.Format{Encoding: "alaw", SampleRate: 8000, Channels: 2}, subjects.Options{}, ""},
		{"encoding=opus", dialect.Format{Encoding: "opus", SampleRate: 48000, Channels: 1}, subjects.Options{}, ""},
		{"encoding=ogg-opus&sample_rate=16000&channels=2", dialect.Format{Encoding: "ogg-opus", SampleRate: 16000, Channels: 2}, subjects.Options{}, ""},
		{"sample_rate=8000", dialect.Format{}, subjects.Options{}, "sample_rate and channels count only with encoding: a container says them itself"},
		{raw + "&model=nova-3", l16, subjects.Options{Extra: map[string]string{"model": "nova-3"}}, `model "nova-3" is not offered here: any engine transcribes`},
		{raw + "&model=TALLY&version=latest&tier=x", l16, subjects.Options{Engine: "tally", Extra: map[string]string{"model": "TALLY", "version": "latest", "tier": "x"}}, ""},
		{raw + "&language=en-GB", l16, subjects.Options{Language: "en-GB"}, ""},
		{raw + "&language=multi", l16, subjects.Options{Extra: map[string]string{"language": "multi"}}, ""},
		{raw + "&endpointing=300", l16, subjects.Options{Extra: map[string]string{"endpointing": "300"}}, ""},
		{raw + "&endpointing=False", l16, subjects.Options{Extra: map[string]string{"endpointing": "false"}}, ""},
		{raw + "&endpointing=true", l16, subjects.Options{}, ""},
		{raw + "&interim_results=1&utterance_end_ms=1500&vad_events=TRUE", l16, subjects.Options{Extra: map[string]string{"utterance_end_ms": "1500"}}, ""},
		{raw + "&tag=a&tag=b,c&tag=%5B%22d,e%22,%22f%22%5D&tag=", l16, subjects.Options{Tags: []string{"a", "b", "c", "d,e", "f"}}, ""},
		{raw + "&extra=room:1,2&extra=%5B%22who:me%22%5D", l16, subjects.Options{Extra: map[string]string{"extra.room": "1,2", "extra.who": "me"}}, ""},
		{raw + "&punctuate=true&mip_opt_out=true", l16, subjects.Options{Extra: map[string]string{"punctuate": "true", "deepgram_mip_opt_out": "true"}},
			"punctuate: punctuation and format are what the engine gives"},
		{raw + "&diarize=false&redact=false&search=&keyterm=%5B%5D&numerals=0&alternatives=1&no_delay=true&callback=", l16, subjects.Options{}, ""},
		{raw + "&filler_words=true", l16, subjects.Options{Extra: map[string]string{"filler_words": "true"}}, "filler_words: those are given that the engine gives"},
		{raw + "&callback_method=POST", l16, subjects.Options{}, "callback_method counts only with callback, which is not offered here"},
		{raw + "&zeta=secret&%C3%A9t%0Aa=1&access_token=x", l16, subjects.Options{}, `unknown and ignored: "zeta", "?t\na"`},
		{raw + "&model=tally&model=nova-2", l16, subjects.Options{Engine: "tally", Extra: map[string]string{"model": "tally"}}, "model was given 2 times: the first counts"},
	} {
		_, req := open(t, tt.query)
		tt.options.NoInterims = !strings.Contains(tt.query, "vad_events")
		if req.Default != tt.format || !reflect.DeepEqual(req.Options, tt.options) {
			t.Errorf("%s\ngot  %+v %+v\nwant %+v %+v", tt.query, req.Default, req.Options, tt.format, tt.options)
		}
		if got := req.Header.Get(headerWarning); got != tt.warns {
			t.Errorf("%s\nwarns %s\nwant  %s", tt.query, got, tt.warns)
		}
		if !req.Private || !req.Gapless || !req.Once || req.Idle != 10*time.Second || req.IDHeader != "dg-request-id" || req.SessionID != "" {
			t.Errorf("%s: %+v", tt.query, req)
		}
	}
}

// Workers are told not to send what nobody hears.
func TestInterimsAreAskedFor(t *testing.T) {
	t.Parallel()
	for query, none := range map[string]bool{
		raw: true, raw + "&interim_results=false": true, raw + "&interim_results=true": false, raw + "&vad_events=true": false,
	} {
		if _, req := open(t, query); req.Options.NoInterims != none {
			t.Errorf("%s: NoInterims is %v", query, req.Options.NoInterims)
		}
	}
}

func TestWarningsAreNoticedOnce(t *testing.T) {
	t.Parallel()
	c, _ := open(t, raw+"&smart_format=true")
	wantLines(t, say(c, `{"type":"KeepAlive"}`, `{"type":"KeepAlive"}`), "notice parameters")
}

func TestManyUnknownParameters(t *testing.T) {
	t.Parallel()
	var q strings.Builder
	for i := range 200 {
		q.WriteString("&" + strings.Repeat("p", i%60) + string(rune('a'+i%26)) + "=1")
	}
	_, req := open(t, raw+q.String())
	if got := req.Header.Get(headerWarning); len(got) > maxHeader || !strings.Contains(got, " more") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func TestKeyAndProtocol(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ offered, key, protocol string }{
		{"", "", ""},
		{"token", "", ""},
		{"token, k1", "k1", "token"},
		{"Bearer, a.b.c, x-deepgram-session-id, u", "a.b.c", "Bearer"},
		{"x-deepgram-session-id, u, token, k2", "k2", "token"},
		{"k3", "", ""},
	} {
		r := request(raw)
		r.Header.Set("Sec-WebSocket-Protocol", tt.offered)
		d := New(Config{})
		_, req, _ := d.Open(r)
		if key := d.Key(r); key != tt.key || req.Protocol != tt.protocol {
			t.Errorf("%q: key %q, protocol %q", tt.offered, key, req.Protocol)
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		why  dialect.Refusal
		code string
	}{
		{dialect.Refusal{Status: 400, Code: "bad_request", Text: "x é\n"}, "INVALID_QUERY_PARAMETER"},
		{dialect.Refusal{Status: 401, Code: "unauthorized"}, "INVALID_AUTH"},
		{dialect.Refusal{Status: 403, Code: "forbidden"}, "INSUFFICIENT_PERMISSIONS"},
		{dialect.Refusal{Status: 426, Code: "upgrade_required"}, "UPGRADE_REQUIRED"},
		{dialect.Refusal{Status: 429, Code: "rate"}, "TOO_MANY_REQUESTS"},
		{dialect.Refusal{Status: 503, Code: "gateway_full"}, "TOO_MANY_REQUESTS"},
		{dialect.Refusal{Status: 503, Code: "not_ready"}, "SERVICE_UNAVAILABLE"},
	} {
		h := http.Header{}
		body := New(Config{}).Refuse(tt.why, h)
		var f failure
		if err := json.Unmarshal([]byte(body), &f); err != nil {
			t.Fatal(err)
		}
		if f.Code != tt.code || f.Message != tt.why.Text || f.Request == "" || f.Request != h.Get("dg-request-id") {
			t.Errorf("%+v: %s, header %v", tt.why, body, h)
		}
		if tt.why.Status == 400 && h.Get("dg-error") != "x ??" {
			t.Errorf("header %v", h)
		}
	}
}
