package capacity

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Report is all of it, as a program prints it.
type Report struct {
	Figures Figures `json:"figures"`
	Usage   Usage   `json:"usage"`
	Plans   []Plan  `json:"plans"`
	Limits  []Limit `json:"limits"`
}

// NewReport makes a plan for each number of sessions, where figures and usage are sound.
func NewReport(f Figures, u Usage, sessions []int) (Report, error) {
	if err := f.Validate(); err != nil {
		return Report{}, err
	}
	if err := u.Validate(); err != nil {
		return Report{}, err
	}
	r := Report{Figures: f, Usage: u, Limits: Limits(f, u)}
	for _, n := range sessions {
		r.Plans = append(r.Plans, For(f, u, n))
	}
	return r, nil
}

// row is one line about plans and the figures that it comes from; none: from the usage
// alone.
type row struct {
	name string
	of   func(*Plan) float64
	from []string
}

// rows are the lines about plans. Servers of frames have the records and results to bear
// where there is one cell, so both are in their figures.
func (u Usage) rows() []row {
	return []row{
		{"frames/s", func(p *Plan) float64 { return p.FramesPerS }, nil},
		{"gateways, busy cores", func(p *Plan) float64 { return p.GatewayCores }, []string{GatewayFrame, GatewayLife}},
		{"gateways, servers", func(p *Plan) float64 { return float64(p.Gateways) }, []string{GatewayFrame, GatewayLife}},
		{"gateways, memory, GB", func(p *Plan) float64 { return p.GatewayGB }, []string{GatewayMemory}},
		{"gateways, network, Gbit/s", func(p *Plan) float64 { return p.GatewayNet }, []string{GatewayIO}},
		{"workers without engines, busy cores", func(p *Plan) float64 { return p.WorkerCores }, []string{WorkerFrame, WorkerLife}},
		{"workers without engines, memory, GB", func(p *Plan) float64 { return p.WorkerGB }, []string{WorkerMemory}},
		{"dispatchers, servers", func(p *Plan) float64 { return float64(p.Dispatchers) }, []string{DispatcherLife, RenewalCPU}},
		{"record writes/s", func(p *Plan) float64 { return p.WritesS }, nil},
		{"results/s", func(p *Plan) float64 { return p.ResultsS }, nil},
		{"buses that share nothing", func(p *Plan) float64 { return float64(p.Buses) }, []string{Writes, Results}},
		{"cells in all", func(p *Plan) float64 { return float64(p.Cells) }, []string{ClusterFrame, ClusterLife}},
		{
			"bus servers in cells", func(p *Plan) float64 { return float64(p.BusServers) },
			[]string{ClusterFrame, ClusterLife, ResultBus, WriteBus},
		},
		{"bus servers of stores", func(p *Plan) float64 { return float64(p.Stores) }, []string{ResultBus, WriteBus}},
		{"bus servers, network, Gbit/s", func(p *Plan) float64 { return p.BusNet }, []string{ClusterIO}},
		{"--bus-results-streams of a bus", func(p *Plan) float64 { return float64(p.Streams) }, []string{Results}},
		{"--bus-results-bytes of a bus, GB", func(p *Plan) float64 { return p.ResultsGB }, []string{ResultStored}},
		{"its default is full after, h", func(p *Plan) float64 { return p.FullAfterH }, []string{ResultStored}},
	}
}

// Table writes the report for people. Letters say which figure is behind a line.
func (r *Report) Table(out io.Writer) error {
	u := r.Usage
	fmt.Fprintf(out, "speakers a session %g, frames/s of each %g, results/min %g, a session lasts %.4g min\n",
		u.Speakers, u.FramesPerS, u.ResultsPerMin, u.LengthS/60)
	fmt.Fprintf(out, "cores a server %g, busy by %g %%, bus servers of a cell %d at most, results kept %g h\n\n",
		u.Cores, 100*u.Busy, u.Cell, u.AgeS/3600)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "sessions\t")
	for _, p := range r.Plans {
		fmt.Fprintf(w, "%s\t", number(float64(p.Sessions)))
	}
	fmt.Fprintln(w, "from\t")
	for _, row := range u.rows() {
		fmt.Fprintf(w, "%s\t", row.name)
		for i := range r.Plans {
			fmt.Fprintf(w, "%s\t", number(row.of(&r.Plans[i])))
		}
		fmt.Fprintf(w, "%s\t\n", letters(row.from))
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return err
	}
	if err := r.limits(out); err != nil {
		return err
	}
	return r.measured(out)
}

func (r *Report) limits(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "what splits first\tsessions\tfrom\tthen")
	for _, l := range r.Limits {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", l.Name, number(l.Sessions), letters(l.From), l.Then)
	}
	fmt.Fprintln(w)
	return w.Flush()
}

func (r *Report) measured(out io.Writer) error {
	f := r.Figures
	share := "one frame a message"
	if f[ShareMS] > 0 {
		share = fmt.Sprintf("frames shared over %g ms", f[ShareMS])
	}
	fmt.Fprintf(out, "measured on %g cores, frames of %g bytes, %s, %g copies of each stream\n",
		f[MachineCores], f[FrameBytes], share, f[Copies])
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for i, in := range f.Inputs() {
		fmt.Fprintf(w, "%c\t%s\t%.4g\t%s\n", letter(i), in.Name, f[in.Name], in.How)
	}
	return w.Flush()
}

// letters name figures, in their order.
func letters(names []string) string {
	if len(names) == 0 {
		return "usage"
	}
	var all []string
	for i, in := range (Figures{}).Inputs() {
		if slices.Contains(names, in.Name) {
			all = append(all, string(letter(i)))
		}
	}
	return strings.Join(all, " ")
}

func letter(i int) rune { return rune('a' + i) }

// number has two digits that count where it is small, and three where it is large, which
// is more than it is worth.
func number(v float64) string {
	if v < 10 {
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	if v >= 1000 {
		unit := math.Pow(10, math.Floor(math.Log10(v))-2)
		v = math.Round(v/unit) * unit
	}
	text := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
