// Package ops serves the pages that operators and their tools read of every role:
//
//	/healthz   200 while the process answers
//	/health    the same with the body that clients of the bridge expect
//	/readyz    200 while the role can do its work, else 503 and why not
//	/status    what the role is doing, as JSON
//	/metrics   the same for Prometheus
package ops

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// readyWait bounds the answer to /readyz: whoever asks has a time-out of its own.
const readyWait = time.Second

// rememberFor is how long an answer to /readyz counts: less than it takes between two
// questions of whoever means them, and no more work for however many strangers ask.
const rememberFor = 250 * time.Millisecond

// Remember makes of a question that costs something one that is asked once at a time, and
// not again for a moment. Whoever comes meanwhile gets the same answer.
func Remember(ask func(context.Context) error) func(context.Context) error {
	turn := make(chan struct{}, 1) // its holder owns what follows
	var at time.Time
	var answer error
	return func(ctx context.Context) error {
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-turn }()
		if at.IsZero() || time.Since(at) >= rememberFor {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyWait) // others hear the answer too
			defer cancel()
			answer = ask(ctx)
			at = time.Now()
		}
		return answer
	}
}

// Pages is an http.Handler of one role. All fields but Next are needed.
type Pages struct {
	Ready   func(context.Context) error // nil while the role can do its work
	Stats   func() any                  // a snapshot that encodes as JSON
	Metrics http.Handler
	Next    http.Handler // answers every other path; nil: 404
}

// NewRegistry makes a registry of one process's own with what Go tells about it.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// Metrics is the page of a registry.
func Metrics(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{Registry: r})
}

// ServeHTTP compares whole paths, without a mux: a mux would redirect what looks
// unclean to it, and clients may upgrade under any prefix.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/healthz", "/health":
		text(w, http.StatusOK, "OK")
	case "/readyz":
		p.ready(w, r)
	case "/status":
		p.status(w)
	case "/metrics":
		p.Metrics.ServeHTTP(w, r)
	default:
		if p.Next == nil {
			text(w, http.StatusNotFound, "no such page: there are /healthz, /readyz, /status and /metrics\n")
			return
		}
		p.Next.ServeHTTP(w, r)
	}
}

func (p *Pages) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyWait)
	defer cancel()
	if err := p.Ready(ctx); err != nil {
		text(w, http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
		return
	}
	text(w, http.StatusOK, "ready\n")
}

func (p *Pages) status(w http.ResponseWriter) {
	b, err := json.Marshal(p.Stats())
	if err != nil {
		text(w, http.StatusInternalServerError, "encode status: "+err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b)
}

func text(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(body))
}
