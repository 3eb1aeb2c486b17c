package dispatcher

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"stenobus/subjects"
)

const (
	waitingFor = 3 * time.Second // a session that was refused so long ago no longer waits
	maxWaiting = 1 << 16         // sessions counted as waiting, at most
)

// metrics of a dispatcher. Nothing is labelled by session.
type metrics struct {
	claims    *prometheus.CounterVec
	assigns   *prometheus.CounterVec
	keeps     *prometheus.CounterVec
	duration  prometheus.Histogram
	conflicts prometheus.Counter
	orphans   prometheus.Counter
	spilled   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, d *Dispatcher) (metrics, error) {
	const namespace, subsystem = "stenobus", "dispatcher"
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels prometheus.Labels, read func(Stats) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, ConstLabels: labels,
		}, func() float64 { return float64(read(d.Stats())) })
	}
	workers := func(state string, read func(Stats) int) prometheus.Collector {
		return gauge("workers", "Workers known, by state.", prometheus.Labels{"state": state}, read)
	}
	m := metrics{
		claims:  counters("claims_total", "Claims answered, by kind and result.", "kind", "result"),
		assigns: counters("assign_total", "Assignments asked of workers, by result.", "result"),
		keeps:   counters("keeps_total", "Renewals and ends of records answered, by kind and result.", "kind", "result"),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "claim_duration_seconds", Help: "Time from a claim to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2},
		}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "cas_conflicts_total", Help: "Writes of a record that lost to another one and were tried again.",
		}),
		orphans: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "orphans_total", Help: "Sessions placed on a worker because gateway and worker were gone.",
		}),
	}
	m.spilled = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "spilled_total", Help: "Sessions placed on a worker of another cell, because their own had no room.",
	})
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.claims, m.assigns, m.keeps, m.duration, m.conflicts, m.orphans, m.spilled,
		workers("ready", func(s Stats) int { return s.Ready }),
		workers("full", func(s Stats) int { return s.Full }),
		workers("draining", func(s Stats) int { return s.Draining }),
		workers("suspect", func(s Stats) int { return s.Suspect }),
		gauge("free_slots", "Sessions for which workers have room.", nil, func(s Stats) int { return s.FreeSlots }),
		gauge("waiting_sessions", "Sessions refused in the last 3 s because no worker had room.", nil, func(s Stats) int { return s.Waiting }),
	} {
		if err := reg.Register(c); err != nil {
			return m, err
		}
	}
	return m, nil
}

// result is the label of an outcome: a code of the contract, ok, or other, so that
// strangers cannot make labels.
func result(e *subjects.Error) string {
	if e == nil {
		return "ok"
	}
	switch e.Code {
	case subjects.CodeNoWorker, subjects.CodeUnsupported, subjects.CodeSuperseded, subjects.CodeFull,
		subjects.CodeDraining, subjects.CodeEnding, subjects.CodeEnded, subjects.CodeBadRequest,
		subjects.CodeVersion, subjects.CodeInternal, subjects.MoveGone, subjects.MoveSilent:
		return e.Code
	}
	return "other"
}

// demand counts the sessions that found no room lately.
type demand struct {
	mu sync.Mutex
	at map[subjects.SessionID]time.Time // of the last refusal
}

func newDemand() *demand { return &demand{at: map[subjects.SessionID]time.Time{}} }

// refused notes a session, and tells whether it was not waiting before.
func (w *demand) refused(id subjects.SessionID, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, known := w.at[id]
	if !known && len(w.at) >= maxWaiting {
		return false
	}
	w.at[id] = now
	return !known
}

func (w *demand) granted(id subjects.SessionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.at, id)
}

// sweep forgets those who gave up, and counts the others.
func (w *demand) sweep(now time.Time) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, at := range w.at {
		if now.Sub(at) > waitingFor {
			delete(w.at, id)
		}
	}
	return len(w.at)
}
