package ops_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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

func TestStatusThatDoesNotEncode(t *testing.T) {
	t.Parallel()
	p := &ops.Pages{Stats: func() any { return make(chan int) }}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/status", nil))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("status: %d, want 500", w.Code)
	}
}
