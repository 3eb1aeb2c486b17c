package deepgram

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// result is one as the session makes it; its connection began at 1 s of the session.
func result(kind, id, text string, start, end int64, words ...subjects.Word) dialect.Result {
	return dialect.Result{Type: kind, ID: id, Text: text, StartMS: 1000 + start, EndMS: 1000 + end, OriginMS: 1000, Confidence: 0.5, Words: words}
}

// short names messages and what tells them apart.
func short(t *testing.T, messages [][]byte) (lines []string) {
	t.Helper()
	for _, m := range messages {
		if m == nil {
			lines = append(lines, "nil")
			continue
		}
		var v struct {
			Type                               string
			Start, Duration, Timestamp         float64
			LastWordEnd                        float64 `json:"last_word_end"`
			IsFinal                            bool    `json:"is_final"`
			SpeechFinal                        bool    `json:"speech_final"`
			FromFinalize                       bool    `json:"from_finalize"`
			Channel                            json.RawMessage
			Variant, Message, Description, Sum string
		}
		if err := json.Unmarshal(m, &v); err != nil {
			t.Fatalf("%s: %v", m, err)
		}
		line := v.Type
		switch v.Type {
		case "Results":
			var c channel
			if err := json.Unmarshal(v.Channel, &c); err != nil || c.Alternatives[0].Words == nil {
				t.Fatalf("%s: %v", m, err)
			}
			line = c.Alternatives[0].Transcript
			for flag, is := range map[string]bool{"1final": v.IsFinal, "2speech_final": v.SpeechFinal, "3from_finalize": v.FromFinalize} {
				if is {
					line += " " + flag
				}
			}
			parts := strings.Split(line, " ")
			slices.Sort(parts)
			line = strings.Join(parts, " ")
		case "UtteranceEnd":
			line += " " + number(v.LastWordEnd)
		case "SpeechStarted":
			line += " " + number(v.Timestamp)
		case "Error":
			line += " " + v.Variant + " " + v.Description
		}
		lines = append(lines, line)
	}
	return lines
}

func number(f float64) string {
	b, _ := json.Marshal(f)
	return string(b)
}

func TestResultsAreGated(t *testing.T) {
	t.Parallel()
	interim, final := result("interim", "1", "a", 0, 500), result("final", "1", "a", 0, 900)
	flushed, empty := final, result("final", "2", " ", 900, 950)
	flushed.Flushed = true
	last := empty
	last.Flushed = true
	for _, tt := range []struct {
		query string
		r     dialect.Result
		want  []string
	}{
		{"", interim, []string{"nil"}},
		{"interim_results=true", interim, []string{"a"}},
		{"vad_events=true", interim, []string{"SpeechStarted 0", "nil"}},
		{"interim_results=true&vad_events=true", interim, []string{"SpeechStarted 0", "a"}},
		{"", final, []string{"1final 2speech_final a"}},
		{"endpointing=false", final, []string{"1final a"}},
		{"", flushed, []string{"1final 3from_finalize a"}},
		{"", empty, nil},
		{"", last, []string{" 1final 3from_finalize"}},
	} {
		c, _ := open(t, raw+"&"+tt.query)
		if got := short(t, c.Result(tt.r)); !slices.Equal(got, tt.want) {
			t.Errorf("%s %s: %q, want %q", tt.query, tt.r.Type, got, tt.want)
		}
	}
}

func TestSpeechStartedOnce(t *testing.T) {
	t.Parallel()
	c, _ := open(t, raw+"&vad_events=true")
	var got []string
	for _, r := range []dialect.Result{
		result("interim", "1", "a", 100, 500), result("interim", "1", "a b", 100, 700), result("final", "1", "a b", 100, 900), result("final", "2", "c", 2000, 2500),
	} {
		got = append(got, short(t, c.Result(r))...)
	}
	wantLines(t, got, "SpeechStarted 0.1", "nil", "nil", "1final 2speech_final a b", "SpeechStarted 2", "1final 2speech_final c")
}

// An utterance is over when there was no word for long enough, whatever tells it.
func TestUtteranceEnd(t *testing.T) {
	t.Parallel()
	word := subjects.Word{Text: "a", StartMS: 1500, EndMS: 1800} // ends at 800 ms of audio
	first := result("final", "1", "a", 500, 1000, word)
	long := result("final", "1", "a", 500, 1900, word)
	progress := func(end int64) dialect.Note {
		return dialect.Note{Event: dialect.EventProgress, EndMS: end, OriginMS: 1000}
	}
	for name, tt := range map[string]struct {
		query string
		say   func(c *conversation) [][]byte
		want  []string
	}{
		"not asked for":   {"", func(c *conversation) [][]byte { return append(c.Result(long), c.Note(progress(9000))...) }, []string{"1final 2speech_final a"}},
		"the final tells": {"&utterance_end_ms=1000", func(c *conversation) [][]byte { return c.Result(long) }, []string{"1final 2speech_final a", "UtteranceEnd 0.8"}},
		"progress tells once": {"&utterance_end_ms=1000", func(c *conversation) [][]byte {
			return slices.Concat(c.Result(first), c.Note(progress(2799)), c.Note(progress(2800)), c.Note(progress(9000)))
		}, []string{"1final 2speech_final a", "UtteranceEnd 0.8"}},
		"the next tells": {"&utterance_end_ms=1000", func(c *conversation) [][]byte {
			return slices.Concat(c.Result(first), c.Result(result("interim", "2", "b", 1800, 2000)))
		},
			[]string{"1final 2speech_final a", "UtteranceEnd 0.8", "b"}},
		"speech goes on": {"&utterance_end_ms=2000", func(c *conversation) [][]byte {
			return slices.Concat(c.Result(first), c.Result(result("interim", "2", "b", 1800, 2000)))
		}, []string{"1final 2speech_final a", "b"}},
		"nothing was said": {"&utterance_end_ms=1000", func(c *conversation) [][]byte { return c.Note(progress(9000)) }, nil},
		"progress of unknown": {"&utterance_end_ms=1000", func(c *conversation) [][]byte {
			return slices.Concat(c.Result(first), c.Note(dialect.Note{Event: dialect.EventProgress}))
		}, []string{"1final 2speech_final a"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := open(t, raw+"&interim_results=true"+tt.query)
			wantLines(t, short(t, tt.say(c)), tt.want...)
		})
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		query string
		r     dialect.Result
		want  string
	}{
		"the engine's": {"", result("final", "1", "Hi, all.", 0, 900, subjects.Word{Text: "Hi,", StartMS: 1100, EndMS: 1300, Confidence: 0.25}, subjects.Word{Text: "all.", StartMS: 1400, EndMS: 1900}),
			`[{"word":"hi","start":0.1,"end":0.3,"confidence":0.25},{"word":"all","start":0.4,"end":0.9,"confidence":0}]`},
		"made up": {"", result("final", "1", "one two three four", 1000, 2000),
			`[{"word":"one","start":1,"end":1.25,"confidence":0.5},{"word":"two","start":1.25,"end":1.5,"confidence":0.5},{"word":"three","start":1.5,"end":1.75,"confidence":0.5},{"word":"four","start":1.75,"end":2,"confidence":0.5}]`},
		"punctuated":              {"&smart_format=true", result("final", "1", "Hi!", 0, 100), `[{"word":"hi","start":0,"end":0.1,"confidence":0.5,"punctuated_word":"Hi!"}]`},
		"nothing but punctuation": {"", result("final", "1", "?", 0, 100), `[{"word":"?","start":0,"end":0.1,"confidence":0.5}]`},
		"before the connection":   {"", result("final", "1", "a", -500, 100), `[{"word":"a","start":0,"end":0.1,"confidence":0.5}]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := open(t, raw+tt.query)
			var got struct {
				Channel struct {
					Alternatives []struct{ Words json.RawMessage }
				}
			}
			if err := json.Unmarshal(c.Result(tt.r)[0], &got); err != nil {
				t.Fatal(err)
			}
			if got := string(got.Channel.Alternatives[0].Words); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// The messages as a whole, byte for byte.
func TestMessages(t *testing.T) {
	t.Parallel()
	c, _ := open(t, raw+"&model=nova-3&language=multi&tag=x&extra=k:v&channels=2")
	r := result("final", "1", "a", 250, 1000)
	r.Language = "en"
	const model = `{"name":"nova-3","version":"1","arch":"stenobus"}`
	const id = "d2867ca0-d0a2-52bf-a6e9-1ae060fd3480"
	for _, tt := range []struct {
		got  [][]byte
		want string
	}{
		{c.Note(dialect.Note{Event: dialect.EventEnded}),
			`{"type":"Metadata","transaction_key":"deprecated","request_id":"id-1","sha256":"incomplete","created":"2026-03-04T05:06:07.008Z","duration":0,"channels":2,"tags":["x"],"extra":{"k":"v"}}`},
		{c.Result(r),
			`{"type":"Results","channel_index":[0,1],"duration":0.75,"start":0.25,"is_final":true,"speech_final":true,"from_finalize":false,` +
				`"channel":{"alternatives":[{"transcript":"a","confidence":0.5,"languages":["en"],"words":[{"word":"a","start":0.25,"end":1,"confidence":0.5,"language":"en"}]}]},` +
				`"metadata":{"request_id":"id-1","model_info":` + model + `,"model_uuid":"` + id + `"}}`},
		{c.Note(dialect.Note{Event: dialect.EventFlushed}),
			`{"type":"Results","channel_index":[0,1],"duration":0,"start":1,"is_final":true,"speech_final":false,"from_finalize":true,` +
				`"channel":{"alternatives":[{"transcript":"","confidence":0,"words":[]}]},` +
				`"metadata":{"request_id":"id-1","model_info":` + model + `,"model_uuid":"` + id + `"}}`},
		{c.Note(dialect.Note{Event: dialect.EventEnded}),
			`{"type":"Metadata","transaction_key":"deprecated","request_id":"id-1","sha256":"incomplete","created":"2026-03-04T05:06:07.008Z","duration":1,"channels":2,` +
				`"models":["` + id + `"],"model_info":{"` + id + `":` + model + `},"tags":["x"],"extra":{"k":"v"}}`},
	} {
		if len(tt.got) != 1 || string(tt.got[0]) != tt.want {
			t.Errorf("got  %s\nwant %s", tt.got, tt.want)
		}
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	c, _ := open(t, raw)
	for _, tt := range []struct {
		note dialect.Note
		want []string
	}{
		{dialect.Note{Event: dialect.EventWarning, Code: CodeBadJSON, Message: "m", Field: "message", Allowed: "an object"}, []string{"Error bad_json m. message allows: an object"}},
		{dialect.Note{Event: dialect.EventWarning, Code: "undecodable", Message: "m"}, []string{"Error undecodable m"}},
		{dialect.Note{Event: dialect.EventWarning, Code: CodeParameters, Message: "m"}, nil},
		{dialect.Note{Event: dialect.EventWarning, Code: "after_end", Message: "m"}, nil},
		{dialect.Note{Event: dialect.EventError, Code: "audio_too_fast", Message: "m"}, []string{"Error audio_too_fast m"}},
		{dialect.Note{Event: dialect.EventError, Code: "idle_timeout", Message: "m"}, nil},
		{dialect.Note{Event: dialect.EventWaiting, Message: "m"}, nil},
		{dialect.Note{Event: dialect.EventMoved}, nil},
	} {
		if got := short(t, c.Note(tt.note)); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %q", tt.note, got)
		}
	}
}

func TestClosing(t *testing.T) {
	t.Parallel()
	c, _ := open(t, raw)
	for code, want := range map[string]dialect.Closing{
		"ended":            {Code: "ended", Status: websocket.StatusNormalClosure},
		"idle_timeout":     {Code: "idle_timeout", Status: websocket.StatusInternalError, Text: idleText},
		"bad_audio":        {Code: "bad_audio", Status: websocket.StatusPolicyViolation, Text: "DATA-0000: t"},
		"engine_failed":    {Code: "engine_failed", Status: websocket.StatusInternalError, Text: "NET-0000: t"},
		"no_worker":        {Code: "no_worker", Status: websocket.StatusInternalError, Text: "NET-0000: t"},
		"gateway_stopping": {Code: "gateway_stopping", Status: websocket.StatusNormalClosure, Text: "t"},
	} {
		if got := c.Closing(dialect.Closing{Code: code, Status: websocket.StatusNormalClosure, Text: "t"}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if len(idleText) > 123 {
		t.Errorf("a close frame can't hold %d bytes", len(idleText))
	}
}
