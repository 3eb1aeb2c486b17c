package lab

import (
	"context"
	"errors"
	"slices"
	"strconv"
)

// onBus is what may happen to the nodes of the bus.
func (j *injector) onBus(ctx context.Context, f Fault) action {
	node := f.Target
	switch leader := j.leads(ctx); {
	case f.Kind == BusLeaderKill && leader >= 0:
		node = leader
	case f.Kind == BusNodeKill && leader == node:
		node = (node + 1) % busNodes
	}
	p := j.fleet.bus[node]
	linked := j.linkedTo(node)
	a := action{what: p.name, hits: func(c *client, worker string) bool {
		return linked[worker] || linked[roleGateway+"-"+strconv.Itoa(int(c.at.Load())+1)]
	}}
	switch f.Kind {
	case BusNodeKill, BusLeaderKill:
		a.do = func() error { p.Kill(); return nil }
		a.undo = func() error { return restart(ctx, p) }
	case BusNodeTerm:
		a.do = func() error { return p.StopWithin(drainMost) }
		a.undo = func() error { return restart(ctx, p) }
	case BusNodeHang:
		a.do, a.undo = p.Pause, p.Resume
	case BusLatency:
		ls := j.fleet.links.to(node)
		a.do = func() error { return spoil(ls, latency(farLatency, farLatency/4)) }
		a.undo = func() error { return heal(ls) }
	case BusDown:
		a.what = "all nodes"
		a.hits = func(*client, string) bool { return true }
		a.do = func() error {
			return together(busNodes, func(i int) error { return j.fleet.bus[i].StopWithin(drainMost) })
		}
		a.undo = func() error { return together(busNodes, func(i int) error { return restart(ctx, j.fleet.bus[i]) }) }
	case DiskFull:
		p = j.fleet.bus[diskNode]
		a.what = "the disk of " + p.name
		a.hits = func(*client, string) bool { return true }
		a.do = j.disk.fill
		a.undo = func() error {
			p.Kill() // a server whose disk was full does without JetStream from then on
			return errors.Join(j.disk.free(), restart(ctx, p))
		}
	}
	if f.Kind == BusLeaderKill { // finals of all sessions wait for the next leader
		a.hits = func(*client, string) bool { return true }
	}
	return a
}

// leads is the node that leads the results, -1 where nobody knows.
func (j *injector) leads(ctx context.Context) int {
	name := j.onlooker.leader(ctx)
	return slices.IndexFunc(j.fleet.bus, func(p *process) bool { return p.name == name })
}

// linkedTo names the processes whose connection goes to a node: the established
// connections to the link's own port tell.
func (j *injector) linkedTo(node int) map[string]bool {
	open := connected()
	out := map[string]bool{}
	for _, k := range j.fleet.links.to(node) {
		if open[k.port()] {
			out[k.process] = true
		}
	}
	return out
}
