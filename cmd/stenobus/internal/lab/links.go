package lab

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/rs/zerolog"
)

const (
	healWait = time.Second // what stands still at a link's end may hold its fault so long
	linkDial = 2 * time.Second
)

// links are what stands between the processes and the nodes of the bus: a process has
// one link of its own to each node, so that it can be cut off alone.
type links struct{ all []*link }

func newLinks() *links {
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics write to the library's own logger
	return &links{}
}

// open makes the links of a process, one to each node, and returns the addresses at
// which it finds them.
func (l *links) open(process string, nodes []string) (urls []string, err error) {
	for i, node := range nodes {
		k := &link{process: process, node: i, target: node, fault: toxic{&toxics.NoopToxic{}}, open: map[*passage]bool{}}
		if k.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, fmt.Errorf("link of %s: %w", process, err)
		}
		k.wg.Go(k.accept)
		l.all = append(l.all, k)
		urls = append(urls, k.url())
	}
	return urls, nil
}

func (l *links) close() {
	for _, k := range l.all {
		k.close()
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

// toxic is a fault of links, or none, in the shape of the library of Toxiproxy.
type toxic struct{ toxics.Toxic }

// blackHole swallows everything and closes nothing, until it is taken away.
func blackHole() toxic { return toxic{&toxics.TimeoutToxic{}} }

func latency(d, jitter time.Duration) toxic {
	return toxic{&toxics.LatencyToxic{Latency: d.Milliseconds(), Jitter: jitter.Milliseconds()}}
}

func bandwidth(kBps int64) toxic { return toxic{&toxics.BandwidthToxic{Rate: kBps}} }

// tears tells whether a connection can't go on after the fault: it lost bytes.
func (t toxic) tears() bool {
	_, ok := t.Toxic.(*toxics.TimeoutToxic)
	return ok
}

// link passes connections on to one node. It is no Proxy of the library's, which waits
// for ever to take a fault from a connection that ends meanwhile, with a lock that keeps
// new connections out.
type link struct {
	process  string // at this end
	node     int    // at that
	target   string // its address
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex // guards what follows
	fault  toxic
	open   map[*passage]bool
	closed bool
}

// accept returns when the link is closed.
func (k *link) accept() {
	for {
		near, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.wg.Go(func() {
			far, err := net.DialTimeout("tcp", k.target, linkDial)
			if err != nil {
				_ = near.Close()
				return
			}
			k.pass(newPassage(near, far))
		})
	}
}

// pass carries one connection to its end, with the faults that the link has and gets.
func (k *link) pass(p *passage) {
	k.mu.Lock()
	if k.closed {
		k.mu.Unlock()
		p.close()
		return
	}
	k.open[p] = true
	p.begin(k.fault)
	k.mu.Unlock()
	p.wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.open, p)
}

// set gives the link a fault in place of the one before, in both directions. A
// connection that can't change in time, or that lost bytes, ends, as it would in a
// network.
func (k *link) set(t toxic) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	tears := k.fault.tears()
	k.fault = t
	var all []*passage
	for p := range k.open {
		all = append(all, p)
	}
	return together(len(all), func(i int) error {
		if tears {
			all[i].close()
			return nil
		}
		all[i].set(t)
		return nil
	})
}

func (k *link) close() {
	_ = k.listener.Close()
	k.mu.Lock()
	k.closed = true
	for p := range k.open {
		p.close()
	}
	k.mu.Unlock()
	k.wg.Wait()
}

// spoil gives links a fault.
func spoil(ls []*link, t toxic) error {
	var errs []error
	for _, k := range ls {
		errs = append(errs, k.set(t))
	}
	return errors.Join(errs...)
}

// heal takes the faults of links away.
func heal(ls []*link) error { return spoil(ls, toxic{&toxics.NoopToxic{}}) }

// port is where the process finds the link.
func (k *link) port() string {
	_, port, _ := net.SplitHostPort(k.listener.Addr().String())
	return port
}

func (k *link) url() string { return "nats://" + k.listener.Addr().String() }
