package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker/engine/tally"
)

// machine is "stenobus up" as a process of its own, which can be killed.
type machine struct {
	t   *testing.T
	cmd *exec.Cmd
	url string // for clients
	nc  *nats.Conn
	js  jetstream.JetStream

	mu     sync.Mutex // guards what follows
	frames map[uint64]bool
	msgs   uint64
}

func boot(t *testing.T, data string) *machine {
	t.Helper()
	m := &machine{t: t, frames: map[uint64]bool{}}
	m.cmd = exec.Command(os.Args[0], "up", "--audio-log", "--engine", "tally", "--listen", "127.0.0.1:0",
		"--nats-listen", "127.0.0.1:0", "--data", data, "--gateway-grace", "1s",
		"--worker-idle-commit", "1m", "--worker-turn-limit", "1m", "--worker-drain-timeout", "1s", "--gateway-drain-timeout", "1s")
	var log bytes.Buffer
	m.cmd.Stderr = &log
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		m.kill()
		t.Fatalf("first line %q: %v\n%s", line, err, log.String())
	}
	at := strings.Fields(line)
	m.url = at[3]
	m.watch(at[4])
	return m
}

// watch looks on at a bus.
func (m *machine) watch(url string) {
	m.t.Helper()
	var err error
	if m.nc, err = nats.Connect(url); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(m.nc.Close)
	m.js, _ = jetstream.New(m.nc)
	if _, err := m.nc.Subscribe(subjects.AllFrames, m.see); err != nil {
		m.t.Fatal(err)
	}
	if err := m.nc.Flush(); err != nil {
		m.t.Fatal(err)
	}
}

// kill is kill -9. It may be called twice.
func (m *machine) kill() {
	if m.cmd.ProcessState != nil {
		return
	}
	_ = m.cmd.Process.Kill() // fails only where it has ended
	_ = m.cmd.Wait()         // says that it was killed
}

func (m *machine) see(msg *nats.Msg) {
	var e subjects.Envelope
	if err := e.ParseMsg(msg); err != nil {
		m.t.Errorf("on the bus: %v", err)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.msgs++
	for i := range e.Frames {
		m.frames[e.N+uint64(i)] = true
	}
}

func (m *machine) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	m.t.Cleanup(cancel)
	return ctx
}

// speak sends frames as a client and waits until all are seen on the bus and logged.
func (m *machine) speak(n int) *websocket.Conn {
	m.t.Helper()
	c := m.say(n)
	subjectstest.Eventually(m.t, "all is on the bus and in the log", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second) // nobody answers while there is no leader
		defer cancel()
		stream, err := m.js.Stream(ctx, subjects.AudioStream)
		m.mu.Lock()
		defer m.mu.Unlock()
		return err == nil && len(m.frames) >= n && stream.CachedInfo().State.Msgs >= m.msgs
	})
	return c
}

// say sends frames as a client.
func (m *machine) say(n int) *websocket.Conn {
	m.t.Helper()
	c, _, err := websocket.Dial(m.ctx(), m.url+"?sessionId=room&sendBack=true", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = c.CloseNow() })
	write := func(text string) {
		if err := c.Write(m.ctx(), websocket.MessageText, []byte(text)); err != nil {
			m.t.Fatal(err)
		}
	}
	write(`{"event":"start","start":{"tag":"a","mediaFormat":{"encoding":"opus","sampleRate":48000,"channels":2}}}`)
	for i := range n {
		write(fmt.Sprintf(`{"event":"media","media":{"tag":"a","chunk":"%d","timestamp":"%d","payload":%q}}`,
			i+1, i*960, base64.StdEncoding.EncodeToString([]byte(fmt.Sprint("frame", i)))))
	}
	return c
}

// covered reads the store until the session has ended, and counts in how many finals
// each frame is.
func (m *machine) covered() map[uint64]int {
	m.t.Helper()
	stream, err := m.js.Stream(m.ctx(), subjects.ResultsStream)
	if err != nil {
		m.t.Fatal(err)
	}
	in := map[uint64]int{}
	next, ended := uint64(1), false
	subjectstest.Eventually(m.t, "the session has ended", func() bool {
		for !ended {
			r, err := stream.GetMsg(m.ctx(), next, jetstream.WithGetMsgSubject(subjects.Result("room")))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return false
			}
			if err != nil {
				m.t.Fatal(err)
			}
			next = r.Sequence + 1
			var e subjects.Envelope
			if err := e.ParseMsg(&nats.Msg{Header: r.Header, Data: r.Data}); err != nil {
				m.t.Fatal(err)
			}
			ended = e.Kind == subjects.KindEnded
			if e.Kind != subjects.KindFinal {
				continue
			}
			f, err := subjects.Decode[subjects.Final](e.Kind, r.Data)
			if err != nil {
				m.t.Fatal(err)
			}
			st, err := tally.Parse(f.Text)
			if err != nil {
				m.t.Fatal(err)
			}
			for _, n := range st.Frames {
				in[n]++
			}
		}
		return true
	})
	return in
}

// Everything is killed at once, and started again over the same data: what was on the
// bus before is transcribed once, whether or not the client comes back.
func TestUpIsKilledAndStartedAgain(t *testing.T) {
	t.Parallel()
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprintf("client comes back %v", back), func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			m := boot(t, data)
			m.speak(130)
			m.kill()
			seen := m.frames
			m = boot(t, data)
			if back {
				c := m.speak(30)
				if err := c.Write(m.ctx(), websocket.MessageText, []byte(`{"event":"session-end"}`)); err != nil {
					t.Fatal(err)
				}
			}
			began := time.Now()
			in := m.covered()
			t.Logf("the session ended %v after the start", time.Since(began))
			m.mu.Lock()
			defer m.mu.Unlock()
			for n := range m.frames {
				seen[n] = true
			}
			for n := range seen {
				if in[n] != 1 {
					t.Errorf("frame %d is in %d finals", n, in[n])
				}
			}
			if want := map[bool]int{true: 160, false: 130}[back]; len(in) != want || len(seen) != want {
				t.Errorf("%d frames were seen and %d covered, want %d", len(seen), len(in), want)
			}
		})
	}
}
