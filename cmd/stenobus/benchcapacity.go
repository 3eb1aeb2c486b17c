package main

import (
	"encoding/json"
	"errors"
	"os"
	"time"

	"stenobus/cmd/stenobus/internal/bench"
	"stenobus/cmd/stenobus/internal/capacity"
)

// benchCapacityCmd measures what things cost and reckons what sessions need.
type benchCapacityCmd struct {
	Sessions   []int         `help:"Numbers of concurrent sessions to plan for." default:"1000,100000,1000000" placeholder:"N,..."`
	Speakers   float64       `help:"Speakers of a session, on average." default:"1"`
	Rate       float64       `help:"Frames a second of each speaker, on average: clients may send none in silence." default:"50" placeholder:"HZ"`
	Results    float64       `help:"Finals and marks a minute of each speaker; one for each 10s of audio at least." default:"6"`
	Length     time.Duration `help:"Mean length of a session." default:"30m"`
	Busy       float64       `help:"Share that you plan to use of what cores, streams and buckets can do." default:"0.5"`
	Cores      float64       `help:"Cores of a server." default:"4"`
	Cell       int           `name:"cell-servers" help:"Most bus servers of a cell: each is connected to all others and told of every session." default:"12"`
	Slots      float64       `help:"Sessions of a worker." default:"100"`
	ResultsAge time.Duration `help:"How long results are kept." default:"24h"`
	Figures    string        `help:"Take what was measured from there instead of measuring: a file that --json made." type:"existingfile" placeholder:"FILE"`
	Share      time.Duration `help:"Measure with frames that wait so long for others to share their message."`
	Load       int           `help:"Measure with so many sessions that speak, and seven times as many that open and end." default:"300"`
	FrameBytes int           `help:"Measure with frames of so many bytes." default:"120"`
	Duration   time.Duration `help:"How long to measure each." default:"10s"`
	JSON       bool          `name:"json" help:"Print one JSON object, with units in its names."`
}

func (*benchCapacityCmd) Help() string {
	return `It measures on this machine, in two minutes: the CPU of a frame in each role, on one bus server and where it crosses a cluster of three; the CPU of a session's opening and end; how many results a second one stream stores with three copies, and how many writes the bucket of sessions' records takes, which is not split. From that and from the usage that you assume it reckons what so many sessions need, and what is full first. Letters behind a line name the figures that it comes from; others follow from the usage alone.

Without engines: what recognition costs is the engine's matter. Servers are reckoned as if their cores did as much as those of this machine, however many there are. A frame costs less the more of them come: --load should keep this machine as busy as servers will be, and the default is for two cores. All processes share this machine: where it has few cores, streams and buckets can do more than is measured. What one bucket of records does not take needs another bus that shares nothing with the first; clients are divided between them in front of the gateways.

Examples:

    stenobus bench capacity
    stenobus bench capacity --json > figures.json
    stenobus bench capacity --figures figures.json --sessions 5000,20000 --speakers 4 --rate 20 --results 3
    stenobus bench capacity --figures figures.json --length 10m --busy 0.7 --cores 16
    stenobus bench capacity --share 60ms
    stenobus bench capacity --figures figures.json --json | jq '.plans[0].gateway_cores, .limits[0]'
`
}

// Validate is called by the parser.
func (c *benchCapacityCmd) Validate() error {
	for _, n := range c.Sessions {
		if n < 1 || n > 1_000_000_000 {
			return errors.New("--sessions is out of range: want 1 to 1000000000 each")
		}
	}
	if c.Figures != "" && c.Share != 0 {
		return errors.New("--share is measured, and with --figures nothing is")
	}
	if err := c.usage().Validate(); err != nil {
		return err
	}
	return firstOutOfRange([]bounded{
		{"--sessions", len(c.Sessions) >= 1 && len(c.Sessions) <= 6, "1 to 6 numbers"},
		{"--share", c.Share >= 0 && c.Share <= time.Second, "0s to 1s"},
		{"--load", c.Load >= 1 && c.Load <= 1000, "1 to 1000"},
		{"--frame-bytes", c.FrameBytes >= 1 && c.FrameBytes <= 64<<10, "1 to 65536"},
		{"--duration", c.Duration >= time.Second && c.Duration <= time.Minute, "1s to 1m"},
	})
}

func (c *benchCapacityCmd) usage() capacity.Usage {
	return capacity.Usage{
		Speakers: c.Speakers, FramesPerS: c.Rate, ResultsPerMin: c.Results, LengthS: c.Length.Seconds(),
		Busy: c.Busy, Cores: c.Cores, Cell: c.Cell, Slots: c.Slots, AgeS: c.ResultsAge.Seconds(),
	}
}

func (c *benchCapacityCmd) Run(p *program) error {
	f, err := c.figures(p)
	if err != nil {
		return err
	}
	r, err := capacity.NewReport(f, c.usage(), c.Sessions)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(p.stdout).Encode(r)
	}
	return r.Table(p.stdout)
}

// figures measures, or reads what was measured.
func (c *benchCapacityCmd) figures(p *program) (capacity.Figures, error) {
	if c.Figures == "" {
		cfg := bench.Config{
			Load:     bench.LoadConfig{Sessions: c.Load, Ramp: time.Duration(c.Load) * 10 * time.Millisecond, FrameBytes: c.FrameBytes},
			Duration: c.Duration, Deployment: bench.Deployment{Share: c.Share},
		}
		show, err := showBench(p, &cfg)
		if err != nil {
			return nil, err
		}
		defer show.done()
		return bench.Capacity(p.ctx, cfg)
	}
	text, err := os.ReadFile(c.Figures)
	if err != nil {
		return nil, usageError("--figures: %w", err)
	}
	var saved capacity.Report
	err = json.Unmarshal(text, &saved)
	if err == nil {
		err = saved.Figures.Validate()
	}
	if err != nil {
		return nil, usageError("--figures %s: %w", c.Figures, err)
	}
	return saved.Figures, nil
}
