package openai

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

// seed adds the clients' part of the recorded conversations, one message a line.
func seed(f *testing.F) {
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		steps, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var said []string
		for line := range strings.Lines(string(steps)) {
			var s step
			if err := json.Unmarshal([]byte(line), &s); err != nil {
				f.Fatal(err)
			}
			if s.Client != nil {
				said = append(said, string(s.Client), appendOf(321))
			}
		}
		f.Add([]byte(strings.Join(said, "\n")), uint8(7))
	}
}

// FuzzConversation: any conversation gives events that a session may trust, messages
// that are JSON, deltas that add up, and one answer to each commit.
func FuzzConversation(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, conversation []byte, results uint8) {
		c, _ := open(t, "intent=transcription&model=x&y=z")
		w := &watcher{t: t, deltas: map[string]string{}, committed: map[string]bool{}}
		w.hear(c.Hello(dialect.Welcome{Session: "s"}))
		for m := range bytes.Lines(conversation) {
			c.Decode(websocket.MessageText, m, w.event)
			w.results(c, results)
			results = results<<1 | results>>7
		}
		for w.flushes > 0 {
			w.flushes--
			w.hear(c.Note(dialect.Note{Event: dialect.EventFlushed, Tag: tag}))
		}
		w.hear(c.Note(dialect.Note{Event: dialect.EventEnded}))
		for item, open := range w.committed {
			if open {
				t.Errorf("item %s was committed and never completed", item)
			}
		}
	})
}

// watcher checks what a conversation does.
type watcher struct {
	t         *testing.T
	live      bool
	frames    int64
	flushes   int // not yet answered
	deltas    map[string]string
	committed map[string]bool // true: not completed
}

func (w *watcher) event(ev dialect.Event) {
	switch ev.Kind {
	case dialect.Start:
		w.live = true
		if f := ev.Format; ev.Tag != tag || f.Channels != 1 || f.SampleRate < minRate || f.SampleRate > maxRate || len(ev.Language) > 35 {
			w.t.Errorf("start %+v", ev)
		}
	case dialect.Media:
		w.frames++
		if !w.live || len(ev.Payload) == 0 || len(ev.Payload) > maxRate*2*frameMS/1000 || ev.Packet != -1 || ev.TimeMS != -1 {
			w.t.Errorf("live %t, %d bytes", w.live, len(ev.Payload))
		}
	case dialect.Flush:
		w.flushes++
	case dialect.Reply:
		w.hear([][]byte{ev.Payload})
	case dialect.Notice:
		n := ev.Note
		if !slices.Contains(own, n.Code) || n.Message == "" || n.Field == "" || n.Allowed == "" || len(n.Message) > 2000 || n.Event != dialect.EventWarning {
			w.t.Errorf("note %+v", n)
		}
	default:
		w.t.Errorf("event of kind %d", ev.Kind)
	}
}

// results lets the session answer, as the bits of how say.
func (w *watcher) results(c *conversation, how uint8) {
	r := dialect.Result{Type: dialect.TypeInterim, ID: "u" + string('a'+rune(how%4)), Text: "some words", StartMS: w.frames, EndMS: w.frames + 10}
	if how&1 != 0 {
		r.Text = "other words"
	}
	w.hear(c.Result(r))
	if how&2 != 0 {
		r.Type = dialect.TypeFinal
		if r.Flushed = how&4 != 0 && w.flushes > 0; r.Flushed {
			w.flushes--
		}
		w.hear(c.Result(r))
	}
	if how&8 != 0 && w.flushes > 0 {
		w.flushes--
		w.hear(c.Note(dialect.Note{Event: dialect.EventFlushed, Tag: tag}))
	}
	if how&16 != 0 {
		w.hear(c.Note(dialect.Note{Event: dialect.EventProgress, Tag: tag}))
	}
}

func (w *watcher) hear(messages [][]byte) {
	for _, m := range messages {
		var e struct {
			Type       string
			ID         string `json:"event_id"`
			Item       string `json:"item_id"`
			Delta      string
			Transcript string
		}
		if err := json.Unmarshal(m, &e); err != nil || e.Type == "" || e.ID == "" {
			w.t.Errorf("message %s: %v", m, err)
		}
		switch e.Type {
		case eventDelta:
			if open, ok := w.committed[e.Item]; ok && !open {
				w.t.Errorf("a delta for an item that is complete: %s", m)
			}
			w.deltas[e.Item] += e.Delta
		case eventCommitted:
			if _, ok := w.committed[e.Item]; ok {
				w.t.Errorf("committed twice: %s", m)
			}
			w.committed[e.Item] = true
		case eventCompleted:
			if !w.committed[e.Item] {
				w.t.Errorf("completed and not committed: %s", m)
			}
			w.committed[e.Item] = false
			if len(w.deltas[e.Item]) > 0 && strings.HasPrefix(e.Transcript, w.deltas[e.Item]) && w.deltas[e.Item] != e.Transcript {
				w.t.Errorf("the rest was not sent: %q of %q", w.deltas[e.Item], e.Transcript)
			}
		}
	}
}
