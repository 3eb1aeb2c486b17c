package placesim

import (
	"fmt"
	"time"

	"stenobus/subjects"
)

// languages are what workers and sessions differ in: most are of the first, a few of the
// second, and neither serves the other.
func languages() [2]string { return [2]string{"en", "fi"} }

// worker is one of the simulated fleet, as it really is.
type worker struct {
	id       subjects.WorkerID
	language int
	slots    int
	engines  []subjects.EngineReport
	sessions []int32 // that it holds
	alive    bool
	draining bool
	since    string        // start of its process, RFC 3339
	process  int32         // counts its starts
	told     time.Duration // last report
}

// free is how many sessions it would take now.
func (w *worker) free() int {
	if !w.alive || w.draining {
		return 0
	}
	return max(0, w.slots-len(w.sessions))
}

// hire makes a fleet with workers of three sizes: half have half of the slots, 35 % the
// mean and 15 % so many that the mean comes out.
func (s *sim) hire(n int) {
	engines := [kinds][]subjects.EngineReport{}
	for i, l := range languages() {
		engines[i] = []subjects.EngineReport{{Name: "tally", Languages: []string{l}}}
	}
	s.workers = make([]worker, n)
	for i := range s.workers {
		w := &s.workers[i]
		*w = worker{id: subjects.WorkerID(fmt.Sprintf("worker-%d", i)), alive: true, since: stamp(0)}
		switch u := s.rand.Float64(); {
		case u < 0.5:
			w.slots = max(1, s.cfg.Slots/2)
		case u < 0.85:
			w.slots = s.cfg.Slots
		default:
			w.slots = s.cfg.Slots * 8 / 3
		}
		if s.rand.Float64() < s.cfg.Rare {
			w.language = 1
		}
		w.engines = engines[w.language]
		s.slots[w.language] += w.slots
	}
}

// take puts a session on a worker.
func (s *sim) take(wi, si int32) {
	w, t := &s.workers[wi], &s.sessions[si]
	t.worker, t.place = wi, int32(len(w.sessions))
	w.sessions = append(w.sessions, si)
	s.speaking++
	s.tally.MostAtOnce = max(s.tally.MostAtOnce, s.speaking)
	s.truth(wi)
}

// release takes it away.
func (s *sim) release(si int32) {
	t := &s.sessions[si]
	w := &s.workers[t.worker]
	last := w.sessions[len(w.sessions)-1]
	w.sessions[t.place] = last
	s.sessions[last].place = t.place
	w.sessions = w.sessions[:len(w.sessions)-1]
	wi := t.worker
	t.worker = nobody
	s.speaking--
	s.truth(wi)
}

// truth is called whenever a worker's free slots may have changed. It keeps count of them,
// and of the workers with room of which a dispatcher has heard that they have room.
func (s *sim) truth(wi int32) {
	w := &s.workers[wi]
	free := w.free()
	s.free[w.language] += free - int(s.counted[wi])
	s.counted[wi] = int32(free)
	for i := range s.views {
		s.views[i].compare(w, wi)
	}
}

// epoch is when a simulation begins: any time will do.
func epoch() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }

func stamp(at time.Duration) string { return epoch().Add(at).Format(time.RFC3339Nano) }
