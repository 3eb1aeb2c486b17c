package gateway

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"stenobus/gateway/dialect"
)

// readSafely is read; a bug that one client's messages meet ends its connection alone.
func (s *session) readSafely(ctx context.Context, conn *socket) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("reading a client failed", "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("reading a client failed: %v", r)
			_ = conn.CloseNow() // the writer may be at work with it
		}
	}()
	return s.read(ctx, conn)
}

// read turns the client's messages into events until the connection or the session
// ends. What must be answered at once goes straight to the outbox.
func (s *session) read(ctx context.Context, conn *socket) error {
	var events []dialect.Event
	emit := func(ev dialect.Event) {
		if ev.Kind == dialect.Reply {
			if err := s.out.push(message{data: ev.Payload}); err != nil {
				s.out.cut(endSlow)
			}
			return
		}
		events = append(events, ev)
	}
	// A context that can end costs an allocation and a callback for each message.
	defer context.AfterFunc(ctx, func() { _ = conn.CloseNow() })()
	forever := context.WithoutCancel(ctx)
	var buf bytes.Buffer
	var nerves patience
	for {
		kind, data, err := conn.readMessage(forever, &buf, s.srv.cfg.MaxMessage)
		if err != nil {
			return err
		}
		now := time.Now()
		s.spoke.Store(now.UnixNano())
		s.conv.Decode(kind, data, emit)
		if !s.direct(events, now) {
			for _, ev := range events {
				s.mail.put(ev)
			}
		}
		wait := nerves.try(events)
		clear(events)
		events = events[:0]
		rest(ctx, wait)
	}
}

// direct takes events at once, in the loop's stead, where the session streams and the loop
// has nothing to do: to wake it costs more than a frame. It reports false where they must
// wait for their turn.
func (s *session) direct(events []dialect.Event, now time.Time) bool {
	if !s.turn.TryLock() {
		return false
	}
	defer s.turn.Unlock()
	if s.phase != streaming || s.over || s.turned || s.yielding || s.stopping || !s.clock.pace.IsZero() || !s.mail.empty() {
		return false
	}
	if wait := s.pace.wait(len(s.feeds), now); wait > 0 {
		return false
	}
	defer s.leaveToLoop()
	defer s.contain()
	for _, ev := range events {
		s.event(ev)
	}
	s.bound()
	s.flow(now)
	s.arm()
	return true
}

// leaveToLoop wakes the loop where it must see what was done in its stead.
func (s *session) leaveToLoop() {
	if s.phase == done || s.booksWanted {
		s.mail.knock()
	}
}
