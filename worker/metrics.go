package worker

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a worker. Nothing is labelled by session.
type metrics struct {
	frames, duplicates, holes, stale, bad, undecodable, interims, unsent prometheus.Counter
	unaccounted, recovered                                               prometheus.Counter
	covered, abandoned                                                   prometheus.Counter
	results, refused                                                     *prometheus.CounterVec
}

// stored counts a result and the frames that it accounts for.
func (m *metrics) stored(e entry) {
	m.results.WithLabelValues(string(e.kind)).Inc()
	if e.cover == nil {
		return
	}
	m.covered.Add(float64(e.cover.frames))
	for reason, n := range e.cover.refused {
		m.refused.WithLabelValues(reason).Add(float64(n))
	}
}

func newMetrics(reg prometheus.Registerer, w *Worker) (metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "stenobus", Subsystem: "worker", Name: name, Help: help})
	}
	gauge := func(name, help string, read func(Stats) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "stenobus", Subsystem: "worker", Name: name, Help: help},
			func() float64 { return float64(read(w.Stats())) })
	}
	m := metrics{
		frames:      counter("frames_total", "Frames received in order."),
		duplicates:  counter("frames_duplicate_total", "Frames that came again and were dropped."),
		holes:       counter("holes_reported_total", "Hole reports sent."),
		stale:       counter("messages_stale_total", "Messages of an old life, epoch or attach."),
		bad:         counter("messages_bad_total", "Messages that could not be read."),
		undecodable: counter("frames_undecodable_total", "Frames whose audio could not be decoded."),
		interims:    counter("interims_total", "Interims published."),
		unsent:      counter("messages_unsent_total", "Core messages that the connection did not take."),
		abandoned:   counter("numbers_abandoned_total", "Numbers that were lost with the gateway that could have sent them again."),
		covered:     counter("frames_covered_total", "Frames that stored results cover."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "stenobus", Subsystem: "worker", Name: "frames_refused_total", Help: "Frames that stored results count as refused, by reason.",
		}, []string{"reason"}),
		unaccounted: counter("frames_unaccounted", "Frames neither covered nor refused at a session's end. Must be 0."),
		recovered:   counter("frames_recovered_total", "Frames read from the audio log, because their gateway was gone."),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "stenobus", Subsystem: "worker", Name: "results_total", Help: "Results stored, by kind.",
		}, []string{"kind"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.frames, m.duplicates, m.holes, m.stale, m.bad, m.undecodable, m.interims, m.unsent, m.unaccounted, m.recovered,
		m.covered, m.abandoned, m.refused, m.results,
		gauge("sessions", "Sessions held.", func(s Stats) int { return s.Sessions }),
		gauge("sessions_streaming", "Sessions that had audio in the last 5 seconds.", func(s Stats) int { return s.Streaming }),
		gauge("slots", "Sessions that may be held.", func(s Stats) int { return s.Slots }),
	} {
		if err := reg.Register(c); err != nil {
			return m, err
		}
	}
	return m, nil
}
