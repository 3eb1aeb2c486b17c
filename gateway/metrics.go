package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a gateway. Nothing is labelled by session or by what a client wrote.
type metrics struct {
	frames, messages, unsent, shed, stale, bad, repairs, unaccounted, replayed prometheus.Counter
	results, ends, moves, warnings, refused, refusals                          *prometheus.CounterVec
	claim                                                                      prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, g *Server) (metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "stenobus", Subsystem: "gateway", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts(opts(name, help)))
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), []string{label})
	}
	gauge := func(name, help string, read func(Stats) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts(name, help)), func() float64 { return float64(read(g.Stats())) })
	}
	m := metrics{
		frames:      counter("frames_total", "Frames taken from clients."),
		messages:    counter("messages_total", "Messages published for workers."),
		unsent:      counter("messages_unsent_total", "Messages that the connection to the bus did not take."),
		shed:        counter("interims_shed_total", "Interims dropped for slow clients or replaced by newer ones."),
		stale:       counter("messages_stale_total", "Messages of an old life, epoch or attach."),
		bad:         counter("messages_bad_total", "Messages of the bus that could not be read."),
		repairs:     counter("results_repairs_total", "Reads of the store because a result did not come."),
		replayed:    counter("frames_replayed_total", "Frames sent to workers again."),
		unaccounted: counter("frames_unaccounted", "Frames neither covered nor refused at a session's end. Must be 0."),
		results:     vec("results_total", "Results delivered, by kind.", "kind"),
		ends:        vec("ends_total", "Connections closed, by code.", "code"),
		moves:       vec("moves_total", "Sessions moved to another worker, by reason.", "reason"),
		warnings:    vec("warnings_total", "Faults in what clients sent, by code.", "code"),
		refusals:    vec("refusals_total", "Requests that became no session, by code.", "code"),
		refused:     vec("frames_refused_total", "Frames or sources not transcribed, by reason.", "reason"),
		claim: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "stenobus", Subsystem: "gateway", Name: "claim_seconds", Help: "Duration of granted claims.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 13),
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.frames, m.messages, m.unsent, m.shed, m.stale, m.bad, m.repairs, m.unaccounted, m.replayed,
		m.results, m.ends, m.moves, m.warnings, m.refused, m.refusals, m.claim,
		gauge("sessions_active", "Sessions with a client.", func(s Stats) int { return s.Active }),
		gauge("sessions_detached", "Sessions that wait for their client.", func(s Stats) int { return s.Detached }),
		gauge("sessions_streaming", "Sessions that had audio in the last 5 seconds.", func(s Stats) int { return s.Streaming }),
	} {
		if err := reg.Register(c); err != nil {
			return m, err
		}
	}
	return m, nil
}

// known keeps codes of a metric to those that this program writes.
func known(code string) string {
	if len(code) > 32 || code == "" {
		return "other"
	}
	return code
}
