package ops_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"stenobus/cmd/stenobus/internal/ops"
)

func TestPages(t *testing.T) {
	t.Parallel()
	up := func(context.Context) error { return nil }
	down := func(context.Context) error { return errors.New("no dispatcher answers") }
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "next") })
	for _, tc := range []struct {
		path  string
		ready func(context.Context) error
		next  http.Handler
		code  int
		body  string
	}{
		{"/healthz", down, nil, 200, "OK"},
		{"/health", down, nil, 200, "OK"},
		{"/readyz", up, nil, 200, "ready"},
		{"/readyz", down, nil, 503, "not ready: no dispatcher answers"},
		{"/status", up, nil, 200, `{"active":1,"detached":2}`},
		{"/metrics", up, nil, 200, "go_goroutines"},
		{"/metrics", up, nil, 200, "process_cpu_seconds_total"},
		{"/", up, nil, 404, "/readyz"},
		{"//a/transcribe", up, next, 200, "next"},
	} {
		t.Run(tc.path, func(t *testing.T) {
			t.Parallel()
			p := &ops.Pages{
				Ready:   tc.ready,
				Stats:   func() any { return map[string]int{"active": 1, "detached": 2} },
				Metrics: ops.Metrics(ops.NewRegistry()),
				Next:    tc.next,
			}
			w := httptest.NewRecorder()
			p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, tc.path, nil))
			if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.body) {
				t.Errorf("GET %s: %d %q, want %d with %q", tc.path, w.Code, w.Body, tc.code, tc.body)
			}
		})
	}
}

func TestReadyIsBounded(t *testing.T) {
	t.Parallel()
	p := &ops.Pages{Ready: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("a role that hangs: %d, want 503", w.Code)
	}
}

// However many ask, the question is asked once in a while, and the asker who began it
// may leave.
func TestReadinessIsAskedOnceInAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		down := errors.New("no dispatcher answers")
		var answer error
		ready := ops.Remember(func(ctx context.Context) error {
			asked++
			select {
			case <-time.After(100 * time.Millisecond):
				return answer
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		all := func(want error) {
			t.Helper()
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if err := ready(t.Context()); !errors.Is(err, want) {
						t.Errorf("%v, want %v", err, want)
					}
				})
			}
			wg.Wait()
		}
		hasty, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := ready(hasty); err != nil {
			t.Errorf("who began it and left: %v", err)
		}
		all(nil)
		if asked != 1 {
			t.Errorf("asked %d times, want once", asked)
		}
		time.Sleep(250 * time.Millisecond)
		answer = down
		all(down)
		if asked != 2 {
			t.Errorf("asked %d times, want once more", asked)
		}
		time.Sleep(250 * time.Millisecond)
		go all(down)
		synctest.Wait()
		if err := ready(hasty); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who can't wait: %v", err)
		}
		time.Sleep(time.Second)
	})
}

func TestStatusThatDoesNotEncode(t *testing.T) {
	t.Parallel()
	p := &ops.Pages{Stats: func() any { return make(chan int) }}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/status", nil))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status: %d, want 500", w.Code)
	}
}
