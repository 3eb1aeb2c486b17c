package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
)

const (
	writeWait   = 10 * time.Second // of one message to the client
	goodbyeWait = 20 * time.Second // of all that waits when its connection is to close
	pingEvery   = 20 * time.Second // an idle connection is asked whether it lives

	messageCost = 80 // what a message takes beside its data, bytes
)

// errSlow says that a client reads too slowly for what must be delivered.
var errSlow = errors.New("client reads too slowly")

// outbox holds what waits for one client, bounded in bytes. Any goroutine may push;
// run writes.
type outbox struct {
	limit   int
	shed    func(n int)                           // told how many interims were dropped
	closing func(dialect.Closing) dialect.Closing // the dialect's words for an end

	mu     sync.Mutex // guards what follows
	queue  []message
	bytes  int
	closed *end
	until  time.Time // then what waits must be written; set with closed
	wake   chan struct{}
}

// message waits for a client. An interim gives way to the next of its source, and to
// everything else when room is short.
type message struct {
	data   []byte
	source string // of an interim; empty: must be delivered
}

func (m *message) size() int { return len(m.data) + messageCost }

func newOutbox(limit int, shed func(int), closing func(dialect.Closing) dialect.Closing) *outbox {
	return &outbox{limit: limit, shed: shed, closing: closing, wake: make(chan struct{}, 1)}
}

// push never blocks. errSlow means that finals or events have no room.
func (o *outbox) push(m message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed != nil {
		return nil
	}
	if m.source != "" {
		o.drop(func(w message) bool { return w.source == m.source })
	}
	if o.bytes+m.size() > o.limit {
		o.drop(func(w message) bool { return w.source != "" })
	}
	if o.bytes+m.size() > o.limit {
		if m.source != "" {
			o.shed(1)
			return nil
		}
		return errSlow
	}
	o.queue = append(o.queue, m)
	o.bytes += m.size()
	o.signal()
	return nil
}

// forget drops the waiting interim of a source: its final is there.
func (o *outbox) forget(source string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drop(func(w message) bool { return w.source == source })
}

func (o *outbox) drop(which func(message) bool) {
	kept := o.queue[:0]
	for _, w := range o.queue {
		if w.source != "" && which(w) {
			o.bytes -= w.size()
			o.shed(1)
			continue
		}
		kept = append(kept, w)
	}
	clear(o.queue[len(kept):])
	o.queue = kept
}

// finish closes the connection once everything that waits is written, or after
// goodbyeWait. The first reason stands.
func (o *outbox) finish(e end) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end(e)
}

// end notes the first reason to close. Its caller holds mu.
func (o *outbox) end(e end) {
	if o.closed == nil {
		o.closed, o.until = &e, time.Now().Add(goodbyeWait)
	}
	o.signal()
}

// cut closes the connection without writing what waits.
func (o *outbox) cut(e end) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue, o.bytes = nil, 0
	o.end(e)
}

// mayTake is how long the next message to the client may take.
func (o *outbox) mayTake() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed == nil {
		return writeWait
	}
	return min(writeWait, time.Until(o.until))
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) pop() (message, *end, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return message{}, o.closed, false
	}
	m := o.queue[0]
	o.queue[0] = message{}
	if o.queue = o.queue[1:]; len(o.queue) == 0 {
		o.queue = nil
	}
	o.bytes -= m.size()
	return m, nil, true
}

// run writes to the client until finish, ctx or an error ends it. It is the only
// writer of conn, and closes it.
func (o *outbox) run(ctx context.Context, conn *socket) error {
	defer func() { _ = conn.CloseNow() }() // closed already in the good case
	idle := time.NewTimer(pingEvery)
	defer idle.Stop()
	for {
		m, e, ok := o.pop()
		switch {
		case ok:
			if err := o.write(ctx, conn, m.data); err != nil {
				return err
			}
			continue
		case e != nil:
			c := o.closing(dialect.Closing{Code: e.code, Status: e.status, Text: e.text})
			return conn.finish(ctx, c.Status, cut(c.Text))
		}
		idle.Reset(pingEvery)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-o.wake:
		case <-idle.C:
			if err := o.ping(ctx, conn); err != nil {
				return err
			}
		}
	}
}

func (o *outbox) write(ctx context.Context, conn *socket, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, o.mayTake())
	defer cancel()
	err := conn.Write(ctx, websocket.MessageText, data)
	if errors.Is(err, context.DeadlineExceeded) {
		return errSlow
	}
	return err
}

func (o *outbox) ping(ctx context.Context, conn *socket) error {
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	return conn.Ping(ctx)
}
