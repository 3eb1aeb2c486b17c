package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
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
			taken := &hijacking{ResponseWriter: w}
			conn, err := websocket.Accept(taken, r, nil)
			if err != nil {
				wrote <- err
				return
			}
			wrote <- o.run(context.WithoutCancel(r.Context()), &socket{Conn: conn, raw: taken.conn})
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
