package subjectstest

import (
	"context"
	"net"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/subjects/loopback"
)

// StoreCluster is the name of the cluster that holds a supercluster's streams.
const StoreCluster = "store"

// Supercluster is several cells, clusters of one server without JetStream, and a cluster
// of three that holds the streams of all of them. Gateways of NATS join them, on loopback.
type Supercluster struct {
	Store []*Bus
	cells map[string]*Bus
}

// NewSupercluster starts one that lives as long as its test.
func NewSupercluster(tb testing.TB, cells ...string) *Supercluster {
	tb.Helper()
	const nodes = 3
	at := reserve(tb, 2*nodes+len(cells))
	routes, gateways := at[:nodes], at[nodes:2*nodes]
	sc := &Supercluster{cells: map[string]*Bus{}}
	for i := range nodes {
		sc.Store = append(sc.Store, startBus(tb, server.Options{
			ServerName: StoreCluster + "-" + string(rune('1'+i)), JetStream: true, StoreDir: tb.TempDir(),
			Cluster: server.ClusterOpts{Name: StoreCluster, Host: routes[i].IP.String(), Port: routes[i].Port},
			Routes:  urls(routes),
			// It names no cell: a server with JetStream counts those that it names among its peers.
			Gateway: gateway(StoreCluster, gateways[i]),
		}))
	}
	for i, name := range cells {
		g := gateway(name, at[2*nodes+i])
		g.Gateways = []*server.RemoteGatewayOpts{{Name: StoreCluster, URLs: urls(gateways)}}
		for k, other := range cells {
			g.Gateways = append(g.Gateways, &server.RemoteGatewayOpts{Name: other, URLs: urls(at[2*nodes+k : 2*nodes+k+1])})
		}
		sc.cells[name] = startBus(tb, server.Options{ServerName: name + "-1", Gateway: g})
	}
	Eventually(tb, "the clusters are joined and their store has a leader", func() bool { return sc.joined() })
	return sc
}

// Cell is the bus of one of them.
func (sc *Supercluster) Cell(name string) *Bus { return sc.cells[name] }

// joined tells whether every server has a way to every other cluster.
func (sc *Supercluster) joined() bool {
	leads := false
	for _, b := range sc.Store {
		leads = leads || b.Server.JetStreamIsLeader()
		if b.Server.NumOutboundGateways() < len(sc.cells) {
			return false
		}
	}
	for _, b := range sc.cells {
		if b.Server.NumOutboundGateways() < len(sc.cells) {
			return false
		}
	}
	return leads
}

// Lead makes a server the leader of all that claims and results write.
func Lead(tb testing.TB, nc *nats.Conn, server string) {
	tb.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatalf("jetstream: %v", err)
	}
	for _, name := range []string{subjects.ResultsStream, "KV_" + subjects.SessionsBucket} {
		Eventually(tb, server+" leads "+name, func() bool {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			stream, err := js.Stream(ctx, name)
			if err != nil || stream.CachedInfo().Cluster == nil {
				return false
			}
			if stream.CachedInfo().Cluster.Leader == server {
				return true
			}
			// While there is no leader nobody answers; what it did, the next look tells.
			_, _ = nc.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+name, []byte(`{"placement":{"preferred":"`+server+`"}}`))
			return false
		})
	}
}

func gateway(name string, at *net.TCPAddr) server.GatewayOpts {
	return server.GatewayOpts{Name: name, Host: at.IP.String(), Port: at.Port}
}

func urls(at []*net.TCPAddr) (out []*url.URL) {
	for _, a := range at {
		out = append(out, &url.URL{Scheme: "nats", Host: a.String()})
	}
	return slices.Clip(out)
}

// Reserve takes n addresses on loopback, host:port, for as long as the test runs.
func Reserve(tb testing.TB, n int) []string {
	tb.Helper()
	var ports loopback.Ports
	tb.Cleanup(func() {
		if err := ports.Close(); err != nil {
			tb.Error(err)
		}
	})
	addrs, err := ports.Reserve(n)
	if err != nil {
		tb.Fatal(err)
	}
	return addrs
}

// reserve is Reserve for the options of a server.
func reserve(tb testing.TB, n int) (out []*net.TCPAddr) {
	tb.Helper()
	for _, addr := range Reserve(tb, n) {
		at, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, at)
	}
	return out
}
