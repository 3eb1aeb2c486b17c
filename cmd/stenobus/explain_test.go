package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	_, at := up(t)
	bus := at[1]
	invoke(t, "send", "--url", at[0], "--session", "meeting 1", tone(t, "a.wav", 4*time.Second)).check(t, exitOK)

	o := invoke(t, "explain", "--nats", bus, "meeting 1")
	o.check(t, exitOK, "ended: life ", "spread: load ", "the only one with room", "(open)", "(client_end)", `source 1 "a"`, " + 0 unaccounted")
	if o.stderr != "" {
		t.Errorf("it says on stderr: %s", o.stderr)
	}
	o = invoke(t, "explain", "--nats", bus, "--json", "meeting=201")
	o.check(t, exitOK, "meeting=201", "the one whose token it is")
	var story struct {
		State string
		Found []uint64 `json:"lives_found"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &story); err != nil || story.State != "ended" || len(story.Found) != 1 {
		t.Errorf("object %s: %v", o.stdout, err)
	}
	invoke(t, "explain", "--nats", bus, "--follow", "meeting 1").check(t, exitOK, "(client_end)") // it has ended: nothing to wait for
	invoke(t, "explain", "--nats", bus, "--life", "999", "meeting 1").check(t, exitFailure, "no life 999")
	invoke(t, "explain", "--nats", bus, "nobody").
		check(t, exitFailure, `no trace of a session with the id "nobody"`, "transcribe_sessions", "TRANSCRIBE_RESULTS", "24 h")
	invoke(t, "explain", "--nats", bus, "").check(t, exitUsage, "session id is empty")
	invoke(t, "explain", "--nats", bus, "--follow", "--life", "1", "x").check(t, exitUsage, "--life", "--follow")

	// A session that lives is followed to its end.
	send := make(chan outcome, 1)
	go func() {
		send <- invoke(t, "send", "--url", at[0], "--session", "live", "--speed", "2", tone(t, "b.wav", 8*time.Second))
	}()
	deadline := time.Now().Add(testWait)
	for {
		o = invoke(t, "explain", "--nats", bus, "--follow", "live")
		if o.code != exitFailure || time.Now().After(deadline) {
			break
		}
	}
	o.check(t, exitOK, "state    live", "following", "  final    ", "(client_end)")
	if i, j := strings.Index(o.stdout, "following"), strings.Index(o.stdout, "ended  "); j < i {
		t.Errorf("the end is not after the beginning:\n%s", o.stdout)
	}
	(<-send).check(t, exitOK)
}

func TestExplainWithoutABus(t *testing.T) {
	t.Parallel()
	invoke(t, "explain", "--nats", "nats://"+deadPort(t), "x").check(t, exitRefused, "no NATS server answered within 5s")
}
