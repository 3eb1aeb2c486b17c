package openai

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"stenobus/gateway/dialect"
)

// completions gathers what a client that waits for completed transcripts gets.
type completions struct {
	Type       string
	Item       string `json:"item_id"`
	Previous   string `json:"previous_item_id"`
	Transcript string
	Usage      struct{ Seconds float64 }
}

// A client that never commits gets every word, and only so much of its text is kept.
func TestTextThatIsNeverCommitted(t *testing.T) {
	t.Parallel()
	c, _ := open(t, "intent=transcription")
	say(c, `{"type":"session.update","session":{"audio":{"input":{"turn_detection":null}}}}`)
	var words, items []string
	var seconds float64
	hear := func(messages [][]byte) {
		for _, m := range messages {
			var e completions
			if err := json.Unmarshal(m, &e); err != nil {
				t.Fatal(err)
			}
			switch e.Type {
			case eventCommitted:
				if len(items) > 0 && e.Previous != items[len(items)-1] {
					t.Errorf("%s follows %q, want %q", e.Item, e.Previous, items[len(items)-1])
				}
				items = append(items, e.Item)
			case eventCompleted:
				if e.Item != items[len(items)-1] {
					t.Errorf("%s is completed, want %s", e.Item, items[len(items)-1])
				}
				words = append(words, strings.Fields(e.Transcript)...)
				seconds += e.Usage.Seconds
			}
		}
	}
	const finals, each = 1000, 40 // words in each of these
	most, spoken := 0, 0
	for k := range finals {
		say(c, appendOf(4800)) // 100 ms
		var text []string
		for range each {
			text = append(text, fmt.Sprint("word-", spoken))
			spoken++
		}
		r := dialect.Result{Type: dialect.TypeFinal, Text: strings.Join(text, " "), ID: fmt.Sprint(k),
			StartMS: int64(k) * 100, EndMS: int64(k+1) * 100}
		hear(c.Result(r))
		most = max(most, len(c.finals), len(c.sent), len(c.guess))
	}
	if most > maxText {
		t.Errorf("%d bytes of text are kept, want at most %d", most, maxText)
	}
	if n := len(items); n < 5 {
		t.Errorf("%d items were completed by the bound", n)
	}

	say(c, appendOf(4800))
	for _, line := range say(c, `{"type":"input_audio_buffer.commit"}`) { // ends what the bound has left
		if m, ok := strings.CutPrefix(line, "client "); ok {
			hear([][]byte{[]byte(m)})
		}
	}
	hear(c.Result(dialect.Result{Type: dialect.TypeFinal, Text: "the end", ID: "end", StartMS: finals * 100, EndMS: finals*100 + 100, Flushed: true}))
	if len(words) != spoken+2 || words[0] != "word-0" || words[spoken-1] != fmt.Sprint("word-", spoken-1) || words[spoken+1] != "end" {
		t.Errorf("%d of %d words came, the last is %s", len(words), spoken+2, words[len(words)-1])
	}
	if want := float64(finals+1) / 10; seconds < want-0.01 || seconds > want+0.01 {
		t.Errorf("items last %.2f s, %.2f s were appended", seconds, want)
	}
}
