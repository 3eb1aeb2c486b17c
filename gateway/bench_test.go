package gateway

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"

	"stenobus/gateway/dialect"
)

// BenchmarkFrame takes one frame from the text of its message to the bus's connection, as
// the socket's reader does, with so many frames in a message. Results cover a second.
func BenchmarkFrame(b *testing.B) {
	for name, most := range map[string]int{"alone": 1, "three-share": 3} {
		b.Run(name, func(b *testing.B) {
			nc, err := nats.Connect("", nats.InProcessServer(newDrain()))
			if err != nil {
				b.Fatal(err)
			}
			defer nc.Close()
			s := stillOn(b, nc, Config{MaxSpeed: 1e9})
			s.timer = time.NewTimer(time.Hour)
			defer s.timer.Stop()
			s.numbered, s.phase = true, streaming
			s.snd.begin(nil, 0)
			text := []byte(`{"event":"media","media":{"tag":"a","payload":"eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4"}}`)
			var events []dialect.Event
			emit := func(ev dialect.Event) { events = append(events, ev) }
			one := func(n int) {
				s.srv.cfg.Share = time.Second
				if n%most == 0 {
					s.srv.cfg.Share = 0
				}
				s.conv.Decode(websocket.MessageText, text, emit)
				if !s.direct(events, time.Now()) {
					b.Fatal("it waits for the loop")
				}
				s.heard.cadence.hasty = 0 // who speaks in real time does not share messages
				clear(events)
				events = events[:0]
				if n%most == 0 && s.snd.next != s.snd.end || s.snd.last() != uint64(n)+1 {
					b.Fatalf("%d of %d frames are sent, %d were said", s.snd.next-1, s.snd.last(), n+1)
				}
			}
			one(0)
			b.ReportAllocs()
			for n := 1; b.Loop(); n++ {
				one(n)
				if n%50 == 0 {
					s.snd.ack(s.snd.next - 1)
					s.snd.cover(map[uint32]uint64{1: s.snd.next - 1})
				}
			}
		})
	}
}

// drain is a NATS server that takes everything and does nothing with it.
type drain struct {
	net.Conn // nil: what it lacks is not called

	says chan []byte
	rest []byte
	over chan struct{}
}

func newDrain() *drain {
	d := &drain{says: make(chan []byte, 16), over: make(chan struct{})}
	d.says <- []byte("INFO {\"server_id\":\"drain\",\"version\":\"2.15.0\",\"headers\":true,\"max_payload\":1048576}\r\n")
	return d
}

func (d *drain) InProcessConn() (net.Conn, error) { return d, nil }

func (d *drain) Read(b []byte) (int, error) {
	if len(d.rest) == 0 {
		select {
		case d.rest = <-d.says:
		case <-d.over:
			return 0, io.EOF
		}
	}
	n := copy(b, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

func (d *drain) Write(b []byte) (int, error) {
	if bytes.HasSuffix(b, []byte("PING\r\n")) {
		d.says <- []byte("PONG\r\n")
	}
	return len(b), nil
}

func (d *drain) Close() error {
	close(d.over)
	return nil
}

func (*drain) SetDeadline(time.Time) error      { return nil }
func (*drain) SetReadDeadline(time.Time) error  { return nil }
func (*drain) SetWriteDeadline(time.Time) error { return nil }
