package placesim

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// Bounds of a good result.
const (
	MaxRefusedSteady = 0.001 // of the claims of the steady state
	MaxRefusedFree   = 0.001 // of all claims
	MaxCPURatio      = 2.0   // largest to smallest fleet
)

// Result is what all fleets of a run did, with units in the names. All but CPU times
// follows from the seed.
type Result struct {
	Strategy    string  `json:"strategy"`
	Dispatchers int     `json:"dispatchers"`
	Seed        uint64  `json:"seed"`
	Load        float64 `json:"load"`
	LengthS     float64 `json:"session_mean_s"`
	Skew        float64 `json:"session_sigma"`

	CPURatio         float64 `json:"cpu_per_claim_ratio"`          // largest to smallest fleet
	RefusedSteady    float64 `json:"refused_in_steady_state_rate"` // of the claims of that time, the worst of the fleets
	RefusedFree      float64 `json:"refused_while_free_rate"`      // of all claims, the worst of the fleets
	MaxCPURatio      float64 `json:"cpu_per_claim_ratio_max"`      // bounds of these
	MaxRefusedSteady float64 `json:"refused_in_steady_state_rate_max"`
	MaxRefusedFree   float64 `json:"refused_while_free_rate_max"`
	OK               bool    `json:"ok"`

	Fleets []Fleet `json:"fleets"`
}

// Fleet is what one of them did.
type Fleet struct {
	Workers int     `json:"workers"`
	Slots   int     `json:"slots"`
	SimS    float64 `json:"simulated_s"`
	Tally

	LoadMean  float64 `json:"load_mean"` // of workers in the steady state; what follows too
	LoadSD    float64 `json:"load_sd"`
	MaxToMean float64 `json:"load_max_to_mean"`
	P99ToMean float64 `json:"load_p99_to_mean"`

	OffersPerClaim    float64 `json:"offers_per_placed"`
	RefusedFreeRate   float64 `json:"refused_while_free_rate"`      // of claims
	RefusedSteadyRate float64 `json:"refused_in_steady_state_rate"` // of the claims of that time

	ClaimCPU   float64 `json:"cpu_us_per_claim"`
	RefusalCPU float64 `json:"cpu_us_per_refused_claim"`
	ReportCPU  float64 `json:"cpu_us_per_report"` // at one dispatcher, decoding not counted
}

// Tally counts what happened.
type Tally struct {
	Placed     int `json:"sessions_placed"`
	MostAtOnce int `json:"sessions_at_once"` // the most
	Moved      int `json:"sessions_moved"`
	GivenUp    int `json:"sessions_given_up"` // asked for a minute in vain
	Crashes    int `json:"workers_crashed"`
	Drains     int `json:"workers_drained"`
	Claims     int `json:"claims"`  // requests to dispatchers, repeated ones too
	Offers     int `json:"offers"`  // requests to workers
	InVain     int `json:"in_vain"` // of these, those that the worker did not take

	// Refusals of a dispatcher, by the state of the workers that serve the session:
	RefusedFree    int `json:"refused_while_free"`      // a slot was free, and reported, and there was time to ask
	RefusedTired   int `json:"refused_after_all_tries"` // likewise, but so many were asked in vain that the claim ended
	RefusedUnheard int `json:"refused_while_unheard"`   // a slot was free, and no report of it had come yet
	RefusedFull    int `json:"refused_while_full"`      // none was free
	RefusedSteady  int `json:"refused_in_steady_state"` // of all these but the last
}

func (s *sim) result() Fleet {
	b := &s.balance
	f := Fleet{
		Workers: len(s.workers), Slots: s.slots[0] + s.slots[1], SimS: s.end.Seconds(), Tally: s.tally,
		LoadMean: b.over(b.mean), LoadSD: b.over(b.sd), MaxToMean: b.over(b.max), P99ToMean: b.over(b.p99),
		ClaimCPU: s.granted.us(), RefusalCPU: s.refusals.us(), ReportCPU: s.reports.measured.us(),
		OffersPerClaim:    ratio(float64(s.tally.Offers), float64(s.tally.Placed+s.tally.Moved)),
		RefusedFreeRate:   ratio(float64(s.tally.RefusedFree), float64(s.tally.Claims)),
		RefusedSteadyRate: ratio(float64(s.tally.RefusedSteady), float64(s.steadyClaims)),
	}
	for _, p := range []*float64{
		&f.SimS, &f.LoadMean, &f.LoadSD, &f.MaxToMean, &f.P99ToMean, &f.OffersPerClaim, &f.ClaimCPU, &f.RefusalCPU, &f.ReportCPU,
	} {
		*p = math.Round(*p*1000) / 1000
	}
	return f
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// judge sets what the fleets say together.
func (r *Result) judge() {
	small, large := &r.Fleets[0], &r.Fleets[0]
	for i := range r.Fleets {
		f := &r.Fleets[i]
		if f.Workers < small.Workers {
			small = f
		}
		if f.Workers > large.Workers {
			large = f
		}
		r.RefusedFree = max(r.RefusedFree, f.RefusedFreeRate)
		r.RefusedSteady = max(r.RefusedSteady, f.RefusedSteadyRate)
	}
	r.CPURatio = math.Round(100*ratio(large.ClaimCPU, small.ClaimCPU)) / 100
	r.MaxCPURatio, r.MaxRefusedFree, r.MaxRefusedSteady = MaxCPURatio, MaxRefusedFree, MaxRefusedSteady
	r.OK = r.Wrong() == ""
}

// Wrong says which bounds were not kept; empty: none.
func (r *Result) Wrong() string {
	var wrong []string
	if r.CPURatio > MaxCPURatio {
		wrong = append(wrong, fmt.Sprintf("CPU of a claim grows with the fleet: %.2f times as much in the largest as in the smallest, bound %.1f", r.CPURatio, MaxCPURatio))
	}
	if r.RefusedSteady > MaxRefusedSteady {
		wrong = append(wrong, fmt.Sprintf("claims of the steady state were refused while a slot was free: %.4f of them, bound %.4f", r.RefusedSteady, MaxRefusedSteady))
	}
	if r.RefusedFree > MaxRefusedFree {
		wrong = append(wrong, fmt.Sprintf("claims were refused while a reported slot was free: %.4f of all, bound %.4f", r.RefusedFree, MaxRefusedFree))
	}
	return strings.Join(wrong, "; ")
}

// Table writes the result for people.
func (r *Result) Table(out io.Writer) error {
	fmt.Fprintf(out, "strategy %s, %d dispatchers, load %.0f %%, sessions of %.0f s on average (sigma %.1f), seed %d\n\n",
		r.Strategy, r.Dispatchers, 100*r.Load, r.LengthS, r.Skew, r.Seed)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	for _, l := range rows() {
		fmt.Fprintf(w, "%s\t", l.name)
		for i := range r.Fleets {
			fmt.Fprintf(w, "%s\t", l.value(&r.Fleets[i]))
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, `
CPU of a claim, largest fleet to smallest: %.2f (bound %.1f)
refused in the steady state while a slot was free: %.4f %% of its claims at most (bound %.2f %%)
refused at any time while a slot was free, reported and not asked: %.4f %% of claims at most (bound %.2f %%)
`, r.CPURatio, MaxCPURatio, 100*r.RefusedSteady, 100*MaxRefusedSteady, 100*r.RefusedFree, 100*MaxRefusedFree)
	return err
}

type row struct {
	name  string
	value func(*Fleet) string
}

func rows() []row {
	whole := func(name string, of func(*Fleet) int) row {
		return row{name, func(f *Fleet) string { return fmt.Sprint(of(f)) }}
	}
	part := func(name, format string, of func(*Fleet) float64) row {
		return row{name, func(f *Fleet) string { return fmt.Sprintf(format, of(f)) }}
	}
	empty := row{"", func(*Fleet) string { return "" }}
	return []row{
		whole("workers", func(f *Fleet) int { return f.Workers }),
		whole("slots", func(f *Fleet) int { return f.Slots }),
		part("simulated, s", "%.0f", func(f *Fleet) float64 { return f.SimS }),
		whole("sessions placed", func(f *Fleet) int { return f.Placed }),
		whole("most at once", func(f *Fleet) int { return f.MostAtOnce }),
		whole("claims", func(f *Fleet) int { return f.Claims }),
		empty,
		part("load of workers, mean", "%.3f", func(f *Fleet) float64 { return f.LoadMean }),
		part("standard deviation", "%.3f", func(f *Fleet) float64 { return f.LoadSD }),
		part("p99 : mean", "%.3f", func(f *Fleet) float64 { return f.P99ToMean }),
		part("max : mean", "%.3f", func(f *Fleet) float64 { return f.MaxToMean }),
		empty,
		part("workers asked for a session", "%.3f", func(f *Fleet) float64 { return f.OffersPerClaim }),
		whole("asked in vain", func(f *Fleet) int { return f.InVain }),
		whole("refused, all full", func(f *Fleet) int { return f.RefusedFull }),
		whole("refused, free but unheard", func(f *Fleet) int { return f.RefusedUnheard }),
		whole("refused, 16 asked in vain", func(f *Fleet) int { return f.RefusedTired }),
		whole("refused, free and reported", func(f *Fleet) int { return f.RefusedFree }),
		whole("refused in the steady state", func(f *Fleet) int { return f.RefusedSteady }),
		whole("given up", func(f *Fleet) int { return f.GivenUp }),
		empty,
		whole("workers crashed", func(f *Fleet) int { return f.Crashes }),
		whole("workers drained", func(f *Fleet) int { return f.Drains }),
		whole("sessions moved", func(f *Fleet) int { return f.Moved }),
		empty,
		part("CPU a claim, steady, µs", "%.2f", func(f *Fleet) float64 { return f.ClaimCPU }),
		part("CPU a refused claim, µs", "%.2f", func(f *Fleet) float64 { return f.RefusalCPU }),
		part("CPU a report, µs", "%.2f", func(f *Fleet) float64 { return f.ReportCPU }),
	}
}
