package systemtest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/zaf/g711"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/gateway/auth"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
	"stenobus/worker/engine/tally"
)

// listener is a client of Deepgram's live protocol that keeps what it heard.
type listener struct {
	t    *testing.T
	conn *websocket.Conn
	resp *http.Response

	mu     sync.Mutex // guards what follows: written by read
	heard  []heard
	over   chan struct{} // the connection ended
	status websocket.StatusCode
	reason string
}

// heard is any message of the server.
type heard struct {
	Type         string
	Start        float64
	Duration     float64
	IsFinal      bool `json:"is_final"`
	SpeechFinal  bool `json:"speech_final"`
	FromFinalize bool `json:"from_finalize"`
	Channel      json.RawMessage
	RequestID    string `json:"request_id"`
	Channels     int
	Models       []string
	Variant      string
	LastWordEnd  float64 `json:"last_word_end"`
	alternative  struct {
		Transcript string
		Words      []struct {
			Word           string
			Start, End     float64
			PunctuatedWord string `json:"punctuated_word"`
		}
	}
}

func listen(t *testing.T, gw *node, query string, opts *websocket.DialOptions) (*listener, error) {
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, gw.url+"/v1/listen?"+query, opts)
	l := &listener{t: t, conn: conn, resp: resp, over: make(chan struct{})}
	if err != nil {
		return l, err
	}
	conn.SetReadLimit(-1)
	go l.read()
	t.Cleanup(func() {
		_ = conn.CloseNow()
		<-l.over
	})
	return l, nil
}

func mustListen(t *testing.T, gw *node, query string) *listener {
	t.Helper()
	l, err := listen(t, gw, query, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *listener) read() {
	defer close(l.over)
	for {
		_, data, err := l.conn.Read(context.Background())
		if err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			if e := (websocket.CloseError{}); errors.As(err, &e) {
				l.status, l.reason = e.Code, e.Reason
			}
			return
		}
		var h heard
		if err := json.Unmarshal(data, &h); err != nil {
			l.t.Errorf("server sent %q: %v", data, err)
		}
		if h.Type == "Results" {
			var c struct{ Alternatives []json.RawMessage }
			if err := json.Unmarshal(h.Channel, &c); err != nil || len(c.Alternatives) != 1 {
				l.t.Errorf("server sent %q: %v", data, err)
				continue
			}
			if err := json.Unmarshal(c.Alternatives[0], &h.alternative); err != nil {
				l.t.Errorf("server sent %q: %v", data, err)
			}
		}
		l.mu.Lock()
		l.heard = append(l.heard, h)
		l.mu.Unlock()
	}
}

// send writes a message: audio where it is bytes, a command where it is text.
func (l *listener) send(message any) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	kind, data := websocket.MessageBinary, []byte(nil)
	switch m := message.(type) {
	case []byte:
		data = m
	case string:
		kind, data = websocket.MessageText, []byte(m)
	}
	if err := l.conn.Write(ctx, kind, data); err != nil {
		l.t.Errorf("write: %v", err)
	}
}

// until waits until a message was heard, and returns it.
func (l *listener) until(what string, is func(heard) bool) (found heard) {
	l.t.Helper()
	subjectstest.Eventually(l.t, what, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		i := slices.IndexFunc(l.heard, is)
		if i >= 0 {
			found = l.heard[i]
		}
		return i >= 0
	})
	return found
}

// closed waits for the server's close frame and returns all that was heard before it.
func (l *listener) closed(status websocket.StatusCode, reason string) []heard {
	l.t.Helper()
	select {
	case <-l.over:
	case <-time.After(subjectstest.Wait):
		l.t.Fatal("the server did not close the connection")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.status != status || !strings.HasPrefix(l.reason, reason) {
		l.t.Errorf("closed with %d %q, want %d %q", l.status, l.reason, status, reason)
	}
	return l.heard
}

// metadata is the last message, which says what the connection was.
func (l *listener) metadata(all []heard) heard {
	l.t.Helper()
	if len(all) == 0 || all[len(all)-1].Type != "Metadata" {
		l.t.Fatalf("the last message is no Metadata: %+v", all)
	}
	m := all[len(all)-1]
	if id := l.resp.Header.Get("dg-request-id"); m.RequestID != id || id == "" {
		l.t.Errorf("request_id is %q, the header said %q", m.RequestID, id)
	}
	return m
}

func finals(all []heard) (texts []string) {
	for _, h := range all {
		if h.Type == "Results" && h.IsFinal && h.alternative.Transcript != "" {
			texts = append(texts, h.alternative.Transcript)
		}
	}
	return texts
}

// Every byte that was sent is in exactly one final, a Finalize is answered whether or
// not there is anything left, and CloseStream brings the rest.
func TestDeepgramLosesNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{})
	l := mustListen(t, gw, "encoding=linear16&sample_rate=16000&model=nova-3&smart_format=true&interim_results=true")
	if got := l.resp.Header.Get("dg-warning"); !strings.Contains(got, "nova-3") || !strings.Contains(got, "smart_format") {
		t.Errorf("dg-warning %q", got)
	}
	fromFinalize := func(h heard) bool { return h.FromFinalize }
	l.send(`{"type":"Finalize"}`)
	if h := l.until("an answer before there is audio", fromFinalize); h.alternative.Transcript != "" || h.alternative.Words == nil {
		t.Errorf("answered with %+v", h)
	}
	n := uint64(0)
	speak := func(frames int) {
		for range frames {
			n++
			l.send(tally.Number{Session: 7, Source: 1, N: n}.Append(nil, 640))
		}
	}
	speak(70)
	l.send(`{"type":"Finalize"}`)
	l.until("the rest of what was spoken", func(h heard) bool { return h.FromFinalize && h.alternative.Transcript != "" })
	speak(33)
	l.send(`{"type":"CloseStream"}`)
	all := l.closed(websocket.StatusNormalClosure, "")
	if m := l.metadata(all); m.Channels != 1 || len(m.Models) != 1 {
		t.Errorf("metadata %+v", m)
	}
	next := uint64(1)
	for _, text := range finals(all) {
		st, err := tally.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range st.Audio {
			if run.Session != 7 || run.First != next {
				t.Fatalf("%s, expected is %d", text, next)
			}
			next = run.Last + 1
		}
	}
	if next != n+1 {
		t.Errorf("finals cover %d of %d frames", next-1, n)
	}
}

// What a client can do wrong is told in the protocol's own words.
func TestDeepgramCloses(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{IdleWait: 500 * time.Millisecond})

	silent := mustListen(t, gw, "encoding=linear16&sample_rate=16000")
	silent.send(make([]byte, 640))
	silent.metadata(silent.closed(websocket.StatusInternalError, "Deepgram did not receive audio data or a text message within the timeout window."))

	webm := mustListen(t, gw, "")
	webm.send([]byte("\x1a\x45\xdf\xa3 and so on"))
	all := webm.closed(websocket.StatusPolicyViolation, "DATA-0000: bad_audio: WebM is not read here")
	if !slices.ContainsFunc(all, func(h heard) bool { return h.Type == "Error" && h.Variant == "bad_audio" }) {
		t.Errorf("heard %+v", all)
	}

	old := mustListen(t, gw, "encoding=linear16&sample_rate=16000")
	old.send(make([]byte, 640))
	old.send("no JSON")
	old.send([]byte{})
	all = old.closed(websocket.StatusNormalClosure, "")
	old.metadata(all)
	if !slices.ContainsFunc(all, func(h heard) bool { return h.Type == "Error" && h.Variant == "bad_json" }) {
		t.Errorf("heard %+v", all)
	}

	cut := mustListen(t, gw, "encoding=linear16&sample_rate=16000")
	cut.send(make([]byte, 641))
	cut.send(`{"type":"CloseStream"}`)
	all = cut.closed(websocket.StatusNormalClosure, "")
	cut.metadata(all)
	if !slices.ContainsFunc(all, func(h heard) bool { return h.Type == "Error" && h.Variant == "cut_off" }) {
		t.Errorf("heard %+v", all)
	}
}

// Nobody can come back to a session of this protocol: it ends with its connection, even
// one that breaks, and what was spoken is in the store.
func TestDeepgramBrokenConnection(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{Grace: time.Hour})
	l := mustListen(t, gw, "encoding=linear16&sample_rate=16000&interim_results=true")
	for range 20 {
		l.send(make([]byte, 640))
	}
	l.until("an interim", func(h heard) bool { return h.Type == "Results" })
	_ = l.conn.CloseNow()
	subjectstest.Eventually(t, "the session has ended", func() bool { return len(s.keys()) == 0 })
}

// onlyKey knows one client.
type onlyKey string

func (k onlyKey) Authenticate(_ context.Context, secret string) (auth.Principal, error) {
	if secret != string(k) {
		return auth.Principal{}, auth.ErrUnknown
	}
	return auth.Principal{Name: "demo"}, nil
}

func TestDeepgramRefusals(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gw := s.gatewayAlone(gateway.Config{Auth: onlyKey("sesame")})
	for _, tt := range []struct {
		query  string
		key    string
		status int
		code   string
		text   string
	}{
		{"encoding=linear16&sample_rate=16000", "wrong", 401, "INVALID_AUTH", "not known here"},
		{"encoding=linear16&sample_rate=16000&diarize=true", "sesame", 400, "INVALID_QUERY_PARAMETER", "diarize"},
		{"encoding=linear16", "sesame", 400, "INVALID_QUERY_PARAMETER", "sample_rate"},
	} {
		l, err := listen(t, gw, tt.query, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Token " + tt.key}}})
		if err == nil {
			t.Fatalf("%s: not refused", tt.query)
		}
		body, _ := io.ReadAll(l.resp.Body)
		var f struct {
			Code    string `json:"err_code"`
			Message string `json:"err_msg"`
			Request string `json:"request_id"`
		}
		if err := json.Unmarshal(body, &f); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if l.resp.StatusCode != tt.status || f.Code != tt.code || !strings.Contains(f.Message, tt.text) || strings.Contains(string(body), tt.key) {
			t.Errorf("%s: %d %s", tt.query, l.resp.StatusCode, body)
		}
		if h := l.resp.Header; h.Get("dg-error") == "" || h.Get("dg-request-id") != f.Request {
			t.Errorf("%s: %v", tt.query, h)
		}
	}
	for _, offered := range [][]string{{"token", "sesame"}, {"bearer", "sesame", "x-deepgram-session-id", "u"}} {
		l, err := listen(t, gw, "encoding=opus", &websocket.DialOptions{Subprotocols: offered})
		if err != nil {
			t.Fatal(err)
		}
		if got := l.conn.Subprotocol(); got != offered[0] {
			t.Errorf("of %q %q was answered", offered, got)
		}
	}
}

// Speech in every way of sending it is understood, and its words have times.
func TestDeepgramSpeech(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"}, sphinx(t))
	gw := s.gateway(gateway.Config{})
	wav, ogg := sample(t, "sessions").Audio, sample(t, "writing").Audio
	var mulaw []byte
	for pair := range slices.Chunk(wav[wavHead:][:cutAt], 2) {
		mulaw = append(mulaw, g711.EncodeUlawFrame(int16(binary.LittleEndian.Uint16(pair))))
	}
	for _, tt := range []struct {
		name, query string
		audio       []byte
		size        int // of a message
		words       []string
	}{
		{"WAV, cut oddly", "punctuate=true", wav, 1777, []string{"stop the program", "another machine"}},
		{"linear16", "encoding=linear16&sample_rate=16000&vad_events=true&interim_results=true&utterance_end_ms=1000", wav[wavHead:], 4096, []string{"stop the program", "another machine"}},
		{"mulaw", "encoding=mulaw&sample_rate=16000", mulaw, 1000, []string{"stop the program"}},
		{"Ogg", "language=en-US", ogg, 1000, []string{"read the text", "morning"}},
	} {
		l := mustListen(t, gw, tt.query)
		for piece := range slices.Chunk(tt.audio, tt.size) {
			l.send(piece)
		}
		l.send(`{"type":"CloseStream"}`)
		all := l.closed(websocket.StatusNormalClosure, "")
		text := strings.Join(finals(all), " ")
		for _, words := range tt.words {
			if !strings.Contains(text, words) {
				t.Errorf("%s: heard %q", tt.name, text)
			}
		}
		end := 0.0
		for _, h := range all {
			if h.Type != "Results" || !h.IsFinal {
				continue
			}
			for _, w := range h.alternative.Words {
				if w.Start < end || w.End < w.Start || w.End > 8 || strings.Contains(tt.query, "punctuate") != (w.PunctuatedWord != "") {
					t.Errorf("%s: word %+v after %v", tt.name, w, end)
				}
				end = w.End
			}
		}
		if m := l.metadata(all); m.Duration < end || m.Duration > 8 {
			t.Errorf("%s: the last word ends at %v, metadata %+v", tt.name, end, m)
		}
		if tt.name == "linear16" && !slices.ContainsFunc(all, func(h heard) bool { return h.Type == "SpeechStarted" }) {
			t.Errorf("%s: no start of speech", tt.name)
		}
	}
}
