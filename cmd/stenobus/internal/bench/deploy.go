package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"stenobus/cmd/stenobus/internal/child"
	"stenobus/subjects"
	"stenobus/subjects/loopback"
)

// Roles of processes, as figures name them. The client is this process.
const (
	roleGateway    = "gateway"
	roleBus        = "bus"
	roleDispatcher = "dispatcher"
	roleWorker     = "worker"
	roleClient     = "client"
	roleSubscriber = "subscriber" // of a pipe
)

// Deployment is what Run starts: every role in a process of its own, on loopback.
type Deployment struct {
	Program     string // that is started
	Dispatchers int    // 0: 1
	Workers     int    // 0: 1
	Buses       int    // servers of the bus, a cluster with as many copies of each stream; 0: 1
	Share       time.Duration
	AudioLog    bool
	Interims    bool
	FinalEvery  int       // frames of a source to a final; 0: 50
	Log         io.Writer // takes what the processes log
	Profiles    string    // directory for profiles of each process in the steady phase; empty: none
}

// process is one part of what is measured.
type process struct {
	role  string
	child *child.Child // nil: not ours, only its pid is known
	pid   int
	pprof string // host:port of its profiles; empty: none are wanted
}

// site is a running deployment, or a server that runs elsewhere.
type site struct {
	url       string // where clients connect
	count     string // where a pipe's subscriber tells its count; empty: it is none
	processes []process
	ports     loopback.Ports
}

// startPath starts bus, dispatchers, workers and a gateway.
func (d *Deployment) startPath(ctx context.Context, load LoadConfig, dir string) (*site, error) {
	s := &site{}
	buses, err := s.startBuses(ctx, d, dir, max(1, d.Buses))
	if err != nil {
		return s, err
	}
	if err := d.prepare(ctx, buses); err != nil {
		return s, err
	}
	// Gateways and workers are at different servers where there are several: most are.
	at := func(i int) []string {
		return []string{"--nats", buses[i%len(buses)], "--bus-replicas", strconv.Itoa(len(buses))}
	}
	for i := range max(1, d.Dispatchers) {
		if _, err := s.start(ctx, d, roleDispatcher, append([]string{"dispatcher", "--name", "dispatcher-" + strconv.Itoa(i+1)}, at(2)...)...); err != nil {
			return s, err
		}
	}
	for i := range max(1, d.Workers) {
		if _, err := s.start(ctx, d, roleWorker, append(d.workerArgs(i, load), at(1)...)...); err != nil {
			return s, err
		}
	}
	gateway, err := s.start(ctx, d, roleGateway, append(d.gatewayArgs(load), at(0)...)...)
	if err != nil {
		return s, err
	}
	s.url = webSocket(gateway.URL())
	return s, nil
}

// prepare waits for a cluster to have the streams: it takes a while to elect its leaders.
func (d *Deployment) prepare(ctx context.Context, buses []string) error {
	if len(buses) == 1 {
		return nil
	}
	b, err := dialBus(ctx, buses, subjects.BusConfig{Replicas: len(buses)})
	if err == nil {
		b.nc.Close()
	}
	return err
}

func (d *Deployment) workerArgs(i int, load LoadConfig) []string {
	interim := -1
	if d.Interims {
		interim = 10
	}
	return []string{
		"worker", "--id", "worker-" + strconv.Itoa(i+1), "--slots", strconv.Itoa(max(2*load.Sessions, 100)),
		"--engine", "tally", "--tally-stamp", "--tally-every", strconv.Itoa(d.finalEvery()), "--tally-interim=" + strconv.Itoa(interim),
	}
}

func (d *Deployment) finalEvery() int {
	if d.FinalEvery == 0 {
		return 50
	}
	return d.FinalEvery
}

func (d *Deployment) gatewayArgs(load LoadConfig) []string {
	args := []string{
		"gateway", "--listen", "127.0.0.1:0", "--share", d.Share.String(), "--connect-rate", "100000",
		"--max-sessions", strconv.Itoa(max(2*load.Sessions, 10_000)),
		"--max-sources", strconv.Itoa(max(load.Sources, 256)), "--max-life-sources", strconv.Itoa(max(load.Sources, 1024)),
	}
	if d.AudioLog {
		args = append(args, "--audio-log")
	}
	return args
}

// startPipe starts a bus, a subscriber and what takes the place of a gateway.
func (d *Deployment) startPipe(ctx context.Context, dir string) (*site, error) {
	s := &site{}
	bus, err := s.start(ctx, d, roleBus, "bus", "--listen", "127.0.0.1:0", "--data", dir)
	if err != nil {
		return s, err
	}
	sub, err := s.start(ctx, d, roleSubscriber, "bench-pipe", "--subscribe", "--nats", bus.URL())
	if err != nil {
		return s, err
	}
	pub, err := s.start(ctx, d, roleGateway, "bench-pipe", "--nats", bus.URL())
	if err != nil {
		return s, err
	}
	s.url, s.count = pub.URL(), sub.URL()
	return s, nil
}

func (s *site) start(ctx context.Context, d *Deployment, role string, args ...string) (*child.Child, error) {
	args = append(args, "--log-level", "warn")
	p := process{role: role}
	if d.Profiles != "" {
		at, err := s.ports.Reserve(1)
		if err != nil {
			return nil, err
		}
		p.pprof = at[0]
		args = append(args, "--pprof-listen", p.pprof)
	}
	c, err := child.Start(ctx, child.Config{Name: role, Program: d.Program, Args: args, Log: d.Log})
	if err != nil {
		return nil, err
	}
	p.child = c
	s.processes = append(s.processes, p)
	return c, nil
}

// elsewhere is a server that somebody else runs, and those of its processes that are known.
func elsewhere(url string, pids map[string]int) *site {
	s := &site{url: url}
	for role, pid := range pids {
		s.processes = append(s.processes, process{role: role, pid: pid})
	}
	return s
}

// usage is what each role has used up to now, the client included.
func (s *site) usage() (map[string]child.Usage, error) {
	all := map[string]child.Usage{}
	var errs []error
	for _, p := range s.processes {
		u, err := p.usage()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.role, err))
		}
		sum := all[p.role]
		all[p.role] = child.Usage{CPU: sum.CPU + u.CPU, RSSKB: sum.RSSKB + u.RSSKB, AnonKB: sum.AnonKB + u.AnonKB, IO: sum.IO + u.IO}
	}
	u, err := child.Own()
	all[roleClient] = u
	return all, errors.Join(append(errs, err)...)
}

func (p process) usage() (child.Usage, error) {
	if p.child != nil {
		return p.child.Usage()
	}
	return child.UsageOf(p.pid)
}

// stop ends what start began, the last first.
func (s *site) stop() error {
	var errs []error
	for i := len(s.processes) - 1; i >= 0; i-- {
		if c := s.processes[i].child; c != nil {
			errs = append(errs, c.Stop())
		}
	}
	return errors.Join(append(errs, s.ports.Close())...)
}

// webSocket is where clients of a gateway connect that is at an address of HTTP.
func webSocket(at string) string {
	return "ws" + strings.TrimPrefix(strings.TrimSuffix(at, "/"), "http") + "/transcribe"
}
