package main

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"

	"stenobus/cmd/stenobus/internal/bench"
	"stenobus/subjects/subjectstest"
)

// asChild makes this test binary the program, so that bench can start itself.
const asChild = "STENOBUS_TEST_AS_CHILD"

func init() {
	if os.Getenv(asChild) != "" {
		ctx, stop := withSignals(context.Background())
		defer stop()
		os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
	}
	if err := os.Setenv(asChild, "1"); err != nil {
		panic(err)
	}
}

// benchmark runs bench for a moment.
func benchmark(t *testing.T, ctx context.Context, args ...string) outcome {
	t.Helper()
	var stdout, stderr safeBuffer
	code := run(ctx, append([]string{
		"bench", "--sessions", "3", "--sources", "2", "--rate", "25", "--duration", "1s", "--ramp", "100ms",
		"--final-every", "10",
	}, args...), &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

func TestBench(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"one frame a message": nil, "shared": {"--share", "60ms", "--interims"}, "on a cluster": {"--bus-servers", "3"}, "with the audio log": {"--audio-log"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := benchmark(t, t.Context(), append(args, "--json", "--no-pipe")...) // it is the same beside each
			o.check(t, exitOK, "whole path")
			var r bench.Result
			d := json.NewDecoder(strings.NewReader(o.stdout))
			d.DisallowUnknownFields()
			if err := d.Decode(&r); err != nil {
				t.Fatalf("%v\n%s", err, o.stdout)
			}
			for _, role := range []string{"gateway", "bus", "dispatcher", "worker", "client"} {
				if _, ok := r.CPU[role]; !ok {
					t.Errorf("no figure of the %s", role)
				}
			}
			if !r.OK() || r.Sessions != 3 || r.Sources != 2 || r.Runs != 1 || r.FramesPerS <= 0 || r.ClaimP99 <= 0 || r.FrameP99 <= 0 || r.PingP99 <= 0 || r.IO["bus"] < 100 {
				t.Errorf("result %+v", r)
			}
		})
	}
}

func TestBenchTable(t *testing.T) {
	t.Parallel()
	benchmark(t, t.Context(), "--runs", "2").
		check(t, exitOK, "path : pipe", "last frame to final, ms", "lost 0, doubled 0", "bare pipe, run 1 of 2", "whole path, run 2 of 2")
}

// A Ctrl-C ends a measurement at once, and both sides of it.
func TestBenchIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var stdout, stderr safeBuffer
	done := make(chan int, 1)
	go func() { done <- run(ctx, []string{"bench", "--sessions", "2", "--duration", "10m"}, &stdout, &stderr) }()
	subjectstest.Eventually(t, "the load", func() bool { return strings.Contains(stderr.String(), "bench: bare pipe") })
	cancel(signalError{os.Interrupt})
	if code := <-done; code != exitInterrupted {
		t.Errorf("exit code %d, want %d\n%s", code, exitInterrupted, stderr.String())
	}
	if stdout.String() != "" {
		t.Errorf("an interrupted benchmark wrote a result: %s", stdout.String())
	}
}

func TestBenchUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--sessions", "0"}, {"--sources", "0"}, {"--rate=-1"}, {"--duration", "1ms"}, {"--frame-bytes", "0"}, {"--share", "2s"}, {"--runs", "0"}, {"--bus-servers", "2"},
	} {
		invoke(t, append([]string{"bench"}, args...)...).check(t, exitUsage, strings.TrimSuffix(args[0], "=-1"), "out of range")
	}
}

func TestBenchPipeAlone(t *testing.T) {
	t.Parallel()
	invoke(t, "bench", "pipe", "--sessions", "2", "--duration", "500ms", "--ramp", "50ms").
		check(t, exitOK, "in a bare pipe", "subscriber", "lost 0")
}

// The search ends with the most sessions below the bound, or says that there are none.
func TestBenchFindsALimit(t *testing.T) {
	t.Parallel()
	invoke(t, "bench", "--find-limit", "--limit", "1us", "--sessions", "1", "--rate", "200", "--duration", "1s", "--ramp", "50ms").
		check(t, exitFailure, "not even 1 sessions stay below 1µs (p99 of frames is")
}

func TestBenchKnowsWhatGoesTogether(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		want string
		args []string
	}{
		{"--foreign and --pid are about the server of --url", []string{"--foreign"}},
		{"--foreign and --pid are about the server of --url", []string{"--pid", "node=1"}},
		{"--url: not the address of a WebSocket", []string{"--url", "http://127.0.0.1/"}},
		{"--pid: node=0 is no process", []string{"--url", "ws://127.0.0.1/", "--pid", "node=0"}},
	} {
		invoke(t, append([]string{"bench"}, tc.args...)...).check(t, exitUsage, tc.want)
	}
}

// Clients that misbehave are there for half of the time, and cost the others no frame.
func TestBenchWithRogues(t *testing.T) {
	t.Parallel()
	o := benchmark(t, t.Context(), "--rogues", "--no-pipe", "--json", "--duration", "2s", "--final-every", "5", "--ping-every", "50ms")
	o.check(t, exitOK)
	var r bench.Result
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil {
		t.Fatalf("%v\n%s", err, o.stdout)
	}
	if i := r.Isolation; !r.OK() || i == nil || i.FrameQuiet <= 0 || i.FrameRatio <= 0 || i.PingQuiet <= 0 || i.PingRatio <= 0 {
		t.Errorf("result %+v, isolation %+v", r, r.Isolation)
	}
}

// Results are stored in every stream, in a cluster too, and all of them are heard.
func TestBenchResults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ streams, replicas int }{
		"three streams": {3, 1}, "three copies": {2, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := invoke(t, "bench", "results", "--sessions", "10", "--duration", "500ms", "--json",
				"--streams", strconv.Itoa(tc.streams), "--replicas", strconv.Itoa(tc.replicas))
			o.check(t, exitOK, "results log")
			var r bench.LogResult
			d := json.NewDecoder(strings.NewReader(o.stdout))
			d.DisallowUnknownFields()
			if err := d.Decode(&r); err != nil {
				t.Fatalf("%v\n%s", err, o.stdout)
			}
			if r.Sessions != 10 || r.Streams != tc.streams || r.Replicas != tc.replicas || r.ResultBytes < 100 ||
				r.ResultsPerS <= 0 || r.AckP50 <= 0 || r.AckP99 < r.AckP50 || r.Stored <= 10 || r.Heard != r.Stored {
				t.Errorf("result %+v", r)
			}
			for _, role := range []string{"bus", "client"} {
				if _, ok := r.CPU[role]; !ok {
					t.Errorf("no figure of the %s", role)
				}
			}
		})
	}
}

func TestBenchResultsTable(t *testing.T) {
	t.Parallel()
	invoke(t, "bench", "results", "--sessions", "3", "--duration", "200ms").
		check(t, exitOK, "sessions 3, streams 1", "results/s", "CPU a result, bus", "CPU a result, client", "acknowledgement, ms")
}

func TestBenchResultsUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--sessions", "0"}, {"--streams", "0"}, {"--streams", "65"}, {"--replicas", "2"}, {"--duration", "2m"},
	} {
		invoke(t, append([]string{"bench", "results"}, args...)...).check(t, exitUsage, args[0], "out of range")
	}
}
