package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/gateway/auth"
	"stenobus/gateway/dialect"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
	"stenobus/worker/engine/tally"
)

const (
	wavHead = 44             // bytes of the header of the samples' WAV files
	cutMS   = 3000           // up to there the sample "sessions" says "stop the program"
	cutAt   = cutMS * 2 * 16 // in bytes after the header
)

// plainSystem is a deployment with the offline recogniser.
func plainSystem(t *testing.T, cfg gateway.Config) (*system, *node) {
	t.Helper()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"}, sphinx(t))
	return s, s.gateway(cfg)
}

// stream connects to /stream.
func (s *system) stream(gw *node, query string, offer ...string) *websocket.Conn {
	s.t.Helper()
	conn, _, err := websocket.Dial(s.ctx(), gw.url+"/stream?"+query, &websocket.DialOptions{Subprotocols: offer})
	if err != nil {
		s.t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func (s *system) write(conn *websocket.Conn, kind websocket.MessageType, data []byte) {
	s.t.Helper()
	if err := conn.Write(s.ctx(), kind, data); err != nil {
		s.t.Fatal(err)
	}
}

// audio sends a file in pieces, as a program sends what it reads.
func (s *system) audio(conn *websocket.Conn, file []byte, piece int) {
	s.t.Helper()
	for len(file) > 0 {
		n := min(piece, len(file))
		s.write(conn, websocket.MessageBinary, file[:n])
		file = file[n:]
	}
}

// said reads until the server closes: the finals' text and the notes by their events.
func (s *system) said(conn *websocket.Conn) (text string, interims int, last dialect.Result, notes map[string]dialect.Note) {
	s.t.Helper()
	notes = map[string]dialect.Note{}
	var finals []string
	for {
		_, data, err := conn.Read(s.ctx())
		if status := websocket.CloseStatus(err); status == websocket.StatusNormalClosure {
			return strings.Join(finals, " "), interims, last, notes
		}
		if err != nil {
			s.t.Fatal(err)
		}
		var r dialect.Result
		if err := json.Unmarshal(data, &r); err != nil {
			s.t.Fatalf("%s: %v", data, err)
		}
		switch r.Type {
		case dialect.TypeFinal:
			finals, last = append(finals, r.Text), r
		case dialect.TypeInterim:
			interims++
		case dialect.TypeEvent:
			var n dialect.Note
			_ = json.Unmarshal(data, &n)
			notes[n.Event] = n
		}
	}
}

// Five lines make a client: connect, send, say that this was all, read, print.
func TestPlainAudio(t *testing.T) {
	t.Parallel()
	s, gw := plainSystem(t, gateway.Config{})
	spoken := sample(t, "sessions").Audio
	for name, tt := range map[string]struct {
		query string
		audio []byte
		piece int
		end   string
		says  string
	}{
		"samples":           {"sample_rate=16000&encoding=s16le", spoken[wavHead:], 3201, `{"eof":1}`, "another machine"},
		"WAV file in a few": {"", spoken, len(spoken), `{"eof" : 1}`, "another machine"},
		"Ogg file":          {"", sample(t, "writing").Audio, 777, `{"event":"end"}`, "read the text"},
	} {
		conn := s.stream(gw, tt.query+"&session=plain-"+strings.ReplaceAll(name, " ", "-"))
		s.audio(conn, tt.audio, tt.piece)
		s.write(conn, websocket.MessageText, []byte("how do you do"))
		s.write(conn, websocket.MessageText, []byte(tt.end))
		text, interims, last, notes := s.said(conn)
		if !strings.Contains(text, tt.says) {
			t.Errorf("%s: heard %q, want %q", name, text, tt.says)
		}
		if interims == 0 || len(last.Words) == 0 || last.Cursor == 0 || last.EndMS <= last.StartMS {
			t.Errorf("%s: %d interims, last final %+v", name, interims, last)
		}
		for _, event := range []string{dialect.EventOpen, dialect.EventReady, dialect.EventWarning, dialect.EventEnded} {
			if _, ok := notes[event]; !ok {
				t.Errorf("%s: no note %s among %v", name, event, notes)
			}
		}
		if n := notes[dialect.EventEnded].Unaccounted; n == nil || *n != 0 {
			t.Errorf("%s: ledger %+v", name, notes[dialect.EventEnded])
		}
	}
}

// A flush brings what was spoken without an end, and the session goes on.
func TestPlainFlush(t *testing.T) {
	t.Parallel()
	s, gw := plainSystem(t, gateway.Config{})
	spoken := sample(t, "sessions").Audio[wavHead:]
	conn := s.stream(gw, "interims=false")
	s.audio(conn, spoken[:cutAt], 3200)
	s.write(conn, websocket.MessageText, []byte(`{"event":"flush"}`))
	for flushed := false; !flushed; {
		_, data, err := conn.Read(s.ctx())
		if err != nil {
			t.Fatal(err)
		}
		flushed = strings.Contains(string(data), `"flushed"`)
	}
	s.audio(conn, spoken[cutAt:], 3200)
	s.write(conn, websocket.MessageText, []byte(`{"eof":1}`))
	if text, interims, _, _ := s.said(conn); !strings.Contains(text, "another machine") || interims != 0 {
		t.Errorf("after the flush: %q and %d interims", text, interims)
	}
}

// A client whose connection broke comes back with the cursor of its last final.
func TestPlainResume(t *testing.T) {
	t.Parallel()
	s, gw := plainSystem(t, gateway.Config{})
	spoken := sample(t, "sessions").Audio[wavHead:]
	conn := s.stream(gw, "session=back&sample_rate=16000")
	s.audio(conn, spoken[:cutAt], 3200)
	s.write(conn, websocket.MessageText, []byte(`{"event":"flush"}`))
	var first dialect.Result
	for !first.Flushed {
		_, data, err := conn.Read(s.ctx())
		if err != nil {
			t.Fatal(err)
		}
		_ = json.Unmarshal(data, &first)
	}
	_ = conn.CloseNow()

	conn = s.stream(gw, fmt.Sprintf("session=back&after=%d&sample_rate=16000", first.Cursor))
	s.audio(conn, spoken[cutAt:], 3200)
	s.write(conn, websocket.MessageText, []byte(`{"eof":1}`))
	text, _, last, notes := s.said(conn)
	if _, ok := notes[dialect.EventResumed]; !ok || strings.Contains(text, "stop the program") || strings.Count(text, "another machine") != 1 || last.StartMS < cutMS {
		t.Errorf("heard %q in %+v after %+v, notes %v", text, last, first, notes)
	}
	if n := notes[dialect.EventEnded]; n.Unaccounted == nil || *n.Unaccounted != 0 {
		t.Errorf("ledger %+v", n)
	}
}

// Who comes back and asks at once for what it said before is answered when all of that has
// come: the answer is never ahead of the words, nor does it stay away where all had come.
func TestPlainFlushAfterResume(t *testing.T) {
	t.Parallel()
	const frames = 30 // too few for a final of their own accord
	for name, tt := range map[string]struct {
		crash, heard bool // the gateway's; the client had heard all of it
		resume       func(cursor uint64) string
	}{
		"gateway crashed":     {crash: true, resume: func(uint64) string { return "&after=0" }},
		"connection broke":    {resume: func(uint64) string { return "&after=0" }},
		"nothing was missed":  {heard: true, resume: func(cursor uint64) string { return fmt.Sprint("&after=", cursor) }},
		"it wants no old one": {heard: true, resume: func(uint64) string { return "" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, gw := small(t, gateway.Config{}, worker.Config{ID: "w1"})
			acked := s.acks("back")
			conn := s.stream(gw, "session=back&encoding=opus")
			for i := range frames {
				s.write(conn, websocket.MessageBinary, []byte{0xfc, byte(i)})
			}
			subjectstest.Eventually(t, "the worker has it", func() bool { return acked.Load() >= frames })
			n, cursor := 0, uint64(0)
			if tt.heard {
				s.write(conn, websocket.MessageText, []byte(`{"event":"flush"}`))
				n, cursor = s.untilFlushed(conn)
			}
			if tt.crash {
				gw.kill()
				gw = s.gateway(gateway.Config{})
			} else {
				_ = conn.CloseNow()
			}
			conn = s.stream(gw, "session=back&encoding=opus"+tt.resume(cursor))
			s.write(conn, websocket.MessageText, []byte(`{"event":"flush"}`))
			more, _ := s.untilFlushed(conn)
			if n+more != frames {
				t.Errorf("%d of %d frames had come when the flush was answered", n+more, frames)
			}
			s.write(conn, websocket.MessageText, []byte(`{"eof":1}`))
			for err := error(nil); err == nil; {
				_, _, err = conn.Read(s.ctx())
			}
			s.ledgerOf("back", frames)
		})
	}
}

// untilFlushed counts the frames of the finals that come until a flush is answered, and
// tells the last one's cursor.
func (s *system) untilFlushed(conn *websocket.Conn) (frames int, cursor uint64) {
	s.t.Helper()
	for {
		_, data, err := conn.Read(s.ctx())
		if err != nil {
			s.t.Fatal(err)
		}
		var m struct {
			dialect.Result
			Event string
		}
		if err := json.Unmarshal(data, &m); err != nil {
			s.t.Fatal(err)
		}
		if m.Type == dialect.TypeFinal {
			st, err := tally.Parse(m.Text)
			if err != nil {
				s.t.Fatal(err)
			}
			frames, cursor = frames+len(st.Frames), m.Cursor
		}
		if m.Flushed || m.Event == dialect.EventFlushed {
			return frames, cursor
		}
	}
}

// The loop of Vosk's clients: send, read one answer, and again; eof, read the last one.
func TestVoskClient(t *testing.T) {
	t.Parallel()
	s, gw := plainSystem(t, gateway.Config{})
	spoken := sample(t, "sessions").Audio[wavHead:]
	conn := s.stream(gw, "format=vosk&sample_rate=8000")
	answer := func() (m struct {
		Partial *string `json:"partial"`
		Text    string  `json:"text"`
		Result  []struct {
			Word       string
			Start, End float64
		} `json:"result"`
	}) {
		t.Helper()
		_, data, err := conn.Read(s.ctx())
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		return m
	}
	s.write(conn, websocket.MessageText, []byte(`{ "config" : { "sample_rate" : 16000 } }`))
	var texts []string
	for rest := spoken; len(rest) > 0; {
		n := min(6400, len(rest))
		s.write(conn, websocket.MessageBinary, rest[:n])
		rest = rest[n:]
		if m := answer(); m.Partial == nil {
			texts = append(texts, m.Text)
		}
	}
	s.write(conn, websocket.MessageText, []byte(`{"eof" : 1}`))
	m := answer()
	texts = append(texts, m.Text)
	if text := strings.Join(texts, " "); !strings.Contains(text, "another machine") {
		t.Errorf("heard %q", text)
	}
	if n := len(m.Result); n == 0 || m.Result[n-1].End <= m.Result[0].Start || m.Result[n-1].End > float64(len(spoken))/32000+0.5 {
		t.Errorf("words %+v of %d bytes", m.Result, len(spoken))
	}
	if _, _, err := conn.Read(s.ctx()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("then %v", err)
	}
}

// pageKeys knows clients by their API key.
type pageKeys map[string]string

func (k pageKeys) Authenticate(_ context.Context, secret string) (auth.Principal, error) {
	if name, ok := k[secret]; ok {
		return auth.Principal{Name: name}, nil
	}
	return auth.Principal{}, fmt.Errorf("%w", errors.Join(auth.ErrUnknown, auth.ErrMissing))
}

// A web page shows its key as a subprotocol. Nobody hears it back.
func TestPlainKeyOfAPage(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{Auth: pageKeys{"sesame": "page"}})
	conn := s.stream(gw, "", "stenobus", "stenobus.key.sesame")
	if got := conn.Subprotocol(); got != "stenobus" {
		t.Errorf("subprotocol %q", got)
	}
	s.audio(conn, make([]byte, 3200), 3200)
	s.write(conn, websocket.MessageText, []byte(`{"eof":1}`))
	if _, _, _, notes := s.said(conn); notes[dialect.EventEnded].Accepted["audio"] != 1 {
		t.Errorf("notes %+v", notes)
	}

	_, resp, err := websocket.Dial(s.ctx(), gw.url+"/stream", &websocket.DialOptions{Subprotocols: []string{"stenobus", "stenobus.key.wrong"}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("a wrong key: %v", err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if !strings.HasPrefix(string(body), `{"type":"error","code":"unauthorized","message":`) || strings.Contains(string(body), "wrong") {
		t.Errorf("refusal %s", body)
	}
}

// People get a page at /, programs a text. A page asks by GET why it was refused.
func TestPageAtRoot(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gw := s.gatewayAlone(gateway.Config{Auth: pageKeys{"sesame": "page"}})
	for _, tt := range []struct {
		path, accept, key string
		status            int
		kind, says        string
	}{
		{"/", "*/*", "", http.StatusOK, "text/plain", "/stream"},
		{"/", "text/html,*/*;q=0.8", "", http.StatusOK, "text/html", "<title>Stenobus gateway</title>"},
		{"/stream", "*/*", "", http.StatusUnauthorized, "application/json", "no API key or token was shown"},
		{"/stream", "*/*", "sesame", http.StatusUpgradeRequired, "application/json", "upgrade_required"},
	} {
		req, err := http.NewRequestWithContext(s.ctx(), http.MethodGet, "http"+strings.TrimPrefix(gw.url, "ws")+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", tt.accept)
		if tt.key != "" {
			req.Header.Set("Authorization", "Bearer "+tt.key)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || !strings.HasPrefix(resp.Header.Get("Content-Type"), tt.kind) || !strings.Contains(string(body), tt.says) {
			t.Errorf("%s for %s with key %q: %d %s %.200s", tt.path, tt.accept, tt.key, resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
		if !resp.Close {
			t.Errorf("%s: a stranger keeps the connection", tt.path)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
