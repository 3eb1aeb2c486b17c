package mediajson

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 129)
	wide := strings.Repeat("x", 49) + strings.Repeat("\U0001F600", 40)
	for name, tc := range map[string]struct {
		query  string
		status int
		text   string
	}{
		"no output":           {"sessionId=a", 400, "No transcription output method specified"},
		"output not true":     {"sendBack=1&sendBackInterim=True&useDispatcher=yes", 400, "No transcription output method specified"},
		"extension alone":     {"stenobus=1", 400, "No transcription output method specified"},
		"encoding":            {anyOutput + "&encoding=mp3", 400, `Invalid encoding parameter: "mp3". Valid values are: opus, ogg-opus`},
		"encoding empty":      {anyOutput + "&encoding=", 400, `Invalid encoding parameter: "". Valid values are: opus, ogg-opus`},
		"encoding case":       {anyOutput + "&encoding=Opus", 400, `Invalid encoding parameter: "Opus". Valid values are: opus, ogg-opus`},
		"encoding before tag": {"encoding=x&tag=" + long, 400, `Invalid encoding parameter: "x". Valid values are: opus, ogg-opus`},
		"tag before output":   {"tag=ok&tag=" + long, 400, `Invalid tag: "` + long[:50] + `..." exceeds maximum length of 128 characters (actual: 129)`},
		"tag of wide text":    {"tag=" + wide, 400, `Invalid tag: "` + wide[:49] + "\uFFFD" + `..." exceeds maximum length of 128 characters (actual: 129)`},
		"too many tags":       {anyOutput + strings.Repeat("&tag=a", 65), 400, "Invalid tags: 65 exceed the maximum of 64"},
		"no query":            {anyOutput + "&lang=%zz", 400, `Invalid query: invalid URL escape "%zz"`},
		"too long":            {anyOutput + "&x=" + strings.Repeat("y", maxQuery), 414, "Invalid query: 16400 bytes exceed the maximum of 16384"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conv, _, got := New(Config{}).Open(request(tc.query))
			if got == nil || conv != nil {
				t.Fatal("not refused")
			}
			if got.Status != tc.status || got.Text != tc.text {
				t.Errorf("got %d %s\nwant %d %s", got.Status, got.Text, tc.status, tc.text)
			}
		})
	}
}

func TestOpenAccepts(t *testing.T) {
	t.Parallel()
	opus := dialect.Format{Encoding: "opus", SampleRate: 48000, Channels: 2}
	ogg := dialect.Format{Encoding: "ogg-opus", SampleRate: 48000, Channels: 2}
	engines := []string{"Pocket", "openai_custom"}
	opts := func(o subjects.Options) dialect.Request { return dialect.Request{Options: o, Default: opus} }
	closing := func(text, provider string) dialect.Request {
		req := opts(subjects.Options{Extra: map[string]string{"provider": provider}})
		req.Close = &dialect.Closing{Code: CodeUnknownProvider, Status: websocket.StatusProtocolError, Text: text}
		return req
	}
	for name, tc := range map[string]struct {
		query   string
		engines []string
		want    dialect.Request
	}{
		"least":        {query: anyOutput, want: opts(subjects.Options{})},
		"dispatcher":   {query: "useDispatcher=true", want: opts(subjects.Options{})},
		"interim only": {query: "sendBackInterim=true", want: opts(subjects.Options{})},
		"interims":     {query: anyOutput + "&sendBackInterim=true", want: opts(subjects.Options{})},
		"ogg":          {query: anyOutput + "&encoding=ogg-opus", want: dialect.Request{Default: ogg}},
		"session id as it came": {
			query: anyOutput + "&sessionId=..%2Fx%00;y", want: dialect.Request{SessionID: "../x\x00;y", Default: opus},
		},
		"language and tags": {
			query: anyOutput + "&lang=en-GB&tag=a&tag=&tag=" + strings.Repeat("x", 128),
			want:  opts(subjects.Options{Language: "en-GB", Tags: []string{"a", strings.Repeat("x", 128)}}),
		},
		"64 tags and unknown parameters": {
			query: anyOutput + "&connect=x&transcribe=1&what=ever" + strings.Repeat("&tag=a", 64),
			want:  opts(subjects.Options{Tags: strings.Split(strings.Repeat("a", 64), "")}),
		},
		"no UTF-8": {query: anyOutput + "&lang=%ff", want: opts(subjects.Options{Language: "\uFFFD"})},
		"known provider": {
			query: anyOutput + "&provider=POCKET", engines: engines,
			want: opts(subjects.Options{Engine: "Pocket", Extra: map[string]string{"provider": "POCKET"}}),
		},
		"old name of a provider": {
			query: anyOutput + "&provider=custom_openai", engines: engines,
			want: opts(subjects.Options{Engine: "openai_custom", Extra: map[string]string{"provider": "custom_openai"}}),
		},
		"any provider": {
			query: anyOutput + "&provider=deepgram",
			want:  opts(subjects.Options{Engine: "deepgram", Extra: map[string]string{"provider": "deepgram"}}),
		},
		"unknown provider": {
			query: anyOutput + "&provider=deepgram", engines: engines,
			want: closing("Provider 'deepgram' is not available. Available providers: Pocket, openai_custom", "deepgram"),
		},
		"no provider of anybody": {
			query: anyOutput + "&provider=Nobody", engines: engines,
			want: closing("Invalid provider: nobody. Valid providers are: Pocket, openai_custom", "Nobody"),
		},
		"empty provider": {query: anyOutput + "&provider=", engines: engines, want: opts(subjects.Options{})},
		"engine's options": {
			query: anyOutput + "&endpointing=850ms&smart_turn=0.5&smart_turn_timeout=3&xai_granular_finals=true&xai_granular_stability_ms=7" +
				"&xai_granular_guard_words=2&deepgram_mip_opt_out=x&openaiCustomUrl=wss://inside/&endpointing=9",
			want: opts(subjects.Options{Extra: map[string]string{
				"endpointing": "850", "smart_turn": "0.5", "smart_turn_timeout": "3", "xai_granular_finals": "true",
				"xai_granular_stability_ms": "7", "xai_granular_guard_words": "2", "deepgram_mip_opt_out": "false",
			}}),
		},
		"options as the protocol reads them": {
			query: anyOutput + "&endpointing=%2B12.9&smart_turn=0.75x&smart_turn_timeout=-3&xai_granular_finals=TRUE&diarize=true",
			want: opts(subjects.Options{Extra: map[string]string{
				"endpointing": "12", "smart_turn": "0.75", "smart_turn_timeout": "-3", "xai_granular_finals": "false", "diarize": "true",
			}}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conv, got := open(t, Config{Engines: tc.engines}, tc.query)
			tc.want.Options.NoInterims = name != "interims"
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
			wantLines(t, decode(conv, `{"event":"info"}`), nil)
		})
	}
}

func TestOptionsThatCanNotBeRead(t *testing.T) {
	t.Parallel()
	conv, req := open(t, Config{}, anyOutput+"&endpointing=soon&smart_turn=&xai_granular_guard_words=2")
	if want := map[string]string{"xai_granular_guard_words": "2"}; !reflect.DeepEqual(req.Options.Extra, want) {
		t.Errorf("got %v, want %v", req.Options.Extra, want)
	}
	wantLines(t, decode(conv, `{"event":"info"}`), []string{
		"notice bad_parameter endpointing (a number)",
		"notice bad_parameter smart_turn (a number)",
	})
	wantLines(t, decode(conv, `{"event":"info"}`), nil) // once
}

// Whoever has the client's credentials for another service must not find them here.
func TestOpenPassesOnNoSecrets(t *testing.T) {
	t.Parallel()
	r := request(anyOutput + "&stenobus=1&openaiCustomUrl=wss://inside.example/&provider=openai_custom")
	r.Header.Set("X-Custom-Openai-Api-Key", "sk-secret")
	r.Header.Set("Authorization", "token sk-secret")
	conv, req, refusal := New(Config{Engines: []string{"a"}}).Open(r)
	if refusal != nil {
		t.Fatal(refusal.Text)
	}
	said := fmt.Sprintf("%+v %s", req, conv.Hello(dialect.Welcome{Session: "s"}))
	for _, secret := range []string{"sk-secret", "inside.example"} {
		if strings.Contains(said, secret) {
			t.Errorf("%s in %s", secret, said)
		}
	}
}

func TestPath(t *testing.T) {
	t.Parallel()
	if got := New(Config{}).Path(); got != "/transcribe" {
		t.Errorf("got %s", got)
	}
}
