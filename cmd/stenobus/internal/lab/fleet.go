package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"stenobus/cmd/stenobus/internal/child"
	"stenobus/subjects/loopback"
)

const (
	busNodes   = 3
	startWait  = 45 * time.Second // a node reads its streams back and the cluster elects
	leaderPoll = 100 * time.Millisecond
	drainMost  = 30 * time.Second // a process that was asked to stop is gone by then
)

// Roles of processes.
const (
	roleBus        = "bus"
	roleDispatcher = "dispatcher"
	roleWorker     = "worker"
	roleGateway    = "gateway"
)

// process is one child of the deployment.
type process struct {
	*child.Child
	name string // worker-1; of a worker and a bus node also its name on the bus
	page string // host:port of its own pages
	log  *os.File
}

// fleet is a deployment of this program in processes of its own.
type fleet struct {
	cfg   *Config
	dir   string
	links *links
	nodes []string       // host:port of the bus nodes themselves
	ports loopback.Ports // a process that was killed comes back to its own

	bus, dispatchers, workers, gateways []*process
}

// startFleet starts everything and returns when it is ready. What it started is
// stopped by stop, also where it fails.
func startFleet(ctx context.Context, cfg *Config, dir string) (*fleet, error) {
	f := &fleet{cfg: cfg, dir: dir, links: newLinks()}
	if err := f.startBus(ctx); err != nil {
		return f, err
	}
	return f, f.startRoles(ctx)
}

// startRoles starts all of them at once.
func (f *fleet) startRoles(ctx context.Context) error {
	if err := f.awaitLeader(ctx); err != nil {
		return err
	}
	var starts []func() error
	for _, role := range []struct {
		name string
		n    int
		to   *[]*process
		args func(name, page string) []string
	}{
		{roleDispatcher, f.cfg.Dispatchers, &f.dispatchers, f.dispatcherArgs},
		{roleWorker, f.cfg.Workers, &f.workers, f.workerArgs},
		{roleGateway, f.cfg.Gateways, &f.gateways, f.gatewayArgs},
	} {
		pages, err := f.ports.Reserve(role.n)
		if err != nil {
			return err
		}
		*role.to = make([]*process, role.n)
		for i := range role.n {
			starts = append(starts, func() error {
				name := role.name + "-" + strconv.Itoa(i+1)
				p, err := f.start(ctx, name, pages[i], f.program(i), role.args(name, pages[i]))
				(*role.to)[i] = p
				return err
			})
		}
	}
	return together(len(starts), func(i int) error { return starts[i]() })
}

// awaitLeader returns when the nodes have elected one: roles that ask before wait long
// for an answer.
func (f *fleet) awaitLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	o, err := onlook(f.busURLs(), nil)
	if err != nil {
		return err
	}
	defer o.nc.Close()
	for {
		one, cancel := context.WithTimeout(ctx, time.Second)
		_, err := o.js.AccountInfo(one)
		cancel()
		if err == nil {
			return nil
		}
		if pause(ctx, leaderPoll) != nil {
			return fmt.Errorf("the bus has no leader: %w", err)
		}
	}
}

// together does n things at once.
func together(n int, do func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// program is this one, and every second time one of the others.
func (f *fleet) program(i int) string {
	if len(f.cfg.Programs) == 0 || i%2 == 0 {
		return f.cfg.Program
	}
	return f.cfg.Programs[i/2%len(f.cfg.Programs)]
}

func (f *fleet) startBus(ctx context.Context) error {
	at, err := f.ports.Reserve(3 * busNodes)
	if err != nil {
		return err
	}
	f.nodes = at[:busNodes]
	cluster, pages := at[busNodes:2*busNodes], at[2*busNodes:]
	f.bus = make([]*process, busNodes)
	if err := together(busNodes, func(i int) error {
		name := "bus-" + strconv.Itoa(i+1)
		p, err := f.start(ctx, name, pages[i], f.cfg.Program, []string{
			"bus", "--name", name, "--listen", f.nodes[i], "--data", f.data(i), "--monitor-listen", pages[i],
			"--cluster-listen", cluster[i], "--routes", "nats://" + strings.Join(cluster, ",nats://"), "--log-level", "info",
		})
		f.bus[i] = p
		return err
	}); err != nil {
		return err
	}
	for _, role := range []struct {
		name string
		n    int
	}{{roleDispatcher, f.cfg.Dispatchers}, {roleWorker, f.cfg.Workers}, {roleGateway, f.cfg.Gateways}} {
		for i := range role.n {
			if _, err := f.links.open(role.name+"-"+strconv.Itoa(i+1), f.nodes); err != nil {
				return err
			}
		}
	}
	return nil
}

// data is the directory of a node's streams.
func (f *fleet) data(node int) string { return filepath.Join(f.dir, "bus-"+strconv.Itoa(node+1)) }

// start runs one process, with its log in a file of its own.
func (f *fleet) start(ctx context.Context, name, page, program string, args []string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(f.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", name, err)
	}
	c, err := child.Start(ctx, child.Config{Name: name, Program: program, Args: args, Log: log, Ready: startWait})
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return &process{Child: c, name: name, page: page, log: log}, nil
}

// busArgs are the flags of every role that say where the bus is and how it keeps things.
func (f *fleet) busArgs(name string) []string {
	var urls []string
	for _, k := range f.links.of(name) {
		urls = append(urls, k.url())
	}
	args := []string{
		"--nats", strings.Join(urls, ","), "--bus-replicas", strconv.Itoa(busNodes),
		"--bus-results-bytes", strconv.Itoa(f.cfg.resultsBytes()), "--log-format", "text", "--log-level", "info",
	}
	if f.cfg.Streams > 1 { // version 0.1.0 does not know the flag
		args = append(args, "--bus-results-streams", strconv.Itoa(f.cfg.Streams))
	}
	return args
}

func (f *fleet) dispatcherArgs(name, page string) []string {
	return append([]string{"dispatcher", "--name", name, "--metrics-listen", page}, f.busArgs(name)...)
}

func (f *fleet) workerArgs(name, page string) []string {
	args := []string{"worker", "--id", name, "--metrics-listen", page, "--slots", strconv.Itoa(f.cfg.slots())}
	if f.cfg.Speech {
		args = append(args, "--engine", "pocketsphinx")
	} else {
		args = append(args, "--engine", "tally", "--tally-every", strconv.Itoa(f.cfg.Every))
		if len(f.cfg.Programs) == 0 { // version 0.1.0 does not know the flag
			args = append(args, "--tally-interim", strconv.Itoa(max(f.cfg.Every/2, 1)))
		}
	}
	return append(args, f.busArgs(name)...)
}

func (f *fleet) gatewayArgs(name, page string) []string {
	args := []string{"gateway", "--name", name, "--listen", page}
	if f.cfg.AudioLog {
		args = append(args, "--audio-log")
	}
	return append(args, f.busArgs(name)...)
}

// urls are where clients connect.
func (f *fleet) urls() (out []string) {
	for _, g := range f.gateways {
		out = append(out, "ws://"+g.page+"/transcribe")
	}
	return out
}

// busURLs are the nodes themselves, past the links.
func (f *fleet) busURLs() (out []string) {
	for _, n := range f.nodes {
		out = append(out, "nats://"+n)
	}
	return out
}

// all lists the processes, those that clients meet first.
func (f *fleet) all() (out []*process) {
	for _, list := range [][]*process{f.gateways, f.workers, f.dispatchers, f.bus} {
		for _, p := range list {
			if p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// cpu is what all processes have used.
func (f *fleet) cpu() (sum time.Duration) {
	for _, p := range f.all() {
		sum += p.CPU()
	}
	return sum
}

// stop ends all processes, the roles before the bus. Nobody needs them any more, so
// none gets long.
func (f *fleet) stop() {
	for _, list := range [][]*process{f.gateways, f.workers, f.dispatchers, f.bus} {
		_ = together(len(list), func(i int) error {
			p := list[i]
			if p == nil {
				return nil
			}
			_ = p.Resume() // a sleeper obeys nobody
			err := p.StopWithin(3 * time.Second)
			return errors.Join(err, p.log.Close())
		})
	}
	f.links.close()
	_ = f.ports.Close() // nobody needs them any more
}
