package lab

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a run found, with units in the names.
type Report struct {
	Verdict string `json:"verdict"` // pass, fail or interrupted
	Seed    uint64 `json:"seed"`

	FramesAccepted    uint64 `json:"frames_accepted"`
	FramesUnaccounted uint64 `json:"frames_unaccounted"`
	FinalsLost        uint64 `json:"finals_lost"`
	FinalsDoubled     uint64 `json:"finals_doubled"`
	FinalsDisordered  uint64 `json:"finals_disordered"`
	SessionsLost      uint64 `json:"sessions_lost"`
	Leftovers         uint64 `json:"leftovers"`
	StaleInterims     uint64 `json:"stale_interims"`
	StaleFinals       uint64 `json:"stale_finals"`

	Faults map[Kind]FaultReport `json:"faults"`
	Speech []SpeechReport       `json:"speech,omitempty"`

	Sessions      int      `json:"sessions"` // in all
	FramesSent    uint64   `json:"frames_sent"`
	FramesRefused uint64   `json:"frames_refused"` // given up with a reason, and told
	Finals        uint64   `json:"finals"`         // delivered
	StrayKeys     int      `json:"stray_keys"`     // records that only a replica shows which lost their deletion: no fault of a role
	DurationS     float64  `json:"duration_s"`
	CPUFleet      float64  `json:"cpu_deployment_cores"`
	CPULab        float64  `json:"cpu_lab_cores"`
	Logs          string   `json:"logs,omitempty"` // directory, where it is kept
	FirstWrongs   []Wrong  `json:"first_wrongs,omitempty"`
	Trouble       []string `json:"trouble,omitempty"` // of the lab itself: faults that could not be made
}

// FaultReport is what came of one kind of fault. The times run from the fault to the
// next covered frame of each session that it hit; for dispatchers from connecting to a
// worker that is ready, for sessions that begin at that moment.
type FaultReport struct {
	N           int     `json:"n"`
	Samples     int     `json:"samples"`
	P50MS       float64 `json:"recovery_p50_ms"`
	P99MS       float64 `json:"recovery_p99_ms"`
	MaxMS       float64 `json:"recovery_max_ms"`
	InterimGaps float64 `json:"interim_gap_max_ms,omitempty"` // of bus_leader_kill: longest pause between interims
}

// OK tells whether nothing was wrong.
func (r *Report) OK() bool { return r.wrongs() == 0 && len(r.Trouble) == 0 }

func (r *Report) wrongs() uint64 {
	return r.FramesUnaccounted + r.FinalsLost + r.FinalsDoubled + r.FinalsDisordered +
		r.SessionsLost + r.Leftovers + r.StaleInterims + r.StaleFinals
}

// report sums up. err is why the run could not be made as it was meant.
func (r *run) report(err error) Report {
	n := r.wrongs.count
	out := Report{
		Seed: r.cfg.Seed, FramesAccepted: r.accepted, FramesRefused: r.refused, StrayKeys: len(r.strays),
		FramesUnaccounted: n[FrameUnaccounted], FinalsLost: n[FinalLost], FinalsDoubled: n[FinalDoubled],
		FinalsDisordered: n[FinalDisordered], SessionsLost: n[SessionLost], Leftovers: n[Leftover],
		StaleInterims: n[InterimStale], StaleFinals: n[FinalStale],
		Faults: map[Kind]FaultReport{}, DurationS: math.Round(r.took.Seconds()*10) / 10,
		FirstWrongs: r.wrongs.first, Logs: r.cfg.Dir,
	}
	if r.crew != nil {
		out.Sessions, out.FramesSent, out.Finals = len(r.crew.clients()), r.crew.frames.Load(), r.crew.finals.Load()
	}
	if n := len(r.spoken); n > 0 {
		out.Speech, out.Sessions, out.Faults[WorkerKill] = r.spoken, 2*n, r.faultReport(WorkerKill, n)
		out.FramesSent = r.accepted
	}
	if r.injector != nil {
		for kind, done := range r.injector.counts {
			out.Faults[kind] = r.faultReport(kind, done)
		}
		for _, e := range r.injector.errs {
			out.Trouble = append(out.Trouble, e.Error())
		}
	}
	if s := r.took.Seconds(); s > 0 {
		out.CPUFleet, out.CPULab = math.Round(r.cpu[0].Seconds()/s*100)/100, math.Round(r.cpu[1].Seconds()/s*100)/100
	}
	switch {
	case err != nil || !out.OK():
		out.Verdict = Failed
	default:
		out.Verdict = Pass
	}
	return out
}

func (r *run) faultReport(kind Kind, done int) FaultReport {
	t := r.recoveries.times(kind)
	f := FaultReport{
		N: done, Samples: len(t), P50MS: ms(quantile(t, 0.5)), P99MS: ms(quantile(t, 0.99)), MaxMS: ms(quantile(t, 1)),
	}
	if kind == BusLeaderKill {
		f.InterimGaps = ms(r.recoveries.widest())
	}
	return f
}

func ms(d time.Duration) float64 { return math.Round(float64(d.Microseconds())/100) / 10 }

// Table writes the report for people.
func (r *Report) Table(out io.Writer) error {
	for _, w := range r.FirstWrongs {
		fmt.Fprintf(out, "%s  %s  %s\n", w.At.Format("15:04:05.000"), w.Fail, w.What)
	}
	for _, text := range r.Trouble {
		fmt.Fprintln(out, "trouble:", text)
	}
	if len(r.FirstWrongs)+len(r.Trouble) > 0 {
		fmt.Fprintln(out)
	}
	for _, s := range r.Speech {
		fmt.Fprintf(out, "%s\n  said         %s\n  undisturbed  %s\n  disturbed    %s\n  killed       %s after %q, words again after %.0f ms; wrong %.0f %%, undisturbed %.0f %%\n\n",
			s.Sample, s.Said, s.Undisturbed, s.Disturbed, s.Killed, s.KilledAt, s.RecoveryMS, 100*s.ErrorRate, 100*s.Before)
	}
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "fault\tn\trecovered\tp50, ms\tp99, ms\tmax, ms\t\n")
	for _, t := range kinds {
		f, ok := r.Faults[t.kind]
		if !ok {
			continue
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%.0f\t%.0f\t%.0f\t", t.kind, f.N, f.Samples, f.P50MS, f.P99MS, f.MaxMS)
		if f.InterimGaps > 0 {
			fmt.Fprintf(w, "  longest pause between interims %.0f ms", f.InterimGaps)
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nsessions %d, frames accepted %d, refused with a reason %d, finals %d, %.0f s, CPU %.2f cores (deployment) + %.2f (lab)\n\n",
		r.Sessions, r.FramesAccepted, r.FramesRefused, r.Finals, r.DurationS, r.CPUFleet, r.CPULab)
	for _, c := range r.counts() {
		fmt.Fprintf(w, "%s\t%d\t\n", c.name, c.n)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.StrayKeys > 0 {
		fmt.Fprintf(out, "\n%d keys are listed by a replica of the bus that lost their deletion when it was killed;\nthe leader, who decides, does not have them\n", r.StrayKeys)
	}
	_, err := fmt.Fprintf(out, "\nverdict: %s, seed %d\n", r.Verdict, r.Seed)
	return err
}

type counted struct {
	name string
	n    uint64
}

func (r *Report) counts() []counted {
	return []counted{
		{"frames unaccounted", r.FramesUnaccounted}, {"finals lost", r.FinalsLost}, {"finals doubled", r.FinalsDoubled},
		{"finals out of order", r.FinalsDisordered}, {"finals of former owners", r.StaleFinals},
		{"interims of former owners", r.StaleInterims}, {"sessions lost", r.SessionsLost}, {"leftovers", r.Leftovers},
	}
}

// Wrong says in one line what was wrong; nil if nothing was.
func (r *Report) Wrong() error {
	if r.OK() {
		return nil
	}
	var parts []string
	for _, c := range r.counts() {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", c.name, c.n))
		}
	}
	if len(r.Trouble) > 0 {
		parts = append(parts, fmt.Sprintf("faults that could not be made: %d", len(r.Trouble)))
	}
	return fmt.Errorf("%s", strings.Join(parts, ", "))
}
