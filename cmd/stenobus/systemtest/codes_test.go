package systemtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"stenobus/cmd/stenobus/internal/front"
	"stenobus/gateway"
	"stenobus/subjects/subjectstest"
)

// served are paths with the least that each protocol's clients need.
func served() map[string]string {
	return map[string]string{
		"mediajson": "/transcribe?sendBack=true", "deepgram": "/v1/listen?encoding=linear16&sample_rate=16000",
		"openai": "/v1/realtime?intent=transcription", "plain": "/stream",
	}
}

// upgradeOf is a good request for a WebSocket.
func (s *system) upgradeOf(gw, path string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.ctx(), http.MethodGet, "http"+strings.TrimPrefix(gw, "ws")+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header = http.Header{
		"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"WebSocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
	return r
}

// refusal sends a request that must be refused, on a connection of its own.
func (s *system) refusal(r *http.Request) (*http.Response, string) {
	s.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(body)
}

// Each code of the list that is an answer before the upgrade is one, in every dialect. A
// code without a way to get it is a code too many.
func TestEachRefusalHasItsCode(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	known := byName{"ann": {Name: "ann"}, "bob": {Name: "bob", Sessions: []string{"bobs-*"}}}
	with := func(cfg gateway.Config) string { return s.gatewayAlone(cfg).url }
	open := with(gateway.Config{})
	locked := with(gateway.Config{Auth: known})
	full, quota := with(gateway.Config{MaxSessions: 1}), with(gateway.Config{MaxPrincipal: 1, Auth: known})
	for _, taken := range []string{full, quota} {
		conn, _, err := websocket.Dial(s.ctx(), taken+"/stream", &websocket.DialOptions{HTTPHeader: showing("ann")})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
	}
	busy := with(gateway.Config{ConnectRate: 0.01})
	s.refusal(s.upgradeOf(busy, "/stream?wrong")) // the one that it may
	as := func(r *http.Request, who string) *http.Request {
		r.Header.Set("Authorization", "Bearer "+who)
		return r
	}
	without := func(r *http.Request, header string) *http.Request {
		r.Header.Del(header)
		return r
	}
	get := map[string]func(path string) *http.Request{
		"bad_request":       func(path string) *http.Request { return without(s.upgradeOf(open, path), "Sec-WebSocket-Key") },
		"unauthorized":      func(path string) *http.Request { return as(s.upgradeOf(locked, path), "eve") },
		"forbidden":         func(path string) *http.Request { return as(s.upgradeOf(locked, path), "bob") },
		"not_found":         func(string) *http.Request { return s.upgradeOf(open, "/nowhere") },
		"upgrade_required":  func(path string) *http.Request { return without(s.upgradeOf(open, path), "Upgrade") },
		"too_many_connects": func(path string) *http.Request { return s.upgradeOf(busy, path) },
		"too_many_sessions": func(path string) *http.Request { return as(s.upgradeOf(quota, path), "ann") },
		"gateway_full":      func(path string) *http.Request { return s.upgradeOf(full, path) },
		"not_ready":         func(path string) *http.Request { return s.upgradeOf(s.idleGateway(), path) },
	}
	for _, c := range gateway.Codes() {
		status, ok := strings.CutPrefix(c.Answer, "HTTP ")
		if !ok {
			continue
		}
		if get[c.Name] == nil {
			t.Errorf("nothing here leads to %s", c.Name)
			continue
		}
		for dialect, path := range served() {
			resp, body := s.refusal(get[c.Name](path))
			if fmt.Sprint(resp.StatusCode) != status || resp.Header.Get("Stenobus-Code") != c.Name || body == "" || !resp.Close {
				t.Errorf("%s, %s: %d with code %q and %q, want HTTP %s, why, and the end", c.Name, dialect, resp.StatusCode, resp.Header.Get("Stenobus-Code"), body, status)
			}
			if later := resp.Header.Get("Retry-After") != ""; later != (resp.StatusCode == 429 || resp.StatusCode == 503) {
				t.Errorf("%s, %s: Retry-After %q", c.Name, dialect, resp.Header.Get("Retry-After"))
			}
		}
	}
}

// idleGateway is one that was made and does not run.
func (s *system) idleGateway() string {
	s.t.Helper()
	g, err := gateway.New(s.nc, gateway.Config{})
	if err != nil {
		s.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(g)
	server.Config = front.NewServer(g, front.Limits{}, s.quiet())
	server.Start()
	s.t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

// What is wrong with the handshake itself is refused with a code too, in the dialect's form.
func TestBadHandshakes(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gw := s.gatewayAlone(gateway.Config{})
	for what, tt := range map[string]struct {
		change func(*http.Request)
		status int
		code   string
		says   string
	}{
		"good":             {func(*http.Request) {}, http.StatusSwitchingProtocols, "", ""},
		"lists":            {func(r *http.Request) { r.Header["Upgrade"] = []string{"h2c", "foo, websocket"} }, http.StatusSwitchingProtocols, "", ""},
		"no Upgrade":       {func(r *http.Request) { r.Header.Del("Upgrade") }, 426, "upgrade_required", "Expected WebSocket connection"},
		"another Upgrade":  {func(r *http.Request) { r.Header.Set("Upgrade", "h2c") }, 426, "upgrade_required", "Expected WebSocket connection"},
		"no Connection":    {func(r *http.Request) { r.Header.Del("Connection") }, 426, "upgrade_required", "header Connection is"},
		"POST":             {func(r *http.Request) { r.Method = http.MethodPost }, 400, "bad_request", "Invalid method: POST"},
		"no version":       {func(r *http.Request) { r.Header.Del("Sec-WebSocket-Version") }, 426, "upgrade_required", "allowed is 13"},
		"another version":  {func(r *http.Request) { r.Header.Set("Sec-WebSocket-Version", "8") }, 426, "upgrade_required", "allowed is 13"},
		"no key":           {func(r *http.Request) { r.Header.Del("Sec-WebSocket-Key") }, 400, "bad_request", "there 0 times"},
		"two keys":         {func(r *http.Request) { r.Header.Add("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==") }, 400, "bad_request", "there 2 times"},
		"short key":        {func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", "AAAA") }, 400, "bad_request", "16 bytes in base64"},
		"key that is none": {func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", "&&&") }, 400, "bad_request", "16 bytes in base64"},
		"another origin":   {func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403, "forbidden", "evil.example"},
		"no origin at all": {func(r *http.Request) { r.Header.Set("Origin", "null") }, 403, "forbidden", "null"},
	} {
		for dialect, path := range served() {
			r := s.upgradeOf(gw.url, path)
			tt.change(r)
			resp, body := s.refusal(r)
			if resp.StatusCode != tt.status || resp.Header.Get("Stenobus-Code") != tt.code || !strings.Contains(body, tt.says) {
				t.Errorf("%s, %s: %d %q %s, want %d %q %s", what, dialect, resp.StatusCode, resp.Header.Get("Stenobus-Code"), body, tt.status, tt.code, tt.says)
			}
			if json := strings.HasPrefix(body, "{"); body != "" && json != (dialect != "mediajson") {
				t.Errorf("%s, %s: not in the form that its clients read: %s", what, dialect, body)
			}
			if v := resp.Header.Get("Sec-WebSocket-Version"); v != "" != strings.HasSuffix(what, "version") {
				t.Errorf("%s, %s: Sec-WebSocket-Version %q", what, dialect, v)
			}
		}
	}
}

// HTTP/1.0 has no upgrade.
func TestHandshakeOfOldHTTP(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gw := s.gatewayAlone(gateway.Config{})
	conn := s.rawDial(gw)
	_, _ = io.WriteString(conn, strings.Replace(upgradeHead, "HTTP/1.1", "HTTP/1.0", 1)+"\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(answer), "426 Upgrade Required") || !strings.Contains(string(answer), "Stenobus-Code: upgrade_required") {
		t.Errorf("%q, %v", answer, err)
	}
}

func (s *system) rawDial(gw *node) net.Conn {
	s.t.Helper()
	conn, err := new(net.Dialer).DialContext(s.ctx(), "tcp", strings.TrimPrefix(gw.url, "ws://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(subjectstest.Wait))
	return conn
}

// A message that is too big ends the session with the code of the list and the limit, in
// every dialect, whether it is the first or not and in however many frames it comes.
func TestMessageTooBig(t *testing.T) {
	t.Parallel()
	s, gw := limited(t, gateway.Config{MaxMessage: 4 << 10})
	const reason = "message_too_big: at most 4096 bytes are allowed"
	for dialect, path := range served() {
		for how, send := range map[string]func(context.Context, *websocket.Conn) error{
			"at once": func(ctx context.Context, conn *websocket.Conn) error {
				return conn.Write(ctx, websocket.MessageText, []byte(`{"x":"`+strings.Repeat("x", 64<<10)+`"}`))
			},
			"after others": func(ctx context.Context, conn *websocket.Conn) error {
				_ = conn.Write(ctx, websocket.MessageText, []byte(`{"type":"KeepAlive","event":"ping","id":1}`)) // the next fails too then
				return conn.Write(ctx, websocket.MessageBinary, make([]byte, 4<<10+1))
			},
			"in parts": func(ctx context.Context, conn *websocket.Conn) error {
				w, err := conn.Writer(ctx, websocket.MessageBinary)
				for i := 0; err == nil && i < 5; i++ {
					_, err = w.Write(make([]byte, 1<<10))
				}
				if err != nil {
					return err
				}
				return w.Close()
			},
		} {
			conn, _, err := websocket.Dial(s.ctx(), gw.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			_ = send(s.ctx(), conn) // it may be closed in the middle of it
			err = listenToEnd(s.ctx(), conn)
			var frame websocket.CloseError
			if !errors.As(err, &frame) || frame.Code != websocket.StatusMessageTooBig || frame.Reason != reason {
				t.Errorf("%s, %s: closed with %v, want 1009 %s", dialect, how, err, reason)
			}
			_ = conn.CloseNow()
		}
	}
	subjectstest.Eventually(t, "nothing is left of them", func() bool { return len(s.keys()) == 0 })
}

// The largest message that is allowed is taken.
func TestLargestMessage(t *testing.T) {
	t.Parallel()
	s, gw := limited(t, gateway.Config{MaxMessage: 4 << 10})
	conn, _, err := websocket.Dial(s.ctx(), gw.url+"/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(s.ctx(), websocket.MessageBinary, make([]byte, 4<<10)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Write(s.ctx(), websocket.MessageText, []byte(`{"eof":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := listenToEnd(s.ctx(), conn); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("closed with %v", err)
	}
}

// A client whose frame has no end holds neither its connection nor a gateway that stops.
func TestFrameWithoutEnd(t *testing.T) {
	t.Parallel()
	s, gw := limited(t, gateway.Config{MaxMessage: 1 << 10, DrainWait: 200 * time.Millisecond})
	conn := s.rawDial(gw)
	head := binary.BigEndian.AppendUint64([]byte{0x82, 0xff}, 1<<40) // binary, masked, 1 TiB
	_, _ = io.WriteString(conn, strings.Replace(upgradeHead, "/transcribe?sendBack=true", "/stream", 1)+"\r\n")
	_, _ = conn.Write(append(head, 0, 0, 0, 0))
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, conn) // until the gateway closes it
	}()
	told := make(chan struct{})
	go func() { // it never stops to send
		defer close(told)
		for i := 0; ; i++ {
			if _, err := conn.Write(make([]byte, 64)); err != nil {
				return
			}
			if i == 100 {
				told <- struct{}{}
			}
		}
	}()
	<-told
	began := time.Now()
	gw.end()
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the gateway stopped after %v", took)
	}
	<-closed
	<-told
}
