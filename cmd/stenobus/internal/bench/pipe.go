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

// The bare pipe: what a WebSocket brings is published on core NATS once, and one plain
// subscriber counts it. It reads as cheaply as can be, since it is the measure.
const (
	subscribeWait = 30 * time.Second
	pipeSubject   = "pipe"
)

// Subscriber is the far end of a pipe. It tells whoever asks how many messages came. The
// subscription ends with its connection.
func Subscriber(ctx context.Context, nc *nats.Conn) (http.Handler, error) {
	count := new(atomic.Uint64)
	if _, err := nc.Subscribe(pipeSubject, func(*nats.Msg) { count.Add(1) }); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, subscribeWait)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, count.Load()) }), nil
}

// Publisher is the near end of a pipe. A WebSocket lasts until its client closes it or
// ctx ends.
func Publisher(ctx context.Context, nc *nats.Conn) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			return // Accept has answered
		}
		defer conn.CloseNow()
		conn.SetReadLimit(readLimit)
		defer context.AfterFunc(ctx, func() { _ = conn.CloseNow() })()
		pass(conn, nc)
	})
}

// pass returns when nothing more can be read or published. A context that could end
// would cost three allocations a message.
func pass(conn *websocket.Conn, nc *nats.Conn) {
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
		if err := nc.Publish(pipeSubject, buf.Bytes()); err != nil {
			return
		}
	}
}
