package gateway

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
)

// A client may send its first message with its handshake, before it has an answer. What
// net/http has read of it already is not lost, however much that is.
func TestMessageThatComesWithTheHandshake(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 100, readRoom - 8, readRoom, readRoom + 1, 3000, 60_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			got := make(chan []byte, 2)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(got)
				conn, err := accept(w, r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				conn.greet(false, nil)
				conn.SetReadLimit(-1)
				for range 2 {
					_, data, err := conn.Read(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					got <- data
				}
				_ = conn.CloseNow()
			}))
			t.Cleanup(server.Close)
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			want := bytes.Repeat([]byte("x"), size)
			all := "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" +
				string(maskedFrame(want)) + string(maskedFrame([]byte("second")))
			if _, err := conn.Write([]byte(all)); err != nil {
				t.Fatal(err)
			}
			if r, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("the handshake was answered with %v, %v", r, err)
			}
			if first := <-got; !bytes.Equal(first, want) {
				t.Errorf("the first message has %d bytes, %d were sent", len(first), len(want))
			}
			if second := <-got; string(second) != "second" {
				t.Errorf("the second message is %q", second)
			}
		})
	}
}

// maskedFrame is a text message of a client, masked with zeros (RFC 6455, 5.2).
func maskedFrame(data []byte) []byte {
	const text, masked, mask = 0x81, 0x80, "\x00\x00\x00\x00"
	header := []byte{text, masked | byte(min(len(data), 126))}
	if len(data) >= 126 {
		header[1] = masked | 126
		header = append(header, byte(len(data)>>8), byte(len(data)))
	}
	return append(append(header, mask...), data...)
}

// counting is a connection that counts what is written to it at once.
type counting struct {
	net.Conn
	writes *atomic.Int32
}

func (c counting) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// What a client hears first comes with the answer to its request: one system call here, and
// there.
func TestGreetingComesWithTheAnswer(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	var writes atomic.Int32
	l := one{make(chan net.Conn, 1)}
	pong := make(chan string, 1)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Stenobus-Session", "room")
		conn, err := accept(w, r, &websocket.AcceptOptions{
			OnPongReceived: func(_ context.Context, payload []byte) { pong <- string(payload) },
		})
		if err != nil {
			t.Error(err)
			return
		}
		conn.greet(true, [][]byte{nil, []byte("hello")})
		_, _, _ = conn.Read(context.WithoutCancel(r.Context())) // until the client goes
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		close(l.conns)
		_ = server.Close()
		<-served
	})
	l.conns <- counting{far, &writes}
	conn, answer, err := websocket.Dial(t.Context(), "ws://gateway/", &websocket.DialOptions{HTTPClient: &http.Client{
		Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return near, nil }},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if got := answer.Header.Get("Stenobus-Session"); got != "room" {
		t.Errorf("header Stenobus-Session is %q", got)
	}
	if _, data, err := conn.Read(t.Context()); err != nil || string(data) != "hello" {
		t.Errorf("the client heard %q, %v first", data, err)
	}
	if got := <-pong; got != "" {
		t.Errorf("the pong is of a ping with %q", got)
	}
	if n := writes.Load(); n != 1 {
		t.Errorf("there were %d writes, want 1", n)
	}
}

// An answer is longer than what is sent at once, and its client reads nothing: the request is
// done with all the same.
func TestAnswerThatNobodyReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := one{make(chan net.Conn, 1)}
		greeted := make(chan struct{})
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(greeted)
			w.Header().Set("Sec-WebSocket-Protocol", strings.Repeat("x", 2*writeRoom))
			conn, err := accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			conn.greet(true, [][]byte{[]byte("hello")})
			_ = conn.CloseNow()
		})}
		go func() { _ = server.Serve(l) }()
		near, far := net.Pipe()
		l.conns <- far
		if _, err := near.Write([]byte("GET / HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		<-greeted
		_ = near.Close()
		close(l.conns)
		_ = server.Close()
	})
}
