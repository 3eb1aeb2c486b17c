package systemtest

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"stenobus/cmd/stenobus/internal/capacity"
	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/ask"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

// What the capacity model takes a session to write: its record when it opens, at each
// renewal and when it ends, and into its log an owner and an end besides its finals.
func TestWritesOfASession(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{Bus: subjects.BusConfig{TombstoneExpiry: time.Second}})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(gateway.Config{})
	records, results := "KV_"+subjects.SessionsBucket, subjects.ResultsStream
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	opening := s.written(records)
	rec := s.record("room")
	s.renew(rec)
	if n := s.written(records) - opening; n != capacity.WritesOfARenewal {
		t.Errorf("a renewal writes %d times, the model says %d", n, capacity.WritesOfARenewal)
	}
	renewed := s.written(records)
	c.end()
	c.closed()
	subjectstest.Eventually(t, "the record is gone", func() bool { return len(s.keys()) == 0 })
	subjectstest.Eventually(t, "so is the memory of it", func() bool { return s.state(records).Msgs == 0 })
	if n := opening + s.written(records) - renewed; n != capacity.WritesOfASession {
		t.Errorf("opening and end write %d times, the model says %d", n, capacity.WritesOfASession)
	}
	if n := s.written(results) - uint64(len(c.finals)); n != capacity.ResultsOfASession {
		t.Errorf("the log has %d results besides finals, the model says %d", n, capacity.ResultsOfASession)
	}
}

// renew asks for what the record's worker asks for every worker.RecordRenewal.
func (s *system) renew(rec subjects.Record) {
	s.t.Helper()
	m, err := ask.Dispatchers(s.ctx(), s.nc, subjects.ClaimRenew, subjects.Encode(subjects.KeepRequest{
		V: subjects.Version, Session: rec.Session, Worker: rec.Worker, Stamp: rec.Stamp, Options: rec.Options,
	}))
	if err != nil {
		s.t.Fatal(err)
	}
	reply, err := subjects.DecodeDoc[subjects.KeepReply]("reply", m.Data)
	if err != nil || reply.Error != nil {
		s.t.Fatalf("renewal: %v, %v", err, reply.Error)
	}
}

// written is how many messages a stream ever stored.
func (s *system) written(stream string) uint64 { return s.state(stream).LastSeq }

func (s *system) state(stream string) jetstream.StreamState {
	s.t.Helper()
	st, err := s.js.Stream(s.ctx(), stream)
	if err != nil {
		s.t.Fatal(err)
	}
	return st.CachedInfo().State
}
