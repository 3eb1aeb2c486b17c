package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRecoveries(t *testing.T) {
	t.Parallel()
	r := newRecoveries()
	kill := r.begin(WorkerKill, map[uint32]before{1: {epoch: 4}, 2: {epoch: 1}})
	cut := r.begin(ClientCut, map[uint32]before{1: {sent: []uint64{0, 10}}})
	r.covered(1, result{epoch: 4, source: 1, last: 9}, kill.at.Add(time.Second))
	r.covered(1, result{epoch: 4, source: 1, last: 11}, cut.at.Add(2*time.Second))
	if left := r.wait(t.Context(), cut); left != 0 || r.times(ClientCut)[0] != 2*time.Second {
		t.Errorf("cut: %d left, %v", left, r.times(ClientCut))
	}
	r.covered(1, result{epoch: 5, source: 1, last: 11}, kill.at.Add(3*time.Second))
	r.over(2)
	if left := r.wait(t.Context(), kill); left != 0 || len(r.times(WorkerKill)) != 1 || r.times(WorkerKill)[0] != 3*time.Second {
		t.Errorf("kill: %d left, %v", left, r.times(WorkerKill))
	}
	if r.open.Load() != 0 {
		t.Errorf("%d watches are open", r.open.Load())
	}
	if left := r.wait(t.Context(), r.begin(BusDown, nil)); left != 0 {
		t.Errorf("nobody was hit, %d left", left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if left := r.wait(ctx, r.begin(WorkerHang, map[uint32]before{1: {}})); left != 1 || len(r.times(WorkerHang)) != 0 {
		t.Errorf("interrupted: %d left, %v", left, r.times(WorkerHang))
	}
}

func TestParseSockets(t *testing.T) {
	t.Parallel()
	got := parseSockets(`  sl  local_address rem_address   st tx_queue
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000
   1: 0100007F:9C40 0100007F:1F90 01 00000000:00000000
   2: 0100007F:9C42 0100007F:1F91 06 00000000:00000000
   3: nonsense`)
	if len(got) != 1 || !got["8080"] {
		t.Errorf("connected to %v, want 8080", got)
	}
}

func TestParseGauge(t *testing.T) {
	t.Parallel()
	const text = "# HELP go_goroutines x\n# TYPE go_goroutines gauge\ngo_goroutines 42\ngo_goroutines_other 7\n"
	if n, err := parseGauge(text, goroutines); err != nil || n != 42 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := parseGauge("", goroutines); err == nil {
		t.Error("found a figure in nothing")
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := &run{cfg: Config{Seed: 9}, wrongs: newWrongs(), recoveries: newRecoveries()}
	r.injector = &injector{counts: map[Kind]int{WorkerKill: 2, BusLeaderKill: 1}}
	for _, d := range []time.Duration{300, 100, 200} {
		r.recoveries.add(WorkerKill, d*time.Millisecond)
	}
	r.recoveries.gap(350 * time.Millisecond)
	out := r.report(nil)
	if out.Verdict != Pass || out.Wrong() != nil {
		t.Errorf("verdict %s, %v", out.Verdict, out.Wrong())
	}
	if got := out.Faults[WorkerKill]; got != (FaultReport{N: 2, Samples: 3, P50MS: 200, P99MS: 300, MaxMS: 300}) {
		t.Errorf("worker_kill %+v", got)
	}
	if got := out.Faults[BusLeaderKill].InterimGaps; got != 350 {
		t.Errorf("gap %v", got)
	}
	for _, f := range []Fail{
		FrameUnaccounted, FinalLost, FinalDoubled, FinalDisordered, FinalStale, InterimStale, SessionLost, Leftover,
	} {
		r.wrongs = newWrongs()
		r.wrongs.add(wrong(f, 1, "what was seen"))
		out := r.report(nil)
		var table bytes.Buffer
		if err := out.Table(&table); err != nil {
			t.Fatal(err)
		}
		if out.Verdict != Failed || out.Wrong() == nil || !strings.Contains(table.String(), "what was seen") {
			t.Errorf("%s: verdict %s\n%s", f, out.Verdict, table.String())
		}
	}
}

// The fields that others read are all there, also where they are 0.
func TestReportAsJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(Report{Faults: map[Kind]FaultReport{WorkerKill: {}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{
		"verdict", "seed", "frames_accepted", "frames_unaccounted", "finals_lost", "finals_doubled", "finals_disordered",
		"sessions_lost", "leftovers", "faults", "n", "recovery_p50_ms", "recovery_p99_ms", "recovery_max_ms",
	} {
		if !strings.Contains(string(b), `"`+field+`":`) {
			t.Errorf("field %s is missing in %s", field, b)
		}
	}
}

func TestLivesOfOneID(t *testing.T) {
	t.Parallel()
	l := newLives([]uint32{3, 8, 9})
	for i, tt := range []struct {
		life uint64
		want uint32
	}{{5, 3}, {5, 3}, {7, 8}, {5, 8}, {7, 8}, {20, 9}, {21, 9}} {
		if got := l.of(tt.life); got != tt.want {
			t.Errorf("entry %d, of life %d, is session %d's, want %d", i, tt.life, got, tt.want)
		}
	}
	if got := newLives(nil).of(1); got != 0 {
		t.Errorf("a life of nobody is session %d's", got)
	}
}
