package systemtest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/dispatcher"
	"stenobus/gateway"
	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
	"stenobus/worker"
	"stenobus/worker/engine/tally"
)

// onlooker notes every frame of a session that is seen on the bus.
type onlooker struct {
	s      *system
	id     subjects.SessionID
	mu     sync.Mutex // guards what follows
	frames map[uint64][]byte
	source map[uint64]uint32
	msgs   int
}

func (s *system) onlooker(id subjects.SessionID) *onlooker {
	s.t.Helper()
	o := &onlooker{s: s, id: id, frames: map[uint64][]byte{}, source: map[uint64]uint32{}}
	if _, err := s.nc.Subscribe(subjects.Frames(id), o.see); err != nil {
		s.t.Fatal(err)
	}
	if err := s.nc.Flush(); err != nil {
		s.t.Fatal(err)
	}
	return o
}

func (o *onlooker) see(m *nats.Msg) {
	var e subjects.Envelope
	if err := e.ParseMsg(m); err != nil {
		o.s.t.Errorf("on the bus: %v", err)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.msgs++
	offset := 0
	for i, f := range e.Frames {
		n := e.N + uint64(i)
		data := m.Data[offset : offset+f.Size]
		offset += f.Size
		if old, seen := o.frames[n]; seen && string(old) != string(data) {
			o.s.t.Errorf("number %d stands for two frames", n)
		}
		o.frames[n], o.source[n] = data, f.Source
	}
}

func (o *onlooker) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.frames)
}

// logged waits until the audio log has all that was seen.
func (o *onlooker) logged() {
	o.s.t.Helper()
	stream, err := o.s.js.Stream(o.s.ctx(), subjects.AudioStream)
	if err != nil {
		o.s.t.Fatal(err)
	}
	subjectstest.Eventually(o.s.t, "the audio log has everything", func() bool {
		info, err := stream.Info(o.s.ctx(), jetstream.WithSubjectFilter(subjects.Frames(o.id)))
		o.mu.Lock()
		defer o.mu.Unlock()
		return err == nil && info.State.Subjects[subjects.Frames(o.id)] >= uint64(o.msgs)
	})
}

// results reads the session's finals out of the store, and how it ended, if it did.
func (s *system) results(id subjects.SessionID) (finals []subjects.Final, ended *subjects.Ended) {
	s.t.Helper()
	stream, err := s.js.Stream(s.ctx(), subjects.ResultsStream)
	if err != nil {
		s.t.Fatal(err)
	}
	for seq := uint64(1); ; seq++ {
		m, err := stream.GetMsg(s.ctx(), seq, jetstream.WithGetMsgSubject(subjects.Result(id)))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return finals, ended
		}
		if err != nil {
			s.t.Fatal(err)
		}
		seq = m.Sequence
		switch _, rest, _ := strings.Cut(m.Header.Get(subjects.HeaderName), " "); {
		case strings.HasPrefix(rest, string(subjects.KindFinal)):
			f, err := subjects.Decode[subjects.Final](subjects.KindFinal, m.Data)
			if err != nil {
				s.t.Fatal(err)
			}
			finals = append(finals, f)
		case strings.HasPrefix(rest, string(subjects.KindEnded)):
			e, err := subjects.Decode[subjects.Ended](subjects.KindEnded, m.Data)
			if err != nil {
				s.t.Fatal(err)
			}
			ended = &e
		}
	}
}

// over waits for the session's end in the store.
func (s *system) over(id subjects.SessionID, reason string) {
	s.t.Helper()
	deadline := time.Now().Add(2 * subjectstest.Wait)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		_, ended := s.results(id)
		if ended != nil {
			if ended.Reason != reason || ended.Unaccounted != 0 {
				s.t.Errorf("ended: %+v, want %s", ended, reason)
			}
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal("the session does not end")
		}
		<-tick.C
	}
}

// covered proves from the store alone that every frame seen on the bus is in exactly
// one final, in order for each source, with the bytes that were seen.
func (o *onlooker) covered() {
	o.s.t.Helper()
	finals, _ := o.s.results(o.id)
	o.mu.Lock()
	defer o.mu.Unlock()
	in := map[uint64]bool{}
	last := map[uint32]uint64{}
	for _, f := range finals {
		st, err := tally.Parse(f.Text)
		if err != nil {
			o.s.t.Fatal(err)
		}
		sum := fnv.New64a()
		for _, n := range st.Frames {
			switch {
			case in[n]:
				o.s.t.Errorf("frame %d is in two finals", n)
			case n <= last[f.Source]:
				o.s.t.Errorf("frame %d of source %d comes after %d", n, f.Source, last[f.Source])
			case o.source[n] != f.Source:
				o.s.t.Errorf("frame %d is of source %d in a final, of %d on the bus", n, f.Source, o.source[n])
			}
			in[n], last[f.Source] = true, n
			sum.Write(o.frames[n])
		}
		if sum.Sum64() != st.Sum {
			o.s.t.Errorf("a final has other bytes than were seen: %s", f.Text)
		}
	}
	var missing []uint64
	for n := range o.frames {
		if !in[n] {
			missing = append(missing, n)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		o.s.t.Errorf("%d of %d frames seen on the bus are in no final: %v", len(missing), len(o.frames), missing)
	}
}

// together kills roles in the same instant.
func together(nodes ...*node) {
	for _, n := range nodes {
		n.nc.Close()
	}
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(n.end)
	}
	wg.Wait()
}

// never is an engine that finalises nothing by itself, so that all that was spoken is
// still open when its worker dies.
func (s *system) never() worker.Engine { return s.tally(tally.Config{Every: 1 << 20}) }

func logging(grace time.Duration) gateway.Config {
	return gateway.Config{AudioLog: true, Grace: grace, DrainWait: 200 * time.Millisecond}
}

// patientWorker keeps what it hears open.
func patientWorker(id string) worker.Config {
	return worker.Config{ID: id, IdleCommit: time.Minute, TurnLimit: time.Minute}
}

// spoken speaks as two sources and waits until all of it is on the bus and in the log.
func (o *onlooker) spoken(c *client, n int) {
	o.s.t.Helper()
	want := o.count() + 2*n
	for range n {
		c.speak("a", 1)
		c.speak("b", 1)
	}
	subjectstest.Eventually(o.s.t, "all is on the bus", func() bool { return o.count() >= want })
	o.logged()
}

func TestGatewayAndWorkerDieTogether(t *testing.T) {
	t.Parallel()
	var both sync.WaitGroup // they mostly wait: both at once, in the one place of this test
	defer both.Wait()
	for _, back := range []bool{true, false} {
		both.Go(func() {
			t.Run(fmt.Sprintf("client comes back %v", back), func(t *testing.T) {
				s := newSystem(t)
				s.dispatcher(dispatcher.Config{})
				w := s.workerOn(s.bus.Dial(), patientWorker("w1"), s.never())
				gw, other := s.gateway(logging(500*time.Millisecond)), s.gateway(logging(500*time.Millisecond))
				before := s.footprint()
				seen := s.onlooker("room")
				c := dial(t, gw, named("room"))
				c.start("a")
				c.start("b")
				seen.spoken(c, 90)
				together(gw, w)
				s.worker(worker.Config{ID: "w2"})
				if !back {
					s.over("room", subjects.EndGatewayLost)
					seen.covered()
					s.nothingLeft(footprint{subs: before.subs + 1})
					return
				}
				again := dial(t, other, named("room"))
				again.start("b")
				again.speak("b", 60)
				again.start("c")
				again.speak("c", 10)
				again.end()
				again.closed()
				seen.covered()
				if e := again.told("ended", ""); e == nil || e.Accepted["a"] != 90 || e.Accepted["b"] != 150 || e.Accepted["c"] != 10 || *e.Unaccounted != 0 {
					t.Errorf("ended: %+v", e)
				}
			})
		})
	}
}

// The client said goodbye, and gateway and worker died before that was heard.
func TestEndIsReadInTheLog(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	w := s.workerOn(s.bus.Dial(), patientWorker("w1"), s.tally(tally.Config{Every: 1 << 20, Hold: time.Hour}))
	gw, other := s.gateway(logging(500*time.Millisecond)), s.gateway(logging(500*time.Millisecond))
	seen := s.onlooker("room")
	ends := make(chan *nats.Msg, 64)
	if _, err := s.nc.ChanSubscribe(subjects.Frames("room"), ends); err != nil {
		t.Fatal(err)
	}
	c := dial(t, gw, named("room"))
	c.start("a")
	c.start("b")
	c.speak("a", 10)
	c.speak("b", 10)
	c.end()
	subjectstest.Eventually(t, "the end is on the bus", func() bool {
		for m := range ends {
			if strings.Contains(m.Header.Get(subjects.HeaderName), " end ") {
				return true
			}
		}
		return false
	})
	seen.logged()
	together(gw, w)
	s.worker(worker.Config{ID: "w2"})
	next := dial(t, other, named("room")) // the id is used again: a new life, when the old one is heard
	next.start("a")
	next.speak("a", 30)
	next.end()
	next.closed()
	if got := s.totals("room"); !slices.Equal(got, []uint64{20, 30}) {
		t.Errorf("the lives covered %v frames, want 20 and 30", got)
	}
}

// The second worker dies too, before it has covered what the first gateway had sent: the
// second gateway never had that.
func TestSecondWorkerDiesBeforeTheTailIsCovered(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	first := s.workerOn(s.bus.Dial(), patientWorker("w1"), s.never())
	gw, other := s.gateway(logging(0)), s.gateway(logging(0))
	seen := s.onlooker("room")
	c := dial(t, gw, named("room"))
	c.start("a")
	c.start("b")
	seen.spoken(c, 90)
	together(gw, first)
	second := s.workerOn(s.bus.Dial(), patientWorker("w2"), s.never())
	again := dial(t, other, named("room"))
	again.start("a")
	again.start("b")
	acked := s.acks("room")
	seen.spoken(again, 40)
	subjectstest.Eventually(t, "the second worker has it all", func() bool { return acked.Load() >= 260 })
	second.kill()
	s.worker(worker.Config{ID: "w3"})
	again.speak("a", 20)
	again.end()
	again.closed()
	seen.covered()
	if e := again.told("ended", ""); e == nil || e.Accepted["a"] != 150 || e.Accepted["b"] != 130 || *e.Unaccounted != 0 {
		t.Errorf("ended: %+v", e)
	}
}

// A worker that lives never got the last frames of a gateway that died.
func TestLostTailOfALostGateway(t *testing.T) {
	t.Parallel()
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprintf("client comes back %v", back), func(t *testing.T) {
			t.Parallel()
			s := newSystem(t)
			s.dispatcher(dispatcher.Config{})
			lossy := s.bus.Link()
			s.workerOn(lossy.Dial(t), worker.Config{ID: "w1"})
			gw, other := s.gateway(logging(500*time.Millisecond)), s.gateway(logging(10*time.Second))
			seen := s.onlooker("room")
			acked := s.acks("room")
			c := dial(t, gw, named("room"))
			c.start("a")
			c.start("b")
			seen.spoken(c, 40)
			subjectstest.Eventually(t, "the worker has it", func() bool { return acked.Load() == 80 })
			lossy.Lose(true)
			seen.spoken(c, 30)
			together(gw)
			subjectstest.Eventually(t, "frames are lost", func() bool { return lossy.Lost() > 0 })
			lossy.Lose(false)
			if back {
				again := dial(t, other, named("room"))
				again.start("a")
				again.speak("a", 30)
				again.end()
				again.closed()
			} else {
				s.over("room", subjects.EndGatewayLost)
			}
			seen.covered()
		})
	}
}

// Everything stops at once, the bus too, and starts again over the same data.
func TestEverythingStopsAndStartsAgain(t *testing.T) {
	t.Parallel()
	var both sync.WaitGroup // they mostly wait: both at once, in the one place of this test
	defer both.Wait()
	for _, back := range []bool{true, false} {
		both.Go(func() {
			t.Run(fmt.Sprintf("client comes back %v", back), func(t *testing.T) {
				s := newSystem(t)
				d := s.dispatcher(dispatcher.Config{})
				w := s.workerOn(s.bus.Dial(), patientWorker("w1"), s.never())
				gw := s.gateway(logging(2 * time.Second))
				seen := s.onlooker("room")
				c := dial(t, gw, named("room"))
				c.start("a")
				c.start("b")
				seen.spoken(c, 120)
				together(d, gw, w)
				s.nc.Close()
				s.bus.Stop()
				s.bus.Start()
				s.nc = s.bus.Dial()
				s.js, _ = jetstream.New(s.nc)
				next := s.onlooker("room")
				s.dispatcher(dispatcher.Config{})
				s.worker(worker.Config{ID: "w2"})
				gw = s.gateway(logging(2 * time.Second))
				if back {
					again := dial(t, gw, named("room"))
					again.start("a")
					again.speak("a", 30)
					again.end()
					again.closed()
				} else {
					s.over("room", subjects.EndGatewayLost)
				}
				next.mu.Lock()
				for n, f := range next.frames {
					seen.frames[n], seen.source[n] = f, next.source[n]
				}
				next.mu.Unlock()
				seen.covered()
			})
		})
	}
}

// A log that is full, or that somebody deleted, changes nothing for live audio.
func TestFullAudioLog(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	nodes := map[subjects.WorkerID]*node{"w1": s.worker(worker.Config{ID: "w1"}), "w2": s.worker(worker.Config{ID: "w2"})}
	cfg := logging(0)
	cfg.Bus.AudioBytes = 4096
	gw := s.gateway(cfg)
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 300)
	c.until("some finals", func() bool { return len(c.finals) >= 3 })
	stream, err := s.js.Stream(s.ctx(), subjects.AudioStream)
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(s.ctx())
	if err != nil || info.State.Bytes > 4096 || info.State.Msgs == 0 || info.State.FirstSeq != 1 {
		t.Errorf("the log holds %+v, %v", info.State, err)
	}
	nodes[s.record("room").Worker].kill()
	c.speak("a", 100)
	if err := s.js.DeleteStream(s.ctx(), subjects.AudioStream); err != nil {
		t.Error(err)
	}
	c.finish()
}

// The log is there as long as one gateway keeps it.
func TestAudioLogIsSwitchedByGateways(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	on := func() bool {
		_, err := s.js.Stream(s.ctx(), subjects.AudioStream)
		return err == nil
	}
	off := gateway.Config{}
	s.gateway(off)
	if on() {
		t.Fatal("there is a log that nobody keeps")
	}
	a, b := s.gateway(logging(0)), s.gateway(logging(0))
	if !on() {
		t.Fatal("there is no log")
	}
	a.end()
	s.gateway(off)
	if !on() {
		t.Fatal("the log is gone that a gateway keeps")
	}
	c := dial(t, b, named("room"))
	c.start("a")
	c.speak("a", 60)
	c.until("a final", func() bool { return len(c.finals) == 1 })
	b.end()
	last := s.gateway(off)
	if on() {
		t.Fatal("the log is left that no gateway keeps")
	}
	again := dial(t, last, named("room"))
	again.start("a")
	again.speak("a", 60)
	again.end()
	again.closed()
	s.ledgerOf("room", 120)
}

// While audio is logged, the sources' formats are too, every 10 s.
func TestSourcesAreAnnouncedInTheLog(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 10 s")
	}
	t.Parallel()
	s := newSystem(t)
	s.dispatcher(dispatcher.Config{})
	s.worker(worker.Config{ID: "w1"})
	gw := s.gateway(logging(0))
	said := make(chan subjects.Envelope, 16)
	_, err := s.nc.Subscribe(subjects.Frames("room"), func(m *nats.Msg) {
		var e subjects.Envelope
		if e.ParseMsg(m) == nil && e.Kind == subjects.KindAnnounce {
			a, err := subjects.Decode[subjects.Announce](e.Kind, m.Data)
			if err == nil && e.N > 1 && len(a.Sources) == 1 && a.Sources[0].Name == "a" {
				said <- e
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, gw, named("room"))
	c.start("a")
	c.speak("a", 70)
	ctx, cancel := context.WithTimeout(t.Context(), subjectstest.Wait)
	defer cancel()
	select {
	case e := <-said:
		if e.N != 71 {
			t.Errorf("announced with number %d, want 71", e.N)
		}
	case <-ctx.Done():
		t.Fatal("sources were not announced again")
	}
	c.speak("a", 70)
	c.finish()
	c.stayed()
}
