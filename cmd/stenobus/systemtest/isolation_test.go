package systemtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
	"stenobus/worker/engine/tally"
)

const (
	neighbours     = 1000
	neighbourEvery = 500 * time.Millisecond // each sends a frame and a ping
	isolationPhase = 5 * time.Second
	isolationTurns = 4 // of a quiet and an unquiet phase each
)

// BenchmarkIsolation reports what three misbehaving clients do to a thousand others on the
// same gateway and worker: one at 20 times real time, one that sends garbage, one that
// never reads. Quiet and unquiet phases take turns in one run, so that whatever else the
// machine does meets both. The figures are ratios: unquiet p99 over quiet p99, of frame to
// final and of ping to pong.
func BenchmarkIsolation(b *testing.B) {
	for b.Loop() {
		isolation(b)
	}
}

func isolation(b *testing.B) {
	s := newSystem(b)
	s.dispatcher(dispatcher.Config{Log: s.quiet()})
	s.worker(worker.Config{ID: "w1", Slots: 2 * neighbours, Log: s.quiet()}, s.tally(tally.Config{Every: 1, Interim: -1}))
	gw := s.gateway(gateway.Config{Log: s.quiet(), MaxSpeed: 1000})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	meter := &meter{}
	for range neighbours {
		n := newNeighbour(ctx, b, gw, meter)
		wg.Go(func() { n.listen(ctx) })
		wg.Go(func() { n.talk(ctx) })
	}
	for range isolationTurns {
		meter.phase(ctx, quietly)
		bad, stop := context.WithCancel(ctx)
		var rogues sync.WaitGroup
		for _, rogue := range []func(context.Context, *websocket.Conn){hurry, babble, ignore} {
			conn := connectRogue(bad, b, gw)
			rogues.Go(func() { rogue(bad, conn) })
		}
		meter.phase(ctx, unquietly)
		stop()
		rogues.Wait()
	}
	meter.report(b)
}

type condition int32

const (
	between condition = iota // nothing is measured
	quietly
	unquietly
)

// meter collects times by condition.
type meter struct {
	now atomic.Int32

	mu    sync.Mutex
	final [3][]time.Duration
	pong  [3][]time.Duration
}

func (m *meter) phase(ctx context.Context, c condition) {
	m.now.Store(int32(c))
	select {
	case <-ctx.Done():
	case <-time.After(isolationPhase):
	}
	m.now.Store(int32(between))
}

func (m *meter) add(to *[3][]time.Duration, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.now.Load()
	to[c] = append(to[c], d)
}

func (m *meter) report(b *testing.B) {
	for _, what := range []struct {
		name  string
		times [3][]time.Duration
	}{{"final", m.final}, {"pong", m.pong}} {
		quiet, unquiet := p99(what.times[quietly]), p99(what.times[unquietly])
		b.ReportMetric(float64(quiet.Microseconds())/1000, what.name+"-p99-quiet-ms")
		b.ReportMetric(float64(unquiet)/float64(max(quiet, 1)), what.name+"-p99-ratio")
	}
}

func p99(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[len(times)*99/100]
}

// neighbour is a client that behaves.
type neighbour struct {
	conn  *websocket.Conn
	meter *meter
	sent  atomic.Int64 // when the last frame and its ping went out, Unix ns
}

func newNeighbour(ctx context.Context, b *testing.B, gw *node, m *meter) *neighbour {
	conn, _, err := websocket.Dial(ctx, gw.url+"/transcribe?sendBack=true", nil)
	if err != nil {
		b.Fatal(err)
	}
	return &neighbour{conn: conn, meter: m}
}

func (n *neighbour) talk(ctx context.Context) {
	defer func() { _ = n.conn.CloseNow() }()
	tick := time.NewTicker(neighbourEvery)
	defer tick.Stop()
	select {
	case <-ctx.Done():
		return
	case <-time.After(rand.N(neighbourEvery)):
	}
	payload := base64.StdEncoding.EncodeToString(make([]byte, 120))
	for i := 1; ; i++ {
		n.sent.Store(time.Now().UnixNano())
		if n.conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"event":"media","media":{"tag":"a","chunk":%d,"payload":%q}}`, i, payload)) != nil ||
			n.conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"event":"ping","id":%d}`, i)) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n *neighbour) listen(ctx context.Context) {
	for {
		_, data, err := n.conn.Read(ctx)
		if err != nil {
			return
		}
		since := time.Since(time.Unix(0, n.sent.Load()))
		switch {
		case bytes.Contains(data, []byte(`"pong"`)):
			n.meter.add(&n.meter.pong, since)
		case bytes.Contains(data, []byte(`"transcription-result"`)):
			n.meter.add(&n.meter.final, since)
		}
	}
}

func connectRogue(ctx context.Context, b *testing.B, gw *node) *websocket.Conn {
	ctx, cancel := context.WithTimeout(ctx, subjectstest.Wait)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, gw.url+"/transcribe?sendBack=true&sendBackInterim=true", nil)
	if err != nil {
		b.Fatal(err)
	}
	return conn
}

// hurry sends 20 ms frames at 20 times real time.
func hurry(ctx context.Context, conn *websocket.Conn) {
	go func() { _ = listenToEnd(ctx, conn) }()
	payload := base64.StdEncoding.EncodeToString(append([]byte{0xfc}, make([]byte, 119)...))
	pace(ctx, conn, time.Millisecond, func(i int) []byte {
		return fmt.Appendf(nil, `{"event":"media","media":{"tag":"a","chunk":%d,"timestamp":%d,"payload":%q}}`, i, 960*i, payload)
	})
}

// babble sends what nobody understands, a thousand times a second.
func babble(ctx context.Context, conn *websocket.Conn) {
	go func() { _ = listenToEnd(ctx, conn) }()
	pace(ctx, conn, time.Millisecond, func(i int) []byte {
		return fmt.Appendf(nil, `{"event":%d,"media":{"tag":"%s`, i, bytes.Repeat([]byte("x"), i%1000))
	})
}

// ignore speaks at a normal pace and never reads.
func ignore(ctx context.Context, conn *websocket.Conn) {
	payload := base64.StdEncoding.EncodeToString(make([]byte, 120))
	pace(ctx, conn, 20*time.Millisecond, func(i int) []byte {
		return fmt.Appendf(nil, `{"event":"media","media":{"tag":"a","chunk":%d,"payload":%q}}`, i, payload)
	})
}

func pace(ctx context.Context, conn *websocket.Conn, every time.Duration, message func(i int) []byte) {
	defer func() { _ = conn.CloseNow() }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := 1; ; i++ {
		if conn.Write(ctx, websocket.MessageText, message(i)) != nil {
			<-ctx.Done() // it was closed: whoever measures does not depend on it
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
