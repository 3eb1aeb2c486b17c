package placesim

import (
	"math"
	"slices"
	"time"
)

// sampleReports: of so many reports one is measured, for looking at the clock costs as much.
const sampleReports = 16

// figure sums CPU times.
type figure struct {
	sum   time.Duration
	count int
}

func (f *figure) add(d time.Duration) { f.sum += d; f.count++ }

// us is the mean in µs, 0 where there is none.
func (f *figure) us() float64 {
	if f.count == 0 {
		return 0
	}
	return float64(f.sum) / float64(f.count) / float64(time.Microsecond)
}

// meter measures the CPU time of this thread, less what measuring costs.
type meter struct {
	cost     time.Duration // of looking at the clock
	count    int
	measured figure
}

func newMeter() meter {
	const tries = 2001
	all := make([]time.Duration, tries)
	for i := range all {
		from := threadTime()
		all[i] = threadTime() - from
	}
	slices.Sort(all)
	return meter{cost: all[tries/2]}
}

// of is the CPU time of f.
func (m *meter) of(f func()) time.Duration {
	from := threadTime()
	f()
	return max(0, threadTime()-from-m.cost)
}

// measure calls f, and counts its time if that is wanted.
func (m *meter) measure(wanted bool, f func()) {
	m.count++
	if wanted {
		m.measured.add(m.of(f))
	} else {
		f()
	}
}

// balance is what samples of the fleet say, in the steady state.
type balance struct {
	samples            int
	mean, sd, p99, max float64 // of the workers' loads, summed over samples
}

// look takes a sample, of the workers that are well and serve the common language.
func (s *sim) look() {
	s.after(sampleEvery, event{kind: looks})
	if !s.steady() {
		return
	}
	loads := s.loads[:0]
	sum := 0.0
	for i := range s.workers {
		if w := &s.workers[i]; w.alive && !w.draining && w.language == 0 {
			load := float64(len(w.sessions)) / float64(w.slots)
			loads = append(loads, load)
			sum += load
		}
	}
	s.loads = loads
	if len(loads) == 0 || sum == 0 {
		return
	}
	slices.Sort(loads)
	mean, squares := sum/float64(len(loads)), 0.0
	for _, l := range loads {
		squares += (l - mean) * (l - mean)
	}
	b := &s.balance
	b.samples++
	b.mean += mean
	b.sd += math.Sqrt(squares / float64(len(loads)))
	b.p99 += loads[(len(loads)-1)*99/100] / mean
	b.max += loads[len(loads)-1] / mean
}

// steady is the time between the ramp and the burst.
func (s *sim) steady() bool {
	burst, _ := s.burst()
	return s.now >= ramp+settle && s.now < burst
}

// over is a mean over the samples.
func (b *balance) over(sum float64) float64 {
	if b.samples == 0 {
		return 0
	}
	return sum / float64(b.samples)
}
