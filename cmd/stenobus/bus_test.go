package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/coder/websocket"
	"stenobus/cmd/stenobus/internal/busserver"

	"stenobus/cmd/stenobus/internal/ops"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

// secured is a NATS configuration with one user.
const secured = `
listen: "127.0.0.1:0"
jetstream { store_dir: "%s" }
authorization { users: [ { user: steno, password: "open:sesame" } ] }
`

func startBus(t *testing.T, cfg busserver.Config) *busserver.Server {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := busserver.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop the bus: %v", err)
		}
	})
	return s
}

func TestUserFromFile(t *testing.T) {
	t.Parallel()
	conf := writeFile(t, "nats.conf", strings.Replace(secured, "%s", filepath.Join(t.TempDir(), "js"), 1))
	bus := startBus(t, busserver.Config{File: conf})
	for name, content := range map[string]string{"two lines": "steno\nopen:sesame\n", "a colon": "steno:open:sesame"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := spawn(t, "worker", "--engine", "tally", "--nats", bus.ClientURL(), "--nats-user-file", writeFile(t, "user", content))
			p.ready()
		})
	}
	t.Run("wrong", func(t *testing.T) {
		t.Parallel()
		file := writeFile(t, "user", "steno:close sesame")
		o := invoke(t, "worker", "--engine", "tally", "--nats", bus.ClientURL(), "--nats-user-file", file)
		o.check(t, exitRefused, "closed the connection for good", "Authorization Violation")
		if strings.Contains(o.stderr, "close sesame") {
			t.Errorf("a password was shown: %s", o.stderr)
		}
	})
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	busy := busyPort(t)
	for name, args := range map[string][]string{
		"--listen of gateway": {"gateway", "--listen", busy},
		"--listen of up":      {"up", "--engine", "tally", "--listen", busy, "--data", t.TempDir()},
		"--nats-listen":       {"up", "--engine", "tally", "--listen", "127.0.0.1:0", "--nats-listen", busy, "--data", t.TempDir()},
		"--metrics-listen":    {"dispatcher", "--metrics-listen", busy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flag, _, _ := strings.Cut(name, " ")
			invoke(t, args...).check(t, exitFailure, flag, busy, "address already in use")
		})
	}
}

// Until the bus is there a gateway is alive, not ready, and refuses clients; it stops
// cleanly all the same.
func TestGatewayWithoutABus(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	p := &program{ctx: ctx, stdout: io.Discard, stderr: io.Discard, log: slog.New(slog.DiscardHandler)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dialBus("test", "nats://"+deadPort(t), p.log)
	if err != nil {
		t.Fatal(err)
	}
	r, clients, err := newGateway(conn, gateway.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- runRole(p, r, plainDoor(l), r.pages(ops.NewRegistry(), clients)) }()
	for path, want := range map[string]int{
		"/healthz": 200, "/health": 200, "/status": 200, "/metrics": 200, "/readyz": 503,
	} {
		code, body := fetch(t, "http://"+l.Addr().String()+path)
		if code != want {
			t.Errorf("GET %s: %d %q, want %d", path, code, body, want)
		}
		if path == "/readyz" && !strings.Contains(body, "the bus is not connected") {
			t.Errorf("GET %s: %q does not say why", path, body)
		}
	}
	_, resp, err := websocket.Dial(t.Context(), "ws://"+l.Addr().String()+"/stream", nil)
	if err == nil || resp == nil || resp.StatusCode != 503 || resp.Header.Get("Stenobus-Code") != "not_ready" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a client: %v, %v, want 503 with the code not_ready", resp, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("stop: %v", err)
	}
}

// deadPort is an address at which nobody listens.
func deadPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testWait}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestTroubleIsLoggedNowAndThen(t *testing.T) {
	t.Parallel()
	r := &busReport{last: make(map[string]time.Time)}
	if !r.due("a") || r.due("a") || !r.due("b") {
		t.Error("want each kind once")
	}
	r.last["a"] = time.Now().Add(-2 * logEvery)
	if !r.due("a") {
		t.Error("want it again after a while")
	}
	for range 200 {
		r.due(errors.New(time.Now().String()).Error())
	}
	if len(r.last) > 102 {
		t.Errorf("%d kinds are remembered", len(r.last))
	}
}

func TestReconnectDelay(t *testing.T) {
	t.Parallel()
	for range 1000 {
		if d := reconnectDelay(); d < natsDelayLeast || d > natsDelayMost {
			t.Fatalf("delay %v", d)
		}
	}
}

// Three processes of the program are a cluster that keeps a stream with three copies.
func TestBusCluster(t *testing.T) {
	t.Parallel()
	var routes, urls []string
	at := subjectstest.Reserve(t, 3)
	for i := range at {
		routes = append(routes, "nats://"+at[i])
	}
	for i := range at {
		p := spawn(t, "bus", "--name", "nats-"+strconv.Itoa(i), "--listen", "127.0.0.1:0", "--data", t.TempDir(),
			"--cluster-listen", at[i], "--routes", strings.Join(routes, ","), "--log-level", "error")
		urls = append(urls, p.ready()[0])
	}
	nc, err := nats.Connect(urls[0])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	defer cancel()
	if _, err := subjects.Await(ctx, js, subjects.BusConfig{Replicas: 3}, func(error) {}); err != nil {
		t.Fatal(err)
	}
	if known := nc.DiscoveredServers(); len(known) > 0 {
		t.Errorf("clients are told of %v", known)
	}
}
