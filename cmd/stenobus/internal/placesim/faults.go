package placesim

import "time"

// reporting is a worker's report, every so often while it lives. An event of a process
// that is gone does nothing.
func (s *sim) reporting(e event) {
	w := &s.workers[e.a]
	if !w.alive || w.process != e.b {
		return
	}
	s.report(e.a)
	s.after(s.cfg.ReportEvery, event{kind: reports, a: e.a, b: e.b})
}

// crash takes a worker away, without a word. Gateways notice by their probes.
func (s *sim) crash() {
	s.again(crashes, s.cfg.Crashes)
	wi, ok := s.anyone()
	if !ok {
		return
	}
	w := &s.workers[wi]
	s.tally.Crashes++
	s.stop(wi)
	for len(w.sessions) > 0 {
		s.leave(w.sessions[len(w.sessions)-1], afterCrash, s.between(250*time.Millisecond, 500*time.Millisecond))
	}
	s.events.push(event{at: w.told + keyExpiry, kind: expires, a: wi, b: w.process})
}

// drain tells a worker to stop in order: its sessions go first.
func (s *sim) drain() {
	s.again(drains, s.cfg.Drains)
	wi, ok := s.anyone()
	if !ok {
		return
	}
	w := &s.workers[wi]
	s.tally.Drains++
	w.draining = true
	s.truth(wi)
	s.report(wi)
	// A worker holds a session until the next one has it; that is a matter of
	// milliseconds, and it takes nothing else meanwhile.
	for len(w.sessions) > 0 {
		s.leave(w.sessions[len(w.sessions)-1], afterDrain, s.between(0, time.Second))
	}
	s.stopIfDrained(wi)
}

// anyone is a random worker that is well.
func (s *sim) anyone() (int32, bool) {
	for range 16 {
		wi := int32(s.rand.IntN(len(s.workers)))
		if w := &s.workers[wi]; w.alive && !w.draining {
			return wi, true
		}
	}
	return 0, false
}

// again plans the next fault of its kind: share is of the fleet, a minute.
func (s *sim) again(k kind, share float64) {
	if share > 0 {
		mean := float64(time.Minute) / (share * float64(len(s.workers)))
		s.after(time.Duration(s.rand.ExpFloat64()*mean), event{kind: k})
	}
}

// leave takes a session from its worker; it asks for another one after a while.
func (s *sim) leave(si int32, why reason, after time.Duration) {
	t := &s.sessions[si]
	t.from, t.why = t.worker, why
	t.left = max(0, t.until-s.now)
	t.wanted = s.now + after
	s.release(si)
	t.owners++ // the end that was planned is not one
	s.after(after, event{kind: retry, a: si})
}

// stop ends a worker's process, and plans the next one under the same name.
func (s *sim) stop(wi int32) {
	w := &s.workers[wi]
	w.alive, w.draining = false, false
	s.truth(wi)
	s.after(s.between(2*time.Second, 20*time.Second), event{kind: starts, a: wi})
}

func (s *sim) stopIfDrained(wi int32) {
	if w := &s.workers[wi]; w.draining && len(w.sessions) == 0 {
		s.stop(wi)
		s.tell(wi, gone)
	}
}

// expired is the moment at which a dead worker's key goes, if no new process took it.
func (s *sim) expired(e event) {
	if w := &s.workers[e.a]; !w.alive && w.process == e.b {
		s.tell(e.a, gone)
	}
}

func (s *sim) started(e event) {
	w := &s.workers[e.a]
	w.alive, w.since = true, stamp(s.now)
	w.process++
	s.truth(e.a)
	s.reporting(event{a: e.a, b: w.process})
}
