package systemtest

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/gateway/auth"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
	"stenobus/worker/engine/tally"
)

// limited is a whole system with one gateway.
func limited(t *testing.T, cfg gateway.Config) (*system, *node) {
	t.Helper()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	return s, s.gateway(cfg)
}

// endsWith checks how a session ended, and that every frame that was accepted is accounted for.
func (c *client) endsWith(status websocket.StatusCode, reason string) {
	c.t.Helper()
	if got, text := c.closed(); got != status || !strings.Contains(text, reason) {
		c.t.Errorf("closed with %d %s, want %d %s", got, text, status, reason)
	}
	if e := c.note("ended", ""); e == nil || *e.Unaccounted != 0 {
		c.t.Errorf("ledger %+v: what was accepted is not accounted for", e)
	}
}

func TestSilentClient(t *testing.T) {
	t.Parallel()
	s, gw := limited(t, gateway.Config{IdleWait: 300 * time.Millisecond})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 60)
	c.endsWith(websocket.StatusPolicyViolation, "idle_timeout")
	s.ledgerOf("room", 60)
}

func TestSessionThatGoesOnForTooLong(t *testing.T) {
	t.Parallel()
	s, gw := limited(t, gateway.Config{MaxLength: time.Second})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 60)
	if status, reason := c.closed(); status != websocket.StatusGoingAway || !strings.Contains(reason, "session_too_long") {
		t.Errorf("closed with %d %s, want 1001 session_too_long", status, reason)
	}
	subjectstest.Eventually(t, "what it said is transcribed to its end", func() bool { return s.endedWith("room") != nil })
	s.ledgerOf("room", 60)
}

// A client that sends faster than is allowed is read more slowly, and nothing is lost.
func TestAudioFasterThanAllowed(t *testing.T) {
	t.Parallel()
	const most, frames, batch = 20, 1200, 256 // of 100 ms; a batch is taken whole
	s, gw := limited(t, gateway.Config{MaxSpeed: most, Window: 5 * time.Minute, WindowBytes: 64 << 20})
	c := dial(t, gw, named("room"))
	c.until("it is served", func() bool { return c.note("ready", "") != nil })
	c.raw(`{"event":"start","start":{"tag":"a","mediaFormat":{"encoding":"l16","sampleRate":8000,"channels":1}}}`)
	payload := base64.StdEncoding.EncodeToString(make([]byte, 1600))
	began := time.Now()
	for i := range frames {
		c.raw(fmt.Sprintf(`{"event":"media","media":{"tag":"a","chunk":%d,"payload":%q}}`, i, payload))
	}
	c.end()
	c.endsWith(websocket.StatusNormalClosure, "")
	if took, least := time.Since(began), (frames-600-batch)*100*time.Millisecond/most; took < least {
		t.Errorf("%d frames of 100 ms were taken within %v, at %d times real time and a minute at once that takes %v", frames, took, most, least)
	}
	s.ledgerOf("room", frames)
}

// Frames that no message on the bus holds are refused one by one, also while no worker has
// the session, and everybody else is heard.
func TestFramesBeyondTheBus(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	gw := s.gatewayAlone(gateway.Config{MaxMessage: 4 << 20})
	c := dial(t, gw, named("room"))
	big := func() {
		c.raw(fmt.Sprintf(`{"event":"media","media":{"tag":"a","payload":%q}}`, base64.StdEncoding.EncodeToString(make([]byte, 1200<<10))))
	}
	c.raw(`{"event":"start","start":{"tag":"a","mediaFormat":{"encoding":"l16","sampleRate":48000,"channels":1}}}`)
	big() // the source begins with it
	c.until("it is told", func() bool { return c.note("warning", "frame_too_big") != nil })
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	c.until("it is served", func() bool { return c.note("ready", "") != nil })
	c.speakL16("a", 30)
	c.start("b")
	c.speak("b", 30)
	big()
	c.speakL16("a", 30)
	c.end()
	c.endsWith(websocket.StatusNormalClosure, "")
	if n := c.note("warning", "frame_too_big"); !strings.Contains(n.Allowed, "bytes") || n.Field != "media.payload" || n.Tag != "a" {
		t.Errorf("it was told %+v", n)
	}
	if e := c.note("ended", ""); e.Accepted["a"] != 62 || e.Refused["a"] != 2 || e.Covered["a"] != 60 || e.Covered["b"] != 30 {
		t.Errorf("ledger %+v, want 62 frames of a accepted and 2 of them refused", e)
	}
}

func TestAddressThatConnectsTooOften(t *testing.T) {
	t.Parallel()
	s, gw := limited(t, gateway.Config{ConnectRate: 0.01})
	dial(t, gw, named("room"))
	_, resp, err := websocket.Dial(s.ctx(), gw.url+"/transcribe?sendBack=true", nil)
	if err == nil || resp == nil || resp.StatusCode != http.StatusTooManyRequests ||
		resp.Header.Get("Retry-After") != "1" || resp.Header.Get("Stenobus-Code") != "too_many_connects" {
		t.Errorf("got %v, %v; want 429 too_many_connects and when to try again", resp, err)
	}
}

// Sources come and go in a long session: their number is bounded, as all are in its log.
// Beyond it the client is let go, comes back, and is heard in another life.
func TestSourcesOfALife(t *testing.T) {
	t.Parallel()
	s, gw := limited(t, gateway.Config{MaxLifeSources: 20})
	for id, served := range map[string]bool{"served": true, "not served yet": false} {
		c := dial(t, gw, named(id))
		if served {
			c.until("it is served", func() bool { return c.note("ready", "") != nil })
		}
		for i := range 25 {
			tag := fmt.Sprintf("t%d", i)
			c.start(tag)
			c.speak(tag, 1)
			c.raw(fmt.Sprintf(`{"event":"stop","stop":{"tag":%q}}`, tag))
		}
		if status, reason := c.closed(); status != websocket.StatusGoingAway || !strings.Contains(reason, "sources_used_up") {
			t.Errorf("%s: closed with %d %s, want 1001 sources_used_up", id, status, reason)
		}
		if c.told("error", "sources_used_up") == nil {
			t.Errorf("%s: it was not told", id)
		}
		back := dial(t, gw, named(id))
		back.start("t20")
		back.speak("t20", 30)
		back.finish()
		s.ledgerOf(id, 30)
		heard := 0
		finals, _ := s.stored(subjects.SessionID(id)) // of both lives
		for _, f := range finals {
			st, err := tally.Parse(f.Text)
			if err != nil {
				t.Fatal(err)
			}
			heard += len(st.Frames)
		}
		if heard != 20+30 {
			t.Errorf("%s: %d frames were heard in both lives, want 20 and 30", id, heard)
		}
	}
}

// People come and go in a conference whose bridge never says that somebody has left: those
// who have long been silent make room for others, and are heard when they speak again.
func TestConferenceOfManySpeakers(t *testing.T) {
	t.Parallel()
	s, gw := limited(t, gateway.Config{MaxSources: 3})
	c := dial(t, gw, named("room"))
	frames := 0
	speak := func(tag string, n int) {
		c.speakL16(tag, n)
		frames += n
	}
	for _, tag := range []string{"a", "b", "c"} {
		c.raw(fmt.Sprintf(`{"event":"start","start":{"tag":%q,"mediaFormat":{"encoding":"l16","sampleRate":16000,"channels":1}}}`, tag))
		speak(tag, 30)
	}
	c.start("d")
	ctx, now := s.ctx(), time.NewTicker(100*time.Millisecond)
	defer now.Stop()
	for c.told("warning", "silent_source") == nil {
		select {
		case <-now.C:
		case <-ctx.Done():
			t.Fatal("there is never room for another")
		}
		speak("b", 1)
		speak("c", 1)
		c.start("e") // refused until then
		c.settle()
	}
	c.speak("e", 30)
	speak("c", 30)
	c.end()
	c.endsWith(websocket.StatusNormalClosure, "")
	s.ledgerOf("room", uint64(frames+30))
	if n := c.note("warning", "silent_source"); n.Tag != "a" {
		t.Errorf("%s has given its place", n.Tag)
	}
	if e := c.note("ended", ""); e.Covered["a"] != 30 || e.Covered["e"] != 30 {
		t.Errorf("ledger %+v", e)
	}
}

// byName knows clients whose key is their name.
type byName map[string]auth.Principal

func (names byName) Authenticate(_ context.Context, key string) (auth.Principal, error) {
	p, ok := names[key]
	if !ok {
		return p, auth.ErrUnknown
	}
	return p, nil
}

func TestSessionsOfAPrincipal(t *testing.T) {
	t.Parallel()
	_, gw := limited(t, gateway.Config{MaxPrincipal: 1, Auth: byName{
		"ann": {Name: "ann"}, "bob": {Name: "bob", MaxSessions: 2, Sessions: []string{"bob-*"}, Providers: []string{"tally"}},
	}})
	as := func(who, query string) (*client, int, string) {
		t.Helper()
		c, err := dialAs(t, gw, query, http.Header{"Authorization": {"Bearer " + who}})
		if err != nil {
			status := 0
			if _, e := fmt.Sscanf(err.Error(), "status %d", &status); e != nil {
				t.Fatal(err)
			}
			return nil, status, err.Error()
		}
		return c, 0, ""
	}
	ann, _, _ := as("ann", named("a1"))
	if ann == nil {
		t.Fatal("ann was refused")
	}
	for _, tt := range []struct {
		who, query string
		status     int
		text       string
	}{
		{"eve", named("e1"), 401, "Unauthorized"},
		{"", named("e1"), 401, "Unauthorized"},
		{"ann", named("a2"), 429, "1 of 1 sessions"},
		{"bob", named("bob-1"), 0, ""},
		{"bob", named("bob-2"), 0, ""},
		{"bob", named("bob-3"), 429, "2 of 2 sessions"},
		{"bob", named("a1"), 403, "not among those"},
		{"bob", named("bob-1") + "&provider=pocketsphinx", 403, "provider"},
	} {
		_, status, text := as(tt.who, tt.query)
		if status != tt.status || !strings.Contains(text, tt.text) {
			t.Errorf("%s %s: %d %s, want %d %s", tt.who, tt.query, status, text, tt.status, tt.text)
		}
	}
	ann.end()
	ann.closed()
	subjectstest.Eventually(t, "her place is free", func() bool {
		c, _, _ := as("ann", named("a3"))
		return c != nil
	})
}
