package systemtest

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"stenobus/cmd/stenobus/samples"
	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/worker"
	"stenobus/worker/engine/pocketsphinx"
)

// sphinx is the offline recogniser; a machine that lacks it is told what to install.
func sphinx(t *testing.T) worker.Engine {
	t.Helper()
	e, err := pocketsphinx.New(pocketsphinx.Config{MaxDecoders: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// sample is a shipped file whose speech holds the given words.
func sample(t *testing.T, name string) samples.Sample {
	t.Helper()
	for _, s := range samples.All() {
		if strings.HasPrefix(s.Name, name) {
			return s
		}
	}
	t.Fatalf("no sample %q", name)
	return samples.Sample{}
}

// ogg sends a file as bytes that are labelled opus and cut anywhere, as fast as they go.
func (c *client) ogg(tag string, file []byte, slice int) {
	c.start(tag)
	for k := 0; len(file) > 0; k++ {
		n := min(slice, len(file))
		c.raw(fmt.Sprintf(`{"event":"media","media":{"tag":%q,"chunk":%d,"timestamp":%d,"payload":%q}}`,
			tag, k, k*960, base64.StdEncoding.EncodeToString(file[:n])))
		file = file[n:]
	}
}

func (c *client) heardText(tag string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var words []string
	for _, f := range c.finals {
		if f.Tag == tag {
			words = append(words, f.Text)
		}
	}
	return strings.Join(words, " ")
}

// Garbage that is called Opus is refused frame by frame, the client is told, and the
// neighbour on the same socket and the neighbour on the same worker are heard.
func TestOpusGarbage(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"}, sphinx(t))
	gw := s.gateway(gateway.Config{})
	audio := sample(t, "writing").Audio // the shortest

	c := dial(t, gw, named("garbage"))
	c.start("noise")
	rnd := rand.New(rand.NewPCG(1, 1))
	for k := range 50 {
		junk := []byte{0xff, 0xff, byte(rnd.Uint32())} // a code 3 packet whose frames do not fit
		c.raw(fmt.Sprintf(`{"event":"media","media":{"tag":"noise","chunk":%d,"payload":%q}}`, k, base64.StdEncoding.EncodeToString(junk)))
	}
	c.ogg("voice", audio, 200)
	neighbour := dial(t, gw, named("neighbour"))
	neighbour.ogg("voice", audio, 333)
	for _, x := range []*client{c, neighbour} {
		x.end()
		if status, reason := x.closed(); status != websocket.StatusNormalClosure {
			t.Fatalf("closed with %d %s", status, reason)
		}
		if text := x.heardText("voice"); !strings.Contains(text, "read the text") || !strings.Contains(text, "morning") {
			t.Errorf("heard %q", text)
		}
	}
	ended := c.note("ended", "")
	if ended.Refused["noise"] != 50 || *ended.Unaccounted != 0 {
		t.Errorf("ledger %+v, want 50 frames of noise refused", ended)
	}
	if n := c.note("warning", "undecodable"); n == nil || n.Tag != "noise" {
		t.Errorf("the client was not told: %+v", c.notes)
	}
}

// A worker dies in the middle of a sentence: the sentence is in the transcript once.
func TestSpeechSurvivesItsWorker(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	engine := sphinx(t)
	nodes := map[string]*node{}
	for _, id := range []string{"w1", "w2"} {
		nodes[id] = s.worker(worker.Config{ID: id, TurnLimit: 20 * time.Second}, engine)
	}
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("talk"))
	audio := sample(t, "pause").Audio
	c.ogg("voice", audio[:len(audio)*3/4], 200)
	c.until("the first sentence is final and the second has begun", func() bool {
		return len(c.finals) == 1 && len(c.inter) > 0 && strings.Contains(c.inter[len(c.inter)-1].Text, "second")
	})
	nodes[string(s.record("talk").Worker)].kill()
	for rest := audio[len(audio)*3/4:]; len(rest) > 0; {
		n := min(200, len(rest))
		c.raw(fmt.Sprintf(`{"event":"media","media":{"tag":"voice","payload":%q}}`, base64.StdEncoding.EncodeToString(rest[:n])))
		rest = rest[n:]
	}
	c.end()
	if status, reason := c.closed(); status != websocket.StatusNormalClosure {
		t.Fatalf("closed with %d %s", status, reason)
	}
	text := c.heardText("voice")
	for _, phrase := range []string{"we hear what you say", "second machine", "machine stops"} {
		if strings.Count(text, phrase) != 1 {
			t.Errorf("%q is not once in %q", phrase, text)
		}
	}
	if n := c.note("ended", ""); *n.Unaccounted != 0 {
		t.Errorf("ledger %+v", n)
	}
}
