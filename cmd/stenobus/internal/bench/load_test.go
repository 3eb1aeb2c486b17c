package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"stenobus/subjects/subjectstest"
)

// serve returns the address of a WebSocket server.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

// peer is a gateway and its workers, as far as clients can tell: each final covers what
// a source sent since its last.
type peer struct {
	t      *testing.T
	audio  *audio
	drop   uint64 // number of a frame that is lost; 0: none
	double bool   // every final comes twice
	mute   bool   // pings stay without answer
	cut    uint64 // the connection breaks at this frame; 0: never
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		p.t.Errorf("accept: %v", err)
		return
	}
	defer conn.CloseNow()
	var session int
	if _, err := fmt.Sscanf(r.URL.Query().Get("sessionId"), "bench-%d", &session); err != nil {
		p.t.Errorf("sessionId: %v", err)
	}
	p.talk(conn, session)
}

func (p *peer) talk(conn *websocket.Conn, session int) {
	say := func(format string, args ...any) { // fails where the client is gone, which Read tells
		_ = conn.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, format, args...))
	}
	say(`{"event":"info","stenobus":{"type":"event","event":"ready"}}`)
	open := map[string][]uint64{}
	for n := uint64(0); ; {
		var e struct {
			Event string
			ID    int
			Media struct{ Tag string }
		}
		_, b, err := conn.Read(context.Background())
		if err != nil {
			return
		}
		if err := json.Unmarshal(b, &e); err != nil {
			p.t.Errorf("message %s: %v", b, err)
		}
		switch e.Event {
		case "media":
			if n++; n == p.cut {
				return
			}
			if n != p.drop {
				open[e.Media.Tag] = append(open[e.Media.Tag], n)
			}
		case "ping":
			if !p.mute {
				say(`{"event":"pong","id":%d}`, e.ID)
			}
		case "session-end":
			for tag, frames := range open {
				final := fmt.Sprintf(`{"event":"transcription-result","stenobus":{"type":"final","source":%q,"text":%q}}`,
					tag, statement(p.audio, session, frames...))
				say("%s", final)
				if p.double {
					say("%s", final)
				}
			}
			_ = conn.Close(websocket.StatusNormalClosure, "session ended")
			return
		}
	}
}

// smallLoad ends when so many frames are sent.
func smallLoad(t *testing.T, cfg LoadConfig, frames uint64) Report {
	t.Helper()
	l := StartLoad(t.Context(), cfg)
	from := l.begin
	if err := l.Open(t.Context()); err != nil {
		t.Error(err)
	}
	subjectstest.Eventually(t, "enough frames", func() bool {
		return l.Sent() >= frames
	})
	return l.End(from, time.Now())
}

func TestLoad(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		peer          peer
		lost, doubled bool
	}{
		"all is well": {},
		"lost":        {peer: peer{drop: 5}, lost: true},
		"doubled":     {peer: peer{double: true}, doubled: true},
		"no pongs":    {peer: peer{mute: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := LoadConfig{Sessions: 3, Sources: 2, Rate: 200, Ramp: 30 * time.Millisecond, FrameBytes: 40}
			p := tc.peer
			p.t, p.audio = t, newAudio(cfg.FrameBytes)
			cfg.URL = serve(t, &p)
			r := smallLoad(t, cfg, 1500)
			if err := r.Wrong(); err != nil {
				t.Error(err)
			}
			if r.Lost > 0 != tc.lost || r.Doubled > 0 != tc.doubled {
				t.Errorf("lost %d and doubled %d of %d frames", r.Lost, r.Doubled, r.Frames)
			}
			if r.Frames < 1500 || r.Messages <= r.Frames || len(r.Ready) != 3 || len(r.Pings) == 0 || len(r.Finals) == 0 {
				t.Errorf("report %d frames, %d messages, %d ready, %d pings, %d finals",
					r.Frames, r.Messages, len(r.Ready), len(r.Pings), len(r.Finals))
			}
		})
	}
}

func TestLoadTellsOfBrokenSessions(t *testing.T) {
	t.Parallel()
	cfg := LoadConfig{Sessions: 2, Sources: 1, Rate: 1000, FrameBytes: 40}
	cfg.URL = serve(t, &peer{t: t, audio: newAudio(40), cut: 20})
	l := StartLoad(t.Context(), cfg)
	l.wg.Wait() // both sessions fail
	r := l.End(l.begin, time.Now())
	if err := r.Wrong(); len(r.Failed) != 2 || err == nil || !strings.Contains(err.Error(), "2 sessions failed") {
		t.Errorf("failed: %v", err)
	}
	if r.Lost != r.Frames {
		t.Errorf("lost %d of %d frames, want all", r.Lost, r.Frames)
	}
}

func TestLoadTellsOfNoServer(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	l := StartLoad(t.Context(), LoadConfig{URL: s.URL, Sessions: 2, Sources: 1, Rate: 50, FrameBytes: 40})
	if err := l.Open(t.Context()); err != nil {
		t.Error(err)
	}
	r := l.End(time.Now(), time.Now())
	if err := r.Wrong(); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("failed: %v", err)
	}
}

func TestLoadIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	l := StartLoad(ctx, LoadConfig{
		URL: serve(t, &peer{t: t, audio: newAudio(40)}), Sessions: 2, Sources: 1, Rate: 50, Ramp: time.Millisecond, FrameBytes: 40,
	})
	subjectstest.Eventually(t, "frames", func() bool { return l.Sent() > 4 })
	cancel()
	r := l.End(time.Now(), time.Now())
	if len(r.Failed) != 2 {
		t.Errorf("%d sessions were interrupted, want 2", len(r.Failed))
	}
}

func TestPipeCountsEveryMessage(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	sub, err := Subscriber(t.Context(), bus.Dial())
	if err != nil {
		t.Fatal(err)
	}
	r := smallLoad(t, LoadConfig{
		URL: serve(t, Publisher(t.Context(), bus.Dial())), Sessions: 3, Sources: 2, Rate: 200, Ramp: 30 * time.Millisecond, FrameBytes: 120, Bare: true,
	}, 1000)
	if err := r.Wrong(); err != nil {
		t.Error(err)
	}
	at := "http" + strings.TrimPrefix(serve(t, sub), "ws")
	if err := awaitCount(t.Context(), at, r.Messages); err != nil {
		t.Error(err)
	}
	if got, err := count(t.Context(), at); err != nil || got != r.Messages {
		t.Errorf("the subscriber got %d of %d messages, %v", got, r.Messages, err)
	}
}

// Sessions without audio are open, answer pings, and end.
func TestLoadOfSilentSessions(t *testing.T) {
	t.Parallel()
	l := StartLoad(t.Context(), LoadConfig{
		URL: serve(t, &peer{t: t, audio: newAudio(40)}), Sessions: 3, Sources: 1, PingEvery: 10 * time.Millisecond, Ramp: time.Millisecond, FrameBytes: 40,
	})
	if err := l.Open(t.Context()); err != nil {
		t.Error(err)
	}
	subjectstest.Eventually(t, "pings", func() bool { return time.Since(l.begin) > 100*time.Millisecond })
	r := l.End(l.begin, time.Now())
	if err := r.Wrong(); err != nil || r.Frames != 0 || len(r.Ready) != 3 || len(r.Pings) == 0 {
		t.Errorf("%v; frames %d, ready %d, pings %d", err, r.Frames, len(r.Ready), len(r.Pings))
	}
}

// foreign is a server that knows nothing of Stenobus: it answers pings and never closes.
func foreign(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		_, b, err := conn.Read(context.Background())
		if err != nil {
			return
		}
		if id, ok := strings.CutPrefix(string(b), `{"event":"ping",`); ok {
			_ = conn.Write(context.Background(), websocket.MessageText, []byte(`{"event":"pong",`+id))
		}
	}
}

func TestLoadOnAForeignServer(t *testing.T) {
	t.Parallel()
	r := smallLoad(t, LoadConfig{
		URL: serve(t, http.HandlerFunc(foreign)), Sessions: 2, Sources: 1, Rate: 200, PingEvery: 20 * time.Millisecond,
		Ramp: time.Millisecond, FrameBytes: 40, Foreign: true,
	}, 100)
	if err := r.Wrong(); err != nil || r.Lost != 0 || len(r.Pings) == 0 {
		t.Errorf("%v; lost %d, pings %d", err, r.Lost, len(r.Pings))
	}
}
