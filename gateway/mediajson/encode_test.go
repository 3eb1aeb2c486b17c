package mediajson

import (
	"strings"
	"testing"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

func one(tb testing.TB, messages [][]byte) []byte {
	tb.Helper()
	if len(messages) != 1 {
		tb.Fatalf("%d messages: %s", len(messages), messages)
	}
	return messages[0]
}

func TestResult(t *testing.T) {
	t.Parallel()
	full := dialect.Result{
		Type: dialect.TypeFinal, Session: "s", Tag: "aaaaaaaa-a0", Text: "a < b & ü", Number: 3, Cursor: 17,
		FirstFrame: 5, LastFrame: 9, StartMS: 100, EndMS: 200, Confidence: 0.98, Language: "en", Speaker: "S1",
		Words: []subjects.Word{{Text: "a", StartMS: 100, EndMS: 120}}, ID: "u1", TimeMS: 1768341932350,
	}
	least := dialect.Result{Type: dialect.TypeInterim, Session: "s", Tag: "alice-a0", Text: "hi", ID: "u2", TimeMS: 1}
	for name, tc := range map[string]struct {
		query string
		r     dialect.Result
		want  string
	}{
		"final": {
			r: full,
			want: `{"transcript":[{"confidence":0.98,"text":"a < b & ü"}],"is_interim":false,"message_id":"u1","type":"transcription-result","event":"transcription-result",` +
				`"participant":{"id":"aaaaaaaa","tag":"aaaaaaaa-a0"},"timestamp":1768341932350,"speaker":0,"language":"en"}`,
		},
		"interim without what is unknown": {
			r: least,
			want: `{"transcript":[{"text":"hi"}],"is_interim":true,"message_id":"u2","type":"transcription-result","event":"transcription-result",` +
				`"participant":{"id":"alice-a0","tag":"alice-a0"},"timestamp":1}`,
		},
		"extended": {
			query: "&stenobus=1", r: full,
			want: `{"transcript":[{"confidence":0.98,"text":"a < b & ü"}],"is_interim":false,"message_id":"u1","type":"transcription-result","event":"transcription-result",` +
				`"participant":{"id":"aaaaaaaa","tag":"aaaaaaaa-a0"},"timestamp":1768341932350,"speaker":0,"language":"en",` +
				`"stenobus":{"type":"final","session":"s","source":"aaaaaaaa-a0","text":"a < b & ü","n":3,"cursor":17,"first_frame":5,"last_frame":9,"start_ms":100,"end_ms":200,` +
				`"confidence":0.98,"words":[{"text":"a","start_ms":100,"end_ms":120}],"language":"en","speaker":"S1","id":"u1"}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conv, _ := open(t, Config{}, "sendBack=true&sendBackInterim=true"+tc.query)
			if got := one(t, conv.Result(tc.r)); string(got) != tc.want { // the order of keys, too, is the protocol's
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestResultGates(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]struct{ final, interim bool }{
		"sendBack=true":                        {true, false},
		"sendBack=true&sendBackInterim=true":   {true, true},
		"sendBack=true&sendBackInterim=1":      {true, false},
		"sendBackInterim=true":                 {false, false},
		"useDispatcher=true":                   {false, false},
		"sendBack=false&sendBackInterim=true":  {false, false},
		"useDispatcher=true&sendBack=true":     {true, false},
		"sendBackInterim=true&stenobus=1":      {false, false},
		"sendBack=true&stenobus=1":             {true, false},
		"sendBack=true&sendBackInterim=true&x": {true, true},
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			conv, _ := open(t, Config{}, query)
			final := len(conv.Result(dialect.Result{Type: dialect.TypeFinal, Text: "x"})) > 0
			interim := len(conv.Result(dialect.Result{Type: dialect.TypeInterim, Text: "x"})) > 0
			if final != want.final || interim != want.interim {
				t.Errorf("final %t, interim %t, want %+v", final, interim, want)
			}
			for _, text := range []string{"", " \n"} {
				if got := conv.Result(dialect.Result{Type: dialect.TypeFinal, Text: text}); got != nil {
					t.Errorf("text %q gives %s", text, got)
				}
			}
		})
	}
}

func TestSpeakers(t *testing.T) {
	t.Parallel()
	conv, _ := open(t, Config{}, anyOutput)
	for i, s := range []struct {
		tag, label string
		want       int // -1: none
	}{{"a", "S7", 0}, {"a", "S2", 1}, {"b", "S2", 0}, {"a", "S7", 0}, {"a", "", -1}, {"a", "0", 2}} {
		got := conv.speaker(s.tag, s.label)
		if s.want < 0 != (got == nil) || got != nil && *got != s.want {
			t.Errorf("%d: speaker %q of %s is %v, want %d", i, s.label, s.tag, got, s.want)
		}
	}
}

func TestParticipant(t *testing.T) {
	t.Parallel()
	for tag, want := range map[string]string{
		"aaaaaaaa-a0": "aaaaaaaa", "abc-xyz": "abc", "alice-a0": "alice-a0", "DEADbeef-1-2": "DEADbeef",
		"abc": "abc", "-a": "-a", "": "", "ab c-1": "ab c-1",
	} {
		if got := participantID(tag); got != want {
			t.Errorf("%q: got %q, want %q", tag, got, want)
		}
	}
}

func TestHello(t *testing.T) {
	t.Parallel()
	w := dialect.Welcome{Session: "s", Given: true, Gateway: "g1", GraceMS: 15500, Version: "v2"}
	for name, tc := range map[string]struct {
		cfg   Config
		query string
		w     dialect.Welcome
		want  string
	}{
		"plain": {
			cfg: Config{Version: "v1"}, w: w,
			want: `{"event":"info","application":"stenobus","provider":"any","providersAvailable":[],"config":{"sessionResumeEnabled":true,"gracePeriod":15.5},"sessionId":"s","instanceId":"g1","version":"v2"}`,
		},
		"one engine, own name": {
			cfg: Config{Version: "v1", Application: "app", Engines: []string{"pocket"}}, w: dialect.Welcome{Session: "s", Gateway: "g1"},
			want: `{"event":"info","application":"app","provider":"pocket","providersAvailable":["pocket"],"config":{"sessionResumeEnabled":false,"gracePeriod":0},"sessionId":"s","instanceId":"g1","version":"v1"}`,
		},
		"extended": {
			cfg: Config{Engines: []string{"a", "b"}}, query: "&stenobus=1", w: dialect.Welcome{Session: "s", Gateway: "g1", GraceMS: 1000, Provider: "b"},
			want: `{"event":"info","application":"stenobus","provider":"b","providersAvailable":["a","b"],"config":{"sessionResumeEnabled":true,"gracePeriod":1},"sessionId":"s","instanceId":"g1",` +
				`"stenobus":{"type":"event","event":"open","session":"s","given":false,"grace_ms":1000}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conv, _ := open(t, tc.cfg, anyOutput+tc.query)
			sameJSON(t, one(t, conv.Hello(tc.w)), tc.want)
		})
	}
}

func TestNote(t *testing.T) {
	t.Parallel()
	basic, _ := open(t, Config{}, anyOutput)
	extended, _ := open(t, Config{}, anyOutput+"&stenobus=1")
	for event, always := range map[string]bool{
		dialect.EventWarning: true, dialect.EventError: true, dialect.EventEnded: true, dialect.EventWaiting: true, dialect.EventMoved: true,
		dialect.EventReady: false, dialect.EventProgress: false, "later": false,
	} {
		n := dialect.Note{Type: dialect.TypeEvent, Session: "s", Event: event, Code: "c", Message: "m", Tag: "a"}
		want := strings.Replace(`{"event":"info","application":"stenobus","stenobus":{"type":"event","session":"s","event":"?","code":"c","message":"m","source":"a"}}`, "?", event, 1)
		sameJSON(t, one(t, extended.Note(n)), want)
		if got := basic.Note(n); always {
			sameJSON(t, one(t, got), want)
		} else if got != nil {
			t.Errorf("%s: %s", event, got)
		}
	}
}
