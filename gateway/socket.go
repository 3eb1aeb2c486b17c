package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

// errTooBig is of a message above Config.MaxMessage.
var errTooBig = errors.New("message too big")

// closeWait bounds what is left of a connection once its end is decided.
const closeWait = 10 * time.Second

// socket is a client's WebSocket.
type socket struct {
	*websocket.Conn
	raw  net.Conn
	out  *bufio.Writer    // the library's own: the answer to the request waits there for what follows it
	most io.LimitedReader // of the message that is read
}

// upgrade makes one of a request that handshake found good. seen is called for the pong of
// a greeting.
func (g *Server) upgrade(w http.ResponseWriter, r *http.Request, req dialect.Request, d dialect.Dialect, seen func()) (*socket, error) {
	conn, err := accept(w, r, &websocket.AcceptOptions{
		Subprotocols:    subprotocols(r, req, d),
		OriginPatterns:  g.cfg.Origins, // strangePage has looked at them already
		CompressionMode: websocket.CompressionDisabled,
		OnPongReceived: func(_ context.Context, payload []byte) {
			if len(payload) == 0 { // the library's own pings have one
				seen()
			}
		},
	})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1) // readMessage has it: the library would close in words of its own
	return conn, nil
}

// accept takes a connection over. The answer to its request goes out with what is written
// next.
func accept(w http.ResponseWriter, r *http.Request, opts *websocket.AcceptOptions) (*socket, error) {
	taken := &hijacking{ResponseWriter: w}
	conn, err := websocket.Accept(taken, r, opts)
	if err != nil {
		return nil, err
	}
	return &socket{Conn: conn, raw: taken.conn, out: taken.out}, nil
}

// pingFrame is a ping without payload as a server sends it, RFC 6455, 5.5.2.
const pingFrame = "\x89\x00"

// greet sends the answer to the client's request and, in the same packet, what it is to hear
// first: a ping, if wanted, and the dialect's hello. Nobody else may write yet. It fails
// where the connection is gone, which its reader finds as well.
func (s *socket) greet(ping bool, hello [][]byte) {
	_ = s.raw.SetWriteDeadline(time.Now().Add(writeWait)) // fails where it is closed already
	if ping {
		_, _ = s.out.WriteString(pingFrame) // into a buffer, which remembers what fails
	}
	for _, m := range hello {
		if m == nil { // a dialect has no words for it
			continue
		}
		_ = s.Write(context.Background(), websocket.MessageText, m) // until the deadline
	}
	_ = s.out.Flush()
	_ = s.raw.SetWriteDeadline(time.Time{})
}

// Buffers of a connection, bytes: an open and silent one keeps them. What is longer takes
// another system call. net/http's own are of 4 KiB each.
const (
	readRoom  = 1 << 10 // a frame of 20 ms in JSON and base64, at 16 kHz and 16 bits
	writeRoom = 1 << 10 // most results
)

// hijacking remembers the connection that the library takes over, and gives it smaller
// buffers than net/http does. The answer to the request waits there: net/http would send it
// alone.
type hijacking struct {
	http.ResponseWriter
	upgraded bool // the answer is that of an upgrade
	conn     net.Conn
	out      *bufio.Writer
}

func (h *hijacking) WriteHeader(status int) {
	if status == http.StatusSwitchingProtocols {
		h.upgraded = true
		return
	}
	h.ResponseWriter.WriteHeader(status)
}

func (h *hijacking) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn, h.out = conn, bufio.NewWriterSize(conn, writeRoom)
	early, _ := buf.Reader.Peek(buf.Reader.Buffered()) // a client may speak before it is answered
	r := bufio.NewReaderSize(bytes.NewReader(early), max(readRoom, len(early)))
	if _, err := r.Peek(len(early)); err != nil { // the library goes on with what is buffered
		return nil, nil, err
	}
	if h.upgraded { // into a buffer, which remembers what fails where that is longer
		_ = conn.SetWriteDeadline(time.Now().Add(writeWait)) // fails where it is closed already
		_, _ = h.out.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
		_ = h.Header().Write(h.out)
		_, _ = h.out.WriteString("\r\n")
	}
	return conn, bufio.NewReadWriter(r, h.out), nil
}

// finish ends the connection with a close frame and waits for its answer, within closeWait
// and ctx: the library alone would read for ever what a client still sends of a frame
// without end.
func (s *socket) finish(ctx context.Context, status websocket.StatusCode, reason string) error {
	defer context.AfterFunc(ctx, func() { _ = s.raw.Close() })()
	_ = s.raw.SetDeadline(time.Now().Add(closeWait)) // fails where it is closed already
	return s.Close(status, reason)
}

// maxSpare is how much memory a connection keeps for its next message, bytes.
const maxSpare = 16 << 10

// readMessage reads one message into buf, and errTooBig in place of one above a limit.
// The connection is whole after that, so that the client can be told.
func (s *socket) readMessage(ctx context.Context, buf *bytes.Buffer, most int64) (websocket.MessageType, []byte, error) {
	kind, r, err := s.Reader(ctx)
	if err != nil {
		return 0, nil, err
	}
	if buf.Cap() > maxSpare {
		*buf = bytes.Buffer{}
	}
	buf.Reset()
	s.most = io.LimitedReader{R: r, N: most + 1}
	n, err := buf.ReadFrom(&s.most)
	if err == nil && n > most {
		err = errTooBig
	}
	return kind, buf.Bytes(), err
}
