// Package subjectstest gives tests a real NATS server of their own.
package subjectstest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
)

// Wait bounds how long a test waits for something that must happen.
const Wait = 30 * time.Second

// Bus is an embedded server with JetStream that lives as long as its test.
type Bus struct {
	Server *server.Server
	tb     testing.TB
	dir    string
}

// NewBus starts a server that listens on no port.
func NewBus(tb testing.TB) *Bus {
	tb.Helper()
	b := &Bus{tb: tb, dir: tb.TempDir()}
	b.start()
	tb.Cleanup(b.Stop)
	return b
}

func (b *Bus) start() {
	b.tb.Helper()
	s, err := server.NewServer(&server.Options{
		DontListen: true,
		JetStream:  true,
		StoreDir:   b.dir,
		NoSigs:     true,
		NoLog:      true,
	})
	if err != nil {
		b.tb.Fatalf("new server: %v", err)
	}
	s.Start()
	if !s.ReadyForConnections(Wait) {
		b.tb.Fatal("server is not ready")
	}
	b.Server = s
}

// Restart stops the server and starts another one over the same data. Connections to
// the first end.
func (b *Bus) Restart() {
	b.tb.Helper()
	b.Stop()
	b.start()
}

// Stop ends the server; the test's end does the same.
func (b *Bus) Stop() {
	b.Server.Shutdown()
	b.Server.WaitForShutdown()
}

// Dial connects without a port. The connection closes with the test.
func (b *Bus) Dial(opts ...nats.Option) *nats.Conn {
	b.tb.Helper()
	opts = append([]nats.Option{nats.InProcessServer(b.Server), nats.Name(b.tb.Name())}, opts...)
	nc, err := nats.Connect("", opts...)
	if err != nil {
		b.tb.Fatalf("connect: %v", err)
	}
	b.tb.Cleanup(nc.Close)
	return nc
}

// Ensure makes the server ready for Stenobus.
func (b *Bus) Ensure(nc *nats.Conn, cfg subjects.BusConfig) *subjects.Bus {
	b.tb.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		b.tb.Fatalf("jetstream: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), Wait)
	defer cancel()
	bus, err := subjects.Ensure(ctx, js, cfg)
	if err != nil {
		b.tb.Fatalf("ensure: %v", err)
	}
	return bus
}

// Eventually polls until ok holds and fails the test if it does not within Wait.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(Wait)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %s", Wait, what)
		}
		<-tick.C
	}
}
