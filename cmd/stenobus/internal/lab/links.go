package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// healWait bounds how long a link may take to lose its faults: what stands still at its
// end may hold it.
const healWait = time.Second

// links are the proxies between the processes and the nodes of the bus: a process has
// one of its own to each node, so that it can be cut off alone.
type links struct {
	server *toxiproxy.ApiServer
	all    []*link
}

// link is one proxy.
type link struct {
	process string // at this end
	node    int    // at that
	proxy   *toxiproxy.Proxy

	mu     sync.Mutex // guards toxics and nothing else
	toxics []string
}

func newLinks() *links {
	log := zerolog.Nop()
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics write to the library's own logger
	return &links{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), log)}
}

// open makes the links of a process, one to each node, and returns the addresses at
// which it finds them.
func (l *links) open(process string, nodes []string) (urls []string, err error) {
	for i, node := range nodes {
		p := toxiproxy.NewProxy(l.server, fmt.Sprintf("%s to node %d", process, i), "127.0.0.1:0", node)
		if err := p.Start(); err != nil {
			return nil, fmt.Errorf("link of %s: %w", process, err)
		}
		l.all = append(l.all, &link{process: process, node: i, proxy: p})
		urls = append(urls, "nats://"+p.Listen)
	}
	return urls, nil
}

func (l *links) close() {
	for _, k := range l.all {
		k.proxy.Stop()
	}
}

// of returns the links of a process.
func (l *links) of(process string) (out []*link) {
	for _, k := range l.all {
		if k.process == process {
			out = append(out, k)
		}
	}
	return out
}

// to returns the links to a node.
func (l *links) to(node int) (out []*link) {
	for _, k := range l.all {
		if k.node == node {
			out = append(out, k)
		}
	}
	return out
}

// toxic is a fault of links, in the words of the proxy.
type toxic struct {
	Type       string         `json:"type"`
	Name       string         `json:"name"`
	Stream     string         `json:"stream"`
	Attributes map[string]any `json:"attributes"`
}

// blackHole swallows everything and closes nothing, until it is taken away: then the
// connections close.
func blackHole() toxic {
	return toxic{Type: "timeout", Attributes: map[string]any{"timeout": 0}}
}

func latency(d, jitter time.Duration) toxic {
	return toxic{Type: "latency", Attributes: map[string]any{"latency": d.Milliseconds(), "jitter": jitter.Milliseconds()}}
}

func bandwidth(kBps int) toxic {
	return toxic{Type: "bandwidth", Attributes: map[string]any{"rate": kBps}}
}

// spoil adds faults to links, in both directions.
func spoil(ls []*link, toxics ...toxic) error {
	var errs []error
	for _, k := range ls {
		for _, t := range toxics {
			for _, direction := range []string{"upstream", "downstream"} {
				t.Stream, t.Name = direction, t.Type+" "+direction
				errs = append(errs, k.add(t))
			}
		}
	}
	return errors.Join(errs...)
}

func (k *link) add(t toxic) error {
	b, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("fault of a link: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, err := k.proxy.Toxics.AddToxicJson(strings.NewReader(string(b))); err != nil {
		return fmt.Errorf("fault of a link: %w", err)
	}
	k.toxics = append(k.toxics, t.Name)
	return nil
}

// heal takes the faults of links away.
func heal(ctx context.Context, ls []*link) error {
	return together(len(ls), func(i int) error { return ls[i].heal(context.WithoutCancel(ctx)) })
}

// heal takes the toxics away, the last one first: one that is slow holds up those before
// it. Where even that takes too long the connections end, as they would in a network.
func (k *link) heal(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		var errs []error
		for _, name := range slices.Backward(k.toxics) {
			errs = append(errs, k.proxy.Toxics.RemoveToxic(ctx, name))
		}
		done <- errors.Join(errs...)
	}()
	timer := time.NewTimer(healWait)
	defer timer.Stop()
	var err error
	select {
	case err = <-done:
	case <-timer.C:
		k.proxy.Stop()
		err = errors.Join(<-done, k.proxy.Start())
	}
	k.toxics = nil
	return err
}

// port is where the process finds the link.
func (k *link) port() string {
	_, port, _ := net.SplitHostPort(k.proxy.Listen)
	return port
}
