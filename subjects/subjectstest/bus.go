// Package subjectstest gives tests a real NATS server of their own.
package subjectstest

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
)

// Wait bounds how long a test waits for something that must happen.
const Wait = 30 * time.Second

// Bus is an embedded server with JetStream that lives as long as its test. It may go
// away and come back with its streams.
type Bus struct {
	Server *server.Server // of the present; tests that end it read it from one goroutine
	tb     testing.TB
	opts   server.Options

	mu   sync.Mutex // guards live
	live *server.Server
}

// NewBus starts a server that listens on no port.
func NewBus(tb testing.TB) *Bus {
	tb.Helper()
	return startBus(tb, server.Options{JetStream: true, StoreDir: tb.TempDir()})
}

func startBus(tb testing.TB, opts server.Options) *Bus {
	tb.Helper()
	opts.NoSigs, opts.NoLog = true, true
	opts.Host, opts.Port, opts.DontListen = "127.0.0.1", server.RANDOM_PORT, opts.Cluster.Port == 0 && opts.Gateway.Port == 0
	b := &Bus{tb: tb, opts: opts}
	b.Start()
	tb.Cleanup(b.Stop)
	return b
}

// Start brings the server back on the data that it had.
func (b *Bus) Start() {
	b.tb.Helper()
	s, err := server.NewServer(b.opts.Clone())
	if err != nil {
		b.tb.Fatalf("new server: %v", err)
	}
	s.Start()
	if !s.ReadyForConnections(Wait) {
		b.tb.Fatal("server is not ready")
	}
	b.Server = s
	b.set(s)
}

// Stop ends the server; the test's end does the same.
func (b *Bus) Stop() {
	b.set(nil)
	b.Server.Shutdown()
	b.Server.WaitForShutdown()
}

func (b *Bus) set(s *server.Server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live = s
}

// InProcessConn implements nats.InProcessConnProvider.
func (b *Bus) InProcessConn() (net.Conn, error) {
	b.mu.Lock()
	s := b.live
	b.mu.Unlock()
	if s == nil {
		return nil, errors.New("the server is away")
	}
	return s.InProcessConn()
}

// Dial connects without a port, as patiently as the program does. The connection closes
// with the test.
func (b *Bus) Dial(opts ...nats.Option) *nats.Conn {
	b.tb.Helper()
	opts = append([]nats.Option{
		nats.InProcessServer(b), nats.Name(b.tb.Name()), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.CustomReconnectDelay(func(int) time.Duration { return 20 * time.Millisecond }),
	}, opts...)
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
