package plain

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// answers sends one second of audio and counts what comes back at once.
func answers(conv dialect.Conversation) (n int) {
	conv.Decode(websocket.MessageBinary, make([]byte, 16000), func(ev dialect.Event) {
		if ev.Kind == dialect.Reply {
			n++
		}
	})
	return n
}

// Who is far ahead of the results is answered when these come, and not before.
func TestVoskHoldsBackWhoRunsAhead(t *testing.T) {
	t.Parallel()
	conv, _ := open(t, "format=vosk&sample_rate=8000")
	for i := range 30 { // ten frames each
		if answers(conv) != 1 {
			t.Fatalf("second %d was not answered", i+1)
		}
	}
	if n := answers(conv); n != 0 {
		t.Fatalf("second 31 was answered %d times before any result", n)
	}
	if m := conv.Note(dialect.Note{Event: dialect.EventProgress, LastFrame: 9}); m != nil {
		t.Errorf("a part of the first second released %s", m)
	}
	if m := conv.Note(dialect.Note{Event: dialect.EventProgress, LastFrame: 10}); len(m) != 1 || string(m[0]) != `{"partial":""}` {
		t.Errorf("progress released %s", m)
	}
	if n := answers(conv); n != 0 {
		t.Fatalf("second 32 was answered %d times", n)
	}
	m := conv.Result(dialect.Result{Type: dialect.TypeFinal, Text: "yes", LastFrame: 100})
	if len(m) != 1 || string(m[0]) != `{"text":"yes"}` {
		t.Errorf("a final released %s", m)
	}
	if answers(conv) != 1 {
		t.Error("a client within the bound is not answered")
	}
}

// A session that lived before counts from a number that nobody knows here.
func TestVoskResumedIsNotHeldBack(t *testing.T) {
	t.Parallel()
	conv, _ := open(t, "format=vosk&sample_rate=8000")
	for range 30 {
		answers(conv)
	}
	answers(conv)
	answers(conv)
	if m := conv.Note(dialect.Note{Event: dialect.EventResumed}); len(m) != 2 {
		t.Errorf("%d answers, 2 were owed", len(m))
	}
	for range 100 {
		if answers(conv) != 1 {
			t.Fatal("not answered")
		}
	}
}

// Clients that do not wait for answers are not owed them without bound.
func TestVoskOwesNotWithoutBound(t *testing.T) {
	t.Parallel()
	conv, _ := open(t, "format=vosk&sample_rate=8000")
	n := 0
	for range 200 {
		n += answers(conv)
	}
	if want := 200 - maxOwed; n != want {
		t.Errorf("%d of 200 messages were answered, want %d", n, want)
	}
	v := conv.(*vosk)
	for range 2 * maxChunks {
		conv.Decode(websocket.MessageBinary, []byte("ab"), func(dialect.Event) {})
	}
	if len(v.chunks) > maxChunks {
		t.Errorf("%d messages are remembered", len(v.chunks))
	}
}

func TestVoskGates(t *testing.T) {
	t.Parallel()
	conv, _ := open(t, "format=vosk&sample_rate=8000&interims=false")
	conv.Result(dialect.Result{Type: dialect.TypeInterim, Text: "he"})
	wantLines(t, say(conv, "ab"), []string{"start l16/8000/1", `media "ab"`, `reply {"partial":""}`})
	conv.Result(dialect.Result{Type: dialect.TypeFinal, Text: "hello"})
	conv.Result(dialect.Result{Type: dialect.TypeFinal, Text: "again"})
	wantLines(t, say(conv, "", "ab", "ab"), []string{
		"notice empty_message audio", `reply {"text":"hello"}`,
		`media "ab"`, `reply {"text":"again"}`, `media "ab"`, `reply {"partial":""}`,
	})
	// The error that ends the session is told, its end then has no word.
	got := conv.Note(dialect.Note{Event: dialect.EventError, Code: "no_worker", Message: "nobody", RetryAfterMS: 5})
	if len(got) != 1 || string(got[0]) != `{"type":"error","code":"no_worker","message":"nobody","retry_after_ms":5}` {
		t.Errorf("error: %s", got)
	}
	if got := conv.Note(dialect.Note{Event: dialect.EventEnded}); got != nil {
		t.Errorf("ended without an eof: %s", got)
	}
}

func TestVoskShapes(t *testing.T) {
	t.Parallel()
	conv, _ := open(t, "format=vosk&sample_rate=8000")
	final := dialect.Result{
		Type: dialect.TypeFinal, Text: "hello", Confidence: 0.5, OriginMS: 1000,
		Words: []subjects.Word{{Text: "hello", StartMS: 900, EndMS: 1250, Confidence: 0.25}},
	}
	for _, tt := range []struct{ config, want string }{
		{`{"words":true}`, `{"result":[{"conf":0.25,"end":0.25,"start":0,"word":"hello"}],"text":"hello"}`},
		{`{"words":0}`, `{"text":"hello"}`},
		{`{"max_alternatives":20}`, `{"alternatives":[{"confidence":0.5,"text":"hello"}]}`},
		{`{"words":1}`, `{"alternatives":[{"confidence":0.5,"result":[{"conf":0.25,"end":0.25,"start":0,"word":"hello"}],"text":"hello"}]}`},
		{`{"max_alternatives":0}`, `{"result":[{"conf":0.25,"end":0.25,"start":0,"word":"hello"}],"text":"hello"}`},
	} {
		say(conv, `{"config":`+tt.config+`}`)
		conv.Result(final)
		if got := say(conv, "ab"); got[len(got)-1] != "reply "+tt.want {
			t.Errorf("%s: got %s\nwant %s", tt.config, got[len(got)-1], tt.want)
		}
	}
}

// A client whose messages hold more speech than it asks for must not make them pile up.
func TestVoskFinalsDoNotPileUp(t *testing.T) {
	t.Parallel()
	conv, _ := open(t, "format=vosk&sample_rate=8000")
	for range maxFinals + 1 {
		conv.Result(dialect.Result{Type: dialect.TypeFinal, Text: "a"})
	}
	got := say(conv, "ab", "ab")
	want := `reply {"text":"` + strings.TrimSpace(strings.Repeat("a ", maxFinals+1)) + `"}`
	wantLines(t, got, []string{"start l16/8000/1", `media "ab"`, want, `media "ab"`, `reply {"partial":""}`})
}

func TestResultGates(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{"": "interim final flushed", "interims=false": "final flushed"} {
		conv, _ := open(t, query)
		var got []string
		for name, r := range map[string]dialect.Result{
			"interim": {Type: dialect.TypeInterim, Text: "a"}, "blank": {Type: dialect.TypeFinal, Text: " "},
		} {
			if conv.Result(r) != nil {
				got = append(got, name)
			}
		}
		for _, r := range []dialect.Result{{Type: dialect.TypeFinal, Text: "a"}, {Type: dialect.TypeFinal, Flushed: true}} {
			if conv.Result(r) != nil {
				got = append(got, map[bool]string{true: "flushed", false: "final"}[r.Flushed])
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%q: got %s, want %s", query, s, want)
		}
	}
}

func ExampleDialect_Open() {
	r := request("sample_rate=44100&bits=24")
	_, _, refusal := New(Config{}).Open(r)
	fmt.Println(refusal.Text)
	// Output: parameter "bits" is not known here, allowed: access_token, after, channels, encoding, engine, format, interims, language, sample_rate, session, tag, and x-NAME for an engine's own options
}

// Times of a session that a client may come back to go on where they were, whatever the
// connection that hears them has sent itself.
func TestTimesAfterAResume(t *testing.T) {
	t.Parallel()
	result := func(start, end, origin int64) dialect.Result {
		return dialect.Result{
			Type: dialect.TypeFinal, Text: "yes", StartMS: start, EndMS: end, OriginMS: origin,
			Words: []subjects.Word{{Text: "yes", StartMS: start, EndMS: end, Confidence: 1}},
		}
	}
	before, missed, after := result(3200, 3500, 3000), result(8000, 8400, 0), result(61_000, 61_500, 60_000)
	for _, tt := range []struct {
		name, query string
		r           dialect.Result
		want        string
	}{
		{"Vosk, a session of one connection", "format=vosk", before, `"end":0.5,"start":0.2`},
		{"Vosk, first connection", "format=vosk&session=s", before, `"end":3.5,"start":3.2`},
		{"Vosk, back, what it missed", "format=vosk&session=s&after=0", missed, `"end":8.4,"start":8`},
		{"Vosk, back, what it sent", "format=vosk&session=s&after=7", after, `"end":61.5,"start":61`},
		{"first connection", "session=s", before, `"start_ms":3200,"end_ms":3500`},
		{"back, what it missed", "session=s&after=0", missed, `"start_ms":8000,"end_ms":8400`},
		{"back, what it sent", "session=s&after=7", after, `"start_ms":61000,"end_ms":61500`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conv, _ := open(t, tt.query)
			messages := conv.Result(tt.r)
			conv.Decode(websocket.MessageBinary, make([]byte, 320), func(ev dialect.Event) {
				if ev.Kind == dialect.Reply {
					messages = append(messages, ev.Payload)
				}
			})
			if len(messages) != 1 || strings.Count(string(messages[0]), tt.want) == 0 {
				t.Errorf("%s, want %s in it", messages, tt.want)
			}
		})
	}
}
