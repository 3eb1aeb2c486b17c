package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"stenobus/cmd/stenobus/internal/bench"
	"stenobus/subjects"
)

// benchResultsCmd measures the results log alone.
type benchResultsCmd struct {
	Sessions int           `help:"Sessions that write at once." default:"100"`
	Streams  int           `help:"Over how many streams the results log is split." default:"1"`
	Replicas int           `help:"Copies of each stream: 1, or 3 in a cluster of three bus processes." default:"1"`
	Duration time.Duration `help:"How long to measure." default:"10s"`
	JSON     bool          `name:"json" help:"Print one JSON object, with units in its names."`
}

func (*benchResultsCmd) Help() string {
	return `It starts a bus of its own on loopback. Each session writes a final, waits until it is acknowledged and writes the next, as a worker does: with the sequence that it expects, stored on disk, sent on to the session's inbox. One subscriber counts what is sent on; the exit code is 1 where that is not all.

A worker writes a few finals a minute for each speaker, so divide: a results log that takes 6000 results/s is enough for 60,000 speakers with 6 finals a minute each. The writers share this machine with the bus, and on few cores they are the limit: look at the cores that each has used.

Examples:

    stenobus bench results
    stenobus bench results --streams 4
    stenobus bench results --replicas 3 --sessions 500
    stenobus bench results --json | jq '.results_per_s, .cpu_us_per_result.bus'
`
}

// Validate is called by the parser.
func (c *benchResultsCmd) Validate() error {
	return firstOutOfRange([]bounded{
		{"--sessions", c.Sessions >= 1 && c.Sessions <= 10_000, "1 to 10000"},
		{"--streams", c.Streams >= 1 && c.Streams <= subjects.MaxSplit, fmt.Sprintf("1 to %d", subjects.MaxSplit)},
		{"--replicas", c.Replicas == 1 || c.Replicas == 3, "1 or 3"},
		{"--duration", c.Duration >= 100*time.Millisecond && c.Duration <= time.Minute, "100ms to 1m"},
	})
}

func (c *benchResultsCmd) Run(p *program) error {
	cfg := bench.Config{Load: bench.LoadConfig{Sessions: c.Sessions}, Duration: c.Duration}
	show, err := showBench(p, &cfg)
	if err != nil {
		return err
	}
	r, err := bench.Results(p.ctx, cfg, bench.LogConfig{Streams: c.Streams, Replicas: c.Replicas})
	show.done()
	if p.ctx.Err() != nil || r.Stored == 0 {
		return err
	}
	if c.JSON {
		return errors.Join(json.NewEncoder(p.stdout).Encode(r), err)
	}
	return errors.Join(r.Table(p.stdout), err)
}
