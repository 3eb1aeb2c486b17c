package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestQuantile(t *testing.T) {
	t.Parallel()
	var hundred []time.Duration
	for i := 100; i > 0; i-- {
		hundred = append(hundred, time.Duration(i))
	}
	for name, tc := range map[string]struct {
		samples []time.Duration
		q       float64
		want    time.Duration
	}{
		"none":             {nil, 0.5, 0},
		"one":              {[]time.Duration{7}, 0.99, 7},
		"middle of two":    {[]time.Duration{9, 3}, 0.5, 3},
		"p99 of two":       {[]time.Duration{9, 3}, 0.99, 9},
		"p50 of a hundred": {hundred, 0.5, 50},
		"p99 of a hundred": {hundred, 0.99, 99},
		"all":              {hundred, 1, 100},
		"least":            {hundred, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := quantile(tc.samples, tc.q); got != tc.want {
				t.Errorf("quantile %v is %d, want %d", tc.q, got, tc.want)
			}
		})
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		values []float64
		want   float64
	}{
		"none": {nil, 0}, "one": {[]float64{3}, 3}, "two": {[]float64{4, 1}, 2.5}, "three": {[]float64{9, 1, 2}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := median(tc.values); got != tc.want {
				t.Errorf("median %v, want %v", got, tc.want)
			}
		})
	}
}

func TestScheduleIsAbsolute(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	for name, tc := range map[string]struct {
		rate    float64
		sources int
		n       uint64
		want    time.Duration
	}{
		"first":                {50, 1, 1, 0},
		"second":               {50, 1, 2, 20 * time.Millisecond},
		"of two sources":       {50, 2, 2, 10 * time.Millisecond},
		"an hour":              {50, 1, 180_001, time.Hour},
		"an hour of odd rates": {30, 7, 210*3600 + 1, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSchedule(begin, &LoadConfig{Rate: tc.rate, Sources: tc.sources})
			if d := s.frame(tc.n).Sub(at(tc.want)).Abs(); d > time.Microsecond {
				t.Errorf("frame %d is due at %v, want %v", tc.n, s.frame(tc.n).Sub(begin), tc.want)
			}
		})
	}
	if got := newSchedule(begin, &LoadConfig{Rate: 50, Sources: 1}).ping(3); !got.Equal(at(3 * time.Second)) {
		t.Errorf("third ping is due at %v", got.Sub(begin))
	}
}

// Sessions that open a multiple of the time between frames apart don't send in step.
func TestSessionsAreSpread(t *testing.T) {
	t.Parallel()
	origin := time.Unix(1000, 0)
	var due []time.Duration
	for i := range 200 {
		begin := origin.Add(time.Duration(i) * 40 * time.Millisecond)
		s := newSchedule(begin, &LoadConfig{Rate: 25, Sources: 1}).spread(origin, i)
		if d := s.frame(1).Sub(begin); d < 0 || d >= 40*time.Millisecond {
			t.Fatalf("session %d begins %v after it opened", i, d)
		}
		due = append(due, s.frame(1).Sub(origin)%(40*time.Millisecond))
	}
	for _, run := range [][]time.Duration{due, due[:50], due[75:100]} { // neighbours, too
		run = slices.Sorted(slices.Values(run))
		even := 40 * time.Millisecond / time.Duration(len(run))
		for i := 1; i < len(run); i++ {
			if gap := run[i] - run[i-1]; gap < even/4 || gap > 3*even {
				t.Fatalf("of %d sessions two send %v apart, %v is even", len(run), gap, even)
			}
		}
	}
}

func TestPlanInterleaves(t *testing.T) {
	t.Parallel()
	p := plan{schedule: newSchedule(time.Unix(0, 0), &LoadConfig{Rate: 4, Sources: 1})}
	var got []string
	for range 11 {
		turn := p.next()
		what := "frame"
		if turn.ping {
			what = "ping"
		}
		got = append(got, fmt.Sprint(what, turn.n))
		p.pass(turn)
	}
	want := "frame1 frame2 frame3 frame4 frame5 ping1 frame6 frame7 frame8 frame9 ping2"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("plan is\n%s, want\n%s", s, want)
	}
}

func TestMediaIsTheMessageOfABridge(t *testing.T) {
	t.Parallel()
	b := media{sequence: 7, tag: "00000001-a0", chunk: 4, timestamp: 2880, payload: "eA=="}.appendTo(nil)
	var got any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	const want = `{"event":"media","sequenceNumber":"7","media":{"tag":"00000001-a0","chunk":"4","timestamp":"2880","payload":"eA=="}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}

func BenchmarkMedia(b *testing.B) {
	a := newAudio(120)
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for i := range b.N {
		buf = media{sequence: uint64(i), tag: "00000001-a0", chunk: uint64(i), timestamp: uint64(i) * 960, payload: a.encoded[i%variants]}.appendTo(buf[:0])
	}
}

// statement is what tally says of these frames.
func statement(a *audio, session int, frames ...uint64) string {
	var ranges []string
	for _, n := range frames {
		ranges = append(ranges, fmt.Sprint(n))
	}
	return fmt.Sprintf("frames %s count %d fnv1a %016x", strings.Join(ranges, ","), len(frames), a.sum(session, frames))
}

func TestBook(t *testing.T) {
	t.Parallel()
	a := newAudio(20)
	one, two := tagOf(0), tagOf(1)
	type final struct {
		tag, text string
		wrong     bool
	}
	for name, tc := range map[string]struct {
		finals        []final
		lost, doubled uint64 // of 6 frames that two sources took turns to send
	}{
		"all once":           {[]final{{one, statement(a, 3, 1, 3, 5), false}, {two, statement(a, 3, 2, 4, 6), false}}, 0, 0},
		"nothing":            {nil, 6, 0},
		"a hole":             {[]final{{one, statement(a, 3, 1, 5), false}, {two, statement(a, 3, 2, 4, 6), false}}, 1, 0},
		"the end":            {[]final{{one, statement(a, 3, 1, 3), false}, {two, statement(a, 3, 2, 4), false}}, 2, 0},
		"twice":              {[]final{{one, statement(a, 3, 1, 3, 5), false}, {two, statement(a, 3, 2, 4, 6), false}, {one, statement(a, 3, 3), false}}, 0, 1},
		"never sent":         {[]final{{one, statement(a, 3, 1, 3, 5, 7), false}, {two, statement(a, 3, 2, 4, 6), false}}, 0, 1},
		"of another source":  {[]final{{two, statement(a, 3, 1, 3, 5), true}, {two, statement(a, 3, 2, 4, 6), false}}, 3, 0},
		"of another session": {[]final{{one, statement(a, 4, 1, 3, 5), true}, {two, statement(a, 3, 2, 4, 6), false}}, 3, 0},
		"no statement":       {[]final{{one, "hello", true}}, 6, 0},
		"frame 0":            {[]final{{one, statement(a, 3, 0), true}}, 6, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := book{audio: a, session: 3, sources: 2}
			for _, f := range tc.finals {
				if _, err := b.enter(f.tag, f.text); (err != nil) != f.wrong {
					t.Errorf("final %q: error %v", f.text, err)
				}
			}
			if lost, doubled := b.close(6); lost != tc.lost || doubled != tc.doubled {
				t.Errorf("lost %d and doubled %d, want %d and %d", lost, doubled, tc.lost, tc.doubled)
			}
		})
	}
}

func TestCombine(t *testing.T) {
	t.Parallel()
	cfg := &Config{Load: LoadConfig{Sessions: 2, Sources: 3, FrameBytes: 120}, Deployment: Deployment{Share: 60 * time.Millisecond}}
	got := combine(cfg, []Result{
		{Ratio: 3, Final: Final{FinalP99: 9}, Lost: 1, LateSends: 4, CPU: map[string]float64{"bus": 5}},
		{Ratio: 1, Final: Final{FinalP99: 7}, CPU: map[string]float64{"bus": 9}},
		{Ratio: 2, Final: Final{FinalP99: 8}, Doubled: 2, LateSends: 1, CPU: map[string]float64{"bus": 6}},
	})
	want := Result{
		Sessions: 2, Sources: 3, FrameBytes: 120, ShareMS: 60, Runs: 3,
		Ratio: 2, Final: Final{FinalP99: 8}, Lost: 1, Doubled: 2, LateSends: 5, CPU: map[string]float64{"bus": 6},
	}
	for _, m := range want.byProcess() {
		if *m == nil {
			*m = map[string]float64{}
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.OK() {
		t.Error("a result with losses is fine")
	}
}

func TestNextTry(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ good, bad, want int }{
		"first was carried": {100, 0, 200}, "first was too much": {0, 100, 0}, "between": {400, 800, 600},
		"near enough": {770, 800, 0}, "few": {2, 3, 0}, "few and far": {2, 4, 3},
	} {
		t.Run(name, func(t *testing.T) {
			if got := nextTry(tc.good, tc.bad); got != tc.want {
				t.Errorf("after %d and %d comes %d, want %d", tc.good, tc.bad, got, tc.want)
			}
		})
	}
}

func TestTooMuch(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		r       Result
		foreign bool
		want    string
	}{
		"carried":          {Result{Frame: Frame{FrameP99: 9}}, false, ""},
		"slow":             {Result{Frame: Frame{FrameP99: 11}}, false, "p99 of frames"},
		"lost":             {Result{Lost: 1}, false, "1 frames lost, 0"},
		"failed":           {Result{Failed: 1}, false, "0 frames lost, 0 doubled, 1 sessions failed"},
		"foreign and slow": {Result{Ping: Ping{PingP99: 11}}, true, "p99 of pings"},
		"foreign":          {Result{Frame: Frame{FrameP99: 11}, Ping: Ping{PingP99: 9}}, true, ""},
		"too short":        {Result{}, false, "nothing was measured"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tooMuch(&tc.r, nil, tc.foreign, 10*time.Millisecond); !strings.HasPrefix(got, tc.want) || got == "" != (tc.want == "") {
				t.Errorf("says %q, want %q", got, tc.want)
			}
		})
	}
}

func TestBudgetsAreJudged(t *testing.T) {
	t.Parallel()
	of := func(v float64) func(*measures) float64 { return func(*measures) float64 { return v } }
	for name, tc := range map[string]struct {
		f      figure
		err    error
		missed bool
	}{
		"within":         {figure{bound: 2, of: of(1.9)}, nil, false},
		"above":          {figure{bound: 2, of: of(2.1)}, nil, true},
		"enough":         {figure{bound: 2, least: true, of: of(2)}, nil, false},
		"not enough":     {figure{bound: 2, least: true, of: of(1.9)}, nil, true},
		"not measured":   {figure{bound: 2, of: of(0)}, nil, true},
		"something lost": {figure{bound: 2, of: of(1)}, errors.New("lost"), true},
	} {
		t.Run(name, func(t *testing.T) {
			if b := tc.f.judge(&measures{}, "", tc.err); b.Missed != tc.missed {
				t.Errorf("budget %+v", b)
			}
		})
	}
}
