package deepgram

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

func request(query string) *http.Request {
	return httptest.NewRequest(http.MethodGet, "/v1/listen?"+query, nil)
}

// open is a conversation that was not refused.
func open(tb testing.TB, query string) (*conversation, dialect.Request) {
	tb.Helper()
	conv, req, refusal := New(Config{Version: "1", Engines: []string{"pocketsphinx", "tally"}}).Open(request(query))
	if refusal != nil {
		tb.Fatalf("%s: refused: %s", query, refusal.Text)
	}
	c := conv.(*conversation)
	c.Hello(dialect.Welcome{Session: "id-1", Began: time.Date(2026, 3, 4, 5, 6, 7, 8e6, time.UTC)})
	return c, req
}

// send decodes binary messages and returns the events, one a line.
func send(c *conversation, messages ...[]byte) (lines []string) {
	for _, m := range messages {
		c.Decode(websocket.MessageBinary, m, func(ev dialect.Event) { lines = append(lines, show(ev)) })
	}
	return lines
}

func say(c *conversation, texts ...string) (lines []string) {
	for _, m := range texts {
		c.Decode(websocket.MessageText, []byte(m), func(ev dialect.Event) { lines = append(lines, show(ev)) })
	}
	return lines
}

func show(ev dialect.Event) string {
	switch ev.Kind {
	case dialect.Start:
		return fmt.Sprintf("start %s %d %d", ev.Format.Encoding, ev.Format.SampleRate, ev.Format.Channels)
	case dialect.Media:
		at := ""
		if ev.TimeMS >= 0 {
			at = fmt.Sprintf(" at %d", ev.TimeMS)
		}
		if len(ev.Payload) > 16 {
			return fmt.Sprintf("media %d bytes%s", len(ev.Payload), at)
		}
		return fmt.Sprintf("media %q%s", ev.Payload, at)
	case dialect.Flush:
		return "flush" + ev.Tag
	case dialect.End:
		return "end"
	case dialect.Notice:
		return "notice " + ev.Note.Code
	case dialect.Unusable:
		return "unusable: " + ev.Note.Message
	}
	return fmt.Sprintf("%+v", ev)
}

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

// chunk is one of a WAV file; size below 0: as long as the body.
func chunk(name string, size int64, body string) string {
	if size < 0 {
		size = int64(len(body))
	}
	return name + string(binary.LittleEndian.AppendUint32(nil, uint32(size))) + body
}

func fmtChunk(kind, channels, rate, bits int, more string) string {
	le := binary.LittleEndian
	b := le.AppendUint16(nil, uint16(kind))
	b = le.AppendUint16(b, uint16(channels))
	b = le.AppendUint32(b, uint32(rate))
	b = le.AppendUint32(b, uint32(rate*channels*bits/8))
	b = le.AppendUint16(b, uint16(channels*bits/8))
	b = le.AppendUint16(b, uint16(bits))
	return chunk("fmt ", -1, string(b)+more)
}

func riff(chunks ...string) string { return chunk("RIFF", 0, "WAVE"+strings.Join(chunks, "")) }

// page is one of an Ogg stream, with a checksum of 0.
func page(flags byte, granule int64, body string) string {
	b := append([]byte("OggS\x00"), flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(granule))
	b = append(b, make([]byte, 12)...)
	var table []byte
	for n := len(body); ; n -= 255 {
		table = append(table, byte(min(n, 255)))
		if n < 255 {
			break
		}
	}
	b = append(b, byte(len(table)))
	return string(b) + string(table) + body
}

// opusHead is an identification header with a pre-skip of 480 granules, 10 ms.
func opusHead(channels byte) string {
	return "OpusHead\x01" + string([]byte{channels}) + "\xe0\x01\x80\xbb\x00\x00\x00\x00\x00"
}
