package openai

import (
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

const (
	maxEnded = 16       // utterances whose late interims are known as such
	maxText  = 64 << 10 // bytes of an open item's finals, about an hour and a half of speech; see full
)

// writer is the half of a conversation that the session owns.
type writer struct {
	cfg   Config
	turns *turns
	told  []ignored // for the first message
	fault *problem  // why the session ends, if it does not end well

	// The item whose text is on its way.
	item   string
	finals string // of it, joined
	sent   string // of its text, by deltas
	guess  string // the text as of its last interim
	spoken bool   // speech_started was sent

	// The utterance that its interims are of; empty: none.
	utterance string
	end       time.Duration // where it ends so far
	lastFrame uint64
	ended     []string // utterances that had their final, newest last
}

// Hello is the session as it is before the client has said anything.
func (w *writer) Hello(h dialect.Welcome) [][]byte {
	w.turns.named(string(h.Session))
	own := sessionExtra{Ignored: w.told}
	if h.Given && h.GraceMS > 0 {
		own.ResumeToken = h.Token
	}
	w.told = nil
	return [][]byte{encode(sessionEvent{w.turns.of(eventCreated),
		w.turns.settings().render(w.cfg, string(h.Session), w.turns.speaksBeta(), own)})}
}

// Result renders a hypothesis as an item's next words.
func (w *writer) Result(r dialect.Result) [][]byte {
	r.Text = valid(strings.TrimSpace(r.Text))
	if r.Type == dialect.TypeInterim {
		return w.interim(r)
	}
	w.close(r.ID)
	p := w.turns.now()
	switch {
	case p.ended:
		return w.ofTurn(p.turn, r)
	case !p.vad:
		w.begin(p.open)
		return w.full(w.words(r.Text, true), at(r.EndMS, r))
	case r.Text == "" && !w.spoken && w.finals == "":
		return nil
	}
	c, ok := w.turns.finish(at(r.EndMS, r))
	if !ok { // a commit came between
		return w.ofTurn(w.turns.now().turn, r)
	}
	return w.byRule(c, r)
}

// interim shows the words that the open utterance has more than before.
func (w *writer) interim(r dialect.Result) [][]byte {
	if r.Text == "" || slices.Contains(w.ended, r.ID) {
		return nil
	}
	start := at(r.StartMS, r)
	p := w.turns.now()
	if p.ended {
		if p.turn.clear || start >= p.turn.end {
			return nil // of nobody, or of an item whose turn comes
		}
		p.open, p.vad = p.turn.item, false
	}
	w.begin(p.open)
	if w.utterance != "" && w.utterance != r.ID && start >= w.end {
		return nil // interims overtake the final before them: the next one tells as much
	}
	w.utterance, w.end, w.lastFrame = r.ID, max(w.end, at(r.EndMS, r)), r.LastFrame
	var out [][]byte
	if p.vad {
		out = w.started(start)
	}
	return append(out, w.words(r.Text, false)...)
}

// at is a place on the session clock in the audio that the client appended.
func at(ms int64, r dialect.Result) time.Duration {
	return time.Duration(max(ms-r.OriginMS, 0)) * time.Millisecond
}

// begin makes an item the one whose text is on its way.
func (w *writer) begin(item string) {
	if w.item != item {
		w.item, w.finals, w.sent, w.guess, w.spoken = item, "", "", "", false
		w.utterance, w.end = "", 0
	}
}

// close remembers that an utterance has its final.
func (w *writer) close(utterance string) {
	w.utterance, w.end = "", 0
	if w.ended = append(w.ended, utterance); len(w.ended) > maxEnded {
		w.ended = slices.Delete(w.ended, 0, 1)
	}
}

// full ends an item that no commit has ended and whose text is as long as one may be: the
// client gets all of it as if it had committed there, and what follows is another item.
func (w *writer) full(out [][]byte, end time.Duration) [][]byte {
	if len(w.finals) < maxText {
		return out
	}
	c, length, ok := w.turns.cut(end)
	if !ok { // a commit came between: its item is complete once the results before it are here
		return out
	}
	out = append(out, w.turns.added(c)...)
	return append(out, w.completed(c, length)...)
}

// words adds to the item. Deltas can only add to one another, so of an interim only
// those words are sent in which two interims agree; what was sent and is taken back
// after all stands until the item is complete.
func (w *writer) words(text string, final bool) [][]byte {
	all := strings.TrimSpace(w.finals + " " + text)
	stable := all
	if final {
		w.finals, w.guess = all, ""
	} else {
		stable, w.guess = agreed(w.guess, all), all
	}
	more, ok := strings.CutPrefix(stable, w.sent)
	if !ok || more == "" {
		return nil
	}
	w.sent = stable
	return [][]byte{encode(deltaEvent{event: w.turns.of(eventDelta), Item: w.item, Delta: more})}
}

// agreed is the whole words with which both texts begin.
func agreed(a, b string) string {
	n, end := min(len(a), len(b)), 0
	for i := 0; i <= n; i++ {
		ends := (i == len(a) || a[i] == ' ') && (i == len(b) || b[i] == ' ')
		if ends {
			end = i
		}
		if i == n || a[i] != b[i] {
			break
		}
	}
	return a[:end]
}

func (w *writer) started(start time.Duration) [][]byte {
	if w.spoken {
		return nil
	}
	w.spoken = true
	return [][]byte{encode(startedEvent{w.turns.of(eventStarted), w.item, start.Milliseconds()})}
}

// ofTurn takes a final of audio that the client's commit or clear has ended.
func (w *writer) ofTurn(turn turn, r dialect.Result) [][]byte {
	var out [][]byte
	if !turn.clear {
		w.begin(turn.item)
		out = w.words(r.Text, true)
	}
	if r.Flushed {
		out = append(out, w.answered()...)
	}
	return out
}

// answered completes the turn whose flush is done.
func (w *writer) answered() [][]byte {
	turn, ok := w.turns.answer()
	switch {
	case !ok:
		return nil
	case turn.clear:
		w.begin("")
		return nil
	}
	w.begin(turn.item)
	return w.completed(turn.committed, turn.length)
}

// byRule is an item that the engine's rule ended, in full.
func (w *writer) byRule(c committed, r dialect.Result) [][]byte {
	w.begin(c.item)
	start, end := at(r.StartMS, r), at(r.EndMS, r)
	out := w.started(start)
	out = append(out, encode(stoppedEvent{w.turns.of(eventStopped), c.item, end.Milliseconds()}))
	out = append(out, w.turns.added(c)...)
	out = append(out, w.words(r.Text, true)...)
	return append(out, w.completed(c, max(end-start, 0))...)
}

func (w *writer) completed(c committed, length time.Duration) [][]byte {
	out := [][]byte{
		encode(completedEvent{
			event: w.turns.of(eventCompleted), Item: c.item, Transcript: w.finals, Usage: usage{"duration", length.Seconds()},
		}),
		encode(w.turns.itemEvent(eventItemDone, c.item, c.previous, "completed", &w.finals)),
	}
	w.begin("")
	return out
}

// Closing implements dialect.Conversation: a session that was too long ends as at the
// vendor's, whose clients connect again.
func (w *writer) Closing(c dialect.Closing) dialect.Closing {
	if c.Code == tooLong {
		c.Status = websocket.StatusGoingAway
	}
	return c
}
