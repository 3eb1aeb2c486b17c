package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// diary notes what happens, in its order.
type diary struct {
	mu    sync.Mutex // guards lines and nothing else
	lines []string
}

func (d *diary) note(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, line)
}

func (d *diary) part(name string) part {
	return part{name: name, run: func(ctx context.Context) error {
		<-ctx.Done()
		d.note(name)
		return nil
	}}
}

func TestPartsStopInTheOppositeOrder(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var d diary
	asked := 0
	slow := d.part("c")
	slow.ready = func(context.Context) error {
		if asked++; asked < 3 {
			return errors.New("not yet")
		}
		return nil
	}
	err := runParts(ctx, slog.New(slog.DiscardHandler), func() error {
		d.note("ready")
		cancel()
		return nil
	}, d.part("a"), d.part("b"), slow)
	if err != nil {
		t.Error(err)
	}
	if got := strings.Join(d.lines, " "); got != "ready c b a" {
		t.Errorf("in the order %q, want ready c b a", got)
	}
}

func TestPartThatEndsByItselfEndsAll(t *testing.T) {
	t.Parallel()
	for name, ended := range map[string]error{"the port is gone": errors.New("the port is gone"), "ended by itself": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d diary
			bad := part{name: "bad", run: func(context.Context) error { return ended }}
			never := d.part("never")
			never.ready = func(context.Context) error { return errors.New("no") }
			err := runParts(t.Context(), slog.New(slog.DiscardHandler), func() error {
				t.Error("announced")
				return nil
			}, d.part("a"), bad, never)
			if err == nil || err.Error() != "bad: "+name {
				t.Errorf("parts: %v, want bad: %s", err, name)
			}
			if got := strings.Join(d.lines, " "); got != "never a" {
				t.Errorf("stopped %q, want never a", got)
			}
		})
	}
}

func TestPartsStopWhereTheyCannotBeAnnounced(t *testing.T) {
	t.Parallel()
	var d diary
	err := runParts(t.Context(), slog.New(slog.DiscardHandler), func() error { return errors.New("no one listens") }, d.part("a"))
	if err == nil || err.Error() != "no one listens" || len(d.lines) != 1 {
		t.Errorf("parts: %v, %q", err, d.lines)
	}
}
