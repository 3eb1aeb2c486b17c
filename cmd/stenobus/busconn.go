package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	natsPing       = time.Second // a server that hangs is noticed after three of these; the default takes 6 minutes
	natsMaxPings   = 2           // unanswered, the next ends the connection
	natsDialWait   = 2 * time.Second
	natsWriteWait  = 2 * time.Second       // a server that takes nothing for so long is left: a write holds up everything on the connection, pings too
	natsDelayLeast = 50 * time.Millisecond // between two tries to connect again, with jitter
	natsDelayMost  = 250 * time.Millisecond
	logEvery       = 10 * time.Second // most often that one kind of trouble is logged
)

// busConn is a connection to the bus that keeps trying until it is closed.
type busConn struct {
	*nats.Conn
	up   chan struct{} // closed when it connected for the first time
	gone chan struct{} // closed when it gave up: the server refused us for good
}

// dialBus returns at once, connected or not.
func dialBus(name, servers string, log *slog.Logger, extra ...nats.Option) (*busConn, error) {
	b := &busConn{up: make(chan struct{}), gone: make(chan struct{})}
	var once sync.Once
	report := &busReport{log: log.With("part", "bus"), last: make(map[string]time.Time)}
	opts := append([]nats.Option{
		nats.Name(name),
		nats.Timeout(natsDialWait),
		nats.PingInterval(natsPing),
		nats.MaxPingsOutstanding(natsMaxPings),
		nats.FlusherTimeout(natsWriteWait),
		nats.ReconnectOnFlusherError(),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(int) time.Duration { return reconnectDelay() }),
		nats.ReconnectBufSize(-1), // frames have a window of their own: what can't be sent now must fail now
		nats.ConnectHandler(func(nc *nats.Conn) { report.connected(nc); once.Do(func() { close(b.up) }) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { report.connected(nc); once.Do(func() { close(b.up) }) }),
		nats.DisconnectErrHandler(report.disconnected),
		nats.ReconnectErrHandler(report.retrying),
		nats.ErrorHandler(report.failed),
		nats.ClosedHandler(func(*nats.Conn) { close(b.gone) }),
	}, extra...)
	nc, err := nats.Connect(servers, opts...)
	if err != nil {
		return nil, refusedError("connect to NATS: %w", err)
	}
	b.Conn = nc
	return b, nil
}

func reconnectDelay() time.Duration {
	return natsDelayLeast + rand.N(natsDelayMost-natsDelayLeast)
}

// await returns when the connection was up for the first time.
func (b *busConn) await(ctx context.Context) error {
	select {
	case <-b.up:
		return nil
	case <-b.gone:
		return b.lost()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *busConn) lost() error {
	return refusedError("the NATS server closed the connection for good: %w", b.LastError())
}

// ready tells why the bus can't be used, if so.
func (b *busConn) ready() error {
	if b.IsConnected() {
		return nil
	}
	if err := b.LastError(); err != nil {
		return fmt.Errorf("the bus is not connected: %w", err)
	}
	return errors.New("the bus is not connected")
}

// close ends the connection and waits for its handlers.
func (b *busConn) close() {
	b.Close()
	<-b.gone
}

// busReport logs what happens to a connection, each kind of trouble now and then.
type busReport struct {
	log *slog.Logger

	mu   sync.Mutex // guards last and nothing else
	last map[string]time.Time
}

func (r *busReport) connected(nc *nats.Conn) {
	if nc.Opts.InProcessServer != nil {
		r.log.Debug("bus connected inside this process")
		return
	}
	if r.due("connected") {
		r.log.Info("bus connected", "server", nc.ConnectedUrlRedacted())
	}
}

func (r *busReport) disconnected(nc *nats.Conn, err error) {
	if nc.IsClosed() || err == nil {
		return
	}
	if r.due("lost") {
		r.log.Warn("bus lost, connecting again", "error", err)
	}
}

func (r *busReport) retrying(_ *nats.Conn, err error) {
	if r.due("retry") {
		r.log.Warn("bus is out of reach, trying on", "error", err)
	}
}

func (r *busReport) failed(_ *nats.Conn, sub *nats.Subscription, err error) {
	if !r.due(err.Error()) {
		return
	}
	if sub == nil {
		r.log.Warn("bus error", "error", err)
		return
	}
	dropped, _ := sub.Dropped()
	r.log.Warn("bus error", "error", err, "subject", sub.Subject, "dropped", dropped)
}

// due tells whether this kind of trouble has not been logged for a while.
func (r *busReport) due(kind string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if t, ok := r.last[kind]; ok && now.Sub(t) < logEvery {
		return false
	}
	if len(r.last) > 100 { // kinds are few, but error texts come from a server
		clear(r.last)
	}
	r.last[kind] = now
	return true
}
