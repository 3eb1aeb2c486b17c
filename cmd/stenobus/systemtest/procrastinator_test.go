package systemtest

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
)

// A worker that takes a session, gives signs of life for a while, and falls silent without
// ever being ready, loses it to another.
func TestWorkerThatIsNeverReady(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	taken := s.procrastinator("w1")
	gw := s.gateway(gateway.Config{})
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 100)
	select {
	case <-taken:
	case <-time.After(subjectstest.Wait):
		t.Fatal("nobody asked the worker that is never ready")
	}
	s.worker(worker.Config{ID: "w2"})
	c.until("the first final", func() bool { return len(c.finals) > 0 })
	c.finish()
	if first := c.finals[0].FirstFrame; first != 1 {
		t.Errorf("the first final begins at frame %d", first)
	}
}

// procrastinator is a worker that accepts whatever it is assigned, shows that it lives, and
// does nothing more. taken is closed at the first assignment.
func (s *system) procrastinator(id subjects.WorkerID) (taken <-chan struct{}) {
	s.t.Helper()
	first := make(chan struct{})
	_, err := s.nc.Subscribe(subjects.Worker(id), func(m *nats.Msg) {
		req, err := subjects.DecodeDoc[subjects.WorkerRequest]("worker request", m.Data)
		if err != nil || req.Op != subjects.OpAssign || m.Reply == "" {
			return
		}
		if err := m.Respond(subjects.Encode(subjects.WorkerReply{V: subjects.Version, Slots: 1, Sessions: 1})); err != nil {
			s.t.Errorf("answer: %v", err)
		}
		select {
		case <-first:
			return
		default:
			close(first)
		}
		ack := subjects.Envelope{Kind: subjects.KindAck, Stamp: req.Stamp}
		for range 3 {
			if err := s.nc.PublishMsg(ack.Msg(subjects.Inbox(req.Session, subjects.ChannelAck), nil)); err != nil {
				s.t.Errorf("acknowledge: %v", err)
			}
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	js, err := jetstream.New(s.nc)
	if err != nil {
		s.t.Fatal(err)
	}
	kv, err := js.KeyValue(s.ctx(), subjects.WorkersBucket)
	if err != nil {
		s.t.Fatal(err)
	}
	report := subjects.WorkerReport{
		V: subjects.Version, Worker: id, Slots: 1, Engines: []subjects.EngineReport{{Name: "tally"}},
		Since: time.Now().UTC().Format(time.RFC3339Nano),
	}
	if _, err := kv.Put(s.ctx(), id.Token(), subjects.Encode(report)); err != nil {
		s.t.Fatal(err)
	}
	return first
}
