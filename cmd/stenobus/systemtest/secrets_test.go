package systemtest

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"

	"stenobus/gateway/auth"
)

// secrets keeps all that a system logs, down to level debug and whoever logs it, and
// fails its test where one of the secrets is in it that were shown or given there.
type secrets struct {
	mu    sync.Mutex // guards what follows
	log   bytes.Buffer
	known map[string]bool
}

func watchSecrets(t testing.TB) *secrets {
	s := &secrets{known: map[string]bool{}}
	t.Cleanup(func() { // the first that is set up is the last to run: all roles have ended
		for _, line := range s.leaks() {
			t.Errorf("a secret was logged: %s", line)
		}
	})
	return s
}

// secretForms finds API keys and signed tokens that no test has told of.
var secretForms = regexp.MustCompile(`\bstb_[\w-]{16,}|\beyJ[\w-]+\.[\w-]+\.`)

// Write takes a line of a log.
func (s *secrets) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(line)
}

// add makes a text one that must not be logged, before or after.
func (s *secrets) add(text string) {
	if s == nil || text == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[text] = true
}

// in tells whether a text that a client was told holds one.
func (s *secrets) in(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for secret := range s.known {
		if strings.Contains(text, secret) {
			return true
		}
	}
	return false
}

// leaks lists lines with a secret.
func (s *secrets) leaks() (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log.Bytes()
	found := func(at int) {
		begin := bytes.LastIndexByte(log[:at], '\n') + 1
		line, _, _ := bytes.Cut(log[begin:], []byte("\n"))
		lines = append(lines, string(line))
	}
	for secret := range s.known {
		if at := bytes.Index(log, []byte(secret)); at >= 0 {
			found(at)
		}
	}
	for _, at := range secretForms.FindAllIndex(log, 10) {
		found(at[0])
	}
	return lines
}

func TestWatcherOfSecretsSees(t *testing.T) {
	t.Parallel()
	s := &secrets{known: map[string]bool{}}
	log := slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))
	log.Info("before")
	log.Debug("shown", "error", fmt.Errorf("GET /transcribe?access_token=%s", "stb_x-y_z"))
	log.Info("after")
	if s.leaks() != nil {
		t.Error("nothing is secret yet")
	}
	s.add("stb_x-y_z")
	s.add("other")
	if got := s.leaks(); len(got) != 1 || !strings.Contains(got[0], "shown") || strings.Contains(got[0], "before") || strings.Contains(got[0], "after") {
		t.Errorf("it saw %q", got)
	}
	log.Info("a key", "key", auth.NewSecret())
	log.Info("a token", "token", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.")
	if got := s.leaks(); len(got) != 3 {
		t.Errorf("by their forms it saw %q", got)
	}
}
