package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"stenobus/cmd/stenobus/internal/bench"
)

// benchCmd measures. Without a subcommand it measures the path.
type benchCmd struct {
	Run      benchRunCmd      `cmd:"" default:"withargs" help:"Measure what the whole path costs beside a bare pipe, and how long it takes."`
	Pipe     benchPipeCmd     `cmd:"" help:"Measure the bare pipe alone."`
	Results  benchResultsCmd  `cmd:"" help:"Measure how many results a second one bus stores, and what splitting the results log gives."`
	Capacity benchCapacityCmd `cmd:"" help:"Measure what things cost, and tell what a number of sessions needs and what is full first."`
	Place    benchPlaceCmd    `cmd:"" help:"Place sessions on a simulated fleet of thousands of workers, with the real placement code."`
	Budgets  benchBudgetsCmd  `cmd:"" help:"Measure everything that has a budget and print figure and budget side by side."`
}

// loadFlags say what the clients of a benchmark do.
type loadFlags struct {
	Sessions   int           `help:"Sessions at once." default:"100"`
	Sources    int           `help:"Speakers of each session." default:"1"`
	Rate       float64       `help:"Frames a second of each speaker; 0: sessions are open and silent." default:"50" placeholder:"HZ"`
	Duration   time.Duration `help:"How long to measure, when all sessions are open." default:"10s"`
	Ramp       time.Duration `help:"Over which time sessions open, and end." default:"2s"`
	PingEvery  time.Duration `help:"How often each session sends a ping." default:"1s"`
	FrameBytes int           `help:"Bytes of a frame." default:"120"`
	JSON       bool          `name:"json" help:"Print one JSON object, with units in its names."`
	Runs       int           `help:"Measure so often and print the medians." default:"1"`
}

// check is called by the parser, through Validate of the commands.
func (f *loadFlags) check() error {
	return firstOutOfRange([]bounded{
		{"--sessions", f.Sessions >= 1 && f.Sessions <= 100_000, "1 to 100000"},
		{"--sources", f.Sources >= 1 && f.Sources <= 4096, "1 to 4096"},
		{"--rate", f.Rate >= 0 && f.Rate <= 10_000, "0 to 10000"},
		{"--duration", f.Duration >= 100*time.Millisecond, "100ms or more"},
		{"--ramp", f.Ramp >= 0, "0s or more"},
		{"--ping-every", f.PingEvery >= 10*time.Millisecond, "10ms or more"},
		{"--frame-bytes", f.FrameBytes >= 1 && f.FrameBytes <= 64<<10, "1 to 65536"},
		{"--runs", f.Runs >= 1, "1 or more"},
	})
}

// bounded is a flag and what it may be.
type bounded struct {
	flag string
	ok   bool
	want string
}

func firstOutOfRange(all []bounded) error {
	for _, n := range all {
		if !n.ok {
			return fmt.Errorf("%s is out of range: want %s", n.flag, n.want)
		}
	}
	return nil
}

func (f *loadFlags) config() bench.Config {
	return bench.Config{
		Load: bench.LoadConfig{
			Sessions: f.Sessions, Sources: f.Sources, Rate: f.Rate, Ramp: f.Ramp, PingEvery: f.PingEvery, FrameBytes: f.FrameBytes,
		},
		Duration: f.Duration, Runs: f.Runs,
	}
}

// benchRunCmd measures the path.
type benchRunCmd struct {
	loadFlags
	Share       time.Duration  `help:"How long a frame waits for others to share its message."`
	Interims    bool           `help:"Ask for interims too."`
	AudioLog    bool           `help:"Keep the audio log, to see what it costs."`
	BusServers  int            `help:"Servers of the bus: 1, or 3 in a cluster that keeps three copies of each stream." default:"1"`
	Dispatchers int            `help:"Dispatchers to start." default:"1"`
	Workers     int            `help:"Workers to start." default:"1"`
	Rogues      bool           `help:"Let three clients that misbehave come and go (one at 20 times real time, one that sends garbage, one that never reads), and tell what that does to the others."`
	FinalEvery  int            `help:"Frames of a speaker to a final." default:"50"`
	NoPipe      bool           `help:"Leave the bare pipe out."`
	Profiles    string         `help:"Directory for CPU and allocation profiles of each process in the steady phase; taking them costs some CPU." type:"existingdir" placeholder:"DIR"`
	URL         string         `name:"url" help:"Measure the server there instead of one of its own; a worker with the engine tally must be behind it." placeholder:"WS://..."`
	Foreign     bool           `help:"The server of --url is another program that speaks the same protocol: it does not tell which frames its results cover."`
	PID         map[string]int `name:"pid" help:"Processes of --url whose CPU and memory count, by name." placeholder:"NAME=PID;..."`
	FindLimit   bool           `help:"Search for the most sessions whose frames (with --foreign: pings) stay below --limit."`
	Limit       time.Duration  `help:"Bound of --find-limit on the 99th percentile." default:"10ms"`
}

func (*benchRunCmd) Help() string {
	return `It starts a deployment of this program on loopback, each role in a process of its own (bus, dispatcher, worker with the engine tally, gateway), puts a load on it, and does the same with the bare pipe, the least that any such path must do: read a WebSocket message, publish it on core NATS once, count it in one subscriber. Only ratios of one run say something: machines differ.

Clients send by the clock, however the server fares, and latencies count from the time at which something was due (1 ms later at most, where the timer of an idle client struck late). Clients and server share this machine: a load that keeps it busy measures little else. Every frame must be covered by exactly one final, with the bytes that were sent, or the exit code is 1.

Examples:

    stenobus bench
    stenobus bench --share 60ms --runs 3
    stenobus bench --audio-log --runs 3
    stenobus bench --bus-servers 3
    stenobus bench --sessions 10 --sources 20 --json | jq .path_to_pipe_ratio
    stenobus bench --sessions 5000 --rate 0 --ping-every 10s --ramp 10s
    stenobus bench --rogues --no-pipe --sessions 1000 --rate 4 --final-every 20 --ping-every 10s --duration 3m --ramp 10s
    stenobus bench --find-limit --limit 10ms
    stenobus bench --profiles . && go tool pprof -top whole-path-gateway.cpu.pprof
    stenobus bench --url ws://127.0.0.1:8080/transcribe --pid gateway=4711
    stenobus bench --url ws://127.0.0.1:3000/transcribe --foreign --pid node=4712
`
}

// Validate is called by the parser.
func (c *benchRunCmd) Validate() error {
	if err := c.check(); err != nil {
		return err
	}
	if err := firstOutOfRange([]bounded{
		{"--share", c.Share >= 0 && c.Share <= time.Second, "0s to 1s"},
		{"--bus-servers", c.BusServers == 1 || c.BusServers == 3, "1 or 3"},
		{"--dispatchers", c.Dispatchers >= 1 && c.Dispatchers <= 16, "1 to 16"},
		{"--workers", c.Workers >= 1 && c.Workers <= 16, "1 to 16"},
		{"--limit", c.Limit > 0, "above 0s"},
		{"--final-every", c.FinalEvery >= 1 && c.FinalEvery <= 10_000, "1 to 10000"},
	}); err != nil {
		return err
	}
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "") {
		return errors.New("--url: not the address of a WebSocket, want ws://host:port/path or wss://host:port/path")
	}
	if c.URL == "" && (c.Foreign || len(c.PID) > 0) {
		return errors.New("--foreign and --pid are about the server of --url, which is missing")
	}
	for name, pid := range c.PID {
		if pid <= 0 {
			return fmt.Errorf("--pid: %s=%d is no process", name, pid)
		}
	}
	return nil
}

func (c *benchRunCmd) Run(p *program) error {
	cfg := c.config()
	cfg.Load.Interims, cfg.Load.Foreign = c.Interims, c.Foreign
	cfg.URL, cfg.PIDs, cfg.NoPipe, cfg.Rogues = c.URL, c.PID, c.NoPipe, c.Rogues
	cfg.Deployment = bench.Deployment{
		Buses: c.BusServers, Dispatchers: c.Dispatchers, Workers: c.Workers, Share: c.Share, AudioLog: c.AudioLog, Interims: c.Interims,
		Profiles: c.Profiles, FinalEvery: c.FinalEvery,
	}
	if c.FindLimit {
		return measure(p, c.JSON, func(cfg bench.Config) (bench.Result, error) { return bench.FindLimit(p.ctx, cfg, c.Limit) }, cfg)
	}
	return measure(p, c.JSON, func(cfg bench.Config) (bench.Result, error) { return bench.Run(p.ctx, cfg) }, cfg)
}

// measure shows where a benchmark stands and prints its result, also where something
// went wrong.
func measure(p *program, asJSON bool, run func(bench.Config) (bench.Result, error), cfg bench.Config) error {
	show, err := showBench(p, &cfg)
	if err != nil {
		return err
	}
	r, err := run(cfg)
	show.done()
	if p.ctx.Err() != nil {
		return err
	}
	if asJSON {
		err = errors.Join(json.NewEncoder(p.stdout).Encode(r), err)
	} else {
		err = errors.Join(r.Table(p.stdout), err)
	}
	return errors.Join(err, verdict(&r))
}

func verdict(r *bench.Result) error {
	if r.OK() {
		return nil
	}
	return fmt.Errorf("%d frames were lost, %d doubled, and %d sessions failed", r.Lost, r.Doubled, r.Failed)
}

// benchProgress shows where a benchmark stands, and what its children log. Both come
// from goroutines of their own.
type benchProgress struct {
	mu     sync.Mutex // guards what follows
	p      *program
	screen *screen
	phase  string
}

// showBench fills in what a benchmark of this program needs.
func showBench(p *program, cfg *bench.Config) (*benchProgress, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	collectAt(clientGCPercent)
	show := &benchProgress{p: p, screen: newScreen(p.stderr)}
	cfg.Deployment.Program, cfg.Deployment.Log, cfg.Progress = self, show, show.progress
	return show, nil
}

// progress shows each second on a terminal, elsewhere each phase.
func (b *benchProgress) progress(phase, detail string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.screen.live() && phase != b.phase {
		fmt.Fprintln(b.p.stderr, "bench: "+phase)
	}
	b.phase = phase
	b.screen.show(phase+": ", detail)
}

// Write passes on what a child logs.
func (b *benchProgress) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.screen.clear()
	return b.p.stderr.Write(text)
}

func (b *benchProgress) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.screen.clear()
}
