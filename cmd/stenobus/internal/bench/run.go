package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	openWait  = 30 * time.Second // for workers to be ready for all sessions
)

// Config of a run. URL and Bare of Load are filled in.
type Config struct {
	Load       LoadConfig
	Duration   time.Duration // of the steady phase
	Runs       int           // of each kind; 0: 1
	Deployment Deployment

	URL  string         // measure the server there; empty: start the deployment
	PIDs map[string]int // processes of that server whose CPU and memory count, by name

	NoPath, NoPipe bool // leave one kind out
	Rogues         bool // let clients that misbehave come and go, and compare

	Progress func(phase, detail string) // told every second
}

// Run measures both kinds in turn. The Result is to be shown even where there is an
// error: sessions that failed are one.
func Run(ctx context.Context, cfg Config) (Result, error) {
	var all []Result
	var wrong []error
	for i := range max(1, cfg.Runs) {
		r, err := cfg.once(ctx, i)
		if ctx.Err() != nil {
			return Result{}, context.Cause(ctx)
		}
		if err != nil {
			wrong = append(wrong, err)
		}
		all = append(all, r)
	}
	return combine(&cfg, all), errors.Join(wrong...)
}

// kind is one of the two things that are measured.
type kind struct {
	name  string
	bare  bool
	start func(ctx context.Context, dir string) (*site, error)
	to    *measured
}

// once measures the path and the pipe; which goes first alternates, so that what drifts
// on the machine favours none.
func (c *Config) once(ctx context.Context, run int) (Result, error) {
	var path, pipe measured
	var kinds []kind
	if !c.NoPipe {
		kinds = append(kinds, kind{"bare pipe", true, c.Deployment.startPipe, &pipe})
	}
	if !c.NoPath {
		kinds = append(kinds, kind{"whole path", false, c.startPath, &path})
	}
	if run%2 == 1 && len(kinds) == 2 {
		kinds[0], kinds[1] = kinds[1], kinds[0]
	}
	var errs []error
	for _, k := range kinds {
		name := k.name
		if c.Runs > 1 {
			name += fmt.Sprintf(", run %d of %d", run+1, c.Runs)
		}
		m, err := c.measure(ctx, name, k)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		if ctx.Err() != nil {
			break
		}
		*k.to = m
	}
	return resultOf(c, &path, &pipe), errors.Join(errs...)
}

func (c *Config) startPath(ctx context.Context, dir string) (*site, error) {
	if c.URL != "" {
		return elsewhere(c.URL, c.PIDs), nil
	}
	return c.Deployment.startPath(ctx, c.Load, dir)
}

// measured is what one deployment came to.
type measured struct {
	roles  map[string]used
	frames uint64 // sent in the steady phase
	took   time.Duration
	apart  *Isolation // nil: there were no rogues
	Report
}

// used is what the processes of one role came to.
type used struct {
	opening time.Duration // CPU while the sessions opened
	cpu     time.Duration // and in the steady phase
	ending  time.Duration // and while they ended
	io      int64         // bytes read and written in the steady phase
	baseKB  int64         // resident when nobody was connected
	rssKB   int64         // and how much more at the end of the steady phase, pages of the program aside
}

// measure starts a site, puts the load on it and stops it.
func (c *Config) measure(ctx context.Context, name string, k kind) (m measured, err error) {
	dir, remove, err := tempDir()
	if err != nil {
		return m, err
	}
	defer remove()
	c.Progress(name, "starting")
	s, err := k.start(ctx, dir)
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return m, err
	}
	idle, err := s.usage()
	if err != nil {
		return m, err
	}
	load := c.Load
	load.URL, load.Bare = s.url, k.bare
	l := StartLoad(ctx, load)
	w, err := c.steady(ctx, name, l, s)
	c.Progress(name, "ending")
	m = measured{roles: map[string]used{}, frames: w.frames, took: w.to.Sub(w.from), Report: l.End(w.from, w.to)}
	if w.phases != nil {
		m.apart = isolation(l, w.phases)
	}
	over, overErr := s.usage()
	for role, end := range w.end {
		m.roles[role] = used{
			cpu: end.CPU - w.begin[role].CPU, opening: w.begin[role].CPU - idle[role].CPU,
			ending: over[role].CPU - end.CPU, io: end.IO - w.begin[role].IO,
			baseKB: idle[role].RSSKB, rssKB: end.AnonKB - idle[role].AnonKB,
		}
	}
	err = errors.Join(err, overErr, m.Wrong())
	if k.bare && err == nil {
		err = awaitCount(ctx, s.count, m.Messages)
	}
	return m, err
}

func tempDir() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp("", "stenobus-bench-")
	if err != nil {
		return "", nil, fmt.Errorf("directory for the data: %w", err)
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// window is the steady phase: all sessions are open and none ends.
type window struct {
	from, to   time.Time
	begin, end map[string]child.Usage
	frames     uint64
	phases     []phase
}

func (c *Config) steady(ctx context.Context, name string, l *Load, s *site) (w window, err error) {
	c.Progress(name, "opening sessions")
	if err := l.Open(ctx); err != nil {
		return w, err
	}
	sent := l.Sent()
	if w.begin, err = s.usage(); err != nil {
		return w, err
	}
	w.from = time.Now()
	w.to = w.from.Add(c.Duration)
	if dir := c.Deployment.Profiles; dir != "" {
		written := s.profile(ctx, dir, strings.ReplaceAll(name, " ", "-"), c.Duration)
		defer func() { err = errors.Join(err, written()) }()
	}
	if c.Rogues && !l.cfg.Bare {
		w.phases, err = misbehave(ctx, l, c.Duration, func(detail string) { c.Progress(name, detail) })
	} else {
		err = c.showUntil(ctx, name, w.to, func() string { return fmt.Sprintf("%d frames sent", l.Sent()) })
	}
	if err != nil {
		return w, err
	}
	w.to = time.Now()
	w.frames = l.Sent() - sent
	w.end, err = s.usage()
	return w, err
}

// showUntil tells every second how far a measurement is, until it is over.
func (c *Config) showUntil(ctx context.Context, name string, to time.Time, detail func() string) error {
	for now := time.Now(); now.Before(to); now = time.Now() {
		c.Progress(name, fmt.Sprintf("%.0f s to go, %s", to.Sub(now).Seconds(), detail()))
		next := now.Add(showEvery)
		if next.After(to) {
			next = to
		}
		if err := pauseUntil(ctx, next); err != nil {
			return err
		}
	}
	return nil
}

// awaitCount returns when the subscriber of a pipe has got as many messages.
func awaitCount(ctx context.Context, at string, want uint64) error {
	ctx, cancel := context.WithTimeout(ctx, countWait)
	defer cancel()
	for {
		got, err := count(ctx, at)
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
