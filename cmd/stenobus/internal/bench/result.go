package bench

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
	"time"
)

// Result is what was measured, with units in the names. Of several runs figures are
// medians, and Lost, Doubled and LateSends sums. A figure of 0 was too small to measure,
// or there was nothing to measure it by.
type Result struct {
	PathCPU float64 `json:"path_cpu_us_per_frame"` // user and kernel, all of "stenobus up"
	PipeCPU float64 `json:"pipe_cpu_us_per_frame"`
	Ratio   float64 `json:"path_to_pipe_ratio"`

	Sessions   int     `json:"sessions"`
	Sources    int     `json:"sources"`
	FrameBytes int     `json:"frame_bytes"`
	ShareMS    float64 `json:"share_ms"`
	Runs       int     `json:"runs"`
	FramesPerS float64 `json:"frames_per_s"`

	ReadyP50 float64 `json:"ready_p50_ms"` // from connecting to a worker that is ready
	ReadyP99 float64 `json:"ready_p99_ms"`
	PingP50  float64 `json:"ping_p50_ms"`
	PingP99  float64 `json:"ping_p99_ms"`
	FinalP50 float64 `json:"final_p50_ms"` // from the time of the last frame that it covers
	FinalP99 float64 `json:"final_p99_ms"`

	RSS float64 `json:"rss_kb_per_session"` // of the whole path, over idle

	Lost      uint64 `json:"lost"`
	Doubled   uint64 `json:"doubled"`
	LateSends uint64 `json:"late_sends"`
}

// OK tells whether every frame was covered exactly once.
func (r *Result) OK() bool { return r.Lost == 0 && r.Doubled == 0 }

// figures are what runs differ in.
func (r *Result) figures() []*float64 {
	return []*float64{
		&r.PathCPU, &r.PipeCPU, &r.Ratio, &r.FramesPerS, &r.RSS,
		&r.ReadyP50, &r.ReadyP99, &r.PingP50, &r.PingP99, &r.FinalP50, &r.FinalP99,
	}
}

func resultOf(c *Config, path, pipe measured) Result {
	return Result{
		PathCPU:    round(path.perFrame()),
		PipeCPU:    round(pipe.perFrame()),
		Ratio:      round(ratio(path.perFrame(), pipe.perFrame())),
		FramesPerS: round(ratio(float64(path.frames), path.took.Seconds())),
		ReadyP50:   ms(quantile(path.Ready, 0.5)), ReadyP99: ms(quantile(path.Ready, 0.99)),
		PingP50: ms(quantile(path.Pings, 0.5)), PingP99: ms(quantile(path.Pings, 0.99)),
		FinalP50: ms(quantile(path.Finals, 0.5)), FinalP99: ms(quantile(path.Finals, 0.99)),
		RSS:  round(float64(path.rssKB) / float64(c.Load.Sessions)),
		Lost: path.Lost, Doubled: path.Doubled, LateSends: path.Late + pipe.Late,
	}
}

// perFrame is the CPU time of a frame in µs.
func (m *measured) perFrame() float64 {
	return ratio(float64(m.cpu.Microseconds()), float64(m.frames))
}

// combine makes one result of all runs.
func combine(c Config, all []Result) Result {
	r := Result{
		Sessions: c.Load.Sessions, Sources: c.Load.Sources, FrameBytes: c.Load.FrameBytes,
		ShareMS: ms(c.Share), Runs: len(all),
	}
	for i, to := range r.figures() {
		var values []float64
		for j := range all {
			values = append(values, *all[j].figures()[i])
		}
		*to = round(median(values))
	}
	for _, one := range all {
		r.Lost += one.Lost
		r.Doubled += one.Doubled
		r.LateSends += one.LateSends
	}
	return r
}

// Table writes the result for people.
func (r *Result) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	share := "one frame a message"
	if r.ShareMS > 0 {
		share = fmt.Sprintf("frames shared over %v ms", r.ShareMS)
	}
	fmt.Fprintf(out, "sessions %d, speakers in each %d, bytes a frame %d, frames/s %.0f, %s\n\n",
		r.Sessions, r.Sources, r.FrameBytes, r.FramesPerS, share)
	fmt.Fprint(w, "\tpath\tbare pipe\tpath : pipe\t\n")
	fmt.Fprintf(w, "CPU a frame, µs\t%.1f\t%.1f\t%.2f\t\n", r.PathCPU, r.PipeCPU, r.Ratio)
	fmt.Fprintf(w, "memory a session, kB\t%.0f\t\t\t\n", r.RSS)
	fmt.Fprint(w, "\t\t\t\t\n\tp50\tp99\t\t\n")
	for _, l := range []struct {
		name     string
		p50, p99 float64
	}{
		{"connect to ready, ms", r.ReadyP50, r.ReadyP99},
		{"ping to pong, ms", r.PingP50, r.PingP99},
		{"last frame to final, ms", r.FinalP50, r.FinalP99},
	} {
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t\t\n", l.name, l.p50, l.p99)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nframes lost %d, doubled %d; sends late by more than %v: %d\n", r.Lost, r.Doubled, lateBy, r.LateSends)
	return err
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func round(v float64) float64 { return math.Round(v*1000) / 1000 }
