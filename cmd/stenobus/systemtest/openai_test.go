package systemtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/gateway/auth"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
	"stenobus/worker/engine/tally"
)

// realtime is a client of the OpenAI Realtime API that keeps what it hears.
type realtime struct {
	t    *testing.T
	conn *websocket.Conn
	over chan struct{}

	mu     sync.Mutex // guards what follows: written by read
	heard  []realtimeEvent
	status websocket.StatusCode
}

type realtimeEvent struct {
	Type       string
	Item       string `json:"item_id"`
	Previous   string `json:"previous_item_id"`
	Delta      string
	Transcript string
	StartMS    int64 `json:"audio_start_ms"`
	EndMS      int64 `json:"audio_end_ms"`
	Error      struct{ Type, Code, Param, Message string }
	Session    struct{ ID, Type string }
}

const transcriptionOf = "conversation.item.input_audio_transcription."

func dialRealtime(t *testing.T, gw *node, query string) *realtime {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, gw.url+"/v1/realtime?intent=transcription&model=gpt-4o-transcribe&"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	c := &realtime{t: t, conn: conn, over: make(chan struct{})}
	go c.read()
	t.Cleanup(func() {
		_ = conn.CloseNow()
		<-c.over
	})
	c.await("session.created", 1)
	return c
}

func (c *realtime) read() {
	defer close(c.over)
	for {
		_, data, err := c.conn.Read(context.Background())
		if err != nil {
			c.mu.Lock()
			c.status = websocket.CloseStatus(err)
			c.mu.Unlock()
			return
		}
		var e realtimeEvent
		if err := json.Unmarshal(data, &e); err != nil {
			c.t.Errorf("server sent %q: %v", data, err)
		}
		c.mu.Lock()
		c.heard = append(c.heard, e)
		c.mu.Unlock()
	}
}

func (c *realtime) of(kind string) (list []realtimeEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.heard {
		if e.Type == kind {
			list = append(list, e)
		}
	}
	return list
}

// await waits for the nth event of a type and returns it.
func (c *realtime) await(kind string, n int) realtimeEvent {
	c.t.Helper()
	subjectstest.Eventually(c.t, fmt.Sprintf("%d of %s", n, kind), func() bool { return len(c.of(kind)) >= n })
	return c.of(kind)[n-1]
}

func (c *realtime) say(text string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		c.t.Errorf("write: %v", err)
	}
}

func (c *realtime) append(audio []byte) {
	c.t.Helper()
	c.say(fmt.Sprintf(`{"type":"input_audio_buffer.append","audio":%q}`, base64.StdEncoding.EncodeToString(audio)))
}

// frames appends n frames of 100 ms.
func (c *realtime) frames(n int) {
	c.t.Helper()
	for range n {
		c.append(make([]byte, 4800))
	}
}

func (c *realtime) turns(detection string) {
	c.t.Helper()
	c.say(`{"type":"session.update","session":{"type":"transcription","audio":{"input":{"turn_detection":` + detection + `}}}}`)
	c.await("session.updated", 1)
}

func (c *realtime) leave() {
	c.t.Helper()
	_ = c.conn.Close(websocket.StatusNormalClosure, "OK") // the reader sees how it ended
	<-c.over
}

var tallied = regexp.MustCompile(`frames (\S+)`)

// covered lists the frames that a transcript of the tally engine states.
func covered(transcript string) string {
	var ranges []string
	for _, m := range tallied.FindAllStringSubmatch(transcript, -1) {
		ranges = append(ranges, m[1])
	}
	return strings.Join(ranges, " ")
}

// Each commit has one transcript with all that was appended before it, and what was
// cleared is in none.
func TestRealtimeCommits(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"}, s.tally(tally.Config{Every: 4, Interim: 1}))
	c := dialRealtime(t, s.gateway(gateway.Config{}), "")
	c.turns("null")
	c.frames(10)
	c.say(`{"type":"input_audio_buffer.commit"}`)
	c.frames(3)
	c.say(`{"type":"input_audio_buffer.clear"}`)
	c.frames(2)
	c.say(`{"type":"input_audio_buffer.commit"}`)
	c.say(`{"type":"input_audio_buffer.commit","event_id":"e"}`)
	c.await(transcriptionOf+"completed", 2)
	if e := c.await("error", 1).Error; e.Code != "input_audio_buffer_commit_empty" {
		t.Errorf("error %+v", e)
	}
	committed := c.of("input_audio_buffer.committed")
	for i, want := range []string{"1-4 5-8 9-10", "16-17"} { // a flush has a number too
		done := c.of(transcriptionOf + "completed")[i]
		if got := covered(done.Transcript); got != want || done.Item != committed[i].Item {
			t.Errorf("commit %d: frames %s of item %s, want %s of %s", i, got, done.Item, want, committed[i].Item)
		}
		deltas := ""
		for _, d := range c.of(transcriptionOf + "delta") {
			if d.Item == done.Item {
				deltas += d.Delta
			}
		}
		if deltas == "" {
			t.Errorf("commit %d has no deltas", i)
		}
	}
	if committed[1].Previous != committed[0].Item {
		t.Errorf("committed %+v", committed)
	}
	c.leave()
	subjectstest.Eventually(t, "nothing of the session is left", func() bool { return len(s.keys()) == 0 })
}

// With server_vad each final is an item, in order, and its times are in the audio that
// was appended, whenever that was.
func TestRealtimeTurns(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"}, s.tally(tally.Config{Every: 5, Interim: 1}))
	c := dialRealtime(t, s.gateway(gateway.Config{}), "")
	c.turns(`{"type":"server_vad"}`)
	c.frames(10)
	c.await(transcriptionOf+"completed", 2)
	c.frames(3)
	c.await("input_audio_buffer.speech_started", 3)
	c.say(`{"type":"input_audio_buffer.commit"}`)
	c.await(transcriptionOf+"completed", 3)
	previous := ""
	for i, want := range []struct {
		frames string
		start  int64
	}{{"1-5", 0}, {"6-10", 500}, {"11-13", 1000}} {
		started, committed, done := c.of("input_audio_buffer.speech_started")[i], c.of("input_audio_buffer.committed")[i], c.of(transcriptionOf + "completed")[i]
		if covered(done.Transcript) != want.frames || started.StartMS != want.start || done.Item != started.Item || done.Item != committed.Item || committed.Previous != previous {
			t.Errorf("item %d: %+v %+v %+v", i, started, committed, done)
		}
		previous = done.Item
	}
	c.leave()
}

// keyring knows one key.
type keyring struct{ key string }

func (k keyring) Authenticate(_ context.Context, secret string) (auth.Principal, error) {
	if secret != k.key {
		return auth.Principal{}, fmt.Errorf("%w", errors.Join(auth.ErrUnknown))
	}
	return auth.Principal{Name: "ann"}, nil
}

// locked is a buffer that goroutines may write to.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A key is taken from the subprotocol, and comes back in no answer and no log.
func TestRealtimeKey(t *testing.T) {
	t.Parallel()
	const key = "sk-hidden-1"
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	var log locked
	gw := s.gateway(gateway.Config{Auth: keyring{key}, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	for _, tt := range []struct {
		query, key, answer string
		protocols          []string
		status             int
		code               string
	}{
		{"intent=transcription", key, "realtime", []string{"realtime", "openai-insecure-api-key." + key}, 101, ""},
		{"intent=transcription", key, "", []string{"openai-insecure-api-key." + key}, 101, ""},
		{"intent=transcription", "sk-wrong", "", []string{"realtime", "openai-insecure-api-key.sk-wrong"}, 401, "invalid_api_key"},
		{"intent=talk", key, "", []string{"realtime", "openai-insecure-api-key." + key}, 400, "invalid_value"},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
		conn, resp, err := websocket.Dial(ctx, gw.url+"/v1/realtime?"+tt.query, &websocket.DialOptions{Subprotocols: tt.protocols})
		cancel()
		if resp == nil {
			t.Fatal(err)
		}
		if err == nil {
			if conn.Subprotocol() != tt.answer {
				t.Errorf("answered by subprotocol %q", conn.Subprotocol())
			}
			_ = conn.CloseNow() // it has served
		}
		checkRefusal(t, resp, tt.status, tt.code, tt.key)
	}
	if strings.Contains(log.String(), "sk-") {
		t.Errorf("a key is in the log: %s", log.String())
	}
}

func checkRefusal(t *testing.T, resp *http.Response, status int, code, key string) {
	t.Helper()
	if resp.StatusCode != status || strings.Contains(fmt.Sprint(resp.Header), key) {
		t.Errorf("status %d, want %d; header %v", resp.StatusCode, status, resp.Header)
	}
	if code == "" {
		return
	}
	body, _ := io.ReadAll(resp.Body)
	var e struct {
		Error struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Error.Code != code || strings.Contains(string(body), key) {
		t.Errorf("body %s, want code %s", body, code)
	}
}

// Real speech comes back, as the vendor's clients expect it.
func TestRealtimeSpeech(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"}, sphinx(t))
	c := dialRealtime(t, s.gateway(gateway.Config{}), "input_audio_format=pcm_s16le_16000&language=en")
	c.turns("null")
	const header = 44 // bytes of a WAV file before its samples
	for audio := sample(t, "sessions").Audio[header:]; len(audio) > 0; {
		n := min(3333, len(audio)) // half a sample waits for the next event
		c.append(audio[:n])
		audio = audio[n:]
	}
	c.say(`{"type":"input_audio_buffer.commit"}`)
	text := c.await(transcriptionOf+"completed", 1).Transcript
	for _, phrase := range []string{"stop the program", "another machine"} {
		if !strings.Contains(text, phrase) {
			t.Errorf("%q is not in %q", phrase, text)
		}
	}
	c.leave()
}
