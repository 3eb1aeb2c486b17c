package client

import (
	"encoding/json"
	"time"

	"stenobus/cmd/stenobus/internal/clip"
)

// Result is one line of what a gateway has to say of a session: the neutral result
// behind its client protocol.
type Result struct {
	Type    string `json:"type"` // interim, final or event
	Session string `json:"session"`
	Source  string `json:"source"` // the tag

	Text      string `json:"text"`
	N         uint64 `json:"n"`
	LastFrame uint64 `json:"last_frame"`
	StartMS   int64  `json:"start_ms"`
	EndMS     int64  `json:"end_ms"`

	Event       string `json:"event"`
	Code        string `json:"code"`
	Message     string `json:"message"`
	Unaccounted int64  `json:"unaccounted"`

	Raw json.RawMessage `json:"-"` // the whole of it, as it came
}

// Types of a Result, and the event that matters here.
const (
	TypeInterim = "interim"
	TypeFinal   = "final"
	TypeEvent   = "event"

	EventEnded = "ended"
)

// What is sent. The protocol's own names and no others.
type (
	startMessage struct {
		Event string    `json:"event"`
		Start startBody `json:"start"`
	}
	startBody struct {
		Tag    string      `json:"tag"`
		Format mediaFormat `json:"mediaFormat"`
	}
	mediaFormat struct {
		Encoding   string `json:"encoding"`
		SampleRate int    `json:"sampleRate"`
		Channels   int    `json:"channels"`
	}
	mediaMessage struct {
		Event string    `json:"event"`
		Media mediaBody `json:"media"`
	}
	mediaBody struct {
		Tag       string `json:"tag"`
		Chunk     uint64 `json:"chunk"`
		Timestamp int64  `json:"timestamp"` // ticks of 1/48000 s
		Payload   []byte `json:"payload"`   // base64
	}
	plainMessage struct {
		Event string `json:"event"`
	}
)

// ticks is a time on the clock of the protocol.
func ticks(d time.Duration) int64 { return d.Microseconds() * 48 / 1000 }

func startOf(tag string, f clip.Format) startMessage {
	return startMessage{"start", startBody{tag, mediaFormat(f)}}
}

func mediaOf(tag string, n uint64, c clip.Chunk) mediaMessage {
	return mediaMessage{"media", mediaBody{tag, n, ticks(c.At), c.Data}}
}

// received is what a gateway sends. Only gateways of ours fill Stenobus.
type received struct {
	Event       string          `json:"event"`
	Interim     bool            `json:"is_interim"`
	Transcript  []transcript    `json:"transcript"`
	Participant participant     `json:"participant"`
	Stenobus    json.RawMessage `json:"stenobus"`
}

type (
	transcript  struct{ Text string }
	participant struct{ Tag string }
)

// result reads a message into a Result; neutral tells whether the gateway is one of
// ours, ok whether there is anything to tell.
func (m *received) result() (r Result, neutral, ok bool) {
	if len(m.Stenobus) > 0 && json.Unmarshal(m.Stenobus, &r) == nil {
		r.Raw = m.Stenobus
		return r, true, true
	}
	if m.Event != "transcription-result" || len(m.Transcript) == 0 {
		return Result{}, false, false
	}
	plain := struct {
		Type   string `json:"type"`
		Source string `json:"source"`
		Text   string `json:"text"`
	}{TypeFinal, m.Participant.Tag, m.Transcript[0].Text}
	if m.Interim {
		plain.Type = TypeInterim
	}
	raw, _ := json.Marshal(plain) // strings always encode
	return Result{Type: plain.Type, Source: plain.Source, Text: plain.Text, Raw: raw}, false, true
}
