package deepgram

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
	"stenobus/gateway/ogg"
)

// FuzzDecode: any conversation, cut into messages anyhow, gives events that a session
// may trust.
func FuzzDecode(f *testing.F) {
	const text, bin = true, false
	query, steps := recorded(f)
	for _, s := range steps {
		if s.Text != nil {
			f.Add(query, []byte(*s.Text), uint8(255), text)
		}
	}
	wav := riff(chunk("LIST", -1, "ab"), fmtChunk(1, 2, 8000, 16, ""), chunk("data", 9, "123456789abc"))
	ogg := page(2, 0, opusHead(1)) + page(0, 480, "a packet") + "x" + page(0, -1, strings.Repeat("y", 600)) + "OggS"
	for i, stream := range []string{wav, ogg, "\x1a\x45\xdf\xa3", "RIFFxxxxWAVE", riff(chunk("fmt ", 40, "short")), "\x00\x00\x00\x00ftyp", ""} {
		for _, query := range []string{"", raw, raw + "&channels=2", "encoding=opus", "encoding=ogg-opus", "encoding=mulaw&sample_rate=1000&channels=8"} {
			f.Add(query, []byte(stream), uint8(7*i), bin)
		}
	}
	f.Fuzz(func(t *testing.T, query string, data []byte, size uint8, text bool) {
		r := httptest.NewRequest(http.MethodGet, "/v1/listen", nil)
		r.URL.RawQuery = query
		conv, req, refusal := New(Config{Engines: []string{"x"}}).Open(r)
		if refusal != nil {
			checkRefusal(t, *refusal)
			return
		}
		if h := req.Header.Get(headerWarning); len(h) > maxHeader || headerText(h) != h {
			t.Errorf("header %q", h)
		}
		c := check{t: t, given: data}
		kind := websocket.MessageBinary
		if text {
			kind = websocket.MessageText
		}
		messages := slices.Collect(slices.Chunk(data, int(size)+1))
		for _, m := range append(messages, nil) {
			conv.Decode(kind, m, func(ev dialect.Event) {
				c.event(ev)
				for _, b := range conv.Note(ev.Note) {
					if !json.Valid(b) {
						t.Errorf("note %s", b)
					}
				}
			})
		}
		if c.audio > len(data) {
			t.Errorf("%d bytes of audio from %d", c.audio, len(data))
		}
	})
}

func checkRefusal(t *testing.T, why dialect.Refusal) {
	t.Helper()
	h := http.Header{}
	body := New(Config{}).Refuse(why, h)
	if !json.Valid([]byte(body)) || why.Status < 400 || why.Text == "" || len(why.Text) > 2000 || len(h.Get(headerError)) > maxHeader {
		t.Errorf("%+v: %s %v", why, body, h)
	}
}

// check is what every conversation's events must be.
type check struct {
	t        *testing.T
	given    []byte
	format   dialect.Format
	audio    int
	unusable bool
	at       int64
}

func (c *check) event(ev dialect.Event) {
	c.t.Helper()
	n := ev.Note
	switch ev.Kind {
	case dialect.Start:
		c.format = ev.Format
		f := ev.Format
		if ev.Tag != tag || !slices.Contains([]string{"opus", "ogg-opus", "l16", "mulaw", "alaw"}, f.Encoding) ||
			f.SampleRate < minRate || f.SampleRate > maxRate || f.Channels < 1 || f.Channels > maxChannels {
			c.t.Errorf("format %+v", f)
		}
	case dialect.Media:
		c.audio += len(ev.Payload)
		most, whole := maxPacket, 1
		switch c.format.Encoding {
		case "l16":
			most, whole = maxFrame, 2*c.format.Channels
		case "mulaw", "alaw":
			most, whole = maxFrame, c.format.Channels
		case "ogg-opus":
			most = ogg.MaxPage
		}
		if c.unusable || c.format.Encoding == "" || ev.Tag != tag || len(ev.Payload) == 0 || len(ev.Payload) > most || len(ev.Payload)%whole != 0 || ev.Packet != -1 {
			c.t.Errorf("%+v: %s", c.format, show(ev))
		}
		if ev.TimeMS < -1 || ev.TimeMS >= 0 && ev.TimeMS < c.at {
			c.t.Errorf("%s after %d", show(ev), c.at)
		}
		c.at = max(c.at, ev.TimeMS)
	case dialect.Flush, dialect.End:
	case dialect.Notice:
		if n.Code == "" || n.Message == "" || n.Field == "" || n.Allowed == "" || n.Event != dialect.EventWarning || len(n.Message) > 2000 {
			c.t.Errorf("note %+v", n)
		}
	case dialect.Unusable:
		if c.unusable || n.Message == "" || len(n.Message) > 200 {
			c.t.Errorf("note %+v", n)
		}
		c.unusable = true
	default:
		c.t.Errorf("event of kind %d", ev.Kind)
	}
}

// FuzzContainers: however a stream is cut, its audio is the same.
func FuzzContainers(f *testing.F) {
	f.Add([]byte(riff(fmtChunk(1, 2, 8000, 16, ""), chunk("data", 9, "123456789abc"))), uint8(3))
	f.Add([]byte(page(2, 0, opusHead(1))+page(0, 48000, "a packet")+"x"+page(0, -1, "y")+"OggS"), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		whole, _ := open(t, "")
		parts, _ := open(t, "")
		chunks := slices.Collect(slices.Chunk(data, int(size)+1))
		if got, want := audioOf(parts, chunks), audioOf(whole, [][]byte{data}); got != want {
			t.Errorf("cut into %d: %q, whole %q", int(size)+1, got, want)
		}
	})
}

// audioOf is the audio of a conversation, and its places where they are known.
func audioOf(c *conversation, messages [][]byte) string {
	var b []byte
	for _, m := range messages {
		if len(m) == 0 {
			continue
		}
		c.Decode(websocket.MessageBinary, m, func(ev dialect.Event) {
			if ev.TimeMS > 0 {
				b = binary.AppendVarint(b, ev.TimeMS)
			}
			b = append(b, ev.Payload...)
		})
	}
	return string(b)
}
