package bench

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is what was measured, with units in the names. Of several runs figures are
// medians, and Lost, Doubled, Failed and LateSends sums. A figure of 0 was too small to
// measure, or there was nothing to measure it by.
type Result struct {
	Sessions   int     `json:"sessions"`
	Sources    int     `json:"sources"` // of each session
	FrameBytes int     `json:"frame_bytes"`
	ShareMS    float64 `json:"share_ms"`
	Runs       int     `json:"runs"`
	FramesPerS float64 `json:"frames_per_s"`

	CPU     map[string]float64 `json:"cpu_us_per_frame"` // by process, user and kernel
	PathCPU float64            `json:"path_cpu_us_per_frame"`
	PipeCPU float64            `json:"pipe_cpu_us_per_frame"`
	Pipe    map[string]float64 `json:"pipe_cpu_us_per_frame_by_process"`
	Ratio   float64            `json:"path_to_pipe_ratio"`
	Busy    map[string]float64 `json:"cpu_ms_per_s"`       // by process, also where no frame was sent
	OpenCPU map[string]float64 `json:"cpu_us_per_open"`    // by process, while sessions opened and first spoke
	EndCPU  map[string]float64 `json:"cpu_us_per_end"`     // by process, while sessions ended, with what they still said
	IO      map[string]float64 `json:"io_bytes_per_frame"` // by process, read and written, of sockets and files
	RSS     map[string]float64 `json:"rss_kb_per_session"` // by process, of its own memory (no pages of its program) over what it had with no session
	BaseRSS map[string]float64 `json:"rss_kb_no_session"`  // by process, before the first session

	Claim // from connecting to a worker that is ready
	Frame // from the time at which a frame was due to its engine
	Ping  // from the time at which a ping was due to its pong
	Final // from the time at which the last frame was due to the final that covers it

	Isolation *Isolation `json:"isolation,omitempty"`

	Lost      uint64 `json:"lost"`
	Doubled   uint64 `json:"doubled"`
	Failed    uint64 `json:"failed_sessions"`
	LateSends uint64 `json:"late_sends"`
}

// Latencies, each in ms.
type (
	Claim struct {
		ClaimP50  float64 `json:"claim_p50_ms"`
		ClaimP99  float64 `json:"claim_p99_ms"`
		ClaimP999 float64 `json:"claim_p999_ms"`
	}
	Frame struct {
		FrameP50  float64 `json:"frame_p50_ms"`
		FrameP99  float64 `json:"frame_p99_ms"`
		FrameP999 float64 `json:"frame_p999_ms"`
	}
	Ping struct {
		PingP50  float64 `json:"ping_p50_ms"`
		PingP99  float64 `json:"ping_p99_ms"`
		PingP999 float64 `json:"ping_p999_ms"`
	}
	Final struct {
		FinalP50  float64 `json:"final_p50_ms"`
		FinalP99  float64 `json:"final_p99_ms"`
		FinalP999 float64 `json:"final_p999_ms"`
	}
)

// OK tells whether every frame was covered exactly once.
func (r *Result) OK() bool { return r.Lost == 0 && r.Doubled == 0 && r.Failed == 0 }

// figures are what runs differ in.
func (r *Result) figures() []*float64 {
	more := []*float64{}
	if i := r.Isolation; i != nil {
		more = []*float64{&i.FrameQuiet, &i.FrameRatio, &i.PingQuiet, &i.PingRatio}
	}
	return append(more,
		&r.PathCPU, &r.PipeCPU, &r.Ratio, &r.FramesPerS,
		&r.ClaimP50, &r.ClaimP99, &r.ClaimP999, &r.FrameP50, &r.FrameP99, &r.FrameP999,
		&r.PingP50, &r.PingP99, &r.PingP999, &r.FinalP50, &r.FinalP99, &r.FinalP999,
	)
}

// byProcess are those of them that each process has.
func (r *Result) byProcess() []*map[string]float64 {
	return []*map[string]float64{&r.CPU, &r.Pipe, &r.Busy, &r.OpenCPU, &r.EndCPU, &r.IO, &r.RSS, &r.BaseRSS}
}

func resultOf(c *Config, path, pipe *measured) Result {
	r := Result{
		CPU: map[string]float64{}, Pipe: map[string]float64{}, Busy: map[string]float64{}, OpenCPU: map[string]float64{}, EndCPU: map[string]float64{}, IO: map[string]float64{},
		RSS: map[string]float64{}, BaseRSS: map[string]float64{},
		PathCPU:    round(path.perFrame()),
		PipeCPU:    round(pipe.perFrame()),
		Ratio:      round(ratio(path.perFrame(), pipe.perFrame())),
		FramesPerS: round(ratio(float64(path.frames), path.took.Seconds())),
		Claim:      Claim{ms(quantile(path.Ready, 0.5)), ms(quantile(path.Ready, 0.99)), ms(quantile(path.Ready, 0.999))},
		Frame:      Frame{ms(quantile(path.Arrivals, 0.5)), ms(quantile(path.Arrivals, 0.99)), ms(quantile(path.Arrivals, 0.999))},
		Ping:       Ping{ms(quantile(path.Pings, 0.5)), ms(quantile(path.Pings, 0.99)), ms(quantile(path.Pings, 0.999))},
		Final:      Final{ms(quantile(path.Finals, 0.5)), ms(quantile(path.Finals, 0.99)), ms(quantile(path.Finals, 0.999))},
		Lost:       path.Lost, Doubled: path.Doubled,
		Failed: uint64(len(path.Failed) + len(pipe.Failed)), LateSends: path.Late + pipe.Late,
	}
	if c.NoPath {
		r.FramesPerS = round(ratio(float64(pipe.frames), pipe.took.Seconds()))
	}
	for role, u := range path.roles {
		r.CPU[role] = round(ratio(float64(u.cpu.Microseconds()), float64(path.frames)))
		r.Busy[role] = round(ratio(ms(u.cpu), path.took.Seconds()))
		r.OpenCPU[role] = round(float64(u.opening.Microseconds()) / float64(c.Load.Sessions))
		r.EndCPU[role] = round(float64(u.ending.Microseconds()) / float64(c.Load.Sessions))
		r.IO[role] = round(ratio(float64(u.io), float64(path.frames)))
		r.RSS[role] = round(float64(u.rssKB) / float64(c.Load.Sessions))
		r.BaseRSS[role] = float64(u.baseKB)
	}
	r.Isolation = path.apart
	for role, u := range pipe.roles {
		r.Pipe[role] = round(ratio(float64(u.cpu.Microseconds()), float64(pipe.frames)))
	}
	return r
}

// perFrame is the CPU time of a frame in µs, in all processes but the client.
func (m *measured) perFrame() float64 {
	var sum time.Duration
	for role, u := range m.roles {
		if role != roleClient {
			sum += u.cpu
		}
	}
	return ratio(float64(sum.Microseconds()), float64(m.frames))
}

// combine makes one result of all runs.
func combine(c *Config, all []Result) Result {
	r := Result{
		Sessions: c.Load.Sessions, Sources: c.Load.Sources, FrameBytes: c.Load.FrameBytes,
		ShareMS: ms(c.Deployment.Share), Runs: len(all),
	}
	if c.Rogues && all[0].Isolation != nil {
		r.Isolation = &Isolation{}
	}
	for i, to := range r.figures() {
		var values []float64
		for j := range all {
			values = append(values, *all[j].figures()[i])
		}
		*to = round(median(values))
	}
	for i, to := range r.byProcess() {
		*to = map[string]float64{}
		for role := range *all[0].byProcess()[i] {
			var values []float64
			for j := range all {
				values = append(values, (*all[j].byProcess()[i])[role])
			}
			(*to)[role] = round(median(values))
		}
	}
	for _, one := range all {
		r.Lost += one.Lost
		r.Doubled += one.Doubled
		r.Failed += one.Failed
		r.LateSends += one.LateSends
	}
	return r
}

// Table writes the result for people.
func (r *Result) Table(out io.Writer) error {
	share := "one frame a message"
	if r.ShareMS > 0 {
		share = fmt.Sprintf("frames shared over %v ms", r.ShareMS)
	}
	fmt.Fprintf(out, "sessions %d, speakers in each %d, bytes a frame %d, frames/s %.0f, %s\n\n",
		r.Sessions, r.Sources, r.FrameBytes, r.FramesPerS, share)
	if err := r.processTable(out); err != nil {
		return err
	}
	if err := r.latencyTable(out); err != nil {
		return err
	}
	if i := r.Isolation; i != nil {
		fmt.Fprintf(out, "\nthree clients that misbehave change p99 of frames by %.2f (%.1f ms without them), of pings by %.2f (%.1f ms)\n",
			i.FrameRatio, i.FrameQuiet, i.PingRatio, i.PingQuiet)
	}
	_, err := fmt.Fprintf(out, "\nframes lost %d, doubled %d; sessions failed %d; sends late by more than %v: %d\n",
		r.Lost, r.Doubled, r.Failed, lateBy, r.LateSends)
	return err
}

func (r *Result) processTable(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\tCPU a frame, µs\tin a bare pipe\tCPU, % of a core\tmemory a session, kB\twith no session, MB\t\n")
	for _, role := range r.roles() {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", role,
			cell(r.CPU, role, 1, 1), cell(r.Pipe, role, 1, 1), cell(r.Busy, role, 10, 1), cell(r.RSS, role, 1, 0), cell(r.BaseRSS, role, 1000, 1))
	}
	fmt.Fprintf(w, "all but the client\t%.1f\t%.1f\t\t\t\t\n", r.PathCPU, r.PipeCPU)
	if r.Ratio > 0 {
		fmt.Fprintf(w, "path : pipe\t%.2f\t\t\t\t\t\n", r.Ratio)
	}
	return w.Flush()
}

// roles are all that something was measured of, the client last.
func (r *Result) roles() []string {
	all := map[string]bool{}
	for _, m := range r.byProcess() {
		for role := range *m {
			all[role] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		if (a == roleClient) != (b == roleClient) {
			if a == roleClient {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
}

// cell is one figure of a table, divided by unit; empty where there is none.
func cell(m map[string]float64, role string, unit float64, digits int) string {
	v, ok := m[role]
	if !ok {
		return ""
	}
	return strconv.FormatFloat(v/unit, 'f', digits, 64)
}

func (r *Result) latencyTable(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\t\t\t\t\n\tp50\tp99\tp99.9\t\n")
	for _, l := range []struct {
		name           string
		p50, p99, p999 float64
	}{
		{"connect to ready, ms", r.ClaimP50, r.ClaimP99, r.ClaimP999},
		{"frame to engine, ms", r.FrameP50, r.FrameP99, r.FrameP999},
		{"ping to pong, ms", r.PingP50, r.PingP99, r.PingP999},
		{"last frame to final, ms", r.FinalP50, r.FinalP99, r.FinalP999},
	} {
		if l.p999 > 0 {
			fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t\n", l.name, l.p50, l.p99, l.p999)
		}
	}
	return w.Flush()
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func round(v float64) float64 { return math.Round(v*1000) / 1000 }
