package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"stenobus/cmd/stenobus/internal/client"
	"stenobus/cmd/stenobus/internal/clip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const rate = 8000 // of the samples in these tests

// peer is the other end of the client: a server that does what a test says.
type peer struct {
	t    *testing.T
	conn *websocket.Conn
	req  *http.Request
}

// event is what peers read of a message.
type event struct {
	Event string
	Start struct {
		Tag         string
		MediaFormat struct{ Encoding string }
	}
	Media struct {
		Tag       string
		Chunk     uint64
		Timestamp int64
		Payload   []byte
	}
}

func (p *peer) read() (event, error) {
	var e event
	_, b, err := p.conn.Read(context.Background())
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(b, &e)
}

func (p *peer) write(format string, args ...any) {
	if err := p.conn.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, format, args...)); err != nil {
		p.t.Errorf("peer writes: %v", err)
	}
}

// serve starts a peer and returns its address.
func serve(t *testing.T, talk func(*peer)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Errorf("accept: %v", err)
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(1 << 20)
		talk(&peer{t: t, conn: conn, req: r})
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http") + "/transcribe"
}

func pcm(t *testing.T, name string, length time.Duration) *clip.Clip {
	t.Helper()
	samples := int(length * rate / time.Second)
	c, err := clip.Read(name, bytes.NewReader(make([]byte, 2*samples+1)), rate)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// witness remembers what a Watcher is told.
type witness struct {
	mu       sync.Mutex
	results  []client.Result
	progress client.Progress
}

func (w *witness) Result(r client.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results = append(w.results, r)
}

func (w *witness) Progress(p client.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.progress = p
}

func TestSessionFromStartToGoodbye(t *testing.T) {
	t.Parallel()
	type arrived struct {
		query map[string][]string
		start []string
		media map[string]int
		bytes int
		last  int64
	}
	got := make(chan arrived, 1)
	url := serve(t, func(p *peer) {
		a := arrived{query: p.req.URL.Query(), media: make(map[string]int)}
		for {
			e, err := p.read()
			if err != nil {
				t.Errorf("read: %v", err)
				return
			}
			switch e.Event {
			case "start":
				a.start = append(a.start, e.Start.Tag+" "+e.Start.MediaFormat.Encoding)
			case "media":
				a.media[e.Media.Tag]++
				a.bytes += len(e.Media.Payload)
				a.last = e.Media.Timestamp
				if int(e.Media.Chunk) != a.media[e.Media.Tag] {
					t.Errorf("chunk %d of %s came as number %d", e.Media.Chunk, e.Media.Tag, a.media[e.Media.Tag])
				}
			case "session-end":
				p.write(`{"event":"info","stenobus":{"type":"event","session":"s","event":"progress","source":"b","last_frame":7}}`)
				p.write(`{"event":"transcription-result","transcript":[{"text":"hello"}],"participant":{"tag":"a"},` +
					`"stenobus":{"type":"final","session":"s","source":"a","text":"hello","n":1,"first_frame":1,"last_frame":8}}`)
				p.write(`{"event":"something new"}`)
				p.write(`{"event":"info","stenobus":{"type":"event","event":"ended","unaccounted":2}}`)
				got <- a
				_ = p.conn.Close(websocket.StatusNormalClosure, "")
				return
			}
		}
	})
	var w witness
	summary, err := client.Run(t.Context(), client.Options{URL: url, Session: "s", Language: "en", Interims: true},
		[]*clip.Clip{pcm(t, "a", 300*time.Millisecond), pcm(t, "b", 200*time.Millisecond)}, &w)
	if err != nil {
		t.Fatal(err)
	}
	a := <-got
	for key, want := range map[string]string{
		"sendBack": "true", "sendBackInterim": "true", "stenobus": "1", "sessionId": "s", "lang": "en",
	} {
		if len(a.query[key]) != 1 || a.query[key][0] != want {
			t.Errorf("query has %s=%q, want %q", key, a.query[key], want)
		}
	}
	if fmt.Sprint(a.start) != "[a l16 b l16]" || fmt.Sprint(a.media) != "map[a:5 b:4]" || a.bytes != 8000 || a.last != 11520 {
		t.Errorf("arrived %+v", a)
	}
	if summary.Finals != 1 || summary.Frames != 9 || summary.Unaccounted != 2 || summary.Audio != 500*time.Millisecond {
		t.Errorf("summary %+v", summary)
	}
	if len(w.results) != 3 || w.results[1].Text != "hello" || !strings.Contains(string(w.results[1].Raw), `"first_frame":1`) {
		t.Errorf("results %+v", w.results)
	}
	if w.progress.Sent != 500*time.Millisecond || w.progress.Heard < 300*time.Millisecond {
		t.Errorf("progress %+v", w.progress)
	}
}

// A gateway that tells what it covers is sent no more than Ahead before it has.
func TestSendingWaitsForWhatIsCovered(t *testing.T) {
	t.Parallel()
	const ahead = time.Second
	url := serve(t, func(p *peer) {
		p.write(`{"event":"info","stenobus":{"type":"event","event":"open"}}`)
		var n, covered uint64
		for {
			e, err := p.read()
			switch {
			case err != nil:
				t.Errorf("read: %v", err)
				return
			case e.Event == "session-end":
				_ = p.conn.Close(websocket.StatusNormalClosure, "")
				return
			case e.Event != "media":
				continue
			}
			n++
			if under := time.Duration(n-covered) * 60 * time.Millisecond; under > ahead+120*time.Millisecond {
				t.Errorf("%v of audio under way, allowed are %v", under, ahead)
			}
			if n-covered == 17 { // as much as may be under way
				covered = n
				p.write(`{"event":"info","stenobus":{"type":"interim","source":"a","last_frame":%d}}`, n)
			}
		}
	})
	summary, err := client.Run(t.Context(), client.Options{URL: url, Ahead: ahead},
		[]*clip.Clip{pcm(t, "a", time.Minute)}, &witness{})
	if err != nil {
		t.Fatal(err)
	}
	if summary.Audio != time.Minute || summary.Took > 30*time.Second {
		t.Errorf("summary %+v", summary)
	}
}

// A gateway of another kind says nothing of what it covers and gets real time.
func TestOtherGatewaysGetRealTime(t *testing.T) {
	t.Parallel()
	url := serve(t, func(p *peer) {
		p.write(`{"event":"info","application":"opus-transcriber-proxy"}`)
		p.write(`{"event":"transcription-result","is_interim":true,"transcript":[{"text":"hi"}],"participant":{"tag":"a"}}`)
		for {
			if e, err := p.read(); err != nil || e.Event == "session-end" {
				_ = p.conn.Close(websocket.StatusNormalClosure, "")
				return
			}
		}
	})
	var w witness
	summary, err := client.Run(t.Context(), client.Options{URL: url, Ahead: 500 * time.Millisecond},
		[]*clip.Clip{pcm(t, "a", time.Second)}, &w)
	if err != nil {
		t.Fatal(err)
	}
	if summary.Audio != time.Second {
		t.Errorf("summary %+v", summary)
	}
	if len(w.results) != 1 || string(w.results[0].Raw) != `{"type":"interim","source":"a","text":"hi"}` {
		t.Errorf("results %+v", w.results)
	}
}

func TestRealTime(t *testing.T) {
	t.Parallel()
	url := serve(t, func(p *peer) {
		for {
			if e, err := p.read(); err != nil || e.Event == "session-end" {
				_ = p.conn.Close(websocket.StatusNormalClosure, "")
				return
			}
		}
	})
	summary, err := client.Run(t.Context(), client.Options{URL: url, Speed: 2},
		[]*clip.Clip{pcm(t, "a", time.Second)}, &witness{})
	if err != nil {
		t.Fatal(err)
	}
	if summary.Took < 400*time.Millisecond {
		t.Errorf("one second at double speed took %v", summary.Took)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		talk func(*peer)
		want client.Refused
	}{
		"before any audio": {func(p *peer) {
			_ = p.conn.Close(websocket.StatusTryAgainLater, "no worker with room")
		}, client.Refused{Code: websocket.StatusTryAgainLater, Reason: "no worker with room"}},
		"in the middle": {func(p *peer) {
			for range 5 {
				_, _ = p.read()
			}
			_ = p.conn.Close(websocket.StatusInternalError, "engine failed")
		}, client.Refused{Code: websocket.StatusInternalError, Reason: "engine failed"}},
		"after the end": {func(p *peer) {
			for e, err := p.read(); err == nil && e.Event != "session-end"; e, err = p.read() {
			}
			_ = p.conn.Close(websocket.StatusGoingAway, "")
		}, client.Refused{Code: websocket.StatusGoingAway, Reason: "no reason given"}},
		"without a word": {func(p *peer) {
			_, _ = p.read()
			_ = p.conn.CloseNow()
		}, client.Refused{Code: websocket.StatusAbnormalClosure}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, tc.talk)
			_, err := client.Run(t.Context(), client.Options{URL: url, Speed: 1},
				[]*clip.Clip{pcm(t, "a", 600*time.Millisecond)}, &witness{})
			var got *client.Refused
			if !errors.As(err, &got) || got.Code != tc.want.Code || !strings.Contains(got.Reason, tc.want.Reason) {
				t.Errorf("run: %v, want %v", err, &tc.want)
			}
		})
	}
}

func TestRefusedBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "Bad URL", http.StatusBadRequest)
	}))
	t.Cleanup(s.Close)
	_, err := client.Run(t.Context(), client.Options{URL: s.URL}, nil, &witness{})
	var got *client.Refused
	if !errors.As(err, &got) || got.Status != 400 || got.Reason != "Bad URL" {
		t.Errorf("run: %v, want HTTP 400: Bad URL", err)
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	_, err := client.Run(t.Context(), client.Options{URL: s.URL}, nil, &witness{})
	if !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("run: %v, want %v", err, client.ErrUnreachable)
	}
}

func TestGatewayThatNeverSaysGoodbye(t *testing.T) {
	t.Parallel()
	url := serve(t, func(p *peer) {
		for _, err := p.read(); err == nil; _, err = p.read() {
		}
	})
	_, err := client.Run(t.Context(), client.Options{URL: url, Wait: 50 * time.Millisecond},
		[]*clip.Clip{pcm(t, "a", 100*time.Millisecond)}, &witness{})
	if err == nil || !strings.Contains(err.Error(), "has not closed the session within 50ms") {
		t.Errorf("run: %v", err)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	for name, speed := range map[string]float64{"between frames": 1, "in the middle of a write": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := make(chan websocket.StatusCode, 1)
			ctx, cancel := context.WithCancelCause(t.Context())
			url := serve(t, func(p *peer) {
				_, _ = p.read()
				cancel(errors.New("enough"))
				for {
					if _, err := p.read(); err != nil {
						closed <- websocket.CloseStatus(err)
						return
					}
				}
			})
			_, err := client.Run(ctx, client.Options{URL: url, Speed: speed, Ahead: time.Hour}, []*clip.Clip{pcm(t, "a", 10*time.Minute)}, &witness{})
			if err == nil || err.Error() != "enough" {
				t.Errorf("run: %v, want the cause of the context's end", err)
			}
			if code := <-closed; code != websocket.StatusGoingAway {
				t.Errorf("the gateway saw code %d, want 1001", code)
			}
		})
	}
}
