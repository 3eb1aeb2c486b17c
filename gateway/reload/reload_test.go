package reload

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const wait = 30 * time.Second

// lines may be read while a log writes.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(wait)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", wait, what)
		}
		<-tick.C
	}
}

// metric reads one value of a registry.
func metric(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetValue() == label {
					return m.GetGauge().GetValue() + m.GetCounter().GetValue()
				}
			}
		}
	}
	return -1
}

// A file that changes is read again; one that is wrong or gone leaves what it said, says
// so once, and shows in a metric until it is well again.
func TestValueFollowsItsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	var log lines
	reg := prometheus.NewRegistry()
	m, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Open(Config[string]{
		What: "words", Paths: []string{path}, Metrics: m, Every: time.Millisecond,
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Read: func() (string, error) {
			b, err := ReadFile(path, 100)
			if err == nil && string(b) == "bad" {
				err = errors.New("bad")
			}
			return string(b), err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = v.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	is := func(want string, stale float64) {
		t.Helper()
		until(t, "the value is "+want, func() bool {
			return v.Load() == want && metric(t, reg, "stenobus_gateway_files_stale", "words") == stale
		})
	}
	is("one", 0)
	write("two") // as long and, on a coarse clock, as old as the one before
	is("two", 0)
	write("bad")
	is("two", 1)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	failed := metric(t, reg, "stenobus_gateway_files_read_total", "failed")
	until(t, "it is looked for again", func() bool {
		return metric(t, reg, "stenobus_gateway_files_read_total", "failed") > failed+3
	})
	is("two", 1)
	write(strings.Repeat("x", 101))
	is("two", 1)
	write("three")
	is("three", 0)
	if n := strings.Count(log.String(), "can't be used"); n != 1 {
		t.Errorf("it was logged %d times that a file is wrong, want once:\n%s", n, &log)
	}
}

func TestOpenNeedsEveryFile(t *testing.T) {
	t.Parallel()
	_, err := Open(Config[int]{What: "words", Paths: []string{"nowhere"}, Read: func() (int, error) { return 1, nil }})
	if err == nil || !strings.Contains(err.Error(), "words: ") || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("open: %v, want the file's name", err)
	}
}
