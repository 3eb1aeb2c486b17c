package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"stenobus/cmd/stenobus/internal/placesim"
	"stenobus/subjects/subjectstest"
)

// place simulates two small fleets.
func place(t *testing.T, args ...string) outcome {
	t.Helper()
	return invoke(t, append([]string{"bench", "place", "--workers", "50,100", "--sessions", "4000", "--length", "20s"}, args...)...)
}

func TestBenchPlace(t *testing.T) {
	t.Parallel()
	o := place(t, "--json", "--load", "0.5")
	o.check(t, exitOK, "a fleet of 50 workers", "a fleet of 100 workers")
	var r placesim.Result
	d := json.NewDecoder(strings.NewReader(o.stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v\n%s", err, o.stdout)
	}
	if !r.OK || len(r.Fleets) != 2 || r.Fleets[1].Workers != 100 || r.Fleets[1].Placed < 3500 || r.Strategy != "spread" {
		t.Errorf("result %+v", r)
	}
	place(t, "--load", "0.5").check(t, exitOK, "sessions placed", "max : mean", "largest fleet to smallest")
}

func TestBenchPlaceIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var stdout, stderr safeBuffer
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"bench", "place"}, &stdout, &stderr) }()
	subjectstest.Eventually(t, "the run", func() bool { return strings.Contains(stderr.String(), "a fleet of 1000 workers") })
	cancel(signalError{os.Interrupt})
	if code := <-done; code != exitInterrupted || stdout.String() != "" {
		t.Errorf("exit code %d, want %d\n%s%s", code, exitInterrupted, stderr.String(), stdout.String())
	}
}

func TestBenchPlaceUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--workers", "1"}, {"--slots", "0"}, {"--load", "0"}, {"--sessions", "10"}, {"--length", "1ms"}, {"--skew", "9"}, {"--rare", "1"},
		{"--dispatchers", "0"}, {"--report-every", "1h"}, {"--lag-min", "5s"}, {"--lag-max", "1h"}, {"--crashes", "2"}, {"--drains", "2"},
		{"--burst", "1000"}, {"--burst-for", "2h"},
	} {
		invoke(t, append([]string{"bench", "place"}, args...)...).check(t, exitUsage, args[0], "out of range")
	}
}
