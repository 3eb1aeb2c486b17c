package bench

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// upgrader makes the request of a client that becomes a WebSocket, over a connection of its
// own. net/http's transport also prepares for what may follow on a connection, with two
// goroutines and two buffers: on a machine that clients share with the server this took as
// much CPU as the gateway's half of the upgrade. It goes through no proxy.
type upgrader struct {
	dialer net.Dialer
	secure http.RoundTripper // for TLS
}

// newUpgrader is for all sessions of a load.
func newUpgrader() *http.Client {
	return &http.Client{Transport: &upgrader{
		dialer: net.Dialer{KeepAlive: -1}, // sessions are pinged as it is
		secure: http.DefaultTransport,
	}}
}

// RoundTrip implements http.RoundTripper. The body of an answer that upgrades is the
// connection.
func (u *upgrader) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "http" {
		return u.secure.RoundTrip(req)
	}
	at := req.URL.Host
	if req.URL.Port() == "" {
		at = net.JoinHostPort(req.URL.Hostname(), "80")
	}
	conn, err := u.dialer.DialContext(req.Context(), "tcp", at)
	if err != nil {
		return nil, err
	}
	resp, err := exchange(req, conn)
	if err != nil {
		_ = conn.Close() // err tells more
		return nil, err
	}
	return resp, nil
}

// exchange sends the request and reads the header of its answer, until the request's
// context ends.
func exchange(req *http.Request, conn net.Conn) (*http.Response, error) {
	stop := context.AfterFunc(req.Context(), func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // fails only where it is closed
	defer stop()
	var text bytes.Buffer
	if err := req.Write(&text); err != nil {
		return nil, err
	}
	if _, err := conn.Write(text.Bytes()); err != nil {
		return nil, err
	}
	const header = 1 << 10 // bytes, of most
	r := bufio.NewReaderSize(conn, header)
	resp, err := http.ReadResponse(r, req)
	if !stop() {
		return nil, context.Cause(req.Context())
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = &upgraded{Conn: conn, early: r}
	} else {
		resp.Body = refusal{resp.Body, conn}
	}
	return resp, nil
}

// upgraded is a connection of which something was read already.
type upgraded struct {
	net.Conn
	early *bufio.Reader // nil: nothing of it is left
}

func (u *upgraded) Read(p []byte) (int, error) {
	if u.early != nil {
		if u.early.Buffered() > 0 {
			return u.early.Read(p)
		}
		u.early = nil
	}
	return u.Conn.Read(p)
}

// refusal is the body of an answer after which nothing follows.
type refusal struct {
	io.Reader
	io.Closer
}
