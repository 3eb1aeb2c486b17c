package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testWait bounds how long a test waits for something that must happen.
const testWait = 60 * time.Second

// secretForms finds API keys and signed tokens, which belong in no log.
var secretForms = regexp.MustCompile(`\bstb_[\w-]{16,}|\beyJ[\w-]+\.[\w-]+\.`)

// outcome is what a finished program left behind.
type outcome struct {
	code           int
	stdout, stderr string
}

// invoke runs the program to its end.
func invoke(t *testing.T, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// check compares an outcome with the code and with what must be found in both outputs.
func (o outcome) check(t *testing.T, code int, words ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", o.code, code, o.stdout, o.stderr)
	}
	for _, w := range words {
		if !strings.Contains(o.stdout+o.stderr, w) {
			t.Errorf("%q is missing\nstdout: %s\nstderr: %s", w, o.stdout, o.stderr)
		}
	}
}

// process is the program at work, until its test stops it.
type process struct {
	t      *testing.T
	cancel context.CancelCauseFunc
	lines  chan string // of stdout
	stderr *safeBuffer
	code   chan int
}

// spawn starts the program. The test's end stops it, which must be clean.
func spawn(t *testing.T, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	r, w := io.Pipe()
	p := &process{t: t, cancel: cancel, lines: make(chan string, 1000), stderr: &safeBuffer{}, code: make(chan int, 1)}
	go func() {
		code := run(ctx, args, w, p.stderr)
		_ = w.Close()
		p.code <- code
	}()
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		if code := p.stop(); code != exitOK {
			t.Errorf("%v ended with code %d\n%s", args, code, p.stderr)
		}
		if leak := secretForms.FindString(p.stderr.String()); leak != "" {
			t.Errorf("%v logged a secret, %.12s…", args, leak)
		}
	})
	return p
}

// ready waits for the one line that says so and returns its addresses.
func (p *process) ready() []string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if ok && strings.Contains(line, "is ready: ") {
			_, rest, _ := strings.Cut(line, "is ready: ")
			return strings.Fields(rest)
		}
		p.t.Fatalf("first line %q\n%s", line, p.stderr)
	case <-time.After(testWait):
		p.t.Fatalf("not ready within %v\n%s", testWait, p.stderr)
	}
	return nil
}

// stop is a Ctrl-C. It may be called twice.
func (p *process) stop() int {
	p.cancel(signalError{os.Interrupt})
	for range p.lines {
	}
	code := <-p.code
	p.code <- code
	return code
}

// safeBuffer may be read while the program writes.
type safeBuffer struct {
	mu sync.Mutex // guards b and nothing else
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// busyPort is an address that somebody listens at.
func busyPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVersion(t *testing.T) {
	t.Parallel()
	o := invoke(t, "version")
	o.check(t, exitOK, "stenobus dev")
	if strings.Count(o.stdout, "\n") != 1 || o.stderr != "" {
		t.Errorf("more than one line: %+v", o)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	invoke(t, "--help").check(t, exitOK, "up", "gateway", "dispatcher", "worker", "bus", "send", "demo", "lab", "explain", "version", "Exit codes")
	for _, command := range []string{"up", "gateway", "dispatcher", "worker", "bus", "keys", "keys add", "keys list", "keys remove", "send", "explain", "demo", "lab", "version"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			o := invoke(t, append(strings.Fields(command), "--help")...)
			o.check(t, exitOK, "Example", "stenobus "+command, "STENOBUS_LOG_LEVEL")
			if o.stderr != "" {
				t.Errorf("help wrote to stderr: %s", o.stderr)
			}
		})
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	user := writeFile(t, "user", "only-a-name\n")
	speech := writeFile(t, "speech.raw", "0123")
	for name, tc := range map[string]struct {
		args []string
		want []string
	}{
		"no command":        {nil, []string{"expected one of", "stenobus --help"}},
		"unknown command":   {[]string{"upp"}, []string{`did you mean "up"`}},
		"unknown flag":      {[]string{"up", "--listn", "x"}, []string{"--listn", "stenobus up --help"}},
		"bad level":         {[]string{"version", "--log-level", "loud"}, []string{"--log-level", "debug"}},
		"bad format":        {[]string{"version", "--log-format", "xml"}, []string{"--log-format", "auto"}},
		"bad duration":      {[]string{"gateway", "--window", "soon"}, []string{"--window"}},
		"no port":           {[]string{"up", "--engine", "tally", "--listen", "localhost"}, []string{"--listen", "want host:port"}},
		"unknown engine":    {[]string{"worker", "--engine", "ears"}, []string{"ears", "pocketsphinx, tally"}},
		"bad engine option": {[]string{"worker", "--engine", "tally", "--tally-every=-1"}, []string{"tally", "every"}},
		"config range":      {[]string{"gateway", "--listen", "127.0.0.1:0", "--window", "1ms"}, []string{"Window", "1ms", "allowed are"}},
		"password in URL":   {[]string{"worker", "--engine", "tally", "--nats", "nats://u:secret@h"}, []string{"--nats-user-file"}},
		"URL that is none":  {[]string{"dispatcher", "--nats", "nats://[::1"}, []string{"--nats"}},
		"missing creds":     {[]string{"dispatcher", "--nats-creds", "nowhere"}, []string{"--nats-creds", "nowhere"}},
		"user file":         {[]string{"dispatcher", "--nats-user-file", user}, []string{"--nats-user-file", "a user and a password"}},
		"cert without key":  {[]string{"dispatcher", "--nats-cert", user}, []string{"--nats-cert and --nats-key"}},
		"no files":          {[]string{"send"}, []string{"<file>"}},
		"files":             {[]string{"send", "nowhere.ogg", user}, []string{"nowhere.ogg", user, "Ogg-Opus, WAV"}},
		"two paces":         {[]string{"send", "--realtime", "--speed", "2", speech}, []string{"--realtime", "--speed"}},
		"URL":               {[]string{"send", "--url", "localhost:8080", speech}, []string{"--url", "ws://"}},
		"speed":             {[]string{"send", "--speed", "-1", speech}, []string{"--speed"}},
		"bus route":         {[]string{"bus", "--listen", "127.0.0.1:0", "--routes", "here"}, []string{"route", "nats://host:port"}},
		"nameless member":   {[]string{"bus", "--listen", "127.0.0.1:0", "--cluster-listen", "127.0.0.1:0"}, []string{"needs a name"}},
		"nats config":       {[]string{"up", "--engine", "tally", "--listen", "127.0.0.1:0", "--nats-config", "nowhere.conf"}, []string{"nowhere.conf"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := invoke(t, tc.args...)
			o.check(t, exitUsage, tc.want...)
			if strings.Contains(o.stderr, "secret") {
				t.Errorf("a password was shown: %s", o.stderr)
			}
			if o.stdout != "" {
				t.Errorf("an error wrote to stdout: %s", o.stdout)
			}
		})
	}
}

func TestEnvironmentMirrorsFlags(t *testing.T) {
	t.Setenv("STENOBUS_ENGINE", "ears")
	invoke(t, "worker").check(t, exitUsage, "ears")
	invoke(t, "worker", "--engine", "eyes").check(t, exitUsage, "eyes")
}

func TestFirstSignalEndsTheContext(t *testing.T) {
	ctx, stop := withSignals(t.Context())
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(testWait):
		t.Fatal("a signal did not end the context")
	}
	if code := exitCode(context.Cause(ctx)); code != exitTerminated {
		t.Errorf("SIGTERM gives exit code %d, want %d", code, exitTerminated)
	}
	if code := exitCode(signalError{os.Interrupt}); code != exitInterrupted {
		t.Errorf("Ctrl-C gives exit code %d, want %d", code, exitInterrupted)
	}
}
