package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	busWait    = 60 * time.Second // for the nodes to come together after a fault
	bootTries  = 3
	probes     = 3 // sessions that are opened at the moment of a dispatcher's fault
	gapWatched = 12 * time.Second
	slowKBps   = 60
	farLatency = 120 * time.Millisecond
)

// injector does to the deployment what the schedule says, one fault of processes or of
// the bus at a time. A fault that is late because the one before took longer waits.
type injector struct {
	fleet      *fleet // nil: a deployment of others, with which only clients can be had
	crew       *crew
	onlooker   *onlooker
	recoveries *recoveries
	disk       *disk
	note       func(format string, args ...any)

	done    atomic.Int64
	busOver time.Time // when the last fault of the bus was over

	mu      sync.Mutex // guards what follows
	counts  map[Kind]int
	present string
	errs    []error // faults that could not be made
}

// run works through the schedule.
func (j *injector) run(ctx context.Context, schedule []Fault) {
	var clients, heavy []Fault
	for _, f := range schedule {
		if t, _ := traitOf(f.Kind); t.group == ofClient {
			clients = append(clients, f)
		} else {
			heavy = append(heavy, f)
		}
	}
	begin := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, f := range clients {
			if pause(ctx, time.Until(begin.Add(f.At))) != nil {
				return
			}
			j.client(f)
		}
	})
	defer wg.Wait()
	for _, f := range heavy {
		t, _ := traitOf(f.Kind)
		due := begin.Add(f.At)
		if t.group == ofBus && due.Before(j.busOver.Add(busRest)) && !j.busOver.IsZero() {
			due = j.busOver.Add(busRest)
		}
		if pause(ctx, time.Until(due)) != nil {
			return
		}
		j.heavy(ctx, f, t)
		if ctx.Err() != nil {
			return
		}
	}
}

// client has a client do something.
func (j *injector) client(f Fault) {
	o := orderCut
	if f.Kind == SecondSocket {
		o = orderSecond
	}
	var hit map[uint32]before
	j.crew.with(f.Target, func(c *client, own owner) { hit = map[uint32]before{c.index: c.before(own.epoch)} })
	if !j.crew.order(f.Target, o) {
		hit = nil
	}
	w := j.recoveries.begin(f.Kind, hit)
	j.crew.wg.Go(func() { j.recoveries.wait(context.Background(), w) })
	j.count(f.Kind)
}

func (j *injector) count(k Kind) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.counts[k]++
	j.done.Add(1)
}

// say sets the present fault, as progress shows it.
func (j *injector) say(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.present = fmt.Sprintf(format, args...)
}

func (j *injector) doing() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.present
}

// heavy makes one fault, undoes it, and waits until what it hit has recovered.
func (j *injector) heavy(ctx context.Context, f Fault, t trait) {
	a := j.act(ctx, f)
	j.say("%s of %s", f.Kind, a.what)
	var hit map[uint32]before
	if a.hits != nil {
		hit = j.crew.hit(a.hits)
	}
	many := len(hit) // the watch takes out who has recovered
	began := time.Now()
	w := j.recoveries.begin(f.Kind, hit)
	if f.Kind == BusLeaderKill {
		j.crew.resetGaps()
	}
	var aside sync.WaitGroup
	if strings.HasPrefix(string(f.Kind), roleDispatcher) {
		for range probes {
			aside.Go(func() { j.probe(ctx, f.Kind) })
		}
	}
	err := a.do()
	if err == nil && a.undo != nil {
		err = errors.Join(pause(ctx, f.For), a.undo()) // undone also where the run is over
	}
	if t.group == ofBus {
		j.busOver = time.Now()
	}
	left := j.recoveries.wait(ctx, w)
	aside.Wait()
	if f.Kind == BusLeaderKill {
		_ = pause(ctx, time.Until(began.Add(gapWatched)))
		j.recoveries.gap(j.crew.widestGap())
	}
	if t.group == ofBus && ctx.Err() == nil {
		together, cancel := context.WithTimeout(ctx, busWait)
		err = errors.Join(err, j.onlooker.awaitBus(together))
		cancel()
	}
	j.finish(ctx, f, a.what, many, left, err)
}

func (j *injector) finish(ctx context.Context, f Fault, what string, hit, left int, err error) {
	if ctx.Err() != nil {
		return
	}
	j.count(f.Kind)
	j.say("")
	recovered := fmt.Sprintf("%d sessions hit", hit)
	if left > 0 {
		recovered += fmt.Sprintf(", %d of them not recovered after %v", left, recoverMost)
	}
	if err != nil {
		j.mu.Lock()
		j.errs = append(j.errs, fmt.Errorf("%s of %s: %w", f.Kind, what, err))
		j.mu.Unlock()
		recovered += ": " + err.Error()
	}
	j.note("%s of %s, %s", f.Kind, what, recovered)
}

func (j *injector) probe(ctx context.Context, k Kind) {
	took, err := j.crew.probe(ctx)
	if err == nil {
		j.recoveries.add(k, took)
	}
}

// action is one fault made ready: what it hits, how it is made and undone.
type action struct {
	what string
	hits func(c *client, worker string) bool // nil: no live session
	do   func() error
	undo func() error // nil: nothing to undo
}

// act chooses what to do, and to whom.
func (j *injector) act(ctx context.Context, f Fault) action {
	switch f.Kind {
	case WorkerKill, WorkerHang, WorkerTerm, WorkerPartition, WorkerSlowLink:
		p := j.fleet.workers[j.busy(f.Target, len(j.fleet.workers), j.onWorker)]
		return j.onProcess(ctx, f.Kind, p, func(_ *client, worker string) bool { return worker == p.name })
	case DispatcherKill, DispatcherHang, DispatcherTerm:
		return j.onProcess(ctx, f.Kind, j.fleet.dispatchers[f.Target], nil)
	case GatewayKill, GatewayHang, GatewayTerm:
		n := j.busy(f.Target, len(j.fleet.gateways), atGateway)
		return j.onProcess(ctx, f.Kind, j.fleet.gateways[n], atGateway(n))
	case GatewayWorkerKill:
		n := j.busy(f.Target, len(j.fleet.gateways), atGateway)
		g, w := j.fleet.gateways[n], j.fleet.workers[j.busy(f.Other, len(j.fleet.workers), j.onWorker)]
		return action{
			what: g.name + " and " + w.name,
			hits: func(c *client, worker string) bool { return atGateway(n)(c, worker) || worker == w.name },
			do: func() error {
				return together(2, func(i int) error { []*process{g, w}[i].Kill(); return nil })
			},
			undo: func() error {
				return together(2, func(i int) error { return restart(ctx, []*process{g, w}[i]) })
			},
		}
	}
	return j.onBus(ctx, f)
}

// busy is the process to hit: the one that was drawn, or the next that has sessions. One
// without any, such as one just started, would show nothing.
func (j *injector) busy(drawn, n int, of func(int) func(*client, string) bool) int {
	for i := range n {
		if k := (drawn + i) % n; len(j.crew.hit(of(k))) > 0 {
			return k
		}
	}
	return drawn
}

func (j *injector) onWorker(n int) func(*client, string) bool {
	return func(_ *client, worker string) bool { return worker == j.fleet.workers[n].name }
}

func atGateway(n int) func(*client, string) bool {
	return func(c *client, _ string) bool { return c.at.Load() == int32(n) }
}

// onProcess is what may happen to a process of a role.
func (j *injector) onProcess(ctx context.Context, k Kind, p *process, hits func(*client, string) bool) action {
	a := action{what: p.name, hits: hits}
	switch k {
	case WorkerKill, DispatcherKill, GatewayKill:
		a.do = func() error { p.Kill(); return nil }
		a.undo = func() error { return restart(ctx, p) }
	case WorkerHang, DispatcherHang, GatewayHang:
		a.do, a.undo = p.Pause, p.Resume
	case WorkerTerm, DispatcherTerm, GatewayTerm:
		a.do = func() error { return p.StopWithin(drainMost) }
		a.undo = func() error { return restart(ctx, p) }
	case WorkerPartition:
		ls := j.fleet.links.of(p.name)
		a.do = func() error { return spoil(ls, blackHole()) }
		a.undo = func() error { return heal(ls) }
	case WorkerSlowLink:
		ls := j.fleet.links.of(p.name)
		a.do = func() error { return spoil(ls, bandwidth(slowKBps)) }
		a.undo = func() error { return heal(ls) }
	}
	return a
}

// restart starts a process again. The cluster may refuse it at first.
func restart(ctx context.Context, p *process) (err error) {
	for range bootTries {
		if ctx.Err() != nil {
			return nil // nobody needs it any more
		}
		if err = p.Restart(ctx); err == nil {
			return nil
		}
	}
	return err
}
