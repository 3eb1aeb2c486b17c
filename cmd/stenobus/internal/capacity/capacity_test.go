package capacity

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"stenobus/subjects"
	"stenobus/worker"
)

// figures are round ones, easy to reckon with.
func figures() Figures {
	return Figures{
		MachineCores: 2, Sessions: 10, Copies: 3, ShareMS: 0, FrameBytes: 100,
		GatewayFrame: 20, WorkerFrame: 10, BusFrame: 5, ClusterFrame: 10, GatewayIO: 500, ClusterIO: 1000,
		GatewayMemory: 100, WorkerMemory: 50, GatewayLife: 1000, WorkerLife: 500, ClusterLife: 2000, DispatcherLife: 500,
		Results: 2000, ResultBus: 200, ResultStored: 500, Writes: 4000, WriteBus: 100, RenewalCPU: 100,
	}
}

// usage is without what is rare, so that sums stay simple.
func usage() Usage {
	return Usage{
		Speakers: 2, FramesPerS: 50, ResultsPerMin: 6, LengthS: 1e6, Busy: 0.5, Cores: 4, Cell: 12, Slots: 1e6, AgeS: 3600,
	}
}

func near(a, b float64) bool { return math.Abs(a-b) <= 0.01*math.Abs(b) }

func TestPlanOfASmallDeployment(t *testing.T) {
	t.Parallel()
	p := For(figures(), usage(), 1000)
	for name, f := range map[string]struct{ got, want float64 }{
		"frames/s":          {p.FramesPerS, 100_000},
		"results/s":         {p.ResultsS, 200},
		"record writes/s":   {p.WritesS, 1000 / worker.RecordRenewal.Seconds()},
		"cores of gateways": {p.GatewayCores, 2},
		"cores of workers":  {p.WorkerCores, 1},
		"cores for frames":  {p.FrameCores, 1},
		"cores of stores":   {p.StoreCores, 0.04 + 1000/worker.RecordRenewal.Seconds()*1e-4},
		"memory":            {p.GatewayGB, 0.1},
		"network":           {p.BusNet, 0.8},
		"disk":              {p.ResultsGB, 200 * 500 * 3600 / 1e9},
		"full after":        {p.FullAfterH, subjects.DefaultResultsBytes / (200 * 500 * 3600.)},
	} {
		if !near(f.got, f.want) {
			t.Errorf("%s: %v, want %v", name, f.got, f.want)
		}
	}
	if p.Gateways != 2 || p.Dispatchers != 2 || p.Buses != 1 || p.Cells != 1 || p.BusServers != 3 || p.Stores != 0 || p.Streams != 1 {
		t.Errorf("plan %+v", p)
	}
}

func TestPlanIsDivided(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		sessions                          int
		change                            func(Figures, *Usage)
		buses, cells, servers, stores, on int // on: results streams of a bus
	}{
		"results need more streams":                {9_000, func(Figures, *Usage) {}, 1, 1, 5, 0, 2},
		"frames need more servers than a cell has": {37_500, func(Figures, *Usage) {}, 1, 2, 19, 3, 8},
		"records need more buses":                  {95_000, func(Figures, *Usage) {}, 2, 4, 48, 6, 10},
		"results need more streams than there may be": {
			95_000, func(f Figures, _ *Usage) { f[Results], f[Writes] = 200, 1e6 }, 3, 6, 48, 9, 64,
		},
		"what is twice as busy needs half": {95_000, func(_ Figures, u *Usage) { u.Busy = 1 }, 1, 2, 24, 3, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, u := figures(), usage()
			tc.change(f, &u)
			p := For(f, u, tc.sessions)
			if p.Buses != tc.buses || p.Cells != tc.cells || p.BusServers != tc.servers || p.Stores != tc.stores || p.Streams != tc.on {
				t.Errorf("%d buses, %d cells, %d servers, %d of stores, %d streams; want %d, %d, %d, %d, %d",
					p.Buses, p.Cells, p.BusServers, p.Stores, p.Streams, tc.buses, tc.cells, tc.servers, tc.stores, tc.on)
			}
		})
	}
}

// A plan for as many sessions as a limit allows has one of the thing, and for more it has
// two: both say the same.
func TestLimitsAreWherePlansSplit(t *testing.T) {
	t.Parallel()
	f, u := figures(), usage()
	limit := map[string]float64{}
	all := Limits(f, u)
	for i, l := range all {
		limit[l.Name] = l.Sessions
		if i > 0 && l.Sessions < all[i-1].Sessions {
			t.Errorf("%q comes after %q and splits sooner", l.Name, all[i-1].Name)
		}
	}
	for name, of := range map[string]func(Plan) int{
		"a cluster of three that keeps the streams too": func(p Plan) int { return p.BusServers - 2 },
		"one results stream":                            func(p Plan) int { return p.Streams },
		"the bucket of records, which is not split":     func(p Plan) int { return p.Buses },
	} {
		n := limit[name]
		if below, above := of(For(f, u, int(0.999*n))), of(For(f, u, int(1.001*n))); below != 1 || above != 2 {
			t.Errorf("%s: limit %.0f, but %d below it and %d above", name, n, below, above)
		}
	}
}

// Unless told otherwise a speaker has as many results as a worker makes of speech without
// pauses, which is what the frames' cost is measured with.
func TestDefaultUsage(t *testing.T) {
	t.Parallel()
	u := DefaultUsage()
	if err := u.Validate(); err != nil {
		t.Error(err)
	}
	if want := time.Minute.Seconds() / worker.DefaultTurnLimit.Seconds(); u.ResultsPerMin != want {
		t.Errorf("%v results a minute, want %v", u.ResultsPerMin, want)
	}
}

func TestFaultsAreNamed(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(Figures, *Usage){
		"figure bus_cpu_us_per_frame is missing": func(f Figures, _ *Usage) { delete(f, BusFrame) },
		"figure record_writes_per_s is 0":        func(f Figures, _ *Usage) { f[Writes] = 0 },
		"figure results_per_s_and_stream is NaN": func(f Figures, _ *Usage) { f[Results] = math.NaN() },
		"figure speed is not known":              func(f Figures, _ *Usage) { f["speed"] = 1 },
		"--busy is 2, want 0.01 to 1":            func(_ Figures, u *Usage) { u.Busy = 2 },
		"--length is 0 s, want 1 to":             func(_ Figures, u *Usage) { u.LengthS = 0 },
		"--results is more than":                 func(_ Figures, u *Usage) { u.ResultsPerMin, u.FramesPerS = 600, 5 },
		"--cell-servers is 2, want 3 to 1000":    func(_ Figures, u *Usage) { u.Cell = 2 },
		"--cores is NaN, want 1 to 1024":         func(_ Figures, u *Usage) { u.Cores = math.NaN() },
		"--speakers is -1, want 0.01 to 40":      func(_ Figures, u *Usage) { u.Speakers = -1 },
	} {
		f, u := figures(), usage()
		change(f, &u)
		if _, err := NewReport(f, u, []int{1}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// Every line about plans and every limit comes from figures that exist, and every figure is
// used.
func TestEveryFigureIsTraced(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, row := range usage().rows() {
		for _, name := range row.from {
			used[name] = true
		}
	}
	for _, l := range Limits(figures(), usage()) {
		for _, name := range l.From {
			used[name] = true
		}
	}
	for _, in := range figures().Inputs() {
		if !used[in.Name] || in.How == "" {
			t.Errorf("figure %s is in no line, or nothing tells how it was measured", in.Name)
		}
		delete(used, in.Name)
	}
	for name := range used {
		t.Errorf("a line names the figure %s, which is not measured", name)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	r, err := NewReport(figures(), usage(), []int{1000, 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := r.Table(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1,000,000", "gateways, busy cores", "b i", "what splits first", "copies of each stream", "record_writes_per_s"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{
		0: "0", 0.0123: "0.012", 3: "3", 9.96: "10", 12.4: "12", 999.4: "999", 1000: "1,000", 12_345: "12,300", 1_234_567: "1,230,000",
	} {
		if got := number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}

// The figures behind the README are of this version.
func TestFiguresOfTheREADME(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/figures.json")
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if err := r.Figures.Validate(); err != nil {
		t.Error(err)
	}
}
