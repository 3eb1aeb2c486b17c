package gateway

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go"

	"stenobus/gateway/dialect"
	"stenobus/gateway/mediajson"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

// still is a session whose loop does not run: the test drives it.
func still(t *testing.T, cfg Config) *session {
	t.Helper()
	return stillOn(t, subjectstest.NewBus(t).Dial(), cfg)
}

func stillOn(t testing.TB, nc *nats.Conn, cfg Config) *session {
	t.Helper()
	g, err := New(nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	conv, req, refusal := mediajson.New(mediajson.Config{}).Open(httptest.NewRequest("GET", "/transcribe?sendBack=true&stenobus=1", nil))
	if refusal != nil {
		t.Fatal(refusal)
	}
	return newSession(g, "room", false, req, credentials{}, conv)
}

func starts(tag string) dialect.Event {
	return dialect.Event{Kind: dialect.Start, Tag: tag, Format: dialect.Format{Encoding: "l16", SampleRate: 8000, Channels: 1}}
}

func says(tag string, bytes int) dialect.Event {
	return dialect.Event{Kind: dialect.Media, Tag: tag, Payload: make([]byte, bytes), Packet: -1, TimeMS: -1}
}

func TestEntriesCostWhatTheyTake(t *testing.T) {
	t.Parallel()
	grown := func(n uintptr) uintptr { return n*5/4 + 16 } // a growing slice, and the smallest payload
	for what, n := range map[string]struct{ takes, counts uintptr }{
		"entry":     {grown(unsafe.Sizeof(entry{})), entryCost},
		"received":  {grown(unsafe.Sizeof(received{})), entryCost},
		"source":    {unsafe.Sizeof(subjects.Source{}), startCost},
		"beginning": {unsafe.Sizeof(beginning{}), startCost},
		"run":       {unsafe.Sizeof(subjects.Run{}) * 5 / 4, runCost},
		"message":   {grown(unsafe.Sizeof(message{})), messageCost},
	} {
		if n.takes > n.counts {
			t.Errorf("%s takes %d bytes and counts %d", what, n.takes, n.counts)
		}
	}
}

// Whatever a client sends little of, it takes no more than the window may have: while
// nobody serves the session, and while its worker covers nothing.
func TestManyTinyMessagesAreBounded(t *testing.T) {
	t.Parallel()
	const most = 1 << 20
	for name, batch := range map[string]func(s *session, i int){
		"frames": func(s *session, _ int) { s.event(says("a", 1)) },
		"starts": func(s *session, i int) {
			f := starts("a")
			f.Format.SampleRate += i % 2
			s.event(f)
			s.event(says("a", 1))
		},
		"flushes": func(s *session, i int) {
			s.event(says(fmt.Sprint(i%200), 1))
			s.event(dialect.Event{Kind: dialect.Flush})
		},
		"only flushes": func(s *session, _ int) { s.event(dialect.Event{Kind: dialect.Flush}) },
	} {
		for _, served := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, served %t", name, served), func(t *testing.T) {
				t.Parallel()
				s := still(t, Config{WindowBytes: most, Window: 10 * time.Minute})
				if served {
					s.startCount(1, nil)
					s.phase = taking
				}
				for i := range 20_000 {
					batch(s, i)
					s.bound()
					if n := len(s.held)*int(unsafe.Sizeof(received{})) + len(s.snd.window)*int(unsafe.Sizeof(entry{})) +
						s.snd.skipped(); n > most {
						t.Fatalf("after %d messages %d bytes are taken, %d are allowed", i, n, most)
					}
				}
			})
		}
	}
}
