package deepgram

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// writer is the half of a conversation that the session owns. Its times are ms of
// audio since the connection's first sample.
type writer struct {
	cfg      Config
	wishes   wishes
	channels *channels

	id    string // of the session and of the request
	began time.Time
	model modelInfo
	uuid  string // of the model

	covered int64  // audio that results cover
	word    int64  // where the last final's last word ended; below 0: an UtteranceEnd followed, or there was none
	started string // id of the utterance whose start was told
}

func newWriter(cfg Config, w wishes, c *channels) *writer {
	name := w.model
	if name == "" {
		name = "general"
	}
	return &writer{
		cfg: cfg, wishes: w, channels: c, word: -1,
		model: modelInfo{Name: name, Version: cfg.Version, Arch: "stenobus"},
		uuid:  uuid.NewSHA1(uuid.NameSpaceOID, []byte("stenobus model "+name)).String(),
	}
}

type modelInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
}

type results struct {
	Type         string          `json:"type"` // Results
	ChannelIndex [2]int          `json:"channel_index"`
	Duration     float64         `json:"duration"` // s
	Start        float64         `json:"start"`    // s
	IsFinal      bool            `json:"is_final"`
	SpeechFinal  bool            `json:"speech_final"`
	FromFinalize bool            `json:"from_finalize"`
	Channel      channel         `json:"channel"`
	Metadata     resultsMetadata `json:"metadata"`
}

type channel struct {
	Alternatives []alternative `json:"alternatives"`
}

type alternative struct {
	Transcript string   `json:"transcript"`
	Confidence float64  `json:"confidence"` // 0 where the engine knows none: the protocol demands a number
	Languages  []string `json:"languages,omitempty"`
	Words      []word   `json:"words"` // never null
}

type word struct {
	Word       string  `json:"word"`
	Start      float64 `json:"start"`
	End        float64 `json:"end"`
	Confidence float64 `json:"confidence"`
	Punctuated string  `json:"punctuated_word,omitempty"`
	Language   string  `json:"language,omitempty"`
}

type resultsMetadata struct {
	RequestID string    `json:"request_id"`
	ModelInfo modelInfo `json:"model_info"`
	ModelUUID string    `json:"model_uuid"`
}

type metadata struct {
	Type           string               `json:"type"`            // Metadata
	TransactionKey string               `json:"transaction_key"` // deprecated
	RequestID      string               `json:"request_id"`
	SHA256         string               `json:"sha256"`
	Created        string               `json:"created"`  // RFC 3339
	Duration       float64              `json:"duration"` // s
	Channels       int32                `json:"channels"`
	Models         []string             `json:"models,omitempty"`
	ModelInfo      map[string]modelInfo `json:"model_info,omitempty"`
	Tags           []string             `json:"tags,omitempty"`
	Extra          map[string]string    `json:"extra,omitempty"`
}

type utteranceEnd struct {
	Type        string  `json:"type"` // UtteranceEnd
	Channel     [2]int  `json:"channel"`
	LastWordEnd float64 `json:"last_word_end"`
}

type speechStarted struct {
	Type      string  `json:"type"` // SpeechStarted
	Channel   [2]int  `json:"channel"`
	Timestamp float64 `json:"timestamp"`
}

type failed struct {
	Type        string `json:"type"` // Error
	Description string `json:"description"`
	Message     string `json:"message"`
	Variant     string `json:"variant"` // a code of the gateway's list, or of this dialect's
}

// only is the index of a connection's channel and how many there are: channels are mixed.
func only() [2]int { return [2]int{0, 1} }

// Hello is nothing: the protocol begins with the first result.
func (w *writer) Hello(h dialect.Welcome) [][]byte {
	w.id, w.began = string(h.Session), h.Began
	if h.Version != "" {
		w.model.Version = h.Version
	}
	return nil
}

// Result renders a hypothesis, and before it that speech has begun or that an utterance
// has ended in between.
func (w *writer) Result(r dialect.Result) [][]byte {
	interim := r.Type == dialect.TypeInterim
	start, end := max(0, r.StartMS-r.OriginMS), max(0, r.EndMS-r.OriginMS)
	end = max(start, end)
	if strings.TrimSpace(r.Text) == "" {
		w.covered = max(w.covered, end)
		if r.Flushed {
			return w.flushed()
		}
		return nil
	}
	out := w.ended(nil, start)
	out = w.speech(out, r.ID, start)
	if interim {
		if !w.wishes.interims {
			return append(out, nil) // what is there must not give way
		}
		return appendMessage(out, w.results(r, start, end))
	}
	w.covered, w.word = max(w.covered, end), end
	if n := len(r.Words); n > 0 {
		w.word = max(0, r.Words[n-1].EndMS-r.OriginMS)
	}
	return w.ended(appendMessage(out, w.results(r, start, end)), end)
}

// speech tells once where an utterance begins.
func (w *writer) speech(out [][]byte, utterance string, start int64) [][]byte {
	if !w.wishes.vad || utterance == w.started {
		return out
	}
	w.started = utterance
	return appendMessage(out, speechStarted{Type: "SpeechStarted", Channel: only(), Timestamp: seconds(start)})
}

// ended tells that the last utterance is over, if there was no word in the audio up to
// here for as long as the client wants.
func (w *writer) ended(out [][]byte, here int64) [][]byte {
	if w.wishes.gap == 0 || w.word < 0 || here-w.word < w.wishes.gap {
		return out
	}
	last := w.word
	w.word = -1
	return appendMessage(out, utteranceEnd{Type: "UtteranceEnd", Channel: only(), LastWordEnd: seconds(last)})
}

func (w *writer) results(r dialect.Result, start, end int64) results {
	final := r.Type == dialect.TypeFinal
	a := alternative{Transcript: r.Text, Confidence: r.Confidence, Words: w.words(r, start, end)}
	if w.wishes.multi && r.Language != "" {
		a.Languages = []string{r.Language}
	}
	return results{
		Type: "Results", ChannelIndex: only(), Start: seconds(start), Duration: seconds(end - start),
		IsFinal: final, SpeechFinal: final && w.wishes.final && !r.Flushed, FromFinalize: final && r.Flushed,
		Channel: channel{Alternatives: []alternative{a}}, Metadata: w.about(),
	}
}

func (w *writer) about() resultsMetadata {
	return resultsMetadata{RequestID: w.id, ModelInfo: w.model, ModelUUID: w.uuid}
}

// flushed answers a Finalize that no final is left to answer: clients wait for it.
func (w *writer) flushed() [][]byte {
	return appendMessage(nil, results{
		Type: "Results", ChannelIndex: only(), Start: seconds(w.covered), IsFinal: true, FromFinalize: true,
		Channel: channel{Alternatives: []alternative{{Words: []word{}}}}, Metadata: w.about(),
	})
}

// words are the engine's, or the text's at even distances: clients index the first.
func (w *writer) words(r dialect.Result, start, end int64) []word {
	words := r.Words
	if len(words) == 0 {
		fields := strings.Fields(r.Text)
		each := float64(end-start) / float64(len(fields))
		for i, f := range fields {
			words = append(words, subjects.Word{
				Text: f, Confidence: r.Confidence,
				StartMS: r.OriginMS + start + int64(float64(i)*each), EndMS: r.OriginMS + start + int64(float64(i+1)*each),
			})
		}
	}
	out := make([]word, 0, len(words))
	for _, each := range words {
		one := word{
			Word: bare(each.Text), Confidence: each.Confidence,
			Start: seconds(max(0, each.StartMS-r.OriginMS)), End: seconds(max(0, each.EndMS-r.OriginMS)),
		}
		if w.wishes.punctuate {
			one.Punctuated = each.Text
		}
		if w.wishes.multi {
			one.Language = r.Language
		}
		out = append(out, one)
	}
	return out
}

// bare is a word without what punctuation adds to it.
func bare(s string) string {
	if b := strings.ToLower(strings.Trim(s, `.,;:!?"`)); b != "" {
		return b
	}
	return s
}

// Note renders what the protocol has a message for: a Finalize that found nothing, the
// end, and errors. What is wrong with the query stands in the answer's header.
func (w *writer) Note(n dialect.Note) [][]byte {
	switch n.Event {
	case dialect.EventProgress:
		end := max(0, n.EndMS-n.OriginMS)
		w.covered = max(w.covered, end)
		return w.ended(nil, end)
	case dialect.EventFlushed:
		return w.flushed()
	case dialect.EventEnded:
		return w.metadata()
	case dialect.EventWarning:
		if n.Code == CodeParameters || n.Code == "after_end" {
			return nil
		}
		return complaint(n)
	case dialect.EventError:
		if n.Code == "idle_timeout" {
			return nil // the close frame says so
		}
		return complaint(n)
	}
	return nil
}

func complaint(n dialect.Note) [][]byte {
	description := n.Message
	if n.Allowed != "" {
		description += ". " + n.Field + " allows: " + n.Allowed
	}
	return appendMessage(nil, failed{Type: "Error", Description: description, Message: n.Message, Variant: n.Code})
}

func (w *writer) metadata() [][]byte {
	m := metadata{
		Type: "Metadata", TransactionKey: "deprecated", RequestID: w.id, SHA256: "incomplete",
		Created: w.began.UTC().Format("2006-01-02T15:04:05.000Z"), Duration: seconds(w.covered), Channels: w.channels.n.Load(),
		Tags: w.wishes.tags, Extra: w.wishes.extra,
	}
	if w.covered > 0 {
		m.Models, m.ModelInfo = []string{w.uuid}, map[string]modelInfo{w.uuid: w.model}
	}
	return appendMessage(nil, m)
}

// idleText is the vendor's, word for word, since clients look for its words.
const idleText = "Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001"

// Closing gives the vendor's codes to ends that it has, too.
func (w *writer) Closing(c dialect.Closing) dialect.Closing {
	switch c.Code {
	case "ended":
		c.Text = ""
	case "idle_timeout":
		c.Status, c.Text = websocket.StatusInternalError, idleText
	case "bad_audio":
		c.Status, c.Text = websocket.StatusPolicyViolation, "DATA-0000: "+c.Text
	case "no_worker", "bus_down", "engine_failed", "results_late", "session_lost", "internal":
		c.Status, c.Text = websocket.StatusInternalError, "NET-0000: "+c.Text
	}
	return c
}

func seconds(ms int64) float64 { return float64(ms) / 1000 }

// appendMessage writes a message. The numbers in v come from JSON or are whole ms, so
// it always encodes; if it ever does not, the client hears nothing rather than half of it.
func appendMessage(out [][]byte, v any) [][]byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // nobody reads this as HTML
	if err := e.Encode(v); err != nil {
		return out
	}
	return append(out, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}
