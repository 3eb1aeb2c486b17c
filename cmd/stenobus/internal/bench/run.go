package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"stenobus/cmd/stenobus/internal/child"
)

const (
	countWait = 5 * time.Second // for the last messages to arrive
	countPoll = 20 * time.Millisecond
	showEvery = time.Second
)

// Config of a run. URL and Bare of Load are filled in.
type Config struct {
	Load     LoadConfig
	Duration time.Duration // of the steady phase
	Share    time.Duration // told in the result
	Runs     int           // of each kind

	Program string   // that is started
	Path    []string // its arguments for the whole path; --data DIR is added
	Pipe    []string // likewise for the bare pipe

	Stderr   io.Writer                  // takes what the children log
	Progress func(phase, detail string) // told every second
}

// Run measures both kinds in turn. The Result is to be shown even where there is an
// error: sessions that failed are one.
func Run(ctx context.Context, cfg Config) (Result, error) {
	var all []Result
	var wrong []error
	for i := range cfg.Runs {
		r, err := cfg.once(ctx, i)
		if ctx.Err() != nil {
			return Result{}, context.Cause(ctx)
		}
		if err != nil {
			wrong = append(wrong, err)
		}
		all = append(all, r)
	}
	return combine(cfg, all), errors.Join(wrong...)
}

// once measures the path and the pipe; which goes first alternates, so that what drifts
// on the machine favours none.
func (c *Config) once(ctx context.Context, run int) (Result, error) {
	var path, pipe measured
	kinds := []struct {
		name string
		args []string
		bare bool
		to   *measured
	}{{"bare pipe", c.Pipe, true, &pipe}, {"whole path", c.Path, false, &path}}
	if run%2 == 1 {
		kinds[0], kinds[1] = kinds[1], kinds[0]
	}
	var errs []error
	for _, k := range kinds {
		name := k.name
		if c.Runs > 1 {
			name += fmt.Sprintf(", run %d of %d", run+1, c.Runs)
		}
		m, err := c.measure(ctx, name, k.args, k.bare)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		if ctx.Err() != nil {
			break
		}
		*k.to = m
	}
	return resultOf(c, path, pipe), errors.Join(errs...)
}

// measured is what one deployment came to.
type measured struct {
	cpu    time.Duration // in the steady phase
	frames uint64        // delivered in it
	took   time.Duration
	rssKB  int64 // more than idle
	Report
}

// measure starts a deployment, puts the load on it and stops it.
func (c *Config) measure(ctx context.Context, name string, args []string, bare bool) (m measured, err error) {
	dir, err := os.MkdirTemp("", "stenobus-bench-")
	if err != nil {
		return m, fmt.Errorf("directory for the data: %w", err)
	}
	defer os.RemoveAll(dir)
	c.Progress(name, "starting")
	server, err := child.Start(ctx, child.Config{
		Program: c.Program, Args: append(args[:len(args):len(args)], "--data", dir), Log: c.Stderr,
	})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, server.Stop()) }()
	idle, err := server.Usage()
	if err != nil {
		return m, err
	}
	load := c.Load
	load.URL, load.Bare = server.URL(), bare
	l := StartLoad(ctx, load)
	w, err := c.steady(ctx, name, l, server)
	c.Progress(name, "ending")
	m = measured{
		cpu: w.end.CPU - w.begin.CPU, frames: w.frames, took: w.to.Sub(w.from),
		rssKB: w.end.RSSKB - idle.RSSKB, Report: l.End(w.from, w.to),
	}
	err = errors.Join(err, m.Wrong())
	if bare && err == nil {
		err = awaitCount(ctx, server.URL(), m.Messages)
	}
	return m, err
}

// window is the steady phase: all sessions are open and none ends.
type window struct {
	from, to   time.Time
	begin, end child.Usage
	frames     uint64
}

func (c *Config) steady(ctx context.Context, name string, l *Load, server *child.Child) (w window, err error) {
	c.Progress(name, "opening sessions")
	if err := l.Open(ctx); err != nil {
		return w, err
	}
	sent := l.Sent()
	if w.begin, err = server.Usage(); err != nil {
		return w, err
	}
	w.from = time.Now()
	w.to = w.from.Add(c.Duration)
	for now := w.from; now.Before(w.to); now = time.Now() {
		c.Progress(name, fmt.Sprintf("%.0f s to go, %d frames sent", w.to.Sub(now).Seconds(), l.Sent()))
		next := now.Add(showEvery)
		if next.After(w.to) {
			next = w.to
		}
		if err := pauseUntil(ctx, next); err != nil {
			return w, err
		}
	}
	w.to = time.Now()
	w.frames = l.Sent() - sent
	w.end, err = server.Usage()
	return w, err
}

// awaitCount returns when the subscriber of a pipe has got as many messages.
func awaitCount(ctx context.Context, pipe string, want uint64) error {
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	at, err := url.Parse(pipe)
	if err != nil {
		return fmt.Errorf("address of the pipe: %w", err)
	}
	at.Scheme, at.Path = "http", countPath
	for {
		got, err := count(ctx, at.String())
		if err != nil {
			return fmt.Errorf("count of the pipe: %w", err)
		}
		if got >= want {
			return nil
		}
		if pauseUntil(ctx, time.Now().Add(countPoll)) != nil {
			return fmt.Errorf("its subscriber got %d of %d messages", got, want)
		}
	}
}

func count(ctx context.Context, at string) (uint64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}
