package front_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"stenobus/cmd/stenobus/internal/front"
	"stenobus/cmd/stenobus/internal/front/fronttest"
)

// hall is a server whose connections are counted, with clients of several addresses.
type hall struct {
	t   *testing.T
	l   net.Listener
	reg *prometheus.Registry
	log bytes.Buffer // read it after the server has ended
	end func()
}

func newHall(t *testing.T, lim front.Limits, h http.Handler, secure func(net.Listener) net.Listener) *hall {
	t.Helper()
	m := &hall{t: t, l: listen(t, "127.0.0.1:0"), reg: prometheus.NewRegistry()}
	var err error
	if lim.Metrics, err = front.NewMetrics(m.reg); err != nil {
		t.Fatal(err)
	}
	s := front.NewServer(h, lim, slog.New(slog.NewTextHandler(&m.log, nil)))
	l := m.l
	if secure != nil {
		l = secure(l)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	m.end = sync.OnceFunc(func() {
		_ = s.Close()
		wg.Wait()
	})
	t.Cleanup(m.end)
	return m
}

// dial connects from 127.0.0.host.
func (m *hall) dial(host int) net.Conn {
	m.t.Helper()
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(host))}
	conn, err := (&net.Dialer{LocalAddr: from}).DialContext(m.t.Context(), "tcp", m.l.Addr().String())
	if err != nil {
		m.t.Skipf("from %v: %v", from, err) // loopback has one address only
	}
	_ = conn.SetDeadline(time.Now().Add(testWait))
	m.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// closed waits until the server has closed a connection, whichever way that shows.
func (m *hall) closed(conn net.Conn) {
	m.t.Helper()
	b, err := io.ReadAll(conn)
	if e, ok := err.(net.Error); ok && e.Timeout() || len(b) > 0 {
		m.t.Fatalf("%q, %v, want the end", b, err)
	}
}

// ask sends the rest of a request and returns the answer's first line.
func ask(t *testing.T, conn net.Conn, text string) string {
	t.Helper()
	_, _ = io.WriteString(conn, text) // if it was closed the answer does not come
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return strings.TrimSpace(line)
}

func (m *hall) metrics() map[string]float64 {
	m.t.Helper()
	families, err := m.reg.Gather()
	if err != nil {
		m.t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, v := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "stenobus_gateway_connections_")
			for _, l := range v.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = v.GetGauge().GetValue() + v.GetCounter().GetValue()
		}
	}
	return got
}

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

const half, rest = "GET / HTTP/1.1\r\nHo", "st: x\r\n\r\n"

// However many sockets one address opens without a word, it pushes out none but its own.
func TestSilentSocketsOfOneAddress(t *testing.T) {
	t.Parallel()
	m := newHall(t, front.Limits{Waiting: 100, WaitingEach: 4}, http.HandlerFunc(hello), nil)
	slow := m.dial(2)
	_, _ = io.WriteString(slow, half)
	var silent []net.Conn
	for range 300 {
		silent = append(silent, m.dial(1))
	}
	for _, conn := range silent[:296] {
		m.closed(conn)
	}
	if got := ask(t, silent[299], half+rest); got != "HTTP/1.1 200 OK" { // as one of theirs with a request would
		t.Errorf("a client of the same address: %s", got)
	}
	if got := ask(t, slow, rest); got != "HTTP/1.1 200 OK" {
		t.Errorf("a slow client of another address: %s", got)
	}
	m.end()
	if got := m.metrics(); got["dropped_total address"] != 296 || got["dropped_total total"] != 0 {
		t.Errorf("metrics %v", got)
	}
	for deadline := time.Now().Add(testWait); m.metrics()["waiting"] != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("connections that are closed wait for ever")
		}
	}
	if n := strings.Count(m.log.String(), "\n"); n != 1 || !strings.Contains(m.log.String(), "level=WARN") {
		t.Errorf("%d lines are logged, want one:\n%s", n, &m.log)
	}
}

// Many addresses together fill the room, and the ones that came first make place.
func TestSilentSocketsOfManyAddresses(t *testing.T) {
	t.Parallel()
	m := newHall(t, front.Limits{Waiting: 6, WaitingEach: 3}, http.HandlerFunc(hello), nil)
	var silent []net.Conn
	for n := range 12 {
		silent = append(silent, m.dial(1+n/2)) // two of each
	}
	for _, conn := range silent[:6] {
		m.closed(conn)
	}
	if got := ask(t, silent[6], half+rest); got != "HTTP/1.1 200 OK" {
		t.Errorf("the first that is left: %s", got)
	}
	m.end()
	if got := m.metrics(); got["dropped_total total"] < 6 || got["dropped_total address"] != 0 {
		t.Errorf("metrics %v", got)
	}
}

// What is served is none of those who wait; a connection kept for a next request is.
func TestRequestsUnderWayDoNotWait(t *testing.T) {
	t.Parallel()
	begun, on := make(chan struct{}), make(chan struct{})
	m := newHall(t, front.Limits{Waiting: 2, WaitingEach: 2}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			close(begun)
			<-on
		}
		hello(w, r)
	}), nil)
	long := m.dial(1)
	_, _ = io.WriteString(long, "GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
	<-begun
	kept := m.dial(1)
	r := bufio.NewReader(kept)
	_, _ = io.WriteString(kept, half+rest)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	for range 20 {
		m.dial(1)
	}
	if b, err := io.ReadAll(r); err != nil && !strings.Contains(err.Error(), "reset") || len(b) > 0 {
		t.Errorf("the kept connection: %q, %v, want its end", b, err)
	}
	close(on)
	if got := ask(t, long, ""); got != "HTTP/1.1 200 OK" {
		t.Errorf("the request under way: %s", got)
	}
}

// TLS handshakes that do not come to an end wait too.
func TestHandshakesWait(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	fronttest.NewAuthority(t).Issue(certFile, keyFile)
	c, err := front.OpenCertificate(certFile, keyFile, nil, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := newHall(t, front.Limits{Waiting: 10, WaitingEach: 2}, http.HandlerFunc(hello), func(l net.Listener) net.Listener { return front.Secure(l, c) })
	var silent []net.Conn
	for range 20 {
		conn := m.dial(1)
		_, _ = fmt.Fprint(conn, "\x16\x03\x01") // a record begins
		silent = append(silent, conn)
	}
	for _, conn := range silent[:18] {
		m.closed(conn)
	}
}

// Thousands of sockets on which nothing is said keep nobody out, from the same address
// or another one, while they come and afterwards.
func TestManySilentSockets(t *testing.T) {
	t.Parallel()
	const hosts, each = 5, 500
	m := newHall(t, front.Limits{Waiting: 1000, WaitingEach: 300}, http.HandlerFunc(hello), nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	opened := make(chan struct{})
	for host := range hosts {
		wg.Go(func() {
			for range each {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+host))}}
				conn, err := d.DialContext(ctx, "tcp", m.l.Addr().String())
				if err != nil {
					t.Errorf("a silent socket: %v", err)
					return
				}
				defer conn.Close()
				select {
				case opened <- struct{}{}:
				case <-ctx.Done():
				}
			}
			<-ctx.Done()
		})
	}
	for n := range hosts * each {
		select {
		case <-opened:
		case <-time.After(testWait):
			t.Fatalf("%d sockets are open", n)
		}
		if n%100 == 99 {
			conn := m.dial(1 + n/100%(hosts+1))
			if got := ask(t, conn, half+rest); got != "HTTP/1.1 200 OK" {
				t.Errorf("after %d sockets: %s", n, got)
			}
			_ = conn.Close()
		}
	}
	if got := m.metrics(); got["waiting"] > 1000 || got["dropped_total total"] == 0 {
		t.Errorf("metrics %v", got)
	}
}
