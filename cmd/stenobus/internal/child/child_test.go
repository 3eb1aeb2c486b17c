package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// role is set where this test binary is the child: what it does.
const role = "STENOBUS_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		goleak.VerifyTestMain(m)
	case "serve":
		serve()
	case "deaf": // does not obey SIGTERM
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("deaf is ready: nowhere")
		<-time.After(time.Hour)
	case "mute":
	}
}

func serve() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Fprintln(os.Stderr, "logged")
	fmt.Printf("child is ready: test://%d\n", os.Getpid())
	<-c
}

func start(t *testing.T, as string) (*Child, error) {
	t.Helper()
	env, err := exec.LookPath("env")
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	c, err := Start(t.Context(), Config{Name: as, Program: env, Args: []string{role + "=" + as, os.Args[0]}, Log: log})
	if err == nil {
		t.Cleanup(func() { c.Kill() })
	}
	return c, err
}

func TestLivesOfAChild(t *testing.T) {
	t.Parallel()
	c, err := start(t, "serve")
	if err != nil {
		t.Fatal(err)
	}
	first := c.URL()
	if err := c.Restart(t.Context()); err == nil {
		t.Error("a second process beside the first")
	}
	c.Kill()
	<-c.Done()
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.URL() == first {
		t.Errorf("the same process: %s", first)
	}
	if _, err := c.Usage(); err != nil {
		t.Error(err)
	}
	if err := c.Pause(); err != nil {
		t.Error(err)
	}
	if err := c.StopWithin(10 * time.Millisecond); !errors.Is(err, ErrKilled) {
		t.Errorf("a sleeper obeyed: %v", err)
	}
	if err := c.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Pause(), c.Resume(), c.Stop()); err != nil {
		t.Error(err)
	}
	if c.CPU() < 0 {
		t.Errorf("CPU %v", c.CPU())
	}
}

func TestDeafChildIsKilled(t *testing.T) {
	t.Parallel()
	c, err := start(t, "deaf")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StopWithin(10 * time.Millisecond); !errors.Is(err, ErrKilled) {
		t.Errorf("stop: %v", err)
	}
}

func TestChildThatIsNeverReady(t *testing.T) {
	t.Parallel()
	if _, err := start(t, "mute"); err == nil || !strings.Contains(err.Error(), "mute is not ready") {
		t.Errorf("start: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stop that"))
	if _, err := Start(ctx, Config{Program: os.Args[0] + ".none"}); err == nil {
		t.Error("started a program that is not there")
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " S 1 2 3 0 -1 4194304 10 11 12 13 150 27 5 6 20 0 9 0 1234 5678 910"
	for name, tc := range map[string]struct {
		stat string
		want time.Duration
		ok   bool
	}{
		"plain":              {"4711 (stenobus)" + rest, 1770 * time.Millisecond, true},
		"name with spaces":   {"4711 (a b c)" + rest, 1770 * time.Millisecond, true},
		"name with brackets": {"4711 (a) R 7 ))" + rest, 1770 * time.Millisecond, true},
		"empty":              {"", 0, false},
		"no name":            {"4711 S 1 2 3", 0, false},
		"cut off":            {"4711 (x) S 1 2 3", 0, false},
		"no number":          {"4711 (x)" + strings.Replace(rest, "150", "abc", 1), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(tc.stat))
			if (err == nil) != tc.ok || got != tc.want {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
		})
	}
}

func TestParseStatus(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status string
		want   int64
		ok     bool
	}{
		"plain":     {"Name:\tx\nVmPeak:\t  9 kB\nVmRSS:\t   51234 kB\nThreads:\t3\n", 51234, true},
		"absent":    {"Name:\tx\n", 0, false},
		"other":     {"VmRSS:\t 5 MB\n", 0, false},
		"no number": {"VmRSS:\t x kB\n", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStatus([]byte(tc.status), "VmRSS")
			if (err == nil) != tc.ok || got != tc.want {
				t.Errorf("got %d, %v, want %d", got, err, tc.want)
			}
		})
	}
}

func TestParseIO(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"rchar: 12\nwchar: 30\nsyscr: 1\nread_bytes: 4096\n": 42, "": 0, "rchar: many\n": 0,
	} {
		if got := parseIO([]byte(text)); got != want {
			t.Errorf("%q: %d bytes, want %d", text, got, want)
		}
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"stenobus is ready: ws://h:1/transcribe  nats://h:2  data d\n": "ws://h:1/transcribe",
		"stenobus bench-pipe is ready: ws://h:1/\n":                    "ws://h:1/",
		"panic: oh\n": "", "stenobus is ready:": "", "": "",
	} {
		if got := address(line); got != want {
			t.Errorf("address of %q is %q, want %q", line, got, want)
		}
	}
}
