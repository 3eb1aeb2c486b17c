package placement

import (
	"fmt"
	"testing"
	"time"

	"stenobus/subjects"
)

// fleetOf makes a fleet of workers with ten slots, of which a share is full, and a
// twentieth serves another language than the others.
func fleetOf(strategy string, size int, crowded float64) *Fleet {
	f := New(strategy, nil)
	for i := range size {
		r := subjects.WorkerReport{
			Worker: subjects.WorkerID(fmt.Sprint("worker-", i)), Slots: 10, Sessions: i % 10,
			Engines: []subjects.EngineReport{{Name: "tally", Languages: []string{"en"}}},
		}
		if i%20 == 0 {
			r.Engines[0].Languages = []string{"fi"}
			r.Sessions = 0
		} else if float64(i%100) < 100*crowded {
			r.Sessions = r.Slots
		}
		f.Put(r, time.Time{})
	}
	return f
}

// BenchmarkClaim is a claim that is granted: what it costs must not depend on the size of
// the fleet, nor on how many of its workers have room.
func BenchmarkClaim(b *testing.B) {
	for _, strategy := range Strategies() {
		for _, size := range []int{100, 1000, 10_000} {
			for name, crowded := range map[string]float64{"roomy": 0, "crowded": 0.98} {
				b.Run(fmt.Sprintf("%s/%s/%d", strategy, name, size), func(b *testing.B) {
					f := fleetOf(strategy, size, crowded)
					for i := 0; b.Loop(); i++ {
						s := f.Search("s", subjects.Options{Language: "fi"}, Patience{})
						w, ok := s.Reserve()
						if !ok {
							b.Fatal("refused")
						}
						f.Answered(w, subjects.WorkerReply{Slots: 10, Sessions: 0})
						s.Unreserve()
					}
				})
			}
		}
	}
}

// BenchmarkRefusal is a claim for which nobody has room.
func BenchmarkRefusal(b *testing.B) {
	for _, size := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := fleetOf(Spread, size, 1)
			for b.Loop() {
				s := f.Search("s", subjects.Options{Language: "en"}, Patience{})
				if _, ok := s.Reserve(); ok {
					b.Fatal("placed")
				}
				s.Refusal()
			}
		})
	}
}

// BenchmarkReport is what a dispatcher does with each report, once it is decoded.
func BenchmarkReport(b *testing.B) {
	for _, strategy := range []string{Spread, Pack} {
		for _, size := range []int{100, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", strategy, size), func(b *testing.B) {
				f := fleetOf(strategy, size, 0.5)
				reports := make([]subjects.WorkerReport, 0, size)
				for _, c := range f.index.all {
					reports = append(reports, c.WorkerReport)
				}
				for i := 0; b.Loop(); i++ {
					r := reports[i*7919%size]
					r.Sessions = i % 10
					f.Put(r, time.Time{})
				}
			})
		}
	}
}
