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

// outbox holds what waits for one client, bounded in bytes. Any goroutine may push. A
// goroutine writes only while something waits: most clients have nothing to be told most
// of the time, and there are many of them.
type outbox struct {
	limit   int
	shed    func(n int)                           // told how many interims were dropped
	closing func(dialect.Closing) dialect.Closing // the dialect's words for an end

	mu     sync.Mutex // guards what follows
	queue  []message
	bytes  int
	closed *end
	until  time.Time // then what waits must be written; set with closed

	start   func()      // begins a goroutine with run; nil: there is no connection yet, or no more
	writing bool        // that goroutine is there
	idle    *time.Timer // since it last had something to do
	ping    bool        // the client is to be asked whether it lives
}

// message waits for a client. An interim gives way to the next of its source, and to
// everything else when room is short.
type message struct {
	data   []byte
	source string // of an interim; empty: must be delivered
}

func (m *message) size() int { return len(m.data) + messageCost }

func newOutbox(limit int, shed func(int), closing func(dialect.Closing) dialect.Closing) *outbox {
	return &outbox{limit: limit, shed: shed, closing: closing}
}

// open begins to write. Each start must begin a goroutine that calls run once.
func (o *outbox) open(start func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.start = start
	o.idle = time.AfterFunc(pingEvery, o.ask)
	if len(o.queue) > 0 || o.closed != nil {
		o.signal()
	}
}

// ask has the client of an idle connection asked whether it lives.
func (o *outbox) ask() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ping = true
	o.signal()
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

// signal begins to write, unless that is under way. Its caller holds mu.
func (o *outbox) signal() {
	if o.start != nil && !o.writing {
		o.writing = true
		o.start()
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

// run writes what waits. It is the only writer of conn, and closes it at the session's end
// and where it fails.
func (o *outbox) run(ctx context.Context, conn *socket) error {
	for {
		m, e, ok := o.pop()
		var err error
		switch {
		case ok:
			err = o.write(ctx, conn, m.data)
		case e != nil:
			c := o.closing(dialect.Closing{Code: e.code, Status: e.status, Text: e.text})
			defer o.abandon(conn)
			return conn.finish(ctx, c.Status, cut(c.Text))
		case o.pinging():
			err = o.askWhether(ctx, conn)
		case o.pause():
			return nil
		}
		if err != nil {
			o.abandon(conn)
			return err
		}
	}
}

// pinging tells whether a ping is due, which then is its caller's to send.
func (o *outbox) pinging() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	due := o.ping
	o.ping = false
	return due
}

// pause ends the writing goroutine where nothing is left to do, until the next signal.
func (o *outbox) pause() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) > 0 || o.closed != nil || o.ping {
		return false
	}
	o.writing = false
	o.idle.Reset(pingEvery)
	return true
}

// abandon ends the connection. Nothing more is written, and what waits is dropped.
func (o *outbox) abandon(conn *socket) {
	_ = conn.CloseNow() // closed already in the good case
	o.mu.Lock()
	defer o.mu.Unlock()
	o.idle.Stop()
	o.start, o.queue, o.bytes = nil, nil, 0
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

func (o *outbox) askWhether(ctx context.Context, conn *socket) error {
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	return conn.Ping(ctx)
}
