package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
	"stenobus/subjects/safeguard"
)

const (
	frameRoom    = 512                    // messages that wait for the session, as many as a gateway has in flight; beyond it they are dropped and asked for again
	ackEvery     = 64                     // numbers received without an acknowledgement
	ackWait      = 750 * time.Millisecond // and how long one may be owed: a gateway asks after a second
	aliveEvery   = 200 * time.Millisecond // while the log is read the gateway hears so often that this worker lives
	nakWait      = 100 * time.Millisecond // a hole is reported at once and again after this, rising
	nakMax       = time.Second
	readyWait    = 250 * time.Millisecond // ready is repeated until announce comes
	releaseEvery = time.Second
)

// Causes for which a session leaves this worker.
var (
	errReleased   = errors.New("moved to another worker")
	errDrained    = errors.New("the worker stops and nobody took the session over in time")
	errEngineGone = errors.New("engine failed")
)

// session is this worker's ownership of one session: a receiver, a source for each
// speaker and the results log. Whoever holds turn owns all fields, except those that say
// otherwise: its goroutine (run), and that of its subscription for the moment that a message
// takes, since to hand each one over costs more than the message.
type session struct {
	turn  sync.Mutex
	timer *time.Timer // strikes at armed
	armed time.Time   // zero: it has struck
	ended bool        // run has returned
	fatal chan error  // a message ends the session here

	changed chan struct{} // the loop has something else to wait for

	w       *Worker
	id      subjects.SessionID
	own     subjects.Stamp // life and epoch; the attach is in attach
	attach  atomic.Uint64  // read by sources and log
	opts    subjects.Options
	reason  string
	why     string // how this worker was chosen, passed on from the assign
	engine  Engine
	log     *slog.Logger
	control chan *control // from the worker's request handler
	roomy   chan struct{} // a source has room again
	waiting atomic.Bool   // somebody waits for roomy
	failed  chan error    // a source gave up

	recv    receiver
	writer  subjects.Writer      // of acknowledgements, in the session's turn; sources say other things meanwhile
	infos   []subjects.FrameInfo // memory for those of the next message
	sources map[uint32]*source
	known   map[uint32]subjects.Source // every source ever announced
	running sync.WaitGroup             // goroutines of sources
	rlog    *resultLog
	logSeq  atomic.Uint64     // of the last stored result
	covered map[uint32]uint64 // by results stored before this ownership
	taken   map[uint32]uint64 // by source: frames covered, refused or here, in this life
	packets map[uint32]int64  // by source: the client's number of the last packet taken
	atMS    int64             // the session clock at the newest frame
	audible atomic.Int64      // when it came, Unix ms; others read it
	begin   uint64            // last sequence of the log before this life
	closing atomic.Bool       // ending began; read by the request handler

	begun     bool // announce came
	stalled   bool // a source's queue is full
	draining  bool
	ending    *subjects.End
	listening sync.WaitGroup // goroutines of sources
	heard     chan struct{}  // closed when every source has finalised, nil before ending
	acked     uint64
	clock     clocks
	grace     time.Duration
	detached  bool
	waiters   []uint64          // later attaches, rising; each waits for the last frames of the one before
	probes    map[uint64]string // by attach: answered while its gateway lives
	absent    chan uint64       // attaches whose gateway is gone
	after     afterlife
}

// clocks are the moments at which the session's loop has something to do; zero: never.
type clocks struct {
	ack, nak, ready, quiet, renew, release, drain, hand, yield, alive time.Time
	nakStep                                                           time.Duration
}

// control is a request of a dispatcher to a running session.
type control struct {
	op     string
	attach uint64
	probe  string          // of assign: answered while the attach's gateway lives
	access subjects.Access // of assign: who may come back by now
}

// run takes the session over and serves it to its end. Whatever the end, nothing of
// the session is left behind when run returns.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.turn.Lock()
	defer s.turn.Unlock()
	defer func() { s.ended = true }()
	sub, err := s.subscribe(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only where the connection is gone with it
	defer s.join()
	if err = s.take(ctx); err == nil {
		written := make(chan error, 1) // nil: ended is stored
		s.running.Go(func() { written <- s.rlog.run(ctx) })
		s.launch(ctx, time.Now())
		err = s.loop(ctx, written)
	}
	cancel(err)
	return err
}

// join waits for all goroutines of the session, which ctx or the end of their work ends.
func (s *session) join() {
	s.closeQueues()
	s.running.Wait()
	s.listening.Wait()
}

// launch sets the clocks of a session whose log is taken, and makes it known.
func (s *session) launch(ctx context.Context, now time.Time) {
	s.clock.quiet = now.Add(s.quietBound())
	s.clock.renew = now.Add(s.w.renewEvery())
	s.open(ctx, now)
	if len(s.waiters) > 0 { // they came while the log was taken
		s.askToYield(ctx, now)
	}
}

// errStored is the good end of a session: it is in the log.
var errStored = errors.New("ended")

// loop takes what comes, one thing at a time, until the session is done here. Its caller
// holds turn, and has it again when it returns.
func (s *session) loop(ctx context.Context, written <-chan error) error {
	s.timer = time.NewTimer(0)
	defer s.timer.Stop()
	for {
		s.arm()
		recalled, heard := s.recalled(), s.heard
		s.turn.Unlock()
		do := s.await(ctx, written, recalled, heard)
		s.turn.Lock()
		if err := do(); errors.Is(err, errStored) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// await waits for the next thing to do, and returns it; what that returns ends the session
// here.
//
// Here a session rests most of the time, and the runtime gives back the stack that was
// needed meanwhile only if little of it is in use: so what is done is done in functions of
// its own.
func (s *session) await(ctx context.Context, written <-chan error, recalled <-chan *passage, heard <-chan struct{}) func() error {
	select {
	case <-ctx.Done():
		return func() error { return context.Cause(ctx) }
	case err := <-s.fatal:
		return func() error { return err }
	case err := <-s.failed:
		return func() error { return s.giveUp(err) }
	case <-s.roomy:
		return done(func() { s.advance(ctx, time.Now()) })
	case p := <-recalled:
		return done(func() { s.remember(ctx, p) })
	case c := <-s.control:
		return func() error { return s.steer(ctx, c) }
	case <-heard:
		return done(func() { s.concluded(ctx) })
	case err := <-written:
		return func() error { return s.stored(ctx, err) }
	case attach := <-s.absent:
		return done(func() { s.gatewayAbsent(attach) })
	case <-s.changed:
		return done(func() {})
	case <-s.timer.C:
		return func() error {
			s.armed = time.Time{}
			return s.tick(ctx, time.Now())
		}
	}
}

// done is something to do that does not end the session.
func done(do func()) func() error {
	return func() error {
		do()
		return nil
	}
}

// arm sets the timer to the next moment at which there is something to do.
func (s *session) arm() {
	if next := s.clock.next(); s.armed.IsZero() || next.Before(s.armed) {
		s.armed = next
		s.timer.Reset(time.Until(next))
	}
}

// arrived takes one message of the gateway, in the goroutine of the subscription. What
// comes before the log is ours waits there.
func (s *session) arrived(ctx context.Context, m *nats.Msg) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.ended || ctx.Err() != nil {
		return
	}
	recall, heard := s.after.recall, s.heard
	if err := s.message(ctx, m); err != nil {
		select {
		case s.fatal <- err:
		default: // the first one ends the session
		}
		return
	}
	s.arm()
	if s.after.recall != recall || s.heard != heard { // the loop must wait for that as well
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
}

// concluded writes the end of a session whose sources have all finalised.
func (s *session) concluded(ctx context.Context) {
	s.heard = nil
	entry := s.endedEntry()
	s.running.Go(func() { s.rlog.append(ctx, entry) }) // may have to wait for a store without a leader
}

// stored leaves nothing behind of a session whose end is in the log; err is why it is not.
func (s *session) stored(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	s.w.endRecord(ctx, s.id, s.stamped())
	s.turnAway()
	return errStored
}

// giveUp answers a source whose engine failed for good: another worker may do better.
func (s *session) giveUp(err error) error {
	s.publish(subjects.ChannelRelease, subjects.KindRelease, subjects.Release{
		Worker: string(s.w.id), Reason: subjects.MoveEngine, Detail: err.Error(),
	})
	return err
}

func (s *session) fail(err error) {
	select {
	case s.failed <- err:
	default: // the first failure is the one that ends the session
	}
}

// steer obeys a dispatcher: a release, a new attach, or a drain.
func (s *session) steer(ctx context.Context, c *control) error {
	now := time.Now()
	switch c.op {
	case subjects.OpRelease:
		return errReleased
	case subjects.OpAssign:
		if c.attach < s.attach.Load() {
			return nil
		}
		s.opts.Access = c.access
		switch {
		case c.attach == s.attach.Load() && len(s.waiters) == 0:
			s.ready(now)
		case c.attach > s.attach.Load():
			s.after.last = nil
			s.expect(ctx, c, now)
		}
	case subjects.OpDrain:
		s.drainFrom(now)
	}
	return nil
}

func (s *session) drainFrom(now time.Time) {
	if !s.draining {
		s.draining = true
		s.clock.release = now
		s.clock.drain = now.Add(s.w.cfg.DrainWait * 9 / 10)
	}
}

// message takes one message of the gateway.
func (s *session) message(ctx context.Context, m *nats.Msg) error {
	e := subjects.Envelope{Frames: s.infos}
	s.infos = nil
	if err := e.ParseMsg(m); err != nil {
		s.w.metrics.bad.Inc()
		s.w.grumble(s.log, "message refused", err)
		return nil
	}
	switch {
	case e.Life > s.own.Life, e.Life == s.own.Life && e.Epoch > s.own.Epoch:
		return fmt.Errorf("%w: the gateway speaks of life %d epoch %d", errSuperseded, e.Life, e.Epoch)
	case e.Life < s.own.Life && !safeguard.LifeOff, e.Epoch < s.own.Epoch, e.Attach != s.attach.Load():
		s.w.metrics.stale.Inc()
		return nil
	}
	now := time.Now()
	s.spoken()
	s.clock.quiet = now.Add(s.quietBound())
	if s.detached = false; len(s.waiters) > 0 {
		s.clock.hand = now.Add(handBound)
	}
	switch e.Kind {
	case subjects.KindAnnounce:
		return s.announce(ctx, e, m.Data)
	case subjects.KindLast:
		if !safeguard.HolesOff {
			s.recv.top = max(s.recv.top, e.N)
		}
		s.ack()
	case subjects.KindDetach:
		s.recv.top = max(s.recv.top, e.N)
		s.detached = true
		s.clock.quiet = now.Add(s.grace)
	default:
		a := arrival{n: e.N, to: e.N, envelope: e, payload: m.Data}
		if e.Kind == subjects.KindFrames {
			a.to = e.N + uint64(len(e.Frames)) - 1
		} else if e.Kind == subjects.KindSkip {
			a.to = e.To
		}
		dups := s.recv.dups
		s.recv.offer(a)
		if s.recv.dups > dups {
			s.w.metrics.duplicates.Add(float64(s.recv.dups - dups))
		}
		if safeguard.DuplicatesOff && a.to < s.recv.next {
			s.takeAgain(ctx, a)
		}
	}
	s.advance(ctx, now)
	if len(s.recv.held) == 0 { // nothing refers to them any more
		s.infos = e.Frames[:0]
	}
	return nil
}

// announce begins the count, or goes on with it for another gateway.
func (s *session) announce(ctx context.Context, e subjects.Envelope, payload []byte) error {
	a, err := subjects.Decode[subjects.Announce](e.Kind, payload)
	if err != nil {
		s.w.grumble(s.log, "announce refused", err)
		return nil
	}
	if s.ending != nil || !s.begun && s.after.recall != nil {
		return nil // all is said, or it is announced again
	}
	s.clock.ready = time.Time{}
	if s.gaps(a) {
		s.read(ctx, e.N, func(ctx context.Context, _ passage) {
			s.after.lostTo = e.N - 1
			s.goOn(ctx, e.N, a)
		})
		return nil
	}
	s.goOn(ctx, e.N, a)
	return nil
}

// goOn takes what a gateway sends from n on.
func (s *session) goOn(ctx context.Context, n uint64, a subjects.Announce) {
	for _, info := range a.Sources {
		s.openSource(ctx, info)
	}
	if s.begun {
		return
	}
	s.begun = true
	if s.recv.next == 0 {
		s.recv.begin(n)
	}
	s.miss(ctx, a)
	if n > 1 { // or there is nothing that the gateway might wait to have acknowledged
		s.ack()
	}
	s.advance(ctx, time.Now())
}

// abandonHoles goes on past what only the gateway before this one could have sent
// again: the next one's numbers begin after the highest known.
func (s *session) abandonHoles(ctx context.Context) {
	s.after.lostTo = s.recv.top
	s.advance(ctx, time.Now())
}

// advance takes what is in order, until a source's queue is full.
func (s *session) advance(ctx context.Context, now time.Time) {
	s.stalled = false
	for s.ending == nil {
		a, ok := s.recv.peek()
		if !ok && s.abandon() {
			continue
		}
		if !ok {
			break
		}
		if !s.apply(ctx, a, now) {
			s.stalled = true
			break
		}
	}
	if s.recv.next > s.acked+ackEvery {
		s.ack()
	} else if s.recv.next > s.acked+1 && s.clock.ack.IsZero() {
		s.clock.ack = now.Add(ackWait)
	}
	if len(s.waiters) > 0 && s.detached && s.ending == nil && s.recv.next > s.recv.top {
		s.handOver(ctx, now)
	}
	if _, _, hole := s.recv.hole(); !hole || s.stalled {
		s.clock.nak, s.clock.nakStep = time.Time{}, 0
	} else if s.clock.nakStep == 0 {
		s.nak(now)
	}
	s.settled()
}

// finish ends the session in order: every source finalises, then ended is written.
func (s *session) finish(end subjects.End) {
	if s.ending != nil {
		return
	}
	s.ending = &end
	s.closing.Store(true)
	s.closeQueues()
	heard := make(chan struct{})
	s.heard = heard
	s.running.Go(func() {
		s.listening.Wait()
		close(heard)
	})
}

func (s *session) closeQueues() {
	for n, src := range s.sources {
		close(src.queue)
		delete(s.sources, n)
	}
}

func (s *session) stamped() subjects.Stamp {
	stamp := s.own
	stamp.Attach = s.attach.Load()
	return stamp
}
