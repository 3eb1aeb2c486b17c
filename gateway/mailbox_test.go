package gateway

import (
	"testing"

	"stenobus/gateway/dialect"
)

func TestMailboxKeepsOrderAndBounds(t *testing.T) {
	t.Parallel()
	m := newMailbox()
	const n = 10 * mailRoom
	go func() {
		for i := range int64(n) {
			m.put(dialect.Event{Kind: dialect.Media, Packet: i})
		}
	}()
	for want := int64(0); want < n; {
		<-m.wake
		got := m.fetch()
		if len(got) > mailRoom {
			t.Fatalf("%d events waited, room is %d", len(got), mailRoom)
		}
		for _, ev := range got {
			if ev.Packet != want {
				t.Fatalf("got %d, want %d", ev.Packet, want)
			}
			want++
		}
	}
}

func TestMailboxCloseLetsTheReaderGo(t *testing.T) {
	t.Parallel()
	m := newMailbox()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2 * mailRoom {
			m.put(dialect.Event{})
		}
	}()
	<-m.wake
	m.close()
	<-done
}
