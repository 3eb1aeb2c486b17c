package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stenobus/cmd/stenobus/internal/front/fronttest"
	"stenobus/cmd/stenobus/internal/lab"
	"stenobus/subjects/subjectstest"
)

// runLab runs a very small lab, with this test binary as the program.
func runLab(t *testing.T, ctx context.Context, args ...string) outcome {
	t.Helper()
	var stdout, stderr safeBuffer
	code := run(ctx, append([]string{
		"lab", "--sessions", "3", "--workers", "2", "--session-life", "3s", "--duration", "8s",
	}, args...), &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// A worker is killed, a client is cut off, another connects twice: nothing is lost, and
// the report says so.
func TestLab(t *testing.T) {
	t.Parallel()
	o := runLab(t, t.Context(), "--json", "--seed", "5", "--watch", "--bus-results-streams", "3", "--faults", "worker_kill=1,client_cut=1,second_socket=1")
	o.check(t, exitOK, "seed 5", "worker_kill of worker-", "running")
	var r lab.Report
	d := json.NewDecoder(strings.NewReader(o.stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v\n%s", err, o.stdout)
	}
	if r.Verdict != lab.Pass || r.Seed != 5 || r.Sessions < 3 || r.FramesAccepted < 1000 || r.FramesAccepted != r.FramesSent {
		t.Errorf("report %+v", r)
	}
	if f := r.Faults[lab.WorkerKill]; f.N != 1 {
		t.Errorf("worker_kill %+v", f)
	}
	if _, err := os.Stat(r.Logs); r.Logs != "" || err == nil {
		t.Errorf("logs of a run without a fault are kept at %q", r.Logs)
	}
}

// The lab takes a deployment that runs already, also one that wants to know its clients.
func TestLabOnARunningDeployment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := fronttest.NewAuthority(t)
	cert, certKey, keys := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "cert.key"), filepath.Join(dir, "keys")
	ca.Issue(cert, certKey)
	key := writeFile(t, "key", newKey(t, keys, "lab"))
	_, at := up(t, "--tally-every", "25", "--auth-keys", keys, "--tls-cert", cert, "--tls-key", certKey)
	runLab(t, t.Context(), "--url", at[0], "--key-file", key, "--ca", ca.File, "--nats", at[1], "--duration", "3s", "--faults", "client_cut=2,worker_kill=9").
		check(t, exitOK, "client_cut", "verdict: pass", "frames unaccounted   0")
}

// A Ctrl-C ends the sessions, and what was found up to then is told.
func TestLabIsInterrupted(t *testing.T) {
	t.Parallel()
	at := spawn(t, "up", "--engine", "tally", "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--data", t.TempDir()).ready()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var stdout, stderr safeBuffer
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"lab", "--sessions", "2", "--url", at[0], "--nats", at[1], "--faults", "none"}, &stdout, &stderr)
	}()
	subjectstest.Eventually(t, "the load", func() bool { return strings.Contains(stderr.String(), "running") })
	cancel(signalError{os.Interrupt})
	if code := <-done; code != exitInterrupted {
		t.Errorf("exit code %d, want %d\n%s", code, exitInterrupted, stderr.String())
	}
	if !strings.Contains(stdout.String(), "verdict: interrupted") {
		t.Errorf("report: %s", stdout.String())
	}
}

func TestLabUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--sessions", "0"}, {"--sources", "0"}, {"--rate", "51"}, {"--duration", "1ms"}, {"--frame-bytes", "19"},
		{"--workers", "1"}, {"--gateways", "0"}, {"--dispatchers", "0"}, {"--tally-every", "0"}, {"--session-life=-1s"},
	} {
		flag, _, _ := strings.Cut(args[0], "=")
		invoke(t, append([]string{"lab"}, args...)...).check(t, exitUsage, flag, "out of range")
	}
	invoke(t, "lab", "--faults", "meteor=1").check(t, exitUsage, "meteor", "worker_kill")
	invoke(t, "lab", "--url", "ws://h/transcribe").check(t, exitUsage, "--nats")
	invoke(t, "lab", "--url", "http://h", "--nats", "nats://h").check(t, exitUsage, "ws://")
}
