package openai

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

var rewrite = flag.Bool("update", false, "write the golden files")

// testDialect gives out ids that are the same in each run.
func testDialect(engines ...string) *Dialect {
	d := New(Config{Engines: engines})
	d.fresh = func() string { return "T" }
	return d
}

func upgrade(query string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v1/realtime?"+query, nil)
	for k := 0; k+1 < len(header); k += 2 {
		r.Header.Add(header[k], header[k+1])
	}
	return r
}

func open(t *testing.T, query string, header ...string) (*conversation, dialect.Request) {
	t.Helper()
	conv, req, refusal := testDialect("pocketsphinx", "tally").Open(upgrade(query, header...))
	if refusal != nil {
		t.Fatalf("refused: %+v", refusal)
	}
	return conv.(*conversation), req
}

// say decodes one message and returns what came of it, in lines.
func say(c *conversation, message string) (lines []string) {
	c.Decode(websocket.MessageText, []byte(message), func(ev dialect.Event) { lines = append(lines, show(ev)) })
	return lines
}

func show(ev dialect.Event) string {
	switch ev.Kind {
	case dialect.Start:
		f := ev.Format
		return fmt.Sprintf("bus    start %s %s %d %d %q", ev.Tag, f.Encoding, f.SampleRate, f.Channels, ev.Language)
	case dialect.Media:
		return fmt.Sprintf("bus    media %s %d bytes", ev.Tag, len(ev.Payload))
	case dialect.Flush:
		return "bus    flush " + ev.Tag
	case dialect.Reply:
		return "client " + string(ev.Payload)
	case dialect.Notice:
		n := ev.Note
		return fmt.Sprintf("log    %s %s: %s (%s)", n.Code, n.Field, n.Message, n.Allowed)
	}
	return fmt.Sprintf("event of kind %d", ev.Kind)
}

// step is one line of a recorded conversation: one of what the client said and what
// the session did.
type step struct {
	Query    *string          `json:"query"` // of the upgrade; the first line
	Header   []string         `json:"header"`
	Welcome  *dialect.Welcome `json:"welcome"`
	Client   json.RawMessage  `json:"client"`
	Silence  int              `json:"silence"` // bytes of silence that the client appends
	Result   *dialect.Result  `json:"result"`
	OriginMS int64            `json:"origin"` // of Result
	Note     *dialect.Note    `json:"note"`
}

// appendOf is an event with so many bytes of silence.
func appendOf(bytes int) string {
	return fmt.Sprintf(`{"type":"input_audio_buffer.append","audio":%q}`, base64.StdEncoding.EncodeToString(make([]byte, bytes)))
}

// play gives a recorded conversation to the dialect.
func play(t *testing.T, steps string) []byte {
	t.Helper()
	var c *conversation
	var out strings.Builder
	for line := range strings.Lines(steps) {
		var s step
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		fmt.Fprintf(&out, "\n> %s", line)
		var heard [][]byte
		switch {
		case s.Query != nil:
			c, _ = open(t, *s.Query, s.Header...)
		case s.Welcome != nil:
			heard = c.Hello(*s.Welcome)
		case s.Client != nil, s.Silence > 0:
			if s.Silence > 0 {
				s.Client = json.RawMessage(appendOf(s.Silence))
			}
			for _, l := range say(c, string(s.Client)) {
				fmt.Fprintln(&out, l)
			}
		case s.Result != nil:
			s.Result.OriginMS = s.OriginMS
			heard = c.Result(*s.Result)
		case s.Note != nil:
			heard = c.Note(*s.Note)
		}
		for _, m := range heard {
			fmt.Fprintf(&out, "client %s\n", m)
		}
	}
	return []byte(out.String())
}

// What clients hear in recorded conversations, each line below what brought it about.
func TestConversations(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			steps, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(steps))
			golden := strings.TrimSuffix(file, ".jsonl") + ".golden"
			if *rewrite {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
			for i := range max(len(g), len(w)) {
				if i >= len(g) || i >= len(w) || g[i] != w[i] {
					t.Fatalf("line %d:\n got %s\nwant %s", i+1, line(g, i), line(w, i))
				}
			}
		})
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "nothing"
}
