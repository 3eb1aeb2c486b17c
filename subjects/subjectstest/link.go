package subjectstest

import (
	"bufio"
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
)

// Link is a connection to the bus with faults: it can freeze, as a hanging process or
// a partition does, and lose frames on their way to the client.
type Link struct {
	bus *Bus

	mu      sync.Mutex
	thawed  chan struct{} // closed while the link works
	losing  bool
	lose    int
	dropped int
}

// Link makes a link that works.
func (b *Bus) Link() *Link {
	l := &Link{bus: b, thawed: make(chan struct{})}
	close(l.thawed)
	return l
}

// Dial connects through the link. The connection closes with the test.
func (l *Link) Dial(tb testing.TB, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	tb.Cleanup(l.Thaw) // or the connection could not be closed
	return l.bus.Dial(append(opts, nats.InProcessServer(l))...)
}

// InProcessConn implements nats.InProcessConnProvider.
func (l *Link) InProcessConn() (net.Conn, error) {
	c, err := l.bus.InProcessConn()
	if err != nil {
		return nil, err
	}
	return &linkConn{Conn: c, link: l, in: bufio.NewReader(c), closed: make(chan struct{})}, nil
}

// Freeze stops both directions until Thaw.
func (l *Link) Freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.thawed:
		l.thawed = make(chan struct{})
	default:
	}
}

// Thaw lets everything through that waited.
func (l *Link) Thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.thawed:
	default:
		close(l.thawed)
	}
}

// Lose drops every message with frames until told otherwise.
func (l *Link) Lose(yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.losing = yes
}

// LoseNext drops the next n messages with frames.
func (l *Link) LoseNext(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose = n
}

// Lost counts the messages dropped.
func (l *Link) Lost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

func (l *Link) drops(message []byte) bool {
	if !bytes.Contains(message, []byte("frames=")) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.losing && l.lose == 0 {
		return false
	}
	l.lose = max(0, l.lose-1)
	l.dropped++
	return true
}

// linkConn is the client's end of a link.
type linkConn struct {
	net.Conn
	link    *Link
	in      *bufio.Reader // read by one goroutine, the client's reader
	pending []byte
	once    sync.Once
	closed  chan struct{}
}

func (c *linkConn) wait() {
	c.link.mu.Lock()
	thawed := c.link.thawed
	c.link.mu.Unlock()
	select {
	case <-thawed:
	case <-c.closed:
	}
}

// Read returns one protocol message at a time, without those that are to be lost.
func (c *linkConn) Read(p []byte) (int, error) {
	for len(c.pending) == 0 {
		line, err := c.in.ReadBytes('\n')
		c.wait()
		if err != nil {
			return copy(p, line), err
		}
		c.pending = append(line, make([]byte, payloadSize(string(line)))...)
		for n := len(line); n < len(c.pending); {
			k, err := c.in.Read(c.pending[n:])
			if err != nil {
				return 0, err
			}
			n += k
		}
		if isFrames(string(line)) && c.link.drops(c.pending) {
			c.pending = nil
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

func (c *linkConn) Write(p []byte) (int, error) {
	c.wait()
	return c.Conn.Write(p)
}

func (c *linkConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// payloadSize is what follows a line of the NATS client protocol, its CRLF included.
func payloadSize(line string) int {
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[0] != "MSG" && fields[0] != "HMSG" {
		return 0
	}
	n, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		return 0
	}
	return n + 2
}

func isFrames(line string) bool {
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[0] != "HMSG" {
		return false
	}
	_, err := subjects.ParseFrames(fields[1])
	return err == nil
}
