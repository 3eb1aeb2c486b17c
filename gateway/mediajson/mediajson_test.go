package mediajson

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

const anyOutput = "sendBack=true"

// open connects as a client with this query.
func open(tb testing.TB, cfg Config, query string) (*conversation, dialect.Request) {
	tb.Helper()
	conv, req, refusal := New(cfg).Open(request(query))
	if refusal != nil {
		tb.Fatalf("%q refused: %d %s", query, refusal.Status, refusal.Text)
	}
	return conv.(*conversation), req
}

func request(query string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/transcribe", nil)
	r.URL.RawQuery = query
	return r
}

// decode says messages as text, in order, and shows what became of them.
func decode(conv dialect.Conversation, messages ...string) (got []string) {
	for _, m := range messages {
		conv.Decode(websocket.MessageText, []byte(m), func(ev dialect.Event) { got = append(got, show(ev)) })
	}
	return got
}

// show is an event in one line.
func show(ev dialect.Event) string {
	switch ev.Kind {
	case dialect.Start:
		return fmt.Sprintf("start %s %s/%d/%d", ev.Tag, ev.Format.Encoding, ev.Format.SampleRate, ev.Format.Channels)
	case dialect.Media:
		return fmt.Sprintf("media %s %+q packet %d at %d", ev.Tag, ev.Payload, ev.Packet, ev.TimeMS)
	case dialect.Stop:
		return "stop " + ev.Tag
	case dialect.End:
		return "end"
	case dialect.Reply:
		return "reply " + string(ev.Payload)
	case dialect.Notice:
		return fmt.Sprintf("notice %s %s (%s)", ev.Note.Code, ev.Note.Field, ev.Note.Allowed)
	}
	return fmt.Sprintf("kind %d", ev.Kind)
}

func startOf(tag, format string) string {
	return fmt.Sprintf(`{"event":"start","start":{"tag":%q,"mediaFormat":%s}}`, tag, format)
}

func mediaOf(tag, rest string) string {
	return fmt.Sprintf(`{"event":"media","media":{"tag":%q,"payload":"YWJj"%s}}`, tag, rest)
}

func wantLines(tb testing.TB, got, want []string) {
	tb.Helper()
	if !slices.Equal(got, want) {
		tb.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func sameJSON(tb testing.TB, got []byte, want string) {
	tb.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		tb.Fatalf("%s: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		tb.Fatalf("%s: %v", want, err)
	}
	a, _ := json.Marshal(g)
	b, _ := json.Marshal(w)
	if string(a) != string(b) {
		tb.Errorf("got  %s\nwant %s", a, b)
	}
}
