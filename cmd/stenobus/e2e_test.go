package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"stenobus/cmd/stenobus/internal/busserver"
	"stenobus/cmd/stenobus/samples"
	"stenobus/subjects/subjectstest"
	"stenobus/worker/engine/tally"
)

// tone is a WAV file of a sound that nobody understands.
func tone(t *testing.T, name string, length time.Duration) string {
	t.Helper()
	const rate = 16000
	pcm := make([]int16, int(length*rate/time.Second))
	for i := range pcm {
		pcm[i] = int16(8000 * math.Sin(float64(i)/7))
	}
	var b bytes.Buffer
	b.WriteString("RIFF")
	for _, v := range []any{
		uint32(36 + 2*len(pcm)), []byte("WAVEfmt "), uint32(16), uint16(1), uint16(1),
		uint32(rate), uint32(2 * rate), uint16(2), uint16(16), []byte("data"), uint32(2 * len(pcm)), pcm,
	} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	return writeFile(t, name, b.String())
}

// spoken is the first shipped sample as a file.
func spoken(t *testing.T) string {
	t.Helper()
	for _, s := range samples.All() {
		if bytes.HasPrefix(s.Audio, []byte("OggS")) {
			return writeFile(t, "spoken.ogg", string(s.Audio))
		}
	}
	t.Fatal("no sample is an Ogg file")
	return ""
}

// up starts everything with tally and returns the gateway's address.
func up(t *testing.T, args ...string) (*process, []string) {
	t.Helper()
	p := spawn(t, append([]string{
		"up", "--engine", "tally", "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--data", t.TempDir(),
	}, args...)...)
	return p, p.ready()
}

// line is what the test reads of a line of send's JSON.
type line struct {
	Type, Source, Text, Event string
	Unaccounted               int64
}

func parseLines(t *testing.T, text string) []line {
	t.Helper()
	var all []line
	for s := range strings.Lines(text) {
		var l line
		if err := json.Unmarshal([]byte(s), &l); err != nil {
			t.Fatalf("line %q: %v", s, err)
		}
		all = append(all, l)
	}
	return all
}

// checkTally fails where finals cover a frame twice or miss one; want is how many
// frames each source has. What was sent in haste need not have interims.
func checkTally(t *testing.T, o outcome, want map[string]int, hasty bool) {
	t.Helper()
	o.check(t, exitOK)
	got := make(map[string]int)
	seen := make(map[uint64]bool)
	interims, ended := 0, 0
	for _, l := range parseLines(t, o.stdout) {
		switch {
		case l.Type == "interim":
			interims++
		case l.Event == "ended":
			ended++
			if l.Unaccounted != 0 {
				t.Errorf("%d frames are unaccounted for", l.Unaccounted)
			}
		case l.Type == "final":
			st, err := tally.Parse(l.Text)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range st.Frames {
				if seen[n] {
					t.Errorf("frame %d is in two finals", n)
				}
				seen[n] = true
			}
			got[l.Source] += st.Count
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("finals cover %v frames, want %v", got, want)
	}
	// A final replaces the interims before it that have not left yet.
	if ended != 1 || interims == 0 && !hasty {
		t.Errorf("%d interims and %d ends, want some and one", interims, ended)
	}
}

func TestUpAndSend(t *testing.T) {
	t.Parallel()
	p, at := up(t)
	if len(at) != 4 || !strings.HasPrefix(at[0], "ws://127.0.0.1:") || !strings.HasPrefix(at[1], "nats://") || at[2] != "data" {
		t.Fatalf("addresses %q", at)
	}
	t.Run("json", func(t *testing.T) {
		t.Parallel()
		o := invoke(t, "send", "--url", at[0], "--format", "json", "--speed", "10", tone(t, "a.wav", 6*time.Second), tone(t, "b.wav", 3*time.Second))
		checkTally(t, o, map[string]int{"a": 100, "b": 50}, false)
		if !strings.Contains(o.stderr, "2 sources, 9.0 s of audio") {
			t.Errorf("summary: %s", o.stderr)
		}
	})
	t.Run("text", func(t *testing.T) {
		t.Parallel()
		o := invoke(t, "send", "--url", at[0], spoken(t))
		o.check(t, exitOK, "[spoken] frames ", "1 source")
		if strings.Contains(o.stdout, "…") {
			t.Errorf("interims without a terminal: %s", o.stdout)
		}
	})
	t.Run("interims", func(t *testing.T) {
		t.Parallel()
		invoke(t, "send", "--url", at[0], "--interim", "--speed", "10", tone(t, "c.wav", 4*time.Second)).
			check(t, exitOK, "[c] … frames ", "[c] frames ")
	})
	t.Run("longer than may be under way", func(t *testing.T) {
		t.Parallel()
		o := invoke(t, "send", "--url", at[0], "--format", "json", "--ahead", "2s", tone(t, "long.wav", 90*time.Second))
		checkTally(t, o, map[string]int{"long": 1500}, true)
	})
	t.Run("no such path", func(t *testing.T) {
		t.Parallel()
		url := strings.Replace(at[0], "/transcribe", "/nowhere", 1)
		invoke(t, "send", "--url", url, tone(t, "d.wav", time.Second)).check(t, exitRefused, "refused with HTTP 404")
	})
	t.Run("pages", func(t *testing.T) {
		t.Parallel()
		base := strings.TrimSuffix(strings.Replace(at[0], "ws", "http", 1), "/transcribe")
		for path, want := range map[string]string{
			"/healthz": "OK", "/health": "OK", "/readyz": "ready", "/status": `"active":`, "/metrics": "stenobus_",
		} {
			if code, body := fetch(t, base+path); code != 200 || !strings.Contains(body, want) {
				t.Errorf("GET %s: %d %q, want 200 with %q", path, code, body, want)
			}
		}
	})
	t.Run("the same data", func(t *testing.T) {
		t.Parallel()
		invoke(t, "up", "--engine", "tally", "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--data", at[3]).
			check(t, exitFailure, at[3], "in use", "--data")
	})
	t.Cleanup(func() {
		p.stop()
		if s := p.stderr.String(); strings.Contains(s, "level=ERROR") {
			t.Errorf("errors in the log:\n%s", s)
		}
	})
}

// The roles as programs of their own, started in the wrong order: the worker that a
// session needs comes last.
func TestRolesApart(t *testing.T) {
	t.Parallel()
	bus := startBus(t, busserver.Config{})
	g := spawn(t, "gateway", "--listen", "127.0.0.1:0", "--nats", bus.ClientURL(), "--log-format", "json")
	spawn(t, "dispatcher", "--nats", bus.ClientURL()).ready()
	url := strings.Replace(g.ready()[0], "http", "ws", 1) + "/transcribe"
	sent := make(chan outcome, 1)
	wav := tone(t, "a.wav", 3*time.Second)
	go func() {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), []string{"send", "--url", url, "--format", "json", "--realtime", wav}, &stdout, &stderr)
		sent <- outcome{code, stdout.String(), stderr.String()}
	}()
	w := spawn(t, "worker", "--engine", "tally", "--nats", bus.ClientURL(), "--metrics-listen", "127.0.0.1:0", "--id", "w1")
	pages := w.ready()[0]
	checkTally(t, <-sent, map[string]int{"a": 50}, false)
	if code, body := fetch(t, pages+"/readyz"); code != 200 {
		t.Errorf("the worker's /readyz: %d %q", code, body)
	}
	for s := range strings.Lines(g.stderr.String()) {
		if !json.Valid([]byte(s)) {
			t.Errorf("log line is not JSON: %q", s)
		}
	}
}

func TestSendIsInterrupted(t *testing.T) {
	t.Parallel()
	_, at := up(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	var stdout, stderr safeBuffer
	done := make(chan int, 1)
	wav := tone(t, "a.wav", time.Minute)
	go func() {
		done <- run(ctx, []string{"send", "--url", at[0], "--session", "s", "--realtime", "--interim", wav}, &stdout, &stderr)
	}()
	subjectstest.Eventually(t, "the first interim", func() bool { return strings.Contains(stdout.String(), "…") })
	cancel(signalError{os.Interrupt})
	if code := <-done; code != exitInterrupted {
		t.Errorf("exit code %d, want %d\n%s", code, exitInterrupted, stderr.String())
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	invoke(t, "send", "--url", "ws://"+deadPort(t)+"/transcribe", tone(t, "a.wav", time.Second)).
		check(t, exitRefused, "no gateway answers")
}

// Stopping everything in the middle of a session is clean and bounded.
func TestUpStopsWithSessions(t *testing.T) {
	t.Parallel()
	p, at := up(t, "--gateway-drain-timeout", "1s", "--gateway-end-wait", "1s", "--worker-drain-timeout", "1s")
	var stdout, stderr safeBuffer
	done := make(chan int, 1)
	wav := tone(t, "a.wav", time.Minute)
	go func() {
		done <- run(t.Context(), []string{"send", "--url", at[0], "--realtime", "--interim", wav}, &stdout, &stderr)
	}()
	subjectstest.Eventually(t, "the first interim", func() bool { return strings.Contains(stdout.String(), "…") })
	if code := p.stop(); code != exitOK {
		t.Errorf("up ended with code %d\n%s", code, p.stderr)
	}
	if code := <-done; code != exitRefused {
		t.Errorf("send ended with code %d, want %d\n%s", code, exitRefused, stderr.String())
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	engines, err := (&engineFlags{Engine: []string{"pocketsphinx"}, PocketsphinxDecoders: 1}).engines()
	if err != nil {
		t.Fatal(err) // it names the packages to install
	}
	engines.close()
	o := invoke(t, "demo", "--speed", "3")
	o.check(t, exitOK, "interim", "final", "Word error rate of all samples: ", "first interim")
	for _, s := range samples.All() {
		if !strings.Contains(o.stdout, s.Text) {
			t.Errorf("what %s says is not shown", s.Name)
		}
	}
}

func TestDefaultDataDir(t *testing.T) {
	for state, want := range map[string]string{
		"/somewhere": "/somewhere/stenobus",
		"relative":   "/home/me/.local/state/stenobus",
		"":           "/home/me/.local/state/stenobus",
	} {
		t.Run(fmt.Sprintf("state %q", state), func(t *testing.T) {
			t.Setenv("HOME", "/home/me")
			t.Setenv("XDG_STATE_HOME", state)
			if got := defaultDataDir(); got != want {
				t.Errorf("data directory %q, want %q", got, want)
			}
		})
	}
}
