package lab

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	warmUp  = 3 * time.Second  // before the first fault, when all sessions are open
	busRest = 20 * time.Second // between two faults of the bus, so that the nodes agree again
)

// Fault is one thing to be done to the deployment.
type Fault struct {
	At     time.Duration // since all sessions are open
	Kind   Kind
	Target int           // which process of the role, bus node or session slot
	Other  int           // the worker of a gateway_worker_kill
	For    time.Duration // how long it lasts
}

// Plan is all that a schedule follows from.
type Plan struct {
	Seed     uint64
	Mix      Mix
	Duration time.Duration

	Gateways, Dispatchers, Workers, Nodes, Sessions int
}

// Draw makes the schedule, in the order of time. It is a pure function: the same plan
// gives the same schedule. One fault of processes or of the bus is over and healed
// before the next begins, so that capacity is left and recovery can be told apart;
// clients have theirs at any time. A schedule that is too long for its duration goes on.
func Draw(p Plan) []Fault {
	rng := rand.New(rand.NewPCG(p.Seed, 0x5eed))
	var process, bus, clients []Fault
	for _, t := range kinds {
		for range p.Mix[t.kind] {
			f := p.draw(rng, t)
			switch t.group {
			case ofProcess:
				process = append(process, f)
			case ofBus:
				bus = append(bus, f)
			case ofClient:
				clients = append(clients, f)
			}
		}
	}
	for _, list := range [][]Fault{process, bus} {
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	out, end := layOut(rng, process, bus)
	end = stretch(out, end, p.Duration)
	for _, f := range clients {
		f.At = warmUp + time.Duration(rng.Int64N(int64(max(end-warmUp, 1))))
		out = append(out, f)
	}
	slices.SortStableFunc(out, func(a, b Fault) int { return cmp.Compare(a.At, b.At) })
	return out
}

// draw picks a fault's target and length.
func (p Plan) draw(rng *rand.Rand, t trait) Fault {
	f := Fault{Kind: t.kind, For: t.least}
	if t.most > t.least {
		f.For += time.Duration(rng.Int64N(int64(t.most - t.least))).Truncate(time.Millisecond)
	}
	f.Target, f.Other = pick(rng, p.many(t)), pick(rng, p.Workers)
	return f
}

func pick(rng *rand.Rand, n int) int { return rng.IntN(max(n, 1)) }

// many is of how many one is hit.
func (p Plan) many(t trait) int {
	switch t.kind {
	case WorkerKill, WorkerHang, WorkerTerm, WorkerPartition, WorkerSlowLink:
		return p.Workers
	case DispatcherKill, DispatcherHang, DispatcherTerm:
		return p.Dispatchers
	case GatewayKill, GatewayHang, GatewayTerm, GatewayWorkerKill:
		return p.Gateways
	case ClientCut, SecondSocket:
		return p.Sessions
	}
	return p.Nodes
}

// span is how long a fault keeps others away.
func (f Fault) span() time.Duration {
	t, _ := traitOf(f.Kind)
	return f.For + t.heal
}

// layOut puts one fault after the other. While the bus rests processes have their turn.
func layOut(rng *rand.Rand, process, bus []Fault) (out []Fault, end time.Duration) {
	at, rested := warmUp, warmUp
	for len(process)+len(bus) > 0 {
		takeBus := len(process) == 0
		if len(bus) > 0 && len(process) > 0 && at >= rested {
			takeBus = rng.IntN(len(process)+len(bus)) < len(bus) || total(bus, busRest) >= total(process, 0)
		}
		var f Fault
		if takeBus {
			f, bus = bus[0], bus[1:]
			at = max(at, rested)
			rested = at + f.For + max(busRest, f.span()-f.For)
		} else {
			f, process = process[0], process[1:]
		}
		f.At = at
		at += f.span()
		out = append(out, f)
	}
	return out, at
}

func total(list []Fault, rest time.Duration) (sum time.Duration) {
	for _, f := range list {
		sum += f.span() + rest
	}
	return sum
}

// stretch spreads the faults over the duration, where that is longer.
func stretch(list []Fault, end, duration time.Duration) time.Duration {
	if end >= duration || end <= warmUp {
		return max(end, duration)
	}
	factor := float64(duration-warmUp) / float64(end-warmUp)
	for i := range list {
		list[i].At = warmUp + time.Duration(float64(list[i].At-warmUp)*factor)
	}
	return duration
}
