package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"
)

const (
	readyWait   = 30 * time.Second
	pipeSubject = "pipe"
	countPath   = "/count"
)

// Pipe is the bare pipe: what a WebSocket brings is published on core NATS once, and
// one plain subscriber counts it. It reads as cheaply as can be, since it is the measure.
type Pipe struct {
	pub   *nats.Conn
	count atomic.Uint64
}

// NewPipe subscribes. The subscription ends with its connection.
func NewPipe(ctx context.Context, pub, sub *nats.Conn) (*Pipe, error) {
	p := &Pipe{pub: pub}
	if _, err := sub.Subscribe(pipeSubject, func(*nats.Msg) { p.count.Add(1) }); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	if err := sub.FlushWithContext(ctx); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return p, nil
}

// Handler upgrades to a WebSocket, or tells how many messages the subscriber got. A
// WebSocket lasts until its client closes it or ctx ends.
func (p *Pipe) Handler(ctx context.Context) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == countPath {
			fmt.Fprintln(w, p.count.Load())
			return
		}
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			return // Accept has answered
		}
		defer conn.CloseNow()
		conn.SetReadLimit(readLimit)
		defer context.AfterFunc(ctx, func() { _ = conn.CloseNow() })()
		p.pass(conn)
	})
}

// pass returns when nothing more can be read or published. A context that could end
// would cost three allocations a message.
func (p *Pipe) pass(conn *websocket.Conn) {
	var buf bytes.Buffer
	for {
		_, m, err := conn.Reader(context.Background())
		if err != nil {
			return
		}
		buf.Reset()
		if _, err := buf.ReadFrom(m); err != nil {
			return
		}
		if err := p.pub.Publish(pipeSubject, buf.Bytes()); err != nil {
			return
		}
	}
}
