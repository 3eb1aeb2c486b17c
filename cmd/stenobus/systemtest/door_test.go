package systemtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/gateway/auth"
	"stenobus/worker"
)

// doorway is how clients of one protocol come in. A new protocol is one more line.
type doorway struct {
	path  string                              // and the query that its clients need
	show  func(r *shown, secret string)       // how they show a key or token
	say   string                              // one message
	kind  websocket.MessageType               // of say
	hear  string                              // is in an answer to it
	error func(status int, body string) error // of a refusal, nil where it is as this protocol's clients read it; optional
}

// shown is what a client adds to its request.
type shown struct {
	query     string
	header    http.Header
	protocols []string
}

func bearer(r *shown, secret string) { r.header.Set("Authorization", "Bearer "+secret) }

func doorways() map[string]doorway {
	const ping, pong = `{"event":"ping","id":7}`, `{"event":"pong","id":7}`
	protocols := func(before ...string) func(*shown, string) { // the last one is the key, or ends in it
		return func(r *shown, secret string) {
			r.protocols = slices.Clone(before)
			r.protocols[len(before)-1] += secret
		}
	}
	body := func(field, want string) func(int, string) error {
		return func(_ int, body string) error {
			var v map[string]any
			if err := json.Unmarshal([]byte(body), &v); err != nil {
				return fmt.Errorf("body %q: %w", body, err)
			}
			if inner, ok := v["error"].(map[string]any); ok {
				v = inner
			}
			if v[field] != want {
				return fmt.Errorf("body %s, want %s in %s", body, want, field)
			}
			return nil
		}
	}
	const text = websocket.MessageText
	dg := doorway{path: "/v1/listen?encoding=linear16&sample_rate=16000", say: `{"type":"CloseStream"}`, kind: text, hear: `"Metadata"`, error: body("err_code", "INVALID_AUTH")}
	rt := doorway{path: "/v1/realtime?intent=transcription", say: `{"type":"input_audio_buffer.clear"}`, kind: text, hear: `"input_audio_buffer.cleared"`, error: body("code", "invalid_api_key")}
	raw := doorway{path: "/stream?interims=false", say: `{"event":"ping","id":7}`, kind: text, hear: `"pong"`, error: body("code", "unauthorized")}
	with := func(d doorway, show func(*shown, string)) doorway {
		d.show = show
		return d
	}
	return map[string]doorway{
		"mediajson":              {path: "/transcribe?sendBack=true", show: bearer, say: ping, kind: websocket.MessageText, hear: pong},
		"mediajson, by header":   {path: "/transcribe?sendBack=true", show: func(r *shown, secret string) { r.header.Set("X-Api-Key", secret) }, say: ping, kind: websocket.MessageText, hear: pong},
		"mediajson, by protocol": {path: "/transcribe?sendBack=true", show: protocols("stenobus", "stenobus.key."), say: ping, kind: websocket.MessageText, hear: pong},
		"mediajson, by query":    {path: "/transcribe?sendBack=true", show: func(r *shown, secret string) { r.query = "&access_token=" + secret }, say: ping, kind: websocket.MessageText, hear: pong},
		"deepgram":               with(dg, func(r *shown, secret string) { r.header.Set("Authorization", "Token "+secret) }),
		"deepgram, by protocol":  with(dg, protocols("token", "")),
		"openai":                 with(rt, bearer),
		"openai, by protocol":    with(rt, protocols("realtime", "openai-insecure-api-key.")),
		"plain":                  with(raw, bearer),
		"plain, by protocol":     with(raw, protocols("stenobus", "stenobus.key.")),
		"mediajson, by any path": {path: "/a/b/transcribe?sendBack=true", show: bearer, say: ping, kind: websocket.MessageText, hear: pong},
	}
}

// knock tries to come in. A refusal is a response, whose body can be read.
func (d doorway) knock(s *system, gw *node, secret string) (*websocket.Conn, *http.Response, error) {
	r := &shown{header: http.Header{}}
	if secret != "" {
		d.show(r, secret)
	}
	return websocket.Dial(s.ctx(), gw.url+d.path+r.query, &websocket.DialOptions{
		HTTPClient: gw.http, HTTPHeader: r.header, Subprotocols: r.protocols,
	})
}

// Over TLS each protocol lets in who shows a key or a token in the way of its clients,
// and nobody else, before the upgrade.
func TestDoorOfEachProtocol(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	l := s.lock()
	gw, _ := s.secureGateway(gateway.Config{Auth: l.auth})
	good := map[string]string{
		"key":   l.key(auth.Principal{Name: "ann"}),
		"token": l.token("eve", time.Now().Add(time.Hour), nil),
	}
	bad := map[string]string{
		"nothing":       "",
		"wrong key":     auth.NewSecret(),
		"cut key":       good["key"][:30],
		"expired token": l.token("eve", time.Now().Add(-time.Hour), nil),
		"cut token":     good["token"][:len(good["token"])-4],
	}
	for _, secret := range bad {
		s.secrets.add(secret)
	}
	for name, d := range doorways() {
		for what, secret := range bad {
			s.refused(d, gw, name+", "+what, secret, http.StatusUnauthorized, "unauthorized")
		}
		for what, secret := range good {
			conn, _, err := d.knock(s, gw, secret)
			if err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
				continue
			}
			if err := d.talk(s, conn); err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			_ = conn.CloseNow()
		}
	}
}

// refused checks an answer before the upgrade.
func (s *system) refused(d doorway, gw *node, what, secret string, status int, code string) {
	s.t.Helper()
	conn, resp, err := d.knock(s, gw, secret)
	if err == nil {
		_ = conn.CloseNow()
		s.t.Errorf("%s: it was let in", what)
		return
	}
	if resp == nil {
		s.t.Errorf("%s: %v", what, err)
		return
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != status || resp.Header.Get("Stenobus-Code") != code || len(body) == 0 {
		s.t.Errorf("%s: %d %s %q, want %d %s and why", what, resp.StatusCode, resp.Header.Get("Stenobus-Code"), body, status, code)
	}
	if s.secrets.in(string(body)) || s.secrets.in(fmt.Sprint(resp.Header)) {
		s.t.Errorf("%s: the answer holds a secret: %s", what, body)
	}
	if d.error != nil {
		if err := d.error(resp.StatusCode, string(body)); err != nil {
			s.t.Errorf("%s: %v", what, err)
		}
	}
}

// talk says one thing and waits for its answer.
func (d doorway) talk(s *system, conn *websocket.Conn) error {
	if err := conn.Write(s.ctx(), d.kind, []byte(d.say)); err != nil {
		return err
	}
	for {
		_, data, err := conn.Read(s.ctx())
		if err != nil {
			return fmt.Errorf("no answer with %q: %w", d.hear, err)
		}
		if strings.Contains(string(data), d.hear) {
			return nil
		}
	}
}
