package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"stenobus/cmd/stenobus/internal/bench"
)

// benchBudgetsCmd measures everything that has a budget.
type benchBudgetsCmd struct {
	Duration time.Duration `help:"How long to measure each." default:"8s"`
	Runs     int           `help:"Measure each so often and take the medians." default:"1"`
	JSON     bool          `name:"json" help:"Print one JSON array, an object a budget."`
	Strict   bool          `help:"Exit with 1 where a budget is missed."`
}

func (*benchBudgetsCmd) Help() string {
	return `The budgets are for a machine of two cores that does nothing else. Each line names the command that measures it alone. It takes about ten minutes.

Examples:

    stenobus bench budgets
    stenobus bench budgets --runs 3 --json
`
}

// Validate is called by the parser.
func (c *benchBudgetsCmd) Validate() error {
	return firstOutOfRange([]bounded{
		{"--duration", c.Duration >= time.Second, "1s or more"},
		{"--runs", c.Runs >= 1, "1 or more"},
	})
}

func (c *benchBudgetsCmd) Run(p *program) error {
	cfg := bench.Config{
		Load:     bench.LoadConfig{Sessions: 100, Sources: 1, Rate: 50, Ramp: 2 * time.Second, FrameBytes: 120},
		Duration: c.Duration, Runs: c.Runs,
	}
	show, err := showBench(p, &cfg)
	if err != nil {
		return err
	}
	all, err := bench.Budgets(p.ctx, cfg)
	show.done()
	if p.ctx.Err() != nil {
		return err
	}
	if c.JSON {
		err = errors.Join(json.NewEncoder(p.stdout).Encode(all), err)
	} else {
		err = errors.Join(bench.BudgetTable(p.stdout, all), err)
	}
	missed := 0
	for _, b := range all {
		if b.Missed {
			missed++
		}
	}
	if c.Strict && missed > 0 {
		err = errors.Join(err, fmt.Errorf("%d of %d budgets are missed", missed, len(all)))
	}
	return err
}
