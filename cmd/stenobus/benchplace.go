package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"stenobus/cmd/stenobus/internal/placesim"
)

// benchPlaceCmd simulates a fleet.
type benchPlaceCmd struct {
	Workers     []int         `help:"Sizes of the fleets, simulated one after the other." default:"1000,3000,10000" placeholder:"N,..."`
	Sessions    int           `help:"Sessions of the largest fleet in all; of others in proportion." default:"1000000"`
	Slots       int           `help:"Slots of a worker, on average: half have half of it, some more than twice." default:"20"`
	Load        float64       `help:"Share of the slots in use in the steady state." default:"0.8"`
	Length      time.Duration `help:"Mean length of a session." default:"1m"`
	Skew        float64       `help:"Sigma of the log-normal lengths: 0 all the same, 2 a very long tail." default:"1.5"`
	Rare        float64       `help:"Share of workers, and of sessions, of a language of their own." default:"0.05"`
	Dispatchers int           `help:"Dispatchers, each with its own view of the fleet." default:"4"`
	Strategy    string        `help:"How a worker is chosen: ${enum}." enum:"spread,pack,hash" default:"spread"`
	ReportEvery time.Duration `help:"How often a worker reports its load." default:"2s"`
	LagMin      time.Duration `help:"Least time until a dispatcher hears a report." default:"1s"`
	LagMax      time.Duration `help:"Longest time until a dispatcher hears a report." default:"3s"`
	Crashes     float64       `help:"Share of the fleet that crashes each minute." default:"0.005"`
	Drains      float64       `help:"Share of the fleet that is restarted in order each minute." default:"0.005"`
	Burst       float64       `help:"Factor by which arrivals rise after three quarters of the run." default:"3"`
	BurstFor    time.Duration `help:"How long they do." default:"10s"`
	Seed        uint64        `help:"The same seed gives the same result, but for CPU times." default:"1"`
	JSON        bool          `name:"json" help:"Print one JSON object, with units in its names."`
}

func (*benchPlaceCmd) Help() string {
	return `No bus and no worker is started: fleet, clients and clock are simulated. Which worker gets a session is decided by the code that every dispatcher runs, each dispatcher with a view of its own, from reports that are 1 s to 5 s old (a report every 2 s, heard 1 s to 3 s later; real workers report more often). Workers refuse what they have no slot for, and the next one is asked.

The fleet fills up in 20 s, then sessions arrive at random at the rate that keeps the load. Workers crash and are restarted; their sessions move. After three quarters of the run arrivals rise for a moment, by default beyond what the fleet has slots for. Balance is that of the time before.

A claim that finds nobody is refused and asked again, for a minute. It counts as refused "free and reported" where a worker that serves it had a free slot, the dispatcher had heard so, and there was time to ask; as "16 asked in vain" where there was not; as "free but unheard" where the slot was given back so lately that no report of it had come; else all were full.

The exit code is 1 if more than 0.1 % of claims are refused while a slot is free and reported, if more than 0.1 % are refused before the burst while any slot is free, or if a claim costs more than twice the CPU in the largest fleet than in the smallest. CPU is that of the placement code alone, its share of the bus and of the record is not in it.

Examples:

    stenobus bench place
    stenobus bench place --workers 10000 --slots 130 --sessions 2000000    # a million at once
    stenobus bench place --load 0.97 --burst 1 --json | jq '.fleets[].refused_while_free'
    stenobus bench place --strategy pack --load 0.5
    stenobus bench place --workers 100,1000 --sessions 50000 --crashes 0.2 --seed 7
`
}

// Validate is called by the parser.
func (c *benchPlaceCmd) Validate() error {
	const second = time.Second
	largest := 0
	for _, n := range c.Workers {
		if n < 2 || n > 100_000 {
			return errors.New("--workers is out of range: want 2 to 100000 each")
		}
		largest = max(largest, n)
	}
	least := int(1.5 * c.Load * float64(largest*c.Slots))
	for _, n := range []struct {
		flag string
		ok   bool
		want string
	}{
		{"--workers", len(c.Workers) >= 1 && len(c.Workers) <= 16, "1 to 16 sizes"},
		{"--slots", c.Slots >= 1 && c.Slots <= 10_000, "1 to 10000"},
		{"--load", c.Load >= 0.01 && c.Load <= 2, "0.01 to 2"},
		{"--sessions", c.Sessions >= least && c.Sessions <= 20_000_000,
			fmt.Sprintf("%d (what is open at once, and half as many again) to 20000000", least)},
		{"--length", c.Length >= second && c.Length <= 24*time.Hour, "1s to 24h"},
		{"--skew", c.Skew >= 0 && c.Skew <= 3, "0 to 3"},
		{"--rare", c.Rare >= 0 && c.Rare <= 0.5, "0 to 0.5"},
		{"--dispatchers", c.Dispatchers >= 1 && c.Dispatchers <= 64, "1 to 64"},
		{"--report-every", c.ReportEvery >= second/10 && c.ReportEvery <= 10*second, "100ms to 10s"},
		{"--lag-min", c.LagMin >= 0 && c.LagMin <= c.LagMax, "0s to --lag-max"},
		{"--lag-max", c.LagMax <= 10*second, "--lag-min to 10s"},
		{"--crashes", c.Crashes >= 0 && c.Crashes <= 1, "0 to 1"},
		{"--drains", c.Drains >= 0 && c.Drains <= 1, "0 to 1"},
		{"--burst", c.Burst >= 0 && c.Burst <= 100, "0 to 100"},
		{"--burst-for", c.BurstFor >= 0 && c.BurstFor <= time.Hour, "0s to 1h"},
	} {
		if !n.ok {
			return fmt.Errorf("%s is out of range: want %s", n.flag, n.want)
		}
	}
	return nil
}

func (c *benchPlaceCmd) Run(p *program) error {
	show := newPlaceProgress(p.stderr)
	r, err := placesim.Run(p.ctx, placesim.Config{
		Workers: c.Workers, Sessions: c.Sessions, Slots: c.Slots, Load: c.Load, Length: c.Length, Skew: c.Skew, Rare: c.Rare,
		Dispatchers: c.Dispatchers, Strategy: c.Strategy, ReportEvery: c.ReportEvery, LagMin: c.LagMin, LagMax: c.LagMax,
		Crashes: c.Crashes, Drains: c.Drains, Burst: c.Burst, BurstFor: c.BurstFor, Seed: c.Seed,
		Progress: show.progress,
	})
	show.screen.clear()
	if err != nil {
		return err
	}
	if wrong := r.Wrong(); wrong != "" {
		err = errors.New(wrong)
	}
	return errors.Join(c.print(p.stdout, r), err)
}

func (c *benchPlaceCmd) print(w io.Writer, r placesim.Result) error {
	if !c.JSON {
		return r.Table(w)
	}
	return json.NewEncoder(w).Encode(r)
}

// placeProgress shows where a simulation stands: on a terminal as it goes on, elsewhere
// each fleet.
type placeProgress struct {
	w       io.Writer
	screen  *screen
	workers int // of the fleet that was named last
}

func newPlaceProgress(w io.Writer) *placeProgress { return &placeProgress{w: w, screen: newScreen(w)} }

func (b *placeProgress) progress(p placesim.Progress) {
	if !b.screen.live() && p.Workers != b.workers {
		fmt.Fprintf(b.w, "bench: a fleet of %d workers\n", p.Workers)
	}
	b.workers = p.Workers
	b.screen.show(fmt.Sprintf("%d workers: ", p.Workers), fmt.Sprintf("%.0f s of %.0f s, %d sessions placed",
		p.Now.Seconds(), p.End.Seconds(), p.Placed))
}
