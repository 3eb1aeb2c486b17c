package openai

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"stenobus/gateway/dialect"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, query string
		want        dialect.Request
	}{
		{"least", "intent=transcription", dialect.Request{Default: pcm24.neutral()}},
		{"the vendor's model", "intent=transcription&model=gpt-4o-transcribe", dialect.Request{Default: pcm24.neutral()}},
		{"an engine", "intent=transcription&model=Tally&sessionId=a", func() dialect.Request {
			r := dialect.Request{SessionID: "a", Default: pcm24.neutral()}
			r.Options.Engine = "tally"
			return r
		}()},
		{"an imitation's", "model=whisper-1&transcription_model=tally&intent=transcription&language=pt-BR&input_audio_format=pcm_s16le_16000", func() dialect.Request {
			r := dialect.Request{Default: dialect.Format{Encoding: "l16", SampleRate: 16000, Channels: 1}}
			r.Options.Engine, r.Options.Language = "tally", "pt-BR"
			return r
		}()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, got := open(t, tt.query)
			if !got.Gapless || !got.Deltas || got.Protocol != "" {
				t.Errorf("request %+v", got)
			}
			if got.SessionID != tt.want.SessionID || got.Default != tt.want.Default ||
				got.Options.Engine != tt.want.Options.Engine || got.Options.Language != tt.want.Options.Language {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, query, field, says string
		status                   int
	}{
		{"no intent", "model=gpt-realtime", "intent", `Allowed is "transcription"`, 400},
		{"another intent", "intent=conversation", "intent", `"conversation"`, 400},
		{"two intents", "intent=transcription&intent=transcription", "intent", "allowed is once", 400},
		{"no language", "intent=transcription&language=e%20n", "language", "BCP 47", 400},
		{"no format", "intent=transcription&input_audio_format=mp3", "input_audio_format", "g711_ulaw", 400},
		{"a rate too high", "intent=transcription&input_audio_format=pcm_s16le_96000", "input_audio_format", "48000", 400},
		{"bad encoding", "intent=transcription&access_token=%zz", "query", "not URL encoded", 400},
		{"too long", "intent=transcription&x=" + strings.Repeat("x", maxQuery), "", "maximum", 414},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, refusal := testDialect("tally").Open(upgrade(tt.query))
			if refusal == nil || refusal.Status != tt.status || refusal.Field != tt.field || !strings.Contains(refusal.Text, tt.says) {
				t.Errorf("got %+v", refusal)
			}
			if refusal != nil && strings.Contains(refusal.Text, "%zz") {
				t.Errorf("a secret is repeated: %s", refusal.Text)
			}
		})
	}
}

func TestSubprotocols(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ offered, key, answer string }{
		{"", "", ""},
		{"realtime", "", "realtime"},
		{"realtime, openai-insecure-api-key.sk-1", "sk-1", "realtime"},
		{"openai-insecure-api-key.sk-1,realtime", "sk-1", "realtime"},
		{"openai-insecure-api-key.sk-1", "sk-1", ""},
	} {
		d := testDialect()
		r := upgrade("intent=transcription", "Sec-WebSocket-Protocol", tt.offered)
		_, req, _ := d.Open(r)
		if key := d.Key(r); key != tt.key || req.Protocol != tt.answer {
			t.Errorf("%q: key %q, answer %q", tt.offered, key, req.Protocol)
		}
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		why  dialect.Refusal
		want string
	}{
		{dialect.Refusal{Status: 400, Code: "bad_request", Text: "x", Field: "intent"}, `{"message":"x","type":"invalid_request_error","param":"intent","code":"invalid_value"}`},
		{dialect.Refusal{Status: 401, Code: "unauthorized", Text: "x"}, `{"message":"x","type":"invalid_request_error","param":null,"code":"invalid_api_key"}`},
		{dialect.Refusal{Status: 403, Code: "forbidden", Text: "x"}, `{"message":"x","type":"invalid_request_error","param":null,"code":"forbidden"}`},
		{dialect.Refusal{Status: 426, Code: "upgrade_required", Text: "x"}, `{"message":"x","type":"invalid_request_error","param":null,"code":"upgrade_required"}`},
		{dialect.Refusal{Status: 429, Code: "gateway_full", Text: "x"}, `{"message":"x","type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"}`},
		{dialect.Refusal{Status: 503, Code: "not_ready", Text: "x"}, `{"message":"x","type":"server_error","param":null,"code":"server_error"}`},
	} {
		h := http.Header{}
		got := testDialect().Refuse(tt.why, h)
		if got != `{"error":`+tt.want+`}` || !strings.HasPrefix(h.Get("Content-Type"), "application/json") || !json.Valid([]byte(got)) {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestClosing(t *testing.T) {
	t.Parallel()
	c, _ := open(t, "intent=transcription")
	for _, tt := range []struct {
		code string
		want int
	}{{"ended", 1000}, {tooLong, 1001}} {
		if got := c.Closing(dialect.Closing{Code: tt.code, Status: 1000}); int(got.Status) != tt.want {
			t.Errorf("%s: %d", tt.code, got.Status)
		}
	}
}
