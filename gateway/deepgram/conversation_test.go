package deepgram

import (
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

var update = flag.Bool("update", false, "write the golden files")

// step is one line of a recorded conversation: what the client sent, or what the session
// had for it.
type step struct {
	Query  string
	Text   *string
	Binary []byte
	Result *struct {
		dialect.Result
		OriginMS int64
	}
	Note *struct {
		dialect.Note
		EndMS, OriginMS int64
	}
}

func recorded(tb testing.TB) (query string, steps []step) {
	tb.Helper()
	file, err := os.ReadFile("testdata/conversation.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		var s step
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			tb.Fatal(err)
		}
		if s.Query != "" {
			query = s.Query
			continue
		}
		steps = append(steps, s)
	}
	return query, steps
}

// What a client of the official library for JavaScript sends, and what it hears.
func TestConversation(t *testing.T) {
	t.Parallel()
	query, steps := recorded(t)
	c, _ := open(t, query)
	var got []string
	hear := func(messages [][]byte) {
		for _, m := range messages {
			if m != nil {
				got = append(got, "< "+string(m))
			}
		}
	}
	for _, s := range steps {
		decode := func(kind websocket.MessageType, data []byte) {
			c.Decode(kind, data, func(ev dialect.Event) { got = append(got, "> "+show(ev)) })
		}
		switch {
		case s.Text != nil:
			decode(websocket.MessageText, []byte(*s.Text))
		case s.Binary != nil:
			decode(websocket.MessageBinary, s.Binary)
		case s.Result != nil:
			s.Result.Result.OriginMS = s.Result.OriginMS
			hear(c.Result(s.Result.Result))
		case s.Note != nil:
			s.Note.Note.EndMS, s.Note.Note.OriginMS = s.Note.EndMS, s.Note.OriginMS
			hear(c.Note(s.Note.Note))
		}
	}
	golden(t, "testdata/conversation.golden", strings.Join(got, "\n")+"\n")
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
