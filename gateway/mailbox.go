package gateway

import (
	"sync"

	"stenobus/gateway/dialect"
)

// How much of a client waits for its session's loop. Beyond it the client's socket is
// not read.
const (
	mailRoom  = 256     // events
	mailBytes = 1 << 20 // of audio, and one event more
)

// mailbox hands a client's events from the socket's reader to the session's loop, many
// at a time: a wake-up costs more than a frame.
type mailbox struct {
	wake chan struct{} // there is mail

	mu     sync.Mutex // guards what follows
	room   sync.Cond  // there is room, or the loop has ended
	queue  []dialect.Event
	bytes  int
	spare  []dialect.Event
	closed bool
}

func newMailbox() *mailbox {
	m := &mailbox{wake: make(chan struct{}, 1)}
	m.room.L = &m.mu
	return m
}

// put adds an event. It waits while there is no room.
func (m *mailbox) put(ev dialect.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for (len(m.queue) >= mailRoom || m.bytes >= mailBytes) && !m.closed {
		m.room.Wait()
	}
	if m.closed {
		return
	}
	m.queue = append(m.queue, ev)
	m.bytes += len(ev.Payload)
	m.knock()
}

// fetch takes everything that waits. The slice is the caller's until the next fetch.
func (m *mailbox) fetch() []dialect.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	got := m.queue
	m.bytes = 0
	clear(m.spare[:cap(m.spare)])
	m.queue, m.spare = m.spare[:0], got
	m.room.Signal()
	return got
}

// empty tells that nothing waits.
func (m *mailbox) empty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue) == 0
}

// knock wakes the loop.
func (m *mailbox) knock() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// close drops what waits and lets the reader go.
func (m *mailbox) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.queue, m.bytes = true, nil, 0
	m.room.Broadcast()
}
