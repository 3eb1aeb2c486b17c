package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"stenobus/cmd/stenobus/internal/bench"
	"stenobus/cmd/stenobus/internal/busserver"
)

// benchCmd measures. Without a subcommand it measures the path.
type benchCmd struct {
	Run   benchRunCmd   `cmd:"" default:"withargs" help:"Measure what the whole path costs beside a bare pipe."`
	Place benchPlaceCmd `cmd:"" help:"Place sessions on a simulated fleet of thousands of workers, with the real placement code."`
}

// benchRunCmd measures the path.
type benchRunCmd struct {
	Sessions   int           `help:"Sessions at once." default:"100"`
	Sources    int           `help:"Speakers of each session." default:"1"`
	Rate       float64       `help:"Frames a second of each speaker." default:"50" placeholder:"HZ"`
	Duration   time.Duration `help:"How long to measure, when all sessions are open." default:"10s"`
	Ramp       time.Duration `help:"Over which time sessions open, and end." default:"2s"`
	FrameBytes int           `help:"Bytes of a frame." default:"120"`
	Share      time.Duration `help:"How long a frame waits for others to share its message." default:"0s"`
	Interims   bool          `help:"Ask for interims too."`
	AudioLog   bool          `help:"Keep the audio log, to see what it costs."`
	JSON       bool          `name:"json" help:"Print one JSON object, with units in its names."`
	Runs       int           `help:"Measure so often and print the medians." default:"1"`
}

func (*benchRunCmd) Help() string {
	return `It starts two deployments of this program on loopback, one after the other, and puts the same load on both: "stenobus up --engine tally", which is the whole path, and the bare pipe, the least that any such path must do (read a WebSocket message, publish it on core NATS once, count it in one subscriber). Only ratios of one run say something: machines differ.

Clients send by the clock, however the server fares, and latencies count from the time at which something was due. Clients and server share this machine: a load that keeps it busy measures little else. Every frame must be covered by exactly one final, with the bytes that were sent, or the exit code is 1.

Examples:

    stenobus bench
    stenobus bench --share 60ms --runs 3
    stenobus bench --audio-log --runs 3
    stenobus bench --sessions 10 --sources 20 --json | jq .path_to_pipe_ratio
`
}

// Validate is called by the parser.
func (c *benchRunCmd) Validate() error {
	for _, n := range []struct {
		flag string
		ok   bool
		want string
	}{
		{"--sessions", c.Sessions >= 1 && c.Sessions <= 100_000, "1 to 100000"},
		{"--sources", c.Sources >= 1 && c.Sources <= 4096, "1 to 4096"},
		{"--rate", c.Rate > 0 && c.Rate <= 10_000, "above 0, at most 10000"},
		{"--duration", c.Duration >= 100*time.Millisecond, "100ms or more"},
		{"--ramp", c.Ramp >= 0, "0s or more"},
		{"--frame-bytes", c.FrameBytes >= 1 && c.FrameBytes <= 64<<10, "1 to 65536"},
		{"--share", c.Share >= 0 && c.Share <= time.Second, "0s to 1s"},
		{"--runs", c.Runs >= 1, "1 or more"},
	} {
		if !n.ok {
			return fmt.Errorf("%s is out of range: want %s", n.flag, n.want)
		}
	}
	return nil
}

func (c *benchRunCmd) Run(p *program) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	show := &benchProgress{w: p.stderr, screen: newScreen(p.stderr)}
	r, err := bench.Run(p.ctx, bench.Config{
		Load: bench.LoadConfig{
			Sessions: c.Sessions, Sources: c.Sources, Rate: c.Rate, Ramp: c.Ramp,
			FrameBytes: c.FrameBytes, Interims: c.Interims,
		},
		Duration: c.Duration, Share: c.Share, Runs: c.Runs,
		Program: self, Path: c.upArgs(), Pipe: []string{"bench-pipe"},
		Stderr: show, Progress: show.progress,
	})
	show.done()
	if p.ctx.Err() != nil {
		return err
	}
	return errors.Join(c.print(p.stdout, r), err, verdict(r))
}

// upArgs give "up" room for the load and leave the rest at its defaults.
func (c *benchRunCmd) upArgs() []string {
	args := []string{
		"up", "--engine", "tally", "--log-level", "warn", "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
		"--worker-slots", strconv.Itoa(max(c.Sessions, 100)),
		"--gateway-max-sessions", strconv.Itoa(max(c.Sessions, 10_000)),
		"--gateway-max-sources", strconv.Itoa(max(c.Sources, 256)),
		"--gateway-share", c.Share.String(),
	}
	if c.AudioLog {
		args = append(args, "--audio-log")
	}
	return args
}

func (c *benchRunCmd) print(w io.Writer, r bench.Result) error {
	if !c.JSON {
		return r.Table(w)
	}
	return json.NewEncoder(w).Encode(r)
}

func verdict(r bench.Result) error {
	if r.OK() {
		return nil
	}
	return fmt.Errorf("%d frames were lost and %d doubled", r.Lost, r.Doubled)
}

// benchProgress shows where a benchmark stands, and what its children log. Both come
// from goroutines of their own.
type benchProgress struct {
	mu     sync.Mutex // guards what follows
	w      io.Writer
	screen *screen
	phase  string
}

// progress shows each second on a terminal, elsewhere each phase.
func (b *benchProgress) progress(phase, detail string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.screen.live() && phase != b.phase {
		fmt.Fprintln(b.w, "bench: "+phase)
	}
	b.phase = phase
	b.screen.show(phase+": ", detail)
}

// Write passes on what a child logs.
func (b *benchProgress) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.screen.clear()
	return b.w.Write(text)
}

func (b *benchProgress) done() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.screen.clear()
}

// benchPipeCmd is what the whole path is measured by. "bench" starts it.
type benchPipeCmd struct {
	Data string `help:"Directory of the embedded NATS server." required:"" placeholder:"DIR"`
}

func (c *benchPipeCmd) Run(p *program) error {
	l, err := listen("--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	bus, err := busserver.Start(p.ctx, busserver.Config{Listen: "127.0.0.1:0", Dir: c.Data, Log: p.log})
	if err != nil {
		return err
	}
	serve := func() error {
		// Two connections, as a gateway and a worker have.
		pub, err := (&natsAuthFlags{}).dialInside(p, "bench publisher", bus)
		if err != nil {
			return err
		}
		defer pub.close()
		sub, err := (&natsAuthFlags{}).dialInside(p, "bench subscriber", bus)
		if err != nil {
			return err
		}
		defer sub.close()
		pipe, err := bench.NewPipe(p.ctx, pub.Conn, sub.Conn)
		if err != nil {
			return err
		}
		return runParts(p.ctx, p.log, func() error {
			_, err := fmt.Fprintf(p.stdout, "stenobus bench-pipe is ready: ws://%s/\n", l.Addr())
			return err
		}, httpPart(plainDoor(l), pipe.Handler(p.ctx), p.log))
	}
	return errors.Join(serve(), bus.Stop())
}
