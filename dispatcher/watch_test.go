package dispatcher

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"stenobus/dispatcher/placement"
	"stenobus/subjects"
)

// told is a worker's report as the bucket's watcher hands it over.
type told struct {
	jetstream.KeyValueEntry // of which nothing else is asked
	key                     string
	value                   []byte
}

func (e *told) Key() string                   { return e.key }
func (e *told) Value() []byte                 { return e.value }
func (*told) Operation() jetstream.KeyValueOp { return jetstream.KeyValuePut }

// BenchmarkReported is all that a dispatcher does with a worker's report after nats.go has
// handed it over. Its bytes are those of the report.
func BenchmarkReported(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d := &Dispatcher{fleet: placement.New(StrategySpread, nil), results: &subjects.Results{}}
			entries := make([]told, size)
			for i := range entries {
				id := subjects.WorkerID(fmt.Sprintf("worker-%d", i))
				entries[i] = told{key: id.Token(), value: subjects.Encode(subjects.WorkerReport{
					V: subjects.Version, Worker: id, Slots: 20, Sessions: i % 20, Version: "0.2.0",
					Since:   time.Unix(0, 123456789).UTC().Format(time.RFC3339Nano),
					Labels:  map[string]string{"zone": "eu"},
					Engines: []subjects.EngineReport{{Name: "pocketsphinx", Languages: []string{"en-US"}}},
				})}
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(entries[0].value)))
			now := time.Now()
			for i := 0; b.Loop(); i++ {
				d.reported(&entries[i*7919%size], now)
			}
			if d.fleet.Size() == 0 {
				b.Error("no report was taken")
			}
		})
	}
}
