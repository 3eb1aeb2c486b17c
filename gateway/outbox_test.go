package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

// trickle is a connection from which little is read, now and then.
type trickle struct {
	net.Conn
	slow bool
}

func (c *trickle) Read(b []byte) (int, error) {
	if c.slow {
		time.Sleep(time.Second)
		b = b[:min(len(b), 100)]
	}
	return c.Conn.Read(b)
}

// one is a listener for one connection.
type one struct {
	conns chan net.Conn
}

func (l one) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (l one) Close() error   { return nil }
func (l one) Addr() net.Addr { return &net.TCPAddr{} }

// A session is over and its client reads on so slowly that no single message is late: the
// connection ends all the same.
func TestClientThatReadsByTrickle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(1<<20, func(int) {}, func(c dialect.Closing) dialect.Closing { return c })
		wrote := make(chan error, 1)
		l := one{make(chan net.Conn, 1)}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := accept(w, r, nil)
			if err != nil {
				wrote <- err
				return
			}
			conn.greet(false, nil)
			ctx := context.WithoutCancel(r.Context())
			o.open(func() {
				go func() {
					if err := o.run(ctx, conn); err != nil {
						wrote <- err
					}
				}()
			})
		})}
		go func() { _ = server.Serve(l) }()
		near, far := net.Pipe()
		l.conns <- far
		slow := &trickle{Conn: near}
		conn, _, err := websocket.Dial(t.Context(), "ws://gateway/", &websocket.DialOptions{HTTPClient: &http.Client{
			Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return slow, nil }},
		}})
		if err != nil {
			t.Fatal(err)
		}
		slow.slow = true
		go func() {
			for err := error(nil); err == nil; {
				_, _, err = conn.Read(context.Background())
			}
		}()
		for range 1000 { // five seconds each at this pace
			if err := o.push(message{data: make([]byte, 500)}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		o.finish(endDone)
		began := time.Now()
		if err := <-wrote; !errors.Is(err, errSlow) {
			t.Errorf("the writer ended with %v, want that its client is slow", err)
		}
		if took := time.Since(began); took > goodbyeWait+writeWait {
			t.Errorf("the goodbye took %v, bound is %v and a message more", took, goodbyeWait)
		}
		_ = conn.CloseNow()
		close(l.conns)
		_ = server.Close()
	})
}

// A connection over which nothing is to be said has no goroutine that writes. Its client is
// asked now and then whether it lives, and the connection ends when it does not answer.
func TestNobodyWritesWhereNothingWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOutbox(1<<20, func(int) {}, func(c dialect.Closing) dialect.Closing { return c })
		near, far := net.Pipe()
		l := one{make(chan net.Conn, 1)}
		var writers atomic.Int32
		failed := make(chan error, 1)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			conn.greet(false, nil)
			ctx := context.WithoutCancel(r.Context())
			o.open(func() {
				go func() {
					writers.Add(1)
					defer writers.Add(-1)
					if err := o.run(ctx, conn); err != nil {
						failed <- err
					}
				}()
			})
			go func() { _, _, _ = conn.Read(ctx) }() // pongs
		})}
		go func() { _ = server.Serve(l) }()
		l.conns <- far
		var pings atomic.Int32
		conn, _, err := websocket.Dial(t.Context(), "ws://gateway/", &websocket.DialOptions{
			HTTPClient: &http.Client{
				Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return near, nil }},
			},
			OnPingReceived: func(context.Context, []byte) bool { return pings.Add(1) <= 3 },
		})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 100)
		go func() {
			for {
				_, data, err := conn.Read(context.Background())
				if err != nil {
					close(got)
					return
				}
				got <- string(data)
			}
		}()
		for round := range 3 {
			for i := range 10 {
				if err := o.push(message{data: fmt.Appendf(nil, "%d.%d", round, i)}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 10 {
				if want, m := fmt.Sprintf("%d.%d", round, i), <-got; m != want {
					t.Fatalf("got %q, want %q", m, want)
				}
			}
			synctest.Wait()
			if n := writers.Load(); n != 0 {
				t.Fatalf("%d goroutines write where nothing waits", n)
			}
			time.Sleep(pingEvery + time.Second)
			synctest.Wait()
			if n := int(pings.Load()); n != round+1 {
				t.Fatalf("%d pings after %d times of quiet", n, round+1)
			}
		}
		began := time.Now()
		if err := <-failed; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the writer ended with %v, want that no pong came", err)
		}
		if took := time.Since(began); took > pingEvery+writeWait {
			t.Errorf("a client that does not answer was noticed after %v", took)
		}
		if _, open := <-got; open {
			t.Error("the client got more after that")
		}
		if err := o.push(message{data: []byte("late")}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := writers.Load(); n != 0 {
			t.Errorf("%d goroutines write to a connection that has ended", n)
		}
		close(l.conns)
		_ = server.Close()
	})
}
