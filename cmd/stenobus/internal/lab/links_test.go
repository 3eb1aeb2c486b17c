package lab

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// linked is a link to a server of the test, and one connection through it.
func linked(t *testing.T, serve func(net.Conn)) (*links, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { defer c.Close(); serve(c) })
		}
	})
	ls := newLinks()
	t.Cleanup(func() {
		ls.close()
		_ = l.Close()
		served.Wait()
	})
	urls, err := ls.open("worker-1", []string{l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(urls[0], "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return ls, c
}

func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// ask sends and waits for the same to come back.
func ask(t *testing.T, c net.Conn, text string) time.Duration {
	t.Helper()
	begin := time.Now()
	_ = c.SetDeadline(begin.Add(20 * time.Second))
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != text {
		t.Fatalf("%.20q, %v", b, err)
	}
	return time.Since(begin)
}

// A link swallows, and tears when it heals: what the partition of a worker rests on.
func TestLinkSwallows(t *testing.T) {
	t.Parallel()
	ls, c := linked(t, echo)
	ask(t, c, "hello")
	if len(ls.of("worker-1")) != 1 || len(ls.to(0)) != 1 || len(ls.of("worker-2")) != 0 || len(ls.to(1)) != 0 {
		t.Error("links are not found")
	}
	if err := spoil(ls.to(0), blackHole()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("lost?")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(b); n != 0 || err == io.EOF {
		t.Fatalf("%d bytes came through, %v", n, err)
	}
	if err := heal(ls.to(0)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(b); n != 0 || err == nil {
		t.Fatalf("%d bytes after the heal, %v", n, err)
	}
}

// A slow link delays, drops nothing, and is fast again on the same connection.
func TestLinkIsSlowForAWhile(t *testing.T) {
	t.Parallel()
	ls, c := linked(t, echo)
	if err := spoil(ls.to(0), latency(50*time.Millisecond, 0)); err != nil {
		t.Fatal(err)
	}
	if took := ask(t, c, "hello"); took < 100*time.Millisecond {
		t.Errorf("there and back in %v", took)
	}
	if err := spoil(ls.to(0), bandwidth(50)); err != nil {
		t.Fatal(err)
	}
	if took := ask(t, c, strings.Repeat("x", 10_000)); took < 100*time.Millisecond {
		t.Errorf("10 kB at 50 kB/s in %v", took)
	}
	if err := heal(ls.to(0)); err != nil {
		t.Fatal(err)
	}
	ask(t, c, "hello again")
}

// What stands still at the end of a link, or ends, never holds its fault: the connection
// goes, and the next one is fine.
func TestLinkHealsWhateverItsEndsDo(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	ls, c := linked(t, func(c net.Conn) {
		if first := make([]byte, 1); func() bool { _, err := io.ReadFull(c, first); return err != nil || first[0] == 'z' }() {
			<-release // reads nothing more, as a process that is stopped
			return
		}
		_, _ = c.Write([]byte("a"))
		echo(c)
	})
	defer close(release)
	_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	for b := []byte("z" + strings.Repeat("x", 1<<20)); ; {
		if _, err := c.Write(b); err != nil { // nothing fits any more
			break
		}
	}
	healed := make(chan error, 1)
	go func() {
		for range 3 {
			if err := spoil(ls.to(0), bandwidth(1)); err != nil {
				healed <- err
				return
			}
		}
		healed <- heal(ls.to(0))
	}()
	select {
	case err := <-healed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the link does not heal")
	}
	next, err := net.Dial("tcp", ls.all[0].listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	ask(t, next, "a")
}
