package front_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"stenobus/cmd/stenobus/internal/front"
	"stenobus/cmd/stenobus/internal/front/fronttest"
)

// net/http keeps a connection that it refused for half a second, so that its answer is read.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

const testWait = 30 * time.Second

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("listen at %s: %v", addr, err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// serve runs a server until the test ends.
func serve(t *testing.T, l net.Listener, lim front.Limits) {
	t.Helper()
	s := front.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}), lim, slog.New(slog.DiscardHandler))
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		_ = s.Close()
		wg.Wait()
	})
}

func TestClosed(t *testing.T) {
	t.Parallel()
	for addr, open := range map[string]bool{"127.0.0.1:0": false, "127.0.0.2:0": false, "[::1]:0": false, "localhost:0": false, "0.0.0.0:0": true, "[::]:0": true, ":0": true} {
		t.Run(addr, func(t *testing.T) {
			t.Parallel()
			if err := front.Closed(listen(t, addr)); errors.Is(err, front.ErrOpen) != open {
				t.Errorf("%v, want open: %v", err, open)
			}
		})
	}
}

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	serve(t, l, front.Limits{HeaderWait: 200 * time.Millisecond, HeaderBytes: 2 << 10, PageWait: 200 * time.Millisecond})
	for name, tc := range map[string]struct{ sent, want string }{
		"whole":     {"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200"},
		"too large": {"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 8<<10) + "\r\n\r\n", "HTTP/1.1 431"},
		"slow body": {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1", ""},
		"too slow":  {"GET / HTTP/1.1\r\nHost:", ""},
		"nothing":   {"", ""},
	} {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(testWait))
		_, _ = io.WriteString(conn, tc.sent)
		got, err := io.ReadAll(conn) // ends when the server closes
		if errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(string(got), tc.want) {
			t.Errorf("%s: %q, %v, want %q and the end", name, got, err, tc.want)
		}
		_ = conn.Close()
	}
}

// The bounds of requests are none of what becomes of them after an upgrade.
func TestWebSocketsOutliveTheBounds(t *testing.T) {
	t.Parallel()
	const bound = 50 * time.Millisecond
	l := listen(t, "127.0.0.1:0")
	s := front.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		for {
			kind, b, err := conn.Read(context.Background())
			if err != nil || conn.Write(context.Background(), kind, b) != nil {
				return
			}
		}
	}), front.Limits{HeaderWait: bound, PageWait: bound}, slog.New(slog.DiscardHandler))
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	defer wg.Wait()
	defer s.Close()
	conn, _, err := websocket.Dial(t.Context(), "ws://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for begin := time.Now(); time.Since(begin) < 6*bound; {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.Read(t.Context()); err != nil {
			t.Fatalf("after %v: %v", time.Since(begin), err)
		}
	}
}

// New connections get the new certificate; one that is open goes on.
func TestCertificateIsExchanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	ca := fronttest.NewAuthority(t)
	first := ca.Issue(certFile, keyFile)
	c, err := front.OpenCertificate(certFile, keyFile, nil, nil, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	l := listen(t, "127.0.0.1:0")
	serve(t, front.Secure(l, c), front.Limits{})
	dial := func(cfg *tls.Config) (*tls.Conn, error) {
		cfg.RootCAs = ca.Pool
		return tls.Dial("tcp", l.Addr().String(), cfg)
	}
	open, err := dial(&tls.Config{NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	state := open.ConnectionState()
	if state.NegotiatedProtocol != "http/1.1" || state.PeerCertificates[0].SerialNumber.Cmp(first) != 0 {
		t.Errorf("%s with certificate %v", state.NegotiatedProtocol, state.PeerCertificates[0].SerialNumber)
	}
	if conn, err := dial(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
	second := ca.Issue(certFile, keyFile)
	for deadline := time.Now().Add(testWait); ; {
		conn, err := dial(&tls.Config{})
		if err != nil {
			t.Fatal(err)
		}
		got := conn.ConnectionState().PeerCertificates[0].SerialNumber
		_ = conn.Close()
		if got.Cmp(second) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the certificate was not exchanged")
		}
	}
	_, _ = io.WriteString(open, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if got, err := io.ReadAll(open); err != nil || !strings.HasSuffix(string(got), "HTTP/1.1") {
		t.Errorf("the open connection: %q, %v", got, err)
	}
}

func TestCertificateMustFitItsKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := fronttest.NewAuthority(t)
	ca.Issue(filepath.Join(dir, "c1"), filepath.Join(dir, "k1"))
	ca.Issue(filepath.Join(dir, "c2"), filepath.Join(dir, "k2"))
	if _, err := front.OpenCertificate(filepath.Join(dir, "c1"), filepath.Join(dir, "k2"), nil, nil, 0); err == nil || !strings.Contains(err.Error(), "c1") {
		t.Errorf("another's key: %v", err)
	}
}
