package systemtest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/gateway/dialect"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

// after is the query of a client that comes back with everything up to a cursor.
func after(id string, cursor uint64) string {
	return fmt.Sprintf("%s&after=%d", named(id), cursor)
}

// stored reads a session's finals from the results log, as an outsider does.
func (s *system) stored(id subjects.SessionID) (finals []subjects.Final, last uint64) {
	s.t.Helper()
	results := s.resultsLog()
	for {
		m, err := results.Next(s.ctx(), id, last)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return finals, last
		}
		if err != nil {
			s.t.Fatal(err)
		}
		last = m.Sequence
		if !strings.Contains(m.Header.Get(subjects.HeaderName), " final ") {
			continue
		}
		f, err := subjects.Decode[subjects.Final](subjects.KindFinal, m.Data)
		if err != nil {
			s.t.Fatal(err)
		}
		finals = append(finals, f)
	}
}

// A client is away while finals are stored. It comes back, at another gateway, with the
// cursor of the last that it had: the missed ones come first, in order, once, and the
// numbers go on behind the last packet that was taken.
func TestResumeDeliversWhatWasMissed(t *testing.T) {
	t.Parallel()
	s, gw := small(t, gateway.Config{}, worker.Config{ID: "w1"})
	other := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	cursor := c.finals[0].Cursor
	c.speak("a", 60) // its finals come when nobody listens
	c.settle()
	_ = c.conn.CloseNow()
	subjectstest.Eventually(t, "the missed finals are stored", func() bool { finals, _ := s.stored("room"); return len(finals) == 3 })

	back := dial(t, other, after("room", cursor))
	back.until("it is told from where to go on", func() bool { return back.note("resumed", "") != nil })
	if got := back.told("resumed", "").Packets["a"]; got != 130 {
		t.Errorf("the last packet is %d, want 130", got)
	}
	back.until("the missed finals", func() bool { return len(back.finals) >= 2 })
	back.chunk["a"] = 130
	back.speak("a", 50) // no start: the source is remembered
	back.end()
	if status, reason := back.closed(); status != websocket.StatusNormalClosure {
		t.Fatalf("closed with %d %s", status, reason)
	}
	finals, _ := s.stored("room")
	got := append(c.finals[:1:1], back.finals...)
	if len(got) != len(finals) {
		t.Fatalf("%d finals reached the client, %d are stored", len(got), len(finals))
	}
	for i, f := range got {
		if f.Number != uint64(i+1) || f.Text != finals[i].Text {
			t.Errorf("final %d of the client is number %d, %q", i+1, f.Number, f.Text)
		}
	}
	s.ledgerOf("room", 180)
}

// The session ended while its client was away: what it lacks is delivered all the same,
// with the end, and no new life begins.
func TestResumeAfterTheEnd(t *testing.T) {
	t.Parallel()
	s, gw := small(t, gateway.Config{Grace: 200 * time.Millisecond}, worker.Config{ID: "w1"})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	cursor := c.finals[0].Cursor
	c.speak("a", 60)
	c.settle()
	_ = c.conn.CloseNow()
	subjectstest.Eventually(t, "the session has ended", func() bool { return len(s.keys()) == 0 })
	for range 2 { // reading changes nothing: it may be read again
		back := dial(t, gw, after("room", cursor))
		if status, reason := back.closed(); status != websocket.StatusNormalClosure {
			t.Fatalf("closed with %d %s", status, reason)
		}
		finals, _ := s.stored("room")
		if len(back.finals) != len(finals)-1 {
			t.Errorf("%d finals came, want %d", len(back.finals), len(finals)-1)
		}
		if e := back.note(dialect.EventEnded, subjects.EndGrace); e == nil || e.Accepted["a"] != 130 {
			t.Errorf("the end was told as %+v", e)
		}
	}
	if keys := s.keys(); len(keys) != 0 {
		t.Errorf("a new life began: %v", keys)
	}
}

// There is nothing to resume: a new life begins, as without a cursor.
func TestResumeOfNothing(t *testing.T) {
	t.Parallel()
	_, gw := small(t, gateway.Config{}, worker.Config{ID: "w1"})
	c := dial(t, gw, after("room", 0))
	c.start("a")
	c.speak("a", 70)
	c.finish()
}

// An id is used again, and the connection breaks before the new life begins: whoever
// comes back with nothing, and with a token of its own, gets its new life and none of
// the old one's words.
func TestResumeBeforeALifeBegan(t *testing.T) {
	t.Parallel()
	_, gw := small(t, gateway.Config{}, worker.Config{ID: "w1"})
	old := dial(t, gw, named("room"))
	old.start("a")
	old.speak("a", 60)
	old.finish()
	c, err := dialAs(t, gw, after("room", 0), http.Header{gateway.TokenHeader: {"OF-A-LIFE-THAT-NEVER-BEGAN"}})
	if err != nil {
		t.Fatal(err)
	}
	c.start("a")
	c.speak("a", 60)
	c.finish()
}

// The life with the cursor is over and the id has another: the client is told.
func TestResumeWithAnOldCursor(t *testing.T) {
	t.Parallel()
	s, gw := small(t, gateway.Config{}, worker.Config{ID: "w1"})
	old := dial(t, gw, named("room"))
	old.start("a")
	old.speak("a", 60)
	old.finish()
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 60)
	c.until("a final of the new life", func() bool { return len(c.finals) == 1 })
	_ = c.conn.CloseNow()
	back := dial(t, gw, after("room", old.finals[0].Cursor))
	back.until("it is told", func() bool { return back.note(dialect.EventWarning, "old_cursor") != nil })
	var f dialect.Result // another final may come while it is looked at
	back.until("it hears the new life from its begin", func() bool {
		if len(back.finals) > 0 {
			f = back.finals[0]
		}
		return len(back.finals) > 0
	})
	if f.Number != 1 || f.Cursor != c.finals[0].Cursor {
		t.Errorf("the first final is %+v", f)
	}
	back.end()
	back.closed()
	s.ledgerOf("room", 60)
}

// Gateway and worker die together. What results cover stands, and the client, told the
// last packet covered, says the rest again: nothing is lost, nothing is heard twice.
func TestResumeWhenGatewayAndWorkerAreGone(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	first := s.worker(worker.Config{ID: "w1"})
	gw, other := s.gateway(gateway.Config{}), s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	for _, tag := range []string{"a", "b"} {
		c.raw(fmt.Sprintf(`{"event":"start","start":{"tag":%q,"mediaFormat":{"encoding":"l16","sampleRate":16000,"channels":1}}}`, tag))
	}
	c.speakL16("b", 120)
	c.speakL16("a", 70)
	c.until("finals", func() bool { return len(c.finals) == 3 })
	cursor := c.finals[2].Cursor
	first.kill()
	gw.kill()
	s.worker(worker.Config{ID: "w2"})
	back := dial(t, other, after("room", cursor))
	back.until("it is told from where to go on", func() bool { return back.note("resumed", "") != nil })
	packets := back.told("resumed", "").Packets
	if packets["a"] != 50 || packets["b"] != 100 {
		t.Fatalf("the last packets are %v, want 50 of a and 100 of b", packets)
	}
	back.chunk["a"], back.chunk["b"] = 50, 100
	back.speakL16("a", 50) // in the format of before, which nobody has told again
	back.speakL16("b", 50)
	back.end()
	if status, reason := back.closed(); status != websocket.StatusNormalClosure {
		t.Fatalf("closed with %d %s", status, reason)
	}
	if n := back.told(dialect.EventWarning, ""); n != nil {
		t.Errorf("the client was warned: %+v", n)
	}
	finals, _ := s.stored("room")
	for i, f := range finals {
		if f.Number != uint64(i+1) {
			t.Errorf("final %d has number %d", i+1, f.Number)
		}
	}
	s.ledgerOf("room", 250)
}

// speakL16 sends frames of 20 ms in the format that the test started.
func (c *client) speakL16(tag string, n int) {
	for range n {
		c.chunk[tag]++
		c.raw(fmt.Sprintf(`{"event":"media","media":{"tag":%q,"chunk":"%d","payload":%q}}`, tag, c.chunk[tag], strings.Repeat("AAAA", 160)))
	}
}

// Whatever the order in which the ends of old connections are noticed, they change
// nothing for the one that has the session.
func TestLateEndsOfOldConnections(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gws := []*node{s.gateway(gateway.Config{}), s.gateway(gateway.Config{})}
	ends := map[string]func(*client){
		"broken":     func(c *client) { _ = c.conn.CloseNow() },
		"close 1001": func(c *client) { _ = c.conn.Close(websocket.StatusGoingAway, "") },
		"end event":  func(c *client) { c.end() },
		"silence":    func(*client) {},
	}
	n := 0
	var all sync.WaitGroup // they mostly wait: all at once, in the one place of this test
	defer all.Wait()
	for first, endFirst := range ends {
		for second, endSecond := range ends {
			for _, order := range []string{"12", "21"} {
				n++
				id := fmt.Sprintf("room-%d", n)
				all.Go(func() {
					t.Run(strings.Join([]string{first, second, order}, ", "), func(t *testing.T) {
						lateEnds(t, s, gws, id, order, endFirst, endSecond)
					})
				})
			}
		}
	}
}

func lateEnds(t *testing.T, s *system, gws []*node, id, order string, endFirst, endSecond func(*client)) {
	acked := s.acks(subjects.SessionID(id))
	var old []*client
	for i := range 2 {
		c := dialDeaf(t, gws[i%2], named(id)) // it never answers a close, so its end is late
		c.start("a")
		c.speak("a", 10)
		subjectstest.Eventually(t, "the worker has its frames", func() bool { return acked.Load() == uint64(10*(i+1)+i) }) // and a flush for each that yields
		old = append(old, c)
	}
	last := dial(t, gws[0], named(id))
	last.until("the last has the session", func() bool { return last.note("resumed", "") != nil })
	last.start("a")
	last.speak("a", 30)
	for _, which := range order {
		if which == '1' {
			endFirst(old[0])
		} else {
			endSecond(old[1])
		}
		last.speak("a", 30)
	}
	last.end()
	if status, reason := last.closed(); status != websocket.StatusNormalClosure {
		t.Fatalf("the last was closed with %d %s", status, reason)
	}
	if e := last.note(dialect.EventEnded, ""); e == nil || *e.Unaccounted != 0 || e.Accepted["a"] != 110 {
		t.Errorf("ledger %+v, want 110 frames and none unaccounted", e)
	}
	s.ledgerOf(id, 110)
}

// A gateway that died can't say what it still has: the next one is not made to wait for
// it. One that only hangs is waited for, and then passed over.
func TestDeadGatewayIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s, gw := small(t, gateway.Config{}, worker.Config{ID: "w1"})
	link := s.bus.Link()
	hangs := s.gatewayOn(link.Dial(t), gateway.Config{})
	other := s.gateway(gateway.Config{})
	took := func(id string, old *node, leave func()) time.Duration {
		c := dial(t, old, named(id))
		c.start("a")
		c.speak("a", 70)
		c.until("a final", func() bool { return len(c.finals) == 1 })
		leave()
		began := time.Now()
		back := dial(t, other, after(id, c.finals[0].Cursor))
		back.until("it may go on", func() bool { return back.note("resumed", "") != nil })
		return time.Since(began)
	}
	dead := took("dead", gw, gw.kill)
	hanging := took("hanging", hangs, link.Freeze)
	link.Thaw()
	if dead >= hanging {
		t.Errorf("a dead gateway was waited for %v, a hanging one %v", dead, hanging)
	}
}

// A gateway hung while a client tried to reach it; the client went elsewhere. When the
// gateway wakes and finds the old request, it takes the session from nobody.
func TestRequestOfAClientThatIsGone(t *testing.T) {
	t.Parallel()
	s, gw := small(t, gateway.Config{}, worker.Config{ID: "w1"})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	at := strings.TrimPrefix(s.gateway(gateway.Config{}).url, "ws://")
	for range 10 {
		// What is left of a client that gave up: its request, and the end of its connection.
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /transcribe?sendBack=true&sessionId=room&after=%d HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\n"+
			"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", c.finals[0].Cursor, at)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn) // until the gateway has seen that nobody is there
		_ = conn.Close()
	}
	c.speak("a", 30)
	c.finish()
	if r := s.attachesOf("room"); r != 1 {
		t.Errorf("the session was taken %d times", r)
	}
}

// A client spoke at a gateway which could not reach a dispatcher, broke off and was served
// elsewhere. The claim of before, asked again at last, does not take the session from it.
func TestClaimAskedAgainForAClientThatLeft(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	link := s.bus.Link()
	cut, g := s.bareGateway(link.Dial(t), gateway.Config{Grace: time.Minute})
	subjectstest.Eventually(t, "the gateway runs", func() bool {
		err := g.Ready(s.ctx())
		return err == nil || strings.Contains(err.Error(), "no dispatcher")
	})
	c := dial(t, cut, named("room"))
	c.start("a")
	c.speak("a", 10)
	c.until("it waits for a dispatcher", func() bool { return c.note("waiting", "") != nil })
	c.hangUp()
	subjectstest.Eventually(t, "its gateway knows that it left", func() bool { return g.Stats().Detached == 1 })
	link.Freeze()
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	back := dial(t, s.gateway(gateway.Config{}), named("room"))
	back.start("a")
	back.speak("a", 30)
	back.until("it is served", func() bool { return back.note("ready", "") != nil })
	link.Thaw()
	subjectstest.Eventually(t, "the claim of before is over", func() bool { return g.Stats().Detached == 0 })
	back.speak("a", 30)
	back.finish()
	if n := s.attachesOf("room"); n != 1 {
		t.Errorf("the session was taken %d times", n)
	}
}

// attachesOf is the highest attach of a session, as its results log says.
func (s *system) attachesOf(id subjects.SessionID) (highest uint64) {
	s.t.Helper()
	stream, err := s.js.Stream(s.ctx(), subjects.ResultsStream)
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := stream.GetLastMsgForSubject(s.ctx(), subjects.Result(id))
	if err != nil {
		s.t.Fatal(err)
	}
	var e subjects.Envelope
	if err := e.ParseMsg(&nats.Msg{Header: m.Header, Data: m.Data}); err != nil {
		s.t.Fatal(err)
	}
	return e.Attach
}
