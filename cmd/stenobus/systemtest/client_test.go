package systemtest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
	"stenobus/subjects/subjectstest"
	"stenobus/worker/engine/tally"
)

// client is a bridge as the protocol describes it, that keeps everything it sent and heard.
type client struct {
	t    testing.TB
	conn *websocket.Conn
	rnd  *rand.Rand

	secrets *secrets // where the session's token belongs; nil: nowhere

	sent  map[string][][]byte // frames by source
	order []sentFrame         // of all sources: the gateway numbers them so
	chunk map[string]int

	mu     sync.Mutex // guards what follows: written by read
	id     string
	token  string // by which it may come back
	finals []dialect.Result
	inter  []dialect.Result
	notes  []dialect.Note
	pongs  []string
	heard  chan struct{} // something was heard
	over   chan struct{} // the connection ended
	status websocket.StatusCode
	reason string
}

type sentFrame struct {
	tag  string
	data []byte
}

func dial(t testing.TB, gw *node, query string) *client {
	t.Helper()
	c, err := tryDial(t, gw, query)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// dialDeaf connects a client that never reads.
func dialDeaf(t testing.TB, gw *node, query string) *client {
	t.Helper()
	c, err := connect(t, gw, query)
	if err != nil {
		t.Fatal(err)
	}
	close(c.over)
	t.Cleanup(c.hangUp)
	return c
}

func tryDial(t testing.TB, gw *node, query string) (*client, error) {
	c, err := connect(t, gw, query)
	if err == nil {
		go c.read()
		t.Cleanup(c.hangUp)
	}
	return c, err
}

func connect(t testing.TB, gw *node, query string) (*client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, gw.url+"/transcribe?sendBack=true&sendBackInterim=true&stenobus=1&"+query, &websocket.DialOptions{HTTPClient: gw.http})
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("status %d: %w", resp.StatusCode, err)
		}
		return nil, err
	}
	c := newClient(t, conn)
	c.secrets = gw.secrets
	return c, nil
}

func newClient(t testing.TB, conn *websocket.Conn) *client {
	conn.SetReadLimit(-1)
	return &client{
		t: t, conn: conn, rnd: rand.New(rand.NewPCG(1, 2)),
		sent: map[string][][]byte{}, chunk: map[string]int{},
		heard: make(chan struct{}, 1), over: make(chan struct{}),
	}
}

// hangUp ends the connection, whatever its state, and the client's reader.
func (c *client) hangUp() {
	_ = c.conn.CloseNow()
	<-c.over
}

func named(id string) string { return "sessionId=" + url.QueryEscape(id) }

func (c *client) read() {
	defer close(c.over)
	for {
		_, data, err := c.conn.Read(context.Background())
		if err != nil {
			c.mu.Lock()
			c.status = websocket.CloseStatus(err)
			c.reason = err.Error()
			c.mu.Unlock()
			return
		}
		c.take(data)
	}
}

func (c *client) take(data []byte) {
	var m struct {
		Event     string          `json:"event"`
		ID        json.RawMessage `json:"id"`
		SessionID string          `json:"sessionId"`
		Token     string          `json:"resumeToken"`
		Neutral   json.RawMessage `json:"stenobus"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		c.t.Errorf("server sent %q: %v", data, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.SessionID != "" {
		c.id, c.token = m.SessionID, m.Token
		c.secrets.add(m.Token)
	}
	switch m.Event {
	case "pong":
		c.pongs = append(c.pongs, string(m.ID))
	case "transcription-result":
		var r dialect.Result
		_ = json.Unmarshal(m.Neutral, &r)
		if r.Type == dialect.TypeFinal {
			c.finals = append(c.finals, r)
		} else {
			c.inter = append(c.inter, r)
		}
	case "info":
		var n dialect.Note
		if len(m.Neutral) > 0 && json.Unmarshal(m.Neutral, &n) == nil && n.Event != "" {
			c.notes = append(c.notes, n)
		}
	}
	select {
	case c.heard <- struct{}{}:
	default:
	}
}

// until waits until ok holds, looking again whenever something is heard.
func (c *client) until(what string, ok func() bool) {
	c.t.Helper()
	subjectstest.Eventually(c.t, what, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return ok()
	})
}

func (c *client) raw(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		c.t.Logf("write: %v", err)
	}
}

func (c *client) start(tag string) {
	c.raw(fmt.Sprintf(`{"event":"start","sequenceNumber":"1","start":{"tag":%q,"mediaFormat":{"encoding":"opus","sampleRate":48000,"channels":2}},"event":"start"}`, tag))
}

// speak sends n frames of random bytes; numbers are strings, as bridges write them.
func (c *client) speak(tag string, n int) {
	for range n {
		data := make([]byte, 40+c.rnd.IntN(80))
		for i := range data {
			data[i] = byte(c.rnd.Uint32())
		}
		c.chunk[tag]++
		k := c.chunk[tag]
		c.sent[tag] = append(c.sent[tag], data)
		c.order = append(c.order, sentFrame{tag, data})
		c.raw(fmt.Sprintf(`{"event":"media","media":{"tag":%q,"chunk":"%d","timestamp":"%d","payload":%q}}`,
			tag, k, k*960, base64.StdEncoding.EncodeToString(data)))
	}
}

func (c *client) end() { c.raw(`{"event":"session-end"}`) }

// closed waits for the server to end the connection.
func (c *client) closed() (websocket.StatusCode, string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	select {
	case <-c.over:
	case <-ctx.Done():
		c.t.Fatal("the server did not close the connection")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status, c.reason
}

func (c *client) note(event, code string) *dialect.Note {
	for i := range c.notes {
		if n := &c.notes[i]; n.Event == event && (code == "" || n.Code == code) {
			return n
		}
	}
	return nil
}

// told is note for a test that does not hold the lock.
func (c *client) told(event, code string) *dialect.Note {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.note(event, code)
}

// finish ends the session and checks that everything spoken came back once.
func (c *client) finish() {
	c.t.Helper()
	c.end()
	if status, reason := c.closed(); status != websocket.StatusNormalClosure {
		c.t.Fatalf("closed with %d %q, want 1000", status, reason)
	}
	c.verify()
}

// verify proves from the finals alone that every frame sent is in exactly one of
// them, in order, byte for byte.
func (c *client) verify() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	numbers := map[string][]uint64{} // of the frames sent, by source
	for i, f := range c.order {
		numbers[f.tag] = append(numbers[f.tag], uint64(i+1))
	}
	next := map[string]int{}
	for i, f := range c.finals {
		if f.Number != uint64(i+1) {
			c.t.Fatalf("final %d has number %d", i+1, f.Number)
		}
		c.statement(f, numbers[f.Tag], next)
	}
	for tag, frames := range c.sent {
		if next[tag] != len(frames) {
			c.t.Errorf("source %s: finals cover %d of %d frames", tag, next[tag], len(frames))
		}
	}
	ended := c.note(dialect.EventEnded, "")
	if ended == nil || ended.Unaccounted == nil || *ended.Unaccounted != 0 {
		c.t.Errorf("the session's ledger is %+v", ended)
	}
}

func (c *client) statement(f dialect.Result, numbers []uint64, next map[string]int) {
	c.t.Helper()
	st, err := tally.Parse(f.Text)
	if err != nil {
		c.t.Fatal(err)
	}
	sum := fnv.New64a()
	for _, n := range st.Frames {
		i := next[f.Tag]
		if i >= len(numbers) || numbers[i] != n {
			c.t.Fatalf("source %s: final %d covers frame %d, its next is number %d of %d", f.Tag, f.Number, n, i, len(numbers))
		}
		sum.Write(c.sent[f.Tag][i])
		next[f.Tag]++
	}
	if sum.Sum64() != st.Sum {
		c.t.Fatalf("source %s: final %d has other bytes than were sent: %s", f.Tag, f.Number, f.Text)
	}
	if f.FirstFrame != st.Frames[0] || f.LastFrame != st.Frames[len(st.Frames)-1] {
		c.t.Errorf("final says frames %d-%d, its text %s", f.FirstFrame, f.LastFrame, f.Text)
	}
}

func tags(n int) []string {
	var out []string
	for i := range n {
		out = append(out, strings.Repeat(string(rune('a'+i%26)), 8)+fmt.Sprintf("-%d", i))
	}
	return out
}
