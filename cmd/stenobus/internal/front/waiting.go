package front

import (
	"container/list"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"stenobus/gateway"
)

const dropLogEvery = 10 * time.Second

// Metrics of connections.
type Metrics struct {
	waiting prometheus.Gauge
	dropped *prometheus.CounterVec
}

// NewMetrics registers them.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "stenobus", Subsystem: "gateway", Name: "connections_waiting",
			Help: "Connections on which no request is under way.",
		}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "stenobus", Subsystem: "gateway", Name: "connections_dropped_total",
			Help: "Connections closed because too many had no request under way: at all, or of one address.",
		}, []string{"limit"}),
	}
	return m, errors.Join(reg.Register(m.waiting), reg.Register(m.dropped))
}

// waiting bounds the connections on which no request is under way: those that have sent
// none, or half of one, or whose TLS handshake goes on, and those kept for a next one.
// One too many closes the one that waits longest. A client that means it sends its
// request at once, so those who only hold connections push out each other, and it gets
// through however many they are. Addresses have a share, so that one fills no room alone.
type waiting struct {
	most, each int
	metrics    *Metrics
	log        *slog.Logger

	mu    sync.Mutex // guards what follows
	conns map[net.Conn]place
	all   *list.List // of net.Conn, the longest waiting first
	of    map[netip.Prefix]*list.List

	grump   rate.Sometimes
	dropped int // since it was last logged
}

// place is where a connection stands in both lists.
type place struct {
	network  netip.Prefix
	all, own *list.Element
}

func newWaiting(lim Limits, log *slog.Logger) *waiting {
	return &waiting{
		most: lim.Waiting, each: lim.WaitingEach, metrics: lim.Metrics, log: log,
		conns: map[net.Conn]place{}, all: list.New(), of: map[netip.Prefix]*list.List{},
		grump: rate.Sometimes{First: 1, Interval: dropLogEvery},
	}
}

// state is what a server calls when a connection's state changes. It is active from
// when a request's header was read.
func (w *waiting) state(conn net.Conn, s http.ConnState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch s {
	case http.StateNew, http.StateIdle:
		w.enter(conn)
	default:
		w.leave(conn)
	}
	if w.metrics != nil {
		w.metrics.waiting.Set(float64(len(w.conns)))
	}
}

func (w *waiting) enter(conn net.Conn) {
	network, _ := gateway.Network(conn.RemoteAddr().String()) // others share one place
	own := w.of[network]
	if own == nil {
		own = list.New()
		w.of[network] = own
	}
	w.conns[conn] = place{network, w.all.PushBack(conn), own.PushBack(conn)}
	if own.Len() > w.each {
		w.drop(own.Front(), "address")
	}
	if w.all.Len() > w.most {
		w.drop(w.all.Front(), "total")
	}
}

func (w *waiting) leave(conn net.Conn) {
	p, ok := w.conns[conn]
	if !ok {
		return
	}
	delete(w.conns, conn)
	w.all.Remove(p.all)
	own := w.of[p.network]
	if own.Remove(p.own); own.Len() == 0 {
		delete(w.of, p.network)
	}
}

// drop closes a connection below TLS, whose parting words could keep us waiting.
func (w *waiting) drop(e *list.Element, limit string) {
	conn := e.Value.(net.Conn)
	w.leave(conn)
	if t, ok := conn.(*tls.Conn); ok {
		_ = t.NetConn().Close() // the server reads its end and forgets it
	} else {
		_ = conn.Close() // likewise
	}
	w.dropped++
	if w.metrics != nil {
		w.metrics.dropped.WithLabelValues(limit).Inc()
	}
	w.grump.Do(func() {
		w.log.Warn("too many connections without a request: those that waited longest are closed", "closed", w.dropped, "last", limit)
		w.dropped = 0
	})
}
