package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"stenobus/cmd/stenobus/internal/child"
)

// LogResult is what was measured of a results log, with units in the names.
type LogResult struct {
	Sessions    int                `json:"sessions"`
	Streams     int                `json:"streams"`
	Replicas    int                `json:"replicas"`
	ResultBytes int                `json:"result_bytes"`            // payload
	StoredBytes float64            `json:"stored_bytes_per_result"` // in each copy, over all
	ResultsPerS float64            `json:"results_per_s"`
	CPU         map[string]float64 `json:"cpu_us_per_result"` // of all bus processes, and of the client: writers and subscriber
	Busy        map[string]float64 `json:"cpu_ms_per_s"`
	AckP50      float64            `json:"ack_p50_ms"`
	AckP99      float64            `json:"ack_p99_ms"`
	Again       uint64             `json:"refused_tries"` // written again after that, as workers do
	Stored      uint64             `json:"results_stored"`
	Heard       uint64             `json:"results_heard"` // by a subscriber, sent on by the streams
}

func (b *logBench) result(writers []*writer, n uint64, took time.Duration, begin, end map[string]child.Usage) LogResult {
	r := LogResult{
		Sessions: len(writers), Streams: b.Streams, Replicas: b.Replicas, ResultBytes: len(writers[0].message().Data),
		ResultsPerS: round(ratio(float64(n), took.Seconds())), CPU: map[string]float64{}, Busy: map[string]float64{},
	}
	var acks []time.Duration
	for _, w := range writers {
		acks = append(acks, w.took[1:]...) // the first made its subject
	}
	r.AckP50, r.AckP99 = ms(quantile(acks, 0.5)), ms(quantile(acks, 0.99))
	r.Again = b.again.Load()
	for role, u := range end {
		cpu := u.CPU - begin[role].CPU
		r.CPU[role] = round(ratio(float64(cpu.Microseconds()), float64(n)))
		r.Busy[role] = round(ratio(ms(cpu), took.Seconds()))
	}
	return r
}

// Table writes the result for people.
func (r *LogResult) Table(out io.Writer) error {
	fmt.Fprintf(out, "sessions %d, streams %d, copies of each %d, bytes a result %d\n\n", r.Sessions, r.Streams, r.Replicas, r.ResultBytes)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "results/s\t%.0f\n", r.ResultsPerS)
	for _, role := range []string{roleBus, roleClient} {
		fmt.Fprintf(w, "CPU a result, %s, µs\t%.1f\t%.0f %% of a core\n", role, r.CPU[role], r.Busy[role]/10)
	}
	fmt.Fprintf(w, "acknowledgement, ms\tp50 %.2f\tp99 %.2f\n", r.AckP50, r.AckP99)
	fmt.Fprintf(w, "stored, heard\t%d\t%d\n", r.Stored, r.Heard)
	fmt.Fprintf(w, "tries refused\t%d\n", r.Again)
	return w.Flush()
}
