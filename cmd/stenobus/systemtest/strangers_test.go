package systemtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"stenobus/cmd/stenobus/internal/front"
	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/gateway/auth"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

const strangersOnce = 800 // at once

// Strangers come with bad credentials, headers without end, handshakes that trickle in and
// sockets on which nothing is said, while other clients' sessions run: these lose nothing,
// no stranger gets in, and nothing of theirs is left. STENOBUS_STRANGERS says how many come
// for each of 50 sessions: 200 to 4 by default, 10,000 to 200 in make soak.
func TestStrangersAtTheDoor(t *testing.T) {
	t.Parallel()
	strangers := howMany("STENOBUS_STRANGERS", 200)
	residents := strangers / 50
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1", Slots: 2 * residents, Log: s.quiet()})
	var open atomic.Int64 // connections that the server has
	gw, g := s.bareGateway(s.bus.Dial(), gateway.Config{
		Log: slog.New(slog.DiscardHandler), Auth: byName{"ann": {Name: "ann"}},
	}, func(_ *node, server *httptest.Server) {
		server.Config = front.NewServer(server.Config.Handler, front.Limits{HeaderWait: 500 * time.Millisecond}, s.quiet())
		bound := server.Config.ConnState
		server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
			bound(conn, state)
			switch state {
			case http.StateNew:
				open.Add(1)
			case http.StateClosed, http.StateHijacked:
				open.Add(-1)
			}
		}
	})
	s.ready(g.Ready)
	before := s.footprint()

	over := make(chan struct{})
	var rooms sync.WaitGroup
	clients := make([]*client, residents)
	for i := range clients {
		c, err := dialAs(t, gw, named(fmt.Sprintf("room-%d", i)), http.Header{"Authorization": {"Bearer ann"}})
		if err != nil {
			t.Fatal(err)
		}
		clients[i] = c
		c.start("a")
		rooms.Go(func() {
			for {
				c.speak("a", 5)
				select {
				case <-over:
					return
				case <-time.After(250 * time.Millisecond):
				}
			}
		})
	}
	served := s.invade(strings.TrimPrefix(gw.url, "ws://"), strangers)
	close(over)
	rooms.Wait()
	if served > 0 {
		t.Errorf("%d strangers were let in", served)
	}
	for _, c := range clients {
		c.finish()
	}
	s.nothingLeft(before)
	subjectstest.Eventually(t, "no stranger's connection is left", func() bool { return open.Load() == 0 })
}

// invade sends the strangers, and tells how many were let in.
func (s *system) invade(addr string, strangers int) int64 {
	var in atomic.Int64
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, strangersOnce)
	kinds := []func(context.Context, string) bool{badKey, endlessHeader, slowHandshake, silentSocket}
	for i := range strangers {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
			defer cancel()
			if kinds[i%len(kinds)](ctx, addr) {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	return in.Load()
}

func badKey(ctx context.Context, addr string) (in bool) {
	t := &http.Transport{DisableKeepAlives: true}
	defer t.CloseIdleConnections()
	conn, _, err := websocket.Dial(ctx, "ws://"+addr+"/transcribe?sendBack=true", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: t},
		HTTPHeader: http.Header{"Authorization": {"Bearer " + auth.NewSecret()}},
	})
	if err != nil {
		return false
	}
	_ = conn.CloseNow()
	return true
}

// endlessHeader sends a header until the server has had enough.
func endlessHeader(ctx context.Context, addr string) (in bool) {
	return raw(ctx, addr, func(conn net.Conn) error {
		line := "X-Filler: " + strings.Repeat("x", 4000) + "\r\n"
		_, err := io.WriteString(conn, upgradeHead+strings.Repeat(line, 40)+"\r\n")
		return err
	})
}

// slowHandshake stops in the middle of its header.
func slowHandshake(ctx context.Context, addr string) (in bool) {
	return raw(ctx, addr, func(conn net.Conn) error {
		_, err := io.WriteString(conn, upgradeHead+"X-Fill")
		return err
	})
}

// silentSocket connects and says nothing.
func silentSocket(ctx context.Context, addr string) (in bool) {
	return raw(ctx, addr, func(net.Conn) error { return nil })
}

const upgradeHead = "GET /transcribe?sendBack=true HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// raw speaks on a bare connection and waits until the server closes it.
func raw(ctx context.Context, addr string, say func(net.Conn) error) (in bool) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	_ = say(conn) // the server may have closed it already
	first, _, err := bufio.NewReader(conn).ReadLine()
	return err == nil && strings.Contains(string(first), " 101 ")
}
