// Package front is what a gateway's HTTP server has to be for strangers to reach it: with
// bounds on what they may send before anything is known of them, and with TLS.
package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"stenobus/gateway/reload"
)

// Defaults of Limits.
const (
	HeaderWait  = 10 * time.Second
	HeaderBytes = 16 << 10
	Waiting     = 4096
	WaitingEach = 2048

	pageWait = 30 * time.Second
	idleWait = 10 * time.Second
)

// Limits of requests.
type Limits struct {
	HeaderWait  time.Duration // until a request's header is here, the TLS handshake included; 0: 10 s
	HeaderBytes int           // of a request's header; 0: 16 KiB
	Waiting     int           // connections at once on which no request is under way, TLS handshakes included; beyond it the one that waits longest is closed; 0: 4,096
	WaitingEach int           // the same of one address; 0: 2,048
	Metrics     *Metrics      // nil: none
	PageWait    time.Duration // until a page was asked for with all of a body that nobody reads, and was read; 0: 30 s. WebSockets have no such end
}

// faults are the server's own: a panic in a handler, or no more sockets to accept. Their
// lines stand out among those on strangers.
type faults struct{ slog.Handler }

func (f faults) Enabled(context.Context, slog.Level) bool { return true }

func (f faults) Handle(ctx context.Context, r slog.Record) error {
	for _, own := range []string{"http: panic", "http: Accept error"} {
		if strings.HasPrefix(r.Message, own) {
			r.Level = slog.LevelError
		}
	}
	if !f.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return f.Handler.Handle(ctx, r)
}

// NewServer makes an HTTP/1.1 server: WebSockets begin with its upgrade, which HTTP/2 has
// not. What goes wrong with single connections is logged at level debug: strangers
// would fill the log with it otherwise.
func NewServer(h http.Handler, lim Limits, log *slog.Logger) *http.Server {
	if lim.HeaderWait == 0 {
		lim.HeaderWait = HeaderWait
	}
	if lim.HeaderBytes == 0 {
		lim.HeaderBytes = HeaderBytes
	}
	if lim.Waiting == 0 {
		lim.Waiting = Waiting
	}
	if lim.WaitingEach == 0 {
		lim.WaitingEach = WaitingEach
	}
	if lim.PageWait == 0 {
		lim.PageWait = pageWait
	}
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		Protocols:         &http1,
		ReadHeaderTimeout: lim.HeaderWait,
		ReadTimeout:       lim.HeaderWait + lim.PageWait, // an upgrade takes both off again
		WriteTimeout:      lim.HeaderWait + lim.PageWait,
		MaxHeaderBytes:    lim.HeaderBytes,
		IdleTimeout:       idleWait,
		ConnState:         newWaiting(lim, log).state,
		ErrorLog:          slog.NewLogLogger(faults{log.With("part", "http").Handler()}, slog.LevelDebug),
	}
}

// Certificate is a certificate with its key, read again when the files change.
type Certificate = reload.Value[*tls.Certificate]

// OpenCertificate reads both files, which must be there and belong together.
func OpenCertificate(certFile, keyFile string, log *slog.Logger, m *reload.Metrics, every time.Duration) (*Certificate, error) {
	return reload.Open(reload.Config[*tls.Certificate]{
		What: "tls-cert", Paths: []string{certFile, keyFile}, Log: log, Metrics: m, Every: every,
		Read: func() (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(certFile, keyFile)
			if err != nil {
				return nil, fmt.Errorf("%s with %s: %w", certFile, keyFile, err)
			}
			return &c, nil
		},
	})
}

// Secure adds TLS to a listener. A new certificate is for new connections; those that
// are open go on with the old one.
func Secure(l net.Listener, c *Certificate) net.Listener {
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.Load(), nil },
	})
}

// Loopback tells whether a host of a URL is this machine.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// ErrOpen is of a listener that others than this machine reach, with nothing to tell
// who they are.
var ErrOpen = errors.New("clients elsewhere could use this gateway without any authentication")

// Closed returns ErrOpen unless a listener is on loopback.
func Closed(l net.Listener) error {
	if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s: %w", l.Addr(), ErrOpen)
}
