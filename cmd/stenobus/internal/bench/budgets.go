package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"
	"time"

	"stenobus/cmd/stenobus/internal/child"
)

// Budget is one bound and what was measured.
type Budget struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Figure float64 `json:"figure"`
	Bound  float64 `json:"bound"`
	Least  bool    `json:"least"` // the bound is the least that is wanted, not the most
	Missed bool    `json:"missed"`
	How    string  `json:"how"` // the command that measures it alone
	Error  string  `json:"error,omitempty"`
}

// figure is one budget of a scenario.
type figure struct {
	name, unit string
	bound      float64
	least      bool
	of         func(*measures) float64
}

// scenario is one run and what it is judged by.
type scenario struct {
	name    string
	how     string // the command
	set     func(*Config, *measures)
	figures []figure
}

// measures are the results up to now, by scenario.
type measures struct {
	by map[string]Result
}

func (m *measures) of(name string) Result { return m.by[name] }

// Names of scenarios that others refer to.
const (
	plain     = "one frame a message"
	fewSlow   = "100 sessions, 4 frames a second"
	manySlow  = "2,000 sessions, 4 frames a second"
	manyRooms = "200 sessions with a speaker each, evenly spread"
	smallRoom = "the same frames from 20 sessions with 10 speakers each"
	oneRoom   = "the same frames from one session with 200 speakers"
	oneClaims = "500 opens a second"
	twoClaims = "500 opens a second, two dispatchers"
)

// scenarios lists everything that has a budget. All figures but those of times are ratios
// or sizes, and each ratio comes from one run or from neighbours.
func scenarios() []scenario {
	path := func(of func(*Result) float64) func(*measures) float64 {
		return func(m *measures) float64 { r := m.by[""]; return of(&r) }
	}
	ratioOf := path(func(r *Result) float64 { return r.Ratio })
	return []scenario{
		{plain, "stenobus bench --ping-every 10s", unhurried, []figure{{"CPU of the path over the bare pipe", "times", 1.6, false, ratioOf}}},
		{
			"frames shared over 60 ms", "stenobus bench --share 60ms --ping-every 10s",
			func(c *Config, m *measures) {
				unhurried(c, m)
				c.Deployment.Share = 60 * time.Millisecond
			},
			[]figure{{"the same, frames shared over 60 ms", "times", 1.1, false, ratioOf}},
		},
		{
			"audio log", "stenobus bench --audio-log --ping-every 10s",
			func(c *Config, m *measures) {
				unhurried(c, m)
				c.Deployment.AudioLog = true
			},
			[]figure{{"the same, with the audio log", "times", 2.2, false, ratioOf}},
		},
		{
			"audio log, frames shared over 60 ms", "stenobus bench --audio-log --share 60ms --ping-every 10s",
			func(c *Config, m *measures) {
				unhurried(c, m)
				c.Deployment.AudioLog, c.Deployment.Share = true, 60*time.Millisecond
			},
			[]figure{{"the same, with the audio log and frames shared over 60 ms", "times", 1.4, false, ratioOf}},
		},
		{
			"half of the machine", "stenobus bench --no-pipe --sessions N, half of the machine busy", halfLoad,
			[]figure{
				{"frame to engine, p50, half of the machine busy", "ms", 1, false, path(func(r *Result) float64 { return r.FrameP50 })},
				{"frame to engine, p99, half of the machine busy", "ms", 10, false, path(func(r *Result) float64 { return r.FrameP99 })},
				{"memory of a streaming session, gateway", "kB", 100, false, path(func(r *Result) float64 { return r.RSS[roleGateway] })},
				{"memory of a streaming session, worker", "kB", 100, false, path(func(r *Result) float64 { return r.RSS[roleWorker] })},
			},
		},
		{
			fewSlow, "stenobus bench --no-pipe --sessions 100 --rate 4 --ping-every 10s --duration 20s",
			slow(100), nil,
		},
		{
			manySlow, "the same with --sessions 100 and --sessions 2000: stenobus bench --no-pipe --rate 4 --ping-every 10s --duration 20s --ramp 20s",
			slow(2000), []figure{{"CPU of a frame, 2,000 sessions over 100", "times", 1.15, false, func(m *measures) float64 {
				return ratio(m.of(manySlow).PathCPU, m.of(fewSlow).PathCPU)
			}}},
		},
		{manyRooms, "stenobus bench --no-pipe --sessions 200 --rate 25", speakers(200, 1, 25), nil},
		{smallRoom, "stenobus bench --no-pipe --sessions 20 --sources 10 --rate 25", speakers(20, 10, 25), nil},
		{
			oneRoom, "stenobus bench --no-pipe --sessions 1 --sources 200 --rate 25, beside --sessions 200 --rate 25 and --sessions 20 --sources 10 --rate 25",
			speakers(1, 200, 25),
			[]figure{
				{"CPU of a frame, 200 speakers in a session over 1", "times", 1.15, false, func(m *measures) float64 {
					return ratio(m.of(oneRoom).PathCPU, m.of(manyRooms).PathCPU)
				}},
				{"CPU of a frame, 200 speakers in a session over 10", "times", 1.15, false, func(m *measures) float64 {
					return ratio(m.of(oneRoom).PathCPU, m.of(smallRoom).PathCPU)
				}},
			},
		},
		{
			"1,000 sessions beside three that misbehave", "stenobus bench --rogues --no-pipe --sessions 1000 --rate 4 --final-every 20 --ping-every 10s --duration 3m --ramp 10s",
			func(c *Config, m *measures) {
				unhurried(c, m)
				c.NoPipe, c.Rogues, c.Load.Sessions, c.Load.Rate, c.Load.Ramp = true, true, 1000, 4, 10*time.Second
				c.Deployment.FinalEvery, c.Duration = 20, 3*time.Minute // a few pauses of the machine decide a percentile
			},
			[]figure{
				{"p99 of frame to engine, three misbehave over none", "times", 1.1, false, apart(func(i *Isolation) float64 { return i.FrameRatio })},
				{"p99 of ping to pong, three misbehave over none", "times", 1.1, false, apart(func(i *Isolation) float64 { return i.PingRatio })},
			},
		},
		{oneClaims, "stenobus bench --no-pipe --sessions 2500 --rate 0 --ping-every 10s --ramp 5s --runs 3", claims(1), []figure{
			{"connect to ready, p99, 500 opens a second", "ms", 20, false, path(func(r *Result) float64 { return r.ClaimP99 })},
		}},
		{twoClaims, "stenobus bench --no-pipe --sessions 2500 --rate 0 --ping-every 10s --ramp 5s --runs 3 --dispatchers 2", claims(2), []figure{
			{"claims for the CPU of a dispatcher, two over one", "times", 1.8, true, func(m *measures) float64 {
				return 2 * ratio(m.of(oneClaims).OpenCPU[roleDispatcher], m.of(twoClaims).OpenCPU[roleDispatcher])
			}},
		}},
		{
			"5,000 open sessions", "stenobus bench --no-pipe --sessions 5000 --rate 0 --ping-every 10s --ramp 15s",
			func(c *Config, _ *measures) {
				c.NoPipe, c.Load.Sessions, c.Load.Rate, c.Load.PingEvery, c.Load.Ramp = true, 5000, 0, 10*time.Second, 15*time.Second
			},
			[]figure{
				{"idle sessions that stay open on one gateway", "", 5000, true, path(func(r *Result) float64 { return float64(r.Sessions) - float64(r.Failed) })},
				{"memory of an idle session, gateway", "kB", 40, false, path(func(r *Result) float64 { return r.RSS[roleGateway] })},
				{"memory of an idle session, worker", "kB", 40, false, path(func(r *Result) float64 { return r.RSS[roleWorker] })},
			},
		},
	}
}

// apart is a figure of Isolation; 0 where nothing was measured.
func apart(of func(*Isolation) float64) func(*measures) float64 {
	return func(m *measures) float64 {
		if i := m.by[""].Isolation; i != nil {
			return of(i)
		}
		return 0
	}
}

// halfLoad takes as many sessions as keep half of the machine busy, clients included, by
// what a frame cost before.
func halfLoad(c *Config, m *measures) {
	r := m.of(plain)
	frame := r.PathCPU + r.CPU[roleClient] // µs
	half := float64(runtime.NumCPU()) / 2 * 1e6
	c.Load.Sessions = max(10, int(ratio(half, frame)/c.Load.Rate))
	c.NoPipe, c.Deployment.FinalEvery = true, 2*int(c.Load.Rate)
}

// slow is a load whose sessions are the same however many there are.
func slow(sessions int) func(*Config, *measures) {
	return func(c *Config, _ *measures) {
		c.NoPipe, c.Load.Sessions, c.Load.Rate, c.Load.PingEvery = true, sessions, 4, 10*time.Second
		c.Load.Ramp, c.Duration = time.Duration(sessions)*10*time.Millisecond, 20*time.Second
	}
}

// speakers is a load of 5,000 frames a second, however many sessions share it, from speakers
// who speak in real time: a recording shares messages.
func speakers(sessions, each int, rate float64) func(*Config, *measures) {
	return func(c *Config, _ *measures) {
		c.NoPipe, c.Load.Sessions, c.Load.Sources, c.Load.Rate = true, sessions, each, rate
	}
}

// unhurried lets clients ping as often as the bridge does: the bare pipe answers none.
func unhurried(c *Config, _ *measures) { c.Load.PingEvery = 10 * time.Second }

// claims opens sessions that then do no more than the bridge's do in silence.
func claims(dispatchers int) func(*Config, *measures) {
	return func(c *Config, m *measures) {
		unhurried(c, m)
		c.NoPipe, c.Load.Sessions, c.Load.Rate, c.Load.Ramp, c.Duration = true, 2500, 0, 5*time.Second, time.Second
		c.Deployment.Dispatchers, c.Runs = dispatchers, max(c.Runs, 3) // each is over in seconds
	}
}

// Budgets runs all scenarios. What goes wrong in one is noted with its budgets, and the
// others go on.
func Budgets(ctx context.Context, cfg Config) ([]Budget, error) {
	m := &measures{by: map[string]Result{}}
	var out []Budget
	all := scenarios()
	for i, s := range all {
		one := cfg
		s.set(&one, m)
		progress := cfg.Progress
		one.Progress = func(phase, detail string) {
			progress(fmt.Sprintf("%d of %d, %s, %s", i+1, len(all), s.name, phase), detail)
		}
		r, err := Run(ctx, one)
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		if err == nil && !r.OK() {
			err = fmt.Errorf("frames lost %d, doubled %d; sessions failed %d", r.Lost, r.Doubled, r.Failed)
		}
		m.by[s.name], m.by[""] = r, r
		for _, f := range s.figures {
			out = append(out, f.judge(m, s.how, err))
		}
	}
	b, err := startBudget(ctx, cfg)
	return append(out, b), err
}

func (f *figure) judge(m *measures, how string, err error) Budget {
	b := Budget{Name: f.name, Unit: f.unit, Figure: round(f.of(m)), Bound: f.bound, Least: f.least, How: how}
	if err != nil {
		b.Error = err.Error()
	}
	b.Missed = err != nil || b.Figure <= 0 || !f.least && b.Figure > f.bound || f.least && b.Figure < f.bound
	return b
}

const startTries = 5

// startBudget is the median of how long "up" takes to be ready.
func startBudget(ctx context.Context, cfg Config) (Budget, error) {
	var took []float64
	for range startTries {
		t, err := startUp(ctx, &cfg)
		if err != nil {
			return Budget{}, err
		}
		took = append(took, ms(t))
	}
	f := figure{name: "start of \"stenobus up\"", unit: "ms", bound: 300, of: func(*measures) float64 { return median(took) }}
	return f.judge(nil, "time of stenobus up --engine tally until it is ready", nil), nil
}

func startUp(ctx context.Context, cfg *Config) (took time.Duration, err error) {
	dir, remove, err := tempDir()
	if err != nil {
		return 0, err
	}
	defer remove()
	cfg.Progress("start of up", "")
	begin := time.Now()
	c, err := child.Start(ctx, child.Config{
		Program: cfg.Deployment.Program, Log: cfg.Deployment.Log,
		Args: []string{"up", "--engine", "tally", "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--data", dir, "--log-level", "warn"},
	})
	if err != nil {
		return 0, err
	}
	took = time.Since(begin)
	return took, c.Stop()
}

// BudgetTable writes budgets for people.
func BudgetTable(out io.Writer, all []Budget) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "\tfigure\tbudget\t\tmeasured by")
	var errs []error
	for _, b := range all {
		sign, mark := "≤", ""
		if b.Least {
			sign = "≥"
		}
		if b.Missed {
			mark = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%.4g %s\t%s %.4g\t%s\t%s\n", b.Name, b.Figure, b.Unit, sign, b.Bound, mark, b.How)
		if b.Error != "" {
			errs = append(errs, fmt.Errorf("%s: %s", b.Name, b.Error))
		}
	}
	return errors.Join(append(errs, w.Flush())...)
}
