package systemtest

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

// spoken is what a client of a dialect may say, right and wrong.
type spoken struct {
	path string
	says []string // text, or binary behind a \x00
}

func spokenDialects() []spoken {
	return []spoken{
		{"/transcribe?sendBack=true&sendBackInterim=true", []string{
			`{"event":"start","start":{"tag":"a","mediaFormat":{"encoding":"opus","sampleRate":48000,"channels":2}}}`,
			`{"event":"start","start":{"tag":"b","mediaFormat":{"encoding":"l16","sampleRate":16000}}}`,
			`{"event":"start","start":{"tag":"a","mediaFormat":{"encoding":"mp3"}}}`,
			`{"event":"media","media":{"tag":"a","chunk":1,"timestamp":0,"payload":"/P/+"}}`,
			`{"event":"media","media":{"tag":"b","chunk":"2","payload":"AAAAAA=="}}`,
			`{"event":"media","media":{"tag":"c","payload":"AAAA"}}`,
			`{"event":"stop","stop":{"tag":"a"}}`, `{"event":"ping","id":7}`, `{"event":"session-end"}`, `{"event":"info"}`, `{`, `[]`, "\x00\x01\x02",
		}},
		{"/stream", []string{
			"\x00\x01\x02\x03\x04\x05", "\x00", "\x00RIFF\x00\x00\x00\x00WAVE", "\x00OggS", `{"eof":1}`, `{"event":"flush"}`, `{"reset":1}`,
			`{"config":{"sample_rate":8000,"encoding":"mulaw"}}`, `{"config":{"sample_rate":-1}}`, `{"event":"ping","id":1}`, `{`, `7`,
		}},
		{"/stream?format=vosk&sample_rate=8000", []string{
			"\x00\x01\x02\x03", `{"eof" : 1}`, `{"reset":1}`, `{"config":{"words":1,"max_alternatives":2}}`, `{"config":{"model":"x"}}`, `x`,
		}},
		{"/v1/listen?encoding=linear16&sample_rate=16000&interim_results=true&vad_events=true&utterance_end_ms=1000", []string{
			"\x00\x01\x02\x03\x04", "\x00", `{"type":"KeepAlive"}`, `{"type":"Finalize"}`, `{"type":"CloseStream"}`, `{"type":"X"}`, `{`, `[]`,
		}},
		{"/v1/listen", []string{"\x00OggS", "\x00RIFF\x24\x00\x00\x00WAVEfmt ", "\x00\x1a\x45\xdf\xa3", `{"type":"Finalize"}`, `{"type":"CloseStream"}`}},
		{"/v1/listen?encoding=mp3", nil},
		{"/v1/realtime?intent=transcription", []string{
			`{"type":"session.update","session":{"type":"transcription","audio":{"input":{"turn_detection":null}}}}`,
			`{"type":"session.update","session":{"audio":{"input":{"format":{"type":"audio/pcmu"}}}}}`,
			`{"type":"session.update","session":7}`, `{"type":"input_audio_buffer.append","audio":"AAAAAAAA"}`, `{"type":"input_audio_buffer.append","audio":"!"}`,
			`{"type":"input_audio_buffer.commit"}`, `{"type":"input_audio_buffer.clear"}`, `{"type":"nope","event_id":"e"}`, `{`, "\x00{}",
		}},
		{"/v1/realtime", nil},
		{"/transcribe?sendBack=true&encoding=mp3", nil},
		{"/transcribe?sendBack=true&provider=nobody", nil},
		{"/transcribe?sendBack=true&after=x", nil},
		{"/nowhere", nil},
	}
}

// panics notes what a handler of faults has caught: a session's bug must not hide there.
type panics struct {
	slog.Handler
	seen *atomic.Int64
}

func (p panics) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "panic" {
			p.seen.Add(1)
		}
		return true
	})
	return nil
}

func (p panics) Enabled(context.Context, slog.Level) bool { return true }
func (p panics) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p panics) WithGroup(string) slog.Handler            { return p }

// FuzzSession has a client say anything in any order, over a real socket, and leave in any
// way: every refusal has a code, every end is one of the list, and nothing is left.
func FuzzSession(f *testing.F) {
	s := newSystem(f)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1", Log: s.quiet()})
	var caught atomic.Int64
	log := slog.New(panics{slog.DiscardHandler, &caught})
	node, g := s.bareGateway(s.bus.Dial(), gateway.Config{Log: log, Grace: 100 * time.Millisecond, EndWait: 10 * time.Second})
	s.ready(g.Ready)
	dialects := spokenDialects()
	for i := range dialects {
		f.Add(uint8(i), []byte{0, 3, 3, 7, 8})
		f.Add(uint8(i), []byte{3, 3, 5, 200, 0, 1, 2, 3, 4, 6, 9, 10, 11, 12, 253})
	}
	f.Cleanup(func() {
		subjectstest.Eventually(f, "no record is left", func() bool { return len(s.keys()) == 0 })
	})
	f.Fuzz(func(t *testing.T, which uint8, script []byte) {
		d := dialects[int(which)%len(dialects)]
		ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
		defer cancel()
		conn, resp, err := websocket.Dial(ctx, node.url+d.path, nil)
		if err != nil {
			if resp == nil || resp.Header.Get("Stenobus-Code") == "" {
				t.Errorf("%s: refused without a code: %v", d.path, err)
			}
			return
		}
		defer func() { _ = conn.CloseNow() }()
		ended := make(chan error, 1)
		go func() { ended <- listenToEnd(ctx, conn) }()
		leave := perform(ctx, conn, d.says, script)
		leave()
		checkEnd(t, <-ended)
		subjectstest.Eventually(t, "nothing is left of it", func() bool {
			st := g.Stats()
			return st.Active+st.Detached == 0
		})
		if caught.Load() > 0 {
			t.Error("a session panicked")
		}
	})
}

func listenToEnd(ctx context.Context, conn *websocket.Conn) error {
	for {
		if _, _, err := conn.Read(ctx); err != nil {
			return err
		}
	}
}

// perform says what the script says, and returns how to leave.
func perform(ctx context.Context, conn *websocket.Conn, says []string, script []byte) (leave func()) {
	leave = func() { _ = conn.Close(websocket.StatusGoingAway, "") }
	for len(script) > 0 {
		op := int(script[0])
		script = script[1:]
		switch {
		case op < len(says):
			text, binary := strings.CutPrefix(says[op], "\x00")
			kind := websocket.MessageText
			if binary {
				kind = websocket.MessageBinary
			}
			_ = conn.Write(ctx, kind, []byte(text)) // the server may have closed it
		case op == 253:
			return func() { _ = conn.CloseNow() }
		case op == 254:
			return func() { _ = conn.Close(websocket.StatusNormalClosure, "bye") }
		case op >= 200: // the next bytes as they are
			n := min(op-199, len(script))
			_ = conn.Write(ctx, websocket.MessageType(1+op%2), bytes.ToValidUTF8(script[:n], nil))
			script = script[n:]
		}
	}
	return leave
}

// checkEnd allows the ends of the gateway's list, and those of the client's own doing.
func checkEnd(t *testing.T, err error) {
	switch status := websocket.CloseStatus(err); status {
	case -1, websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusNoStatusRcvd:
	case websocket.StatusProtocolError, websocket.StatusPolicyViolation, websocket.StatusMessageTooBig,
		websocket.StatusInternalError, websocket.StatusTryAgainLater:
		if !strings.Contains(err.Error(), "reason = \"") || strings.Contains(err.Error(), `reason = ""`) {
			t.Errorf("closed without a reason: %v", err)
		}
	default:
		t.Errorf("closed with %d: %v", status, err)
	}
}
