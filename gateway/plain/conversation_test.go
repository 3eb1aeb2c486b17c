package plain

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

var update = flag.Bool("update", false, "write testdata anew")

// step is one line of a recorded conversation: what the client or the session did.
type step struct {
	Text   string          `json:"text"`
	Audio  []byte          `json:"audio"`
	Hello  bool            `json:"hello"`
	Result *dialect.Result `json:"result"`
	Origin int64           `json:"origin"` // of the result, ms
	Note   *dialect.Note   `json:"note"`
}

// play does the steps and writes what the session and the client see of each.
func play(tb testing.TB, conv dialect.Conversation, recorded string) string {
	tb.Helper()
	var out strings.Builder
	client := func(messages [][]byte) {
		for _, m := range messages {
			fmt.Fprintf(&out, "< %s\n", m)
		}
	}
	emit := func(ev dialect.Event) {
		if ev.Kind == dialect.Reply {
			client([][]byte{ev.Payload})
			return
		}
		fmt.Fprintf(&out, "> %s\n", show(ev))
		if ev.Kind == dialect.Notice {
			ev.Note.Type, ev.Note.Session = dialect.TypeEvent, "s"
			client(conv.Note(ev.Note))
		}
	}
	for line := range strings.Lines(recorded) {
		var s step
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			tb.Fatalf("%s: %v", line, err)
		}
		switch {
		case s.Hello:
			client(conv.Hello(dialect.Welcome{Session: "s", Token: "t", Gateway: "g", GraceMS: 15000, Version: "v"}))
		case s.Result != nil:
			s.Result.OriginMS = s.Origin
			client(conv.Result(*s.Result))
		case s.Note != nil:
			client(conv.Note(*s.Note))
		case s.Audio != nil:
			conv.Decode(websocket.MessageBinary, s.Audio, emit)
		default:
			conv.Decode(websocket.MessageText, []byte(s.Text), emit)
		}
	}
	return out.String()
}

func TestConversations(t *testing.T) {
	t.Parallel()
	for name, query := range map[string]string{
		"json": "encoding=l16&sample_rate=8000",
		"vosk": "format=vosk",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recorded, err := os.ReadFile("testdata/" + name + ".jsonl")
			if err != nil {
				t.Fatal(err)
			}
			conv, _ := open(t, query)
			got := play(t, conv, string(recorded))
			golden := "testdata/" + name + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			wantLines(t, strings.Split(got, "\n"), strings.Split(string(want), "\n"))
		})
	}
}
