package placement

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"stenobus/subjects"
)

// resident is a worker of a cell.
func resident(cell, id string, slots, sessions int) subjects.WorkerReport {
	return subjects.WorkerReport{
		Worker: subjects.WorkerID(id), Cell: cell, Slots: slots, Sessions: sessions,
		Engines: []subjects.EngineReport{{Name: "tally"}},
	}
}

func TestCells(t *testing.T) {
	t.Parallel()
	home, away := resident("east", "e", 4, 0), resident("west", "w", 4, 0)
	full, other := home, home
	full.Sessions = 4
	other.Engines = []subjects.EngineReport{{Name: "other"}}
	anywhere := resident("", "old", 4, 0)
	for name, tc := range map[string]struct {
		from    string
		spill   bool
		fleet   []subjects.WorkerReport
		silent  string // does not answer
		options subjects.Options
		want    string // worker, or what the refusal says
		spilled bool
	}{
		"home has room":                    {from: "east", spill: true, fleet: []subjects.WorkerReport{home, away}, want: "e"},
		"home is full":                     {from: "east", spill: true, fleet: []subjects.WorkerReport{full, away}, want: "w", spilled: true},
		"home is full and it may not":      {from: "east", fleet: []subjects.WorkerReport{full, away}, want: "1 full, 0 draining, 0 tried in vain, 1 in other cells than east, which it may not leave"},
		"home has no workers":              {from: "east", spill: true, fleet: []subjects.WorkerReport{away}, want: "w", spilled: true},
		"home has not the engine":          {from: "east", spill: true, fleet: []subjects.WorkerReport{other, away}, options: subjects.Options{Engine: "tally"}, want: "w", spilled: true},
		"home does not answer":             {from: "east", spill: true, fleet: []subjects.WorkerReport{home, away}, silent: "e", want: "w", spilled: true},
		"home does not answer, but it may": {from: "east", fleet: []subjects.WorkerReport{home, away}, silent: "e", want: "e"},
		"nobody has room":                  {from: "east", spill: true, fleet: []subjects.WorkerReport{full}, want: "no worker has room"},
		"a claim without a cell":           {spill: true, fleet: []subjects.WorkerReport{away}, want: "w"},
		"a worker without a cell":          {from: "east", fleet: []subjects.WorkerReport{full, anywhere}, want: "old"},
		"a worker without a cell, else":    {from: "east", spill: true, fleet: []subjects.WorkerReport{full, anywhere}, want: "old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, strategy := range Strategies() {
				f := New(strategy, nil)
				for _, r := range tc.fleet {
					f.Put(r, time.Now())
				}
				f.Silent(subjects.WorkerID(tc.silent), time.Now())
				n := &need{session: "s", cell: tc.from, spill: tc.spill, options: tc.options}
				p, ok := f.reserve(n)
				if !ok {
					if why := f.whyNobody(n); !strings.Contains(why, tc.want) {
						t.Errorf("%s: refused: %s", strategy, why)
					}
					continue
				}
				if string(p.Worker) != tc.want || p.spilled != tc.spilled {
					t.Errorf("%s: got %s, spilled: %v", strategy, p.Worker, p.spilled)
				}
				if says := strings.Contains(p.Why, "in cell west as east has no room for it"); says != tc.spilled {
					t.Errorf("%s: it is said: %s", strategy, p.Why)
				}
			}
		})
	}
}

// A cell's slots are all used before one session leaves it, however few of the workers
// are in that cell.
func TestSpillBeginsWhenTheCellIsFull(t *testing.T) {
	t.Parallel()
	const cells, workers, slots = 10, 20, 5
	for _, strategy := range []string{Spread, Pack, Hash} {
		f := New(strategy, nil)
		for c := range cells {
			for w := range workers {
				f.Put(resident(fmt.Sprint("cell-", c), fmt.Sprint(c, ".", w), slots, 0), time.Now())
			}
		}
		for i := range workers*slots + 1 {
			p, ok := f.reserve(&need{session: subjects.SessionID(fmt.Sprint(i)), cell: "cell-7", spill: true})
			if want := i == workers*slots; !ok || p.spilled != want {
				t.Fatalf("%s: session %d of %d: %v, %+v", strategy, i+1, workers*slots, ok, p)
			}
			f.unreserve(p.Worker)
			f.Answered(p.Worker, subjects.WorkerReply{Slots: slots, Sessions: f.index.find(p.Worker).Sessions + 1})
		}
	}
}
