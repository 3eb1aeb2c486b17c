package plain

import (
	"strings"
	"sync"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// Bounds of the rhythm.
const (
	maxAheadMS = 30_000 // audio without results, after which an answer waits. A worker covers what it has heard at least every 10 s
	maxOwed    = 64     // answers that wait; who does not wait for more of them does not wait at all
	maxFinals  = 64     // not told yet, beyond which one answer tells them all: large messages hold more than one each
	maxChunks  = 4096   // messages whose place is remembered one by one
)

// vosk is a conversation in the shapes of the Vosk server's protocol. Its clients send a
// message, read one, and repeat that; then they send eof and read one more. Results here
// come when they come, so the rhythm is kept by answering
//
//   - each binary message at once, with the oldest final that was not told, or else
//     the newest partial;
//   - reset and eof when their audio is done, with all finals that were not told in one.
//
// A client that reads a file as fast as it is answered would fill the session's window:
// when it is far ahead of what results cover its answer waits.
//
// What is wrong with a client's messages is told in the field warning of the next
// answer, as a message of its own would break the rhythm.
type vosk struct {
	*reader
	interims bool
	named    bool // the client gave the session's id, so it may come back: times are on the session clock

	mu      sync.Mutex // guards what follows: both goroutines write it
	bare    bool       // finals go without words
	list    bool       // finals are lists of one alternative
	partial string
	finals  []dialect.Result // not told yet
	asked   int              // resets that were not answered yet
	ended   bool             // the client waits for its last final
	warning *warning
	rhythm
}

// rhythm knows which answers wait.
type rhythm struct {
	loose   bool   // the session lived before: its numbers say nothing here
	number  uint64 // of the newest frame or flush, as the session counts
	chunks  []chunk
	aheadMS int // audio in chunks
	owed    int
}

// chunk is the audio of one message.
type chunk struct {
	last uint64 // number of its last frame
	ms   int
}

// warning is a notice within an answer.
type warning struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
	Allowed string `json:"allowed,omitempty"`
}

// partial is the hypothesis of what is being said.
type partial struct {
	Partial string   `json:"partial"`
	Warning *warning `json:"warning,omitempty"`
}

// final is what was said.
type final struct {
	Result       []word        `json:"result,omitempty"`
	Text         *string       `json:"text,omitempty"`
	Alternatives []alternative `json:"alternatives,omitempty"` // in place of both, for clients that asked for some
	Warning      *warning      `json:"warning,omitempty"`
}

type alternative struct {
	Confidence float64 `json:"confidence"`
	Result     []word  `json:"result,omitempty"`
	Text       string  `json:"text"`
}

// word has its times in seconds from the beginning of the audio. Of a session that may
// have several connections, each of which has a beginning of its own, they are on the
// session clock.
type word struct {
	Conf  float64 `json:"conf"`
	End   float64 `json:"end"`
	Start float64 `json:"start"`
	Word  string  `json:"word"`
}

func newVosk(r *reader, interims, named bool) *vosk {
	v := &vosk{reader: r, interims: interims, named: named}
	r.shape = func(said shape) {
		v.mu.Lock()
		defer v.mu.Unlock()
		if said.words != nil {
			v.bare = !*said.words
		}
		if said.alternatives != nil {
			v.list = *said.alternatives
		}
	}
	return v
}

// Decode answers binary messages beside what the reader makes of them.
func (v *vosk) Decode(kind websocket.MessageType, data []byte, emit func(dialect.Event)) {
	var frames, flushes, bytes int
	var end bool
	v.reader.Decode(kind, data, func(ev dialect.Event) {
		switch ev.Kind {
		case dialect.Media:
			frames++
			bytes += len(ev.Payload)
		case dialect.Flush:
			flushes++
		case dialect.End:
			end = true
		}
		emit(ev)
	})
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked += flushes
	v.ended = v.ended || end
	v.sent(frames, flushes, v.lengthMS(bytes))
	if kind != websocket.MessageBinary {
		return
	}
	if v.waits() {
		v.owed++
		return
	}
	emit(dialect.Event{Kind: dialect.Reply, Payload: v.answer()})
}

// lengthMS is how long audio lasts, 0 where its bytes do not say.
func (v *vosk) lengthMS(bytes int) int {
	f := v.format
	if perSecond := width(f.Encoding) * f.SampleRate * f.Channels; perSecond > 0 {
		return bytes * 1000 / perSecond
	}
	return 0
}

// sent counts what the session will count. A flush has a number where there was audio.
func (r *rhythm) sent(frames, flushes, ms int) {
	r.number += uint64(frames)
	if r.number > 0 {
		r.number += uint64(flushes)
	}
	switch n := len(r.chunks); {
	case r.loose || frames == 0:
		return
	case n >= maxChunks:
		r.chunks[n-1].last = r.number
		r.chunks[n-1].ms += ms
	default:
		r.chunks = append(r.chunks, chunk{r.number, ms})
	}
	r.aheadMS += ms
}

// waits tells whether the next answer must wait for results.
func (r *rhythm) waits() bool { return !r.loose && r.aheadMS > maxAheadMS && r.owed < maxOwed }

// cover forgets what results cover.
func (r *rhythm) cover(number uint64) {
	n := 0
	for n < len(r.chunks) && r.chunks[n].last <= number {
		r.aheadMS -= r.chunks[n].ms
		n++
	}
	r.chunks = r.chunks[n:]
}

// answer is what a binary message gets.
func (v *vosk) answer() []byte {
	w := v.warning
	v.warning = nil
	if len(v.finals) > 0 && v.asked == 0 && !v.ended {
		n := 1
		if len(v.finals) > maxFinals {
			n = len(v.finals)
		}
		f := v.render(v.finals[:n])
		v.finals = v.finals[n:]
		f.Warning = w
		return encode(f)
	}
	return encode(partial{v.partial, w})
}

// gather is what a reset or eof gets: all that was not told yet.
func (v *vosk) gather() [][]byte {
	f := v.render(v.finals)
	f.Warning, v.warning, v.finals = v.warning, nil, nil
	return [][]byte{encode(f)}
}

// due are the answers that need not wait any longer.
func (v *vosk) due() (messages [][]byte) {
	for v.owed > 0 && (v.loose || v.aheadMS <= maxAheadMS) {
		v.owed--
		messages = append(messages, v.answer())
	}
	return messages
}

func (v *vosk) render(finals []dialect.Result) final {
	var words []word
	var texts []string
	confidence := 1.0
	for _, r := range finals {
		texts = append(texts, r.Text)
		if r.Confidence > 0 {
			confidence = min(confidence, r.Confidence)
		}
		origin := r.OriginMS
		if v.named {
			origin = 0
		}
		for _, w := range r.Words {
			if !v.bare {
				words = append(words, wordOf(w, origin))
			}
		}
	}
	text := strings.Join(texts, " ")
	if v.list {
		return final{Alternatives: []alternative{{confidence, words, text}}}
	}
	return final{Result: words, Text: &text}
}

func wordOf(w subjects.Word, origin int64) word {
	seconds := func(ms int64) float64 { return float64(max(ms-origin, 0)) / 1000 }
	conf := w.Confidence
	if conf == 0 { // unknown: Vosk's clients expect a number
		conf = 1
	}
	return word{Conf: conf, Start: seconds(w.StartMS), End: seconds(w.EndMS), Word: w.Text}
}

// Hello implements dialect.Conversation: Vosk says nothing first.
func (v *vosk) Hello(dialect.Welcome) [][]byte { return nil }

// Result keeps results for the answers that tell them.
func (v *vosk) Result(r dialect.Result) [][]byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.Type == dialect.TypeInterim {
		if v.interims {
			v.partial = r.Text
		}
		return nil
	}
	v.partial = ""
	if strings.TrimSpace(r.Text) != "" {
		v.finals = append(v.finals, r)
	}
	v.cover(r.LastFrame)
	messages := v.due()
	if r.Flushed && v.asked > 0 {
		messages = append(messages, v.gather()...)
		v.asked--
	}
	return messages
}

// Note answers what waits for the session to get somewhere. Vosk has no word for
// anything else but errors.
func (v *vosk) Note(n dialect.Note) [][]byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch n.Event {
	case dialect.EventWarning:
		v.warning = &warning{n.Code, n.Message, n.Field, n.Allowed}
	case dialect.EventResumed:
		v.loose = true
		return v.due()
	case dialect.EventProgress:
		v.cover(n.LastFrame)
		return v.due()
	case dialect.EventFlushed:
		if v.asked > 0 {
			messages := append(v.due(), v.gather()...)
			v.asked--
			return messages
		}
	case dialect.EventError:
		return [][]byte{encode(failure{Type: "error", Code: n.Code, Message: n.Message, RetryAfterMS: n.RetryAfterMS})}
	case dialect.EventEnded:
		if v.ended { // else nobody asked, and the connection's end says it
			return v.gather()
		}
	}
	return nil
}

// Closing implements dialect.Conversation.
func (v *vosk) Closing(c dialect.Closing) dialect.Closing { return c }
