package systemtest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/worker"
	"stenobus/worker/engine/tally"
)

// Each kind of bad input is answered in the client's protocol and hurts nobody else.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{MaxSources: 10})
	neighbour := dial(t, gw, named("neighbour"))
	neighbour.start("n")
	media := `{"event":"media","media":{"tag":"a","chunk":"%d","timestamp":"%d","payload":"%s"}}`
	for _, tt := range []struct {
		name string
		code string
		send func(c *client)
	}{
		{"truncated JSON", "bad_json", func(c *client) { c.raw(`{"event":"media","media":{"tag":`) }},
		{"not an object", "bad_json", func(c *client) { c.raw(`[1,2]`) }},
		{"a binary message where text belongs", "bad_json", func(c *client) {
			if err := c.conn.Write(s.ctx(), websocket.MessageBinary, []byte{0, 1, 2, 0xff}); err != nil {
				t.Error(err)
			}
		}},
		{"unknown encoding", "bad_encoding", func(c *client) {
			c.raw(`{"event":"start","start":{"tag":"a","mediaFormat":{"encoding":"mp3"}}}`)
		}},
		{"media before start", "media_before_start", func(c *client) { c.raw(fmt.Sprintf(media, 1, 0, "AAAA")) }},
		{"payload is not base64", "bad_payload", func(c *client) { c.start("a"); c.raw(fmt.Sprintf(media, 1, 0, "?!*")) }},
		{"chunk numbers backwards", "old_packet", func(c *client) {
			c.start("a")
			c.raw(fmt.Sprintf(media, 9, 0, "AAAA"))
			c.raw(fmt.Sprintf(media, 7, 0, "AAAA"))
		}},
		{"no tag", "missing_tag", func(c *client) { c.raw(`{"event":"media","media":{"payload":"AAAA"}}`) }},
		{"a thousand tags", "too_many_sources", func(c *client) {
			for i := range 1000 {
				c.start(fmt.Sprintf("tag-%d", i))
			}
		}},
	} {
		c := dial(t, gw, "")
		tt.send(c)
		c.until(tt.name+": a warning with code "+tt.code, func() bool { return c.note("warning", tt.code) != nil })
		n := c.told("warning", tt.code)
		if n.Message == "" || n.Field == "" {
			t.Errorf("%s: the warning %+v names no field", tt.name, n)
		}
		c.end()
		if status, reason := c.closed(); status != websocket.StatusNormalClosure {
			t.Errorf("%s: closed with %d %s, want 1000 after session-end", tt.name, status, reason)
		}
		neighbour.speak("n", 20)
	}
	neighbour.finish()
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gw := s.gatewayAlone(gateway.Config{})
	base := "http" + strings.TrimPrefix(gw.url, "ws")
	for _, tt := range []struct {
		path    string
		upgrade bool
		status  int
		says    string
	}{
		{"/transcribe", false, http.StatusUpgradeRequired, "Upgrade Required"},
		{"/elsewhere", false, http.StatusNotFound, "/transcribe"},
		{"/elsewhere", true, http.StatusNotFound, "Bad URL"},
		{"/transcribe?sendBack=true&encoding=mp3", true, http.StatusBadRequest, `Invalid encoding parameter: "mp3". Valid values are: opus, ogg-opus`},
		{"/transcribe", true, http.StatusBadRequest, "No transcription output method specified"},
		{"/transcribe?sendBack=true&tag=" + strings.Repeat("x", 129), true, http.StatusBadRequest, "exceeds maximum length of 128"},
		{"/transcribe?sendBack=true&sessionId=" + strings.Repeat("x", 200), true, http.StatusBadRequest, "at most 128"},
	} {
		req, err := http.NewRequestWithContext(s.ctx(), http.MethodGet, base+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.upgrade {
			for k, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
				req.Header.Set(k, v)
			}
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.says) {
			t.Errorf("%.60s (upgrade %v): %d %q, want %d %q", tt.path, tt.upgrade, resp.StatusCode, body, tt.status, tt.says)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// A page of another host in somebody's browser may not connect, unless it is allowed.
func TestOriginsOfPages(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gw, open := s.gatewayAlone(gateway.Config{}), s.gatewayAlone(gateway.Config{Origins: []string{"*.example.org"}})
	for _, tt := range []struct {
		gw     *node
		origin string
		want   bool
	}{
		{gw, "https://evil.example.org", false},
		{gw, "", true},
		{open, "https://meet.example.org", true},
		{open, "https://example.com", false},
	} {
		opts := &websocket.DialOptions{HTTPHeader: http.Header{}}
		if tt.origin != "" {
			opts.HTTPHeader.Set("Origin", tt.origin)
		}
		conn, resp, err := websocket.Dial(s.ctx(), tt.gw.url+"/transcribe?sendBack=true", opts)
		if (err == nil) != tt.want {
			t.Errorf("origin %q: %v", tt.origin, err)
		}
		if err == nil {
			_ = conn.CloseNow()
		} else if resp.StatusCode != http.StatusForbidden {
			t.Errorf("origin %q: status %d, want 403", tt.origin, resp.StatusCode)
		}
	}
}

// A client far ahead of real time fills the window itself: it is told so, what was
// accepted is transcribed, and its neighbour notices nothing.
func TestClientFasterThanTheEngine(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"}, s.tally(tally.Config{Slow: 2 * time.Millisecond}))
	gw := s.gateway(gateway.Config{Window: 10 * time.Second})
	neighbour := dial(t, gw, named("neighbour"))
	neighbour.start("n")
	neighbour.speak("n", 10)
	fast := dial(t, gw, named("fast"))
	fast.until("it is served", func() bool { return fast.note("ready", "") != nil })
	fast.start("a")
	for fast.told("error", "audio_too_fast") == nil && len(fast.order) < 5000 {
		fast.speak("a", 50) // each a second of audio
	}
	if status, reason := fast.closed(); status != websocket.StatusPolicyViolation || !strings.Contains(reason, "ahead of real time") {
		t.Errorf("closed with %d %s, want 1008", status, reason)
	}
	ended := fast.note("ended", "refused")
	if ended == nil || *ended.Unaccounted != 0 || ended.Accepted["a"] == 0 || ended.Accepted["a"] != ended.Covered["a"] {
		t.Errorf("ledger %+v: what was accepted is not covered", ended)
	}
	neighbour.speak("n", 50)
	neighbour.finish()
}

// A client that never reads is cut off, and only it.
func TestClientThatNeverReads(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"}, s.tally(tally.Config{Every: 1, Interim: -1}))
	gw, g := s.bareGateway(s.bus.Dial(), gateway.Config{SendBuffer: 128 << 10, Grace: 200 * time.Millisecond})
	s.ready(g.Ready)
	before := s.footprint()
	neighbour := dial(t, gw, named("neighbour"))
	deaf := dialDeaf(t, gw, named("deaf"))
	deaf.start("a")
	for n := 0; n < 200 && g.Stats().Detached == 0; n++ { // a final for every frame, more than the kernel's buffers hold
		deaf.speak("a", 50)
	}
	neighbour.start("n")
	neighbour.speak("n", 50)
	neighbour.finish()
	s.nothingLeft(before)
}
