package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"stenobus/cmd/stenobus/internal/lab"
	"stenobus/subjects"
)

type labCmd struct {
	Sessions    int           `help:"Sessions at once; 10 in a quick run." default:"100" group:"Load"`
	Sources     int           `help:"Speakers of each session." default:"2" group:"Load"`
	Rate        float64       `help:"Frames a second of each speaker." default:"50" placeholder:"HZ" group:"Load"`
	FrameBytes  int           `help:"Bytes of a frame." default:"120" group:"Load"`
	TallyEvery  int           `help:"Frames to a final." default:"25" group:"Load"`
	SessionLife time.Duration `help:"How long a session lasts, on average, before another takes its place; 0s: all the time." default:"3m" group:"Load"`
	Duration    time.Duration `help:"How long to go on when all sessions are open; 75s in a quick run. Faults that are late make it longer." default:"60m" group:"Load"`

	Faults string `help:"How many of which faults, as in worker_kill=3,client_cut=10; none for a run without any. By default 30 of each kind that hits a process and 10 of each that hits the bus, for an hour." placeholder:"KIND=N,..." group:"Faults"`
	Seed   uint64 `help:"The same seed gives the same faults at the same times; random by default." default:"0" group:"Faults"`
	Quick  bool   `help:"One or two of the main faults in less than two minutes." group:"Faults"`

	Gateways    int      `help:"Gateways to start." default:"2" group:"Deployment"`
	Dispatchers int      `help:"Dispatchers to start." default:"2" group:"Deployment"`
	Workers     int      `help:"Workers to start." default:"4" group:"Deployment"`
	Engine      string   `help:"tally, which proves what became of every frame, or pocketsphinx: then the shipped samples are spoken in real time, and each worker that hears one is killed in mid sentence." default:"tally" enum:"tally,pocketsphinx" placeholder:"NAME" group:"Deployment"`
	Streams     int      `name:"bus-results-streams" help:"Over how many streams the results log is split." default:"1" group:"Deployment"`
	AudioLog    bool     `help:"Let the gateways keep audio too, and kill a gateway and a worker in the same instant." group:"Deployment"`
	Programs    []string `help:"Other versions of this program, with commas between them, to start in place of every second process of each role." placeholder:"PATH" group:"Deployment"`
	URL         []string `name:"url" help:"Gateways of a deployment that runs already, with commas between them: then nothing is started, and only clients have faults. Needs --nats." placeholder:"URL" group:"Deployment"`
	NATS        []string `name:"nats" help:"NATS servers of that deployment, with commas between them." placeholder:"URL" group:"Deployment"`

	Watch bool `help:"Look on at everything on the bus, as a person might. It must change nothing." group:"Report"`
	JSON  bool `name:"json" help:"Print one JSON object, with units in its names." group:"Report"`
	Keep  bool `help:"Keep data and logs of the processes; they are kept anyway where something was wrong." group:"Report"`

	clientFlags
	natsAuthFlags
}

func (*labCmd) Help() string {
	return `It starts a deployment of this program on loopback, three bus nodes and some of each role, every one a process of its own; or it takes one that runs already. It puts sessions of numbered audio on it, breaks one part after the other by a schedule that follows from the seed, and proves what became of every frame and every final: from its own clients, from the stored results and from what anyone may see on the bus, never from counters of the tested code.

The exit code is 1 if a frame is unaccounted for, a final was lost, doubled or out of order, a session was lost, or anything is left of a session when all are over.

Kinds of faults: ` + lab.KindNames() + `.

Examples:

    stenobus lab --quick
    stenobus lab --quick --seed 7 --faults worker_kill=5,worker_hang=5
    stenobus lab --json > report.json
    stenobus lab --duration 10m --sessions 20 --watch
    stenobus lab --engine pocketsphinx
    stenobus lab --programs ./stenobus-0.1.0 --duration 10m
    stenobus lab --url ws://gw-1:8080/transcribe,ws://gw-2:8080/transcribe --nats nats://nats-1:4222 --duration 5m
`
}

const (
	quickDuration = 75 * time.Second
	quickSessions = 10
	quickLife     = 20 * time.Second
	labRamp       = 2 * time.Second
	labNoteEvery  = 10 * time.Second
	defaultSize   = 100 // what --sessions is where nobody chose
)

// Validate is called by the parser.
func (c *labCmd) Validate() error {
	for _, n := range []struct {
		flag string
		ok   bool
		want string
	}{
		{"--sessions", c.Sessions >= 1 && c.Sessions <= 10_000, "1 to 10000"},
		{"--sources", c.Sources >= 1 && c.Sources <= 100, "1 to 100"},
		{"--rate", c.Rate > 0 && c.Rate <= 50, "above 0, at most 50: a frame is 20 ms of audio"},
		{"--frame-bytes", c.FrameBytes >= 20 && c.FrameBytes <= 1275, "20 to 1275"},
		{"--tally-every", c.TallyEvery >= 1 && c.TallyEvery <= 400, "1 to 400"},
		{"--session-life", c.SessionLife >= 0, "0s or more"},
		{"--duration", c.Duration >= time.Second, "1s or more"},
		{"--gateways", c.Gateways >= 1 && c.Gateways <= 100, "1 to 100"},
		{"--dispatchers", c.Dispatchers >= 1 && c.Dispatchers <= 100, "1 to 100"},
		{"--bus-results-streams", c.Streams >= 1 && c.Streams <= subjects.MaxSplit, fmt.Sprintf("1 to %d", subjects.MaxSplit)},
		{"--workers", c.Workers >= 2 && c.Workers <= 100, "2 to 100: one may be away"},
	} {
		if !n.ok {
			return fmt.Errorf("%s is out of range: want %s", n.flag, n.want)
		}
	}
	if c.Faults != "" {
		if _, err := lab.ParseMix(c.Faults); err != nil {
			return fmt.Errorf("--faults: %w", err)
		}
	}
	if c.Engine != "tally" && len(c.URL) > 0 {
		return errors.New("--engine pocketsphinx kills workers, which it has to start itself: leave --url out")
	}
	if (len(c.URL) > 0) != (len(c.NATS) > 0) {
		return errors.New("--url and --nats go together: results are read from the bus")
	}
	for _, text := range c.URL {
		if u, err := url.Parse(text); err != nil || u.Scheme != "ws" && u.Scheme != "wss" {
			return fmt.Errorf("--url %q: want ws:// or wss://", text)
		}
	}
	return nil
}

func (c *labCmd) Run(p *program) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	show := &labProgress{w: p.stderr, screen: newScreen(p.stderr)}
	cfg.Progress, cfg.Note = show.progress, show.note
	show.note(fmt.Sprintf("seed %d", cfg.Seed))
	r, err := lab.Run(p.ctx, cfg)
	show.done()
	if r.Verdict == lab.Pass && !c.Keep {
		r.Logs = ""
		err = errors.Join(err, lab.Discard(cfg.Dir))
	} else {
		fmt.Fprintln(p.stderr, "lab: logs are in "+cfg.Dir)
	}
	if printed := c.print(p.stdout, r); printed != nil {
		return printed
	}
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	return errors.Join(err, r.Wrong())
}

// config is what the flags mean.
func (c *labCmd) config() (lab.Config, error) {
	self, err := os.Executable()
	if err != nil {
		return lab.Config{}, fmt.Errorf("find this program: %w", err)
	}
	opts, err := c.options()
	if err != nil {
		return lab.Config{}, err
	}
	key, err := c.key()
	if err != nil {
		return lab.Config{}, err
	}
	roots, err := c.roots()
	if err != nil {
		return lab.Config{}, err
	}
	dir, err := os.MkdirTemp("", "stenobus-lab-")
	if err != nil {
		return lab.Config{}, fmt.Errorf("directory for data and logs: %w", err)
	}
	cfg := lab.Config{
		Sessions: c.Sessions, Sources: c.Sources, Rate: c.Rate, FrameBytes: c.FrameBytes, Every: c.TallyEvery,
		Life: c.SessionLife, Ramp: labRamp, Duration: c.Duration, Seed: c.Seed,
		Gateways: c.Gateways, Dispatchers: c.Dispatchers, Workers: c.Workers,
		Streams: c.Streams, AudioLog: c.AudioLog, Watch: c.Watch, Speech: c.Engine == "pocketsphinx",
		Program: self, Programs: c.Programs, URLs: c.URL, NATS: c.NATS, NATSOptions: opts, Dir: dir,
		Key: key, Roots: roots,
	}
	if cfg.Seed == 0 {
		cfg.Seed = uint64(rand.Uint32()) + 1
	}
	if c.Quick {
		cfg.Duration, cfg.Life, cfg.Mix = quickDuration, quickLife, lab.QuickMix(c.AudioLog)
		if cfg.Sessions == defaultSize {
			cfg.Sessions = quickSessions
		}
	} else {
		cfg.Mix = lab.FullMix(c.Duration, c.AudioLog, os.Getuid() == 0)
	}
	if c.Faults != "" {
		cfg.Mix, err = lab.ParseMix(c.Faults)
	}
	return cfg, err
}

func (c *labCmd) print(w io.Writer, r lab.Report) error {
	if !c.JSON {
		return r.Table(w)
	}
	return json.NewEncoder(w).Encode(r)
}

// labProgress shows where a run stands: on a terminal in one live line, elsewhere in a
// line for each fault and one now and then.
type labProgress struct {
	mu     sync.Mutex // guards what follows
	w      io.Writer
	screen *screen
	phase  string
	last   time.Time
}

func (l *labProgress) progress(n lab.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := labLine(n)
	if l.screen.live() {
		l.screen.show("", line)
		return
	}
	if n.Phase != l.phase || time.Since(l.last) >= labNoteEvery {
		l.phase, l.last = n.Phase, time.Now()
		fmt.Fprintln(l.w, "lab: "+line)
	}
}

func labLine(n lab.Progress) string {
	parts := []string{
		fmt.Sprintf("%6.1f s  %s", n.Elapsed.Seconds(), n.Phase), fmt.Sprintf("sessions %d", n.Sessions),
		fmt.Sprintf("frames %d", n.Frames), fmt.Sprintf("finals %d", n.Finals), fmt.Sprintf("faults %d/%d", n.Done, n.Faults),
		fmt.Sprintf("wrong %d", n.Wrongs),
	}
	if n.Present != "" {
		parts = append(parts, n.Present)
	}
	return strings.Join(parts, ", ")
}

func (l *labProgress) note(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.screen.clear()
	fmt.Fprintln(l.w, "lab: "+text)
}

func (l *labProgress) done() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.screen.clear()
}
