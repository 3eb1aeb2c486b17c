package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

const (
	doubtBound   = 2 * time.Second        // for a client's first sign of life, before its id is claimed all the same
	coverBound   = 3 * time.Second        // for results of what a worker has received from a gateway that yields
	inboxRoom    = 128                    // messages that wait for the session's loop; beyond it the results are read from the store
	beatEvery    = time.Second            // a quiet gateway repeats its last number until that is acknowledged
	calmBeat     = 4 * time.Second        // and then more rarely, at least thrice before its worker gives it up
	stallBeat    = 200 * time.Millisecond // and sooner while it waits for room in flight
	silenceBound = 3 * time.Second        // a worker that owes an answer for so long is replaced
	takeBound    = 30 * time.Second       // and one that lives but is not ready for so long
	resultLag    = 300 * time.Millisecond // a stored result that has not come by then is read from the store
	maxMoves     = 8                      // moves within moveSpan, beyond which no worker seems able
	moveSpan     = 30 * time.Second
	socketBound  = 250 * time.Millisecond // for the last word of a superseded client's socket
	aheadBound   = 5 * time.Second        // a client this far ahead of real time fills the window itself
)

// session is one client's connection to one session: the sender of its audio and the
// reader of its results. Whoever holds turn owns everything but the channels and atomics:
// one goroutine, run, and for a moment the socket's reader, see direct.
type session struct {
	turn  sync.Mutex
	timer *time.Timer // strikes at armed
	armed time.Time   // zero: it has struck

	srv   *Server
	id    subjects.SessionID
	given bool
	creds credentials
	log   *slog.Logger
	opts  subjects.Options
	deflt dialect.Format
	began time.Time

	mail    *mailbox // from the socket's reader
	inbox   chan *nats.Msg
	gone    chan string                // probes: nobody answers at this subject
	posted  chan func(context.Context) // from other goroutines, for the loop to do; see post
	quit    chan struct{}              // closed when the loop has ended
	absent  atomic.Bool                // the client's connection has ended; read by a claim under way
	departs atomic.Bool                // the server's departures have it
	spoke   atomic.Int64               // when the reader last had a message of the client, Unix ns
	audible atomic.Int64               // when its newest frame came, Unix ms; 0: none did

	// The client; nil while it is away.
	conv   dialect.Conversation
	out    *outbox
	away   bool   // its connection broke
	resume bool   // it wants to go on with a life that exists
	after  uint64 // the cursor of the last final that it has
	past   bool   // that life is over: what its client lacks of it is being read

	// The ownership.
	stamp    subjects.Stamp
	subject  string // where frames go
	writer   subjects.Writer
	nonce    string
	worker   string
	probe    string
	early    *nats.Msg
	claimed  bool // dispatchers were asked
	numbered bool // the count of numbers is known
	served   bool // the client was told that a worker has its session
	moves    []time.Time

	snd     *sender
	held    []received // what came before the count was known
	heldB   int
	feeds   map[string]*feed
	byNum   map[uint32]string // source names
	flushes []flushing        // asked for and not yet answered, in order
	old     map[uint32]bool   // sources of earlier connections that were flushed
	books   subjects.Progress // of the newest result that is known,
	booksAt uint64            // its sequence; 0: none is
	idle    time.Duration     // the client may be silent as long
	gapless bool
	pace    pacer
	deltas  bool // an interim adds to those before, so all of them are delivered
	once    bool // the client can't come back
	nextSrc uint32
	madeSrc int                        // sources that wait for a number
	toldB   int                        // what a result may take for the sources of this life, bytes
	rested  map[string]*feed           // sources that were stopped for others
	resumed map[string]subjects.Source // sources that an earlier attach announced
	clockMS int64                      // the session clock's offset, for a session that lived before
	follows bool                       // the next frame is the first behind those of an earlier connection
	tail    tail
	refused map[uint32]uint64 // as last told to the client
	notices map[string]*notice

	phase    phase
	over     bool   // the client says nothing more: the session's end is numbered, or will be
	stopping bool   // this gateway stops, the session goes on elsewhere
	turned   bool   // the client was turned away because the bus is
	covering bool   // all is received by the worker, its results are awaited
	yielding bool   // a later connection has the session, ours sends what it has
	unread   bool   // the socket's reader has ended
	hurry    bool   // the time for an orderly leave is up
	told     bool   // the client heard of the session's end
	closing  end    // how to close once the last results are delivered
	reason   string // of the session's end, for the log
	leaveAt  uint64 // last number when leave began
	clock    clocks
	heard    *feed     // of the newest frame
	oldest   time.Time // since when frames wait for others to share their message; zero: none does
	goes     bool      // what waits goes now
	asked    time.Time // since when the owner owes an answer; zero: it owes none
	took     time.Time // when the owner was assigned
	connects uint64    // how often this gateway had lost the bus by then
	sent     time.Time // when the owner was last told something

	booksWanted bool // a flush waits for what the newest result counts

	before    map[uint32]uint64 // frames numbered before this gateway, by source
	announced announced
}

// phase is where the ownership of a session stands.
type phase int

const (
	claiming  phase = iota // no owner
	taking                 // a worker was assigned and is not ready yet
	streaming              // frames flow
	done                   // over here
)

// clocks are the moments at which the loop has something to do; zero: never.
type clocks struct {
	beat, silence, share, grace, end, late, leave, depart, socket, outage, doubt, idle, length, pace time.Time
}

// notice keeps one kind of complaint from flooding log and client.
type notice struct {
	last  time.Time
	since uint64
}

func newSession(g *Server, id subjects.SessionID, given bool, req dialect.Request, creds credentials, conv dialect.Conversation) *session {
	opts := req.Options
	opts.Access = creds.access()
	opts.GraceMS = g.cfg.Grace.Milliseconds()
	s := &session{
		srv: g, id: id, given: given, creds: creds, opts: opts, deflt: req.Default, began: time.Now(),
		subject: subjects.Frames(id),
		nonce:   freshNonce(),
		log:     g.log.With("session", string(id)),
		conv:    conv,
		resume:  req.Resume,
		after:   req.After,
		mail:    newMailbox(),
		inbox:   make(chan *nats.Msg, inboxRoom),
		gone:    make(chan string, 1),
		posted:  make(chan func(context.Context)),
		quit:    make(chan struct{}),
		snd:     newSender(),
		feeds:   map[string]*feed{},
		byNum:   map[uint32]string{},
		resumed: map[string]subjects.Source{},
		rested:  map[string]*feed{},
		old:     map[uint32]bool{},
		refused: map[uint32]uint64{},
		notices: map[string]*notice{},
	}
	s.connects, s.snd.room = g.nc.Stats().Reconnects, s.messageRoom()
	s.out = newOutbox(g.cfg.SendBuffer, func(n int) { g.metrics.shed.Add(float64(n)) }, conv.Closing)
	s.idle = or(req.Idle, g.cfg.IdleWait)
	s.gapless, s.once, s.deltas = req.Gapless, req.Once, req.Deltas
	s.pace.speed = g.cfg.MaxSpeed
	s.spoke.Store(s.began.UnixNano())
	return s
}

// run serves the session until it is over here: ended, superseded, given up, or left
// to another gateway. ctx ends the session at once; stop asks it to leave in order.
func (s *session) run(ctx context.Context, stop <-chan struct{}) error {
	defer close(s.quit)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.turn.Lock()
	defer s.turn.Unlock()
	sub, err := s.subscribe()
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only where the connection is gone with it
	defer s.unwatch()
	s.begin(ctx, time.Now())
	return s.loop(ctx, stop)
}

func (s *session) subscribe() (*nats.Subscription, error) {
	sub, err := s.srv.nc.ChanSubscribe(subjects.InboxAll(s.id), s.inbox)
	if err != nil {
		s.close(endInternal.because(err.Error()))
		return nil, fmt.Errorf("subscribe to inbox: %w", err)
	}
	return sub, nil
}

// fail notes why a session's loop could not go on.
func (s *session) fail(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		s.log.Warn("session failed", "error", err)
	}
}

// begin sets the clocks of a session that opens and asks for its owner.
func (s *session) begin(ctx context.Context, now time.Time) {
	s.clock.idle = now.Add(s.idle)
	s.clock.length = now.Add(s.srv.cfg.MaxLength)
	if s.given {
		s.clock.doubt = now.Add(doubtBound)
	} else {
		s.startClaim(ctx, subjects.ReasonOpen)
	}
}

// post lets the loop do something. It waits until that is about to begin, and reports
// false where the loop has ended. Whoever holds turn must not wait so.
func (s *session) post(do func(context.Context)) bool {
	select {
	case s.posted <- do:
		return true
	case <-s.quit:
		return false
	}
}

// loop takes what comes, one thing at a time, until the session is done here. Its caller
// holds turn, and has it again when it returns.
//
// Here a session rests most of the time, so what rests with it is kept small: the runtime
// keeps some 100 bytes for each case of the select, and gives back the stack that was
// needed meanwhile only if little of it is in use.
func (s *session) loop(ctx context.Context, stop <-chan struct{}) error {
	s.timer = time.NewTimer(0)
	defer s.timer.Stop()
	for s.phase != done {
		s.arm()
		s.turn.Unlock()
		var do func(context.Context)
		select {
		case <-ctx.Done():
		case <-stop:
			stop, do = nil, func(context.Context) { s.stop(time.Now()) }
		case <-s.mail.wake:
			do = func(ctx context.Context) {
				s.present(ctx)
				s.received(time.Now())
			}
		case m := <-s.inbox:
			do = func(ctx context.Context) { s.fromWorker(ctx, m) }
		case subject := <-s.gone:
			do = func(ctx context.Context) { s.workerGone(ctx, subject) }
		case do = <-s.posted:
		case <-s.timer.C:
			do = func(ctx context.Context) {
				s.armed = time.Time{}
				s.tick(ctx, time.Now())
			}
		}
		s.turn.Lock()
		if do == nil {
			s.close(endMoving)
			return context.Cause(ctx)
		}
		if s.phase == done { // the socket's reader has closed it meanwhile
			break
		}
		do(ctx)
		if s.booksWanted {
			s.readBooks(ctx)
		}
		switch {
		case s.yielding:
			s.yielded()
		case s.stopping:
			s.left()
		}
	}
	return nil
}

// arm sets the timer to the next moment at which there is something to do.
func (s *session) arm() {
	if next := s.clock.next(); s.armed.IsZero() || next.Before(s.armed) {
		s.armed = next
		s.timer.Reset(time.Until(next))
	}
}

// end numbers the session's last message, or holds it until the count is known. Its
// results are awaited, then the connection closes.
func (s *session) end(reason string, how end) {
	if s.over || s.phase == done {
		return
	}
	s.over, s.closing, s.reason = true, how, reason
	s.clock.end = time.Now().Add(s.srv.cfg.EndWait)
	s.clock.grace = time.Time{}
	if s.numbered {
		s.numberEnd()
	}
}

func (s *session) numberEnd() {
	s.snd.push(entry{kind: subjects.KindEnd, payload: subjects.Encode(subjects.End{Reason: s.reason, Accepted: s.snd.accepted, Replayed: s.snd.replayed})})
}

// giveUp ends the session because of the client or of a fault: what was accepted is
// still transcribed, but the client is told at once.
func (s *session) giveUp(why end, reason string) {
	s.log.Warn("session given up", "code", why.code, "why", why.text)
	s.tell(dialect.Note{Event: dialect.EventError, Code: why.code, Message: why.text})
	if s.phase == claiming && !s.numbered { // nobody has the session
		s.close(why)
		return
	}
	s.end(reason, why)
}

// hangup takes the reader's last word: the client closed, or its connection broke.
func (s *session) hangup(ctx context.Context, err error) {
	events := s.mail.fetch() // the reader has ended: these are its last
	how := hangupOf(err)
	if !s.claimed && len(events) == 0 && how != hangupTooBig {
		s.log.Info("the client was gone before it said a word", "why", err)
		s.close(endDone)
		return
	}
	s.present(ctx)
	for _, ev := range events {
		s.event(ev)
	}
	tooBig := endTooBig.because(fmt.Sprintf("at most %d bytes are allowed", s.srv.cfg.MaxMessage))
	if how == hangupTooBig { // it still reads, so it is told
		s.tell(dialect.Note{Event: dialect.EventError, Code: tooBig.code, Message: tooBig.text})
		s.out.finish(tooBig)
	} else {
		s.out.cut(endDone) // nobody reads any more
	}
	s.unread = true
	s.absent.Store(true)
	s.srv.clientLeft(s)
	if s.yielding {
		if how == hangupClean { // it ended this life before it began another
			s.end(subjects.EndClient, endSuperseded)
			s.flow(time.Now())
		}
		return
	}
	switch how {
	case hangupClean:
		s.end(subjects.EndClient, endDone)
	case hangupTooBig:
		s.giveUp(tooBig, subjects.EndRefused)
	case hangupBroken:
		if s.once {
			s.end(subjects.EndGrace, endDone)
		} else {
			s.detach(err)
		}
	}
	s.flow(time.Now())
}

// close ends the connection and, with it, the session here.
func (s *session) close(why end) {
	if s.phase == done {
		return
	}
	s.phase = done
	if n := s.heldFrames(); n > 0 { // no worker ever had the session
		s.srv.metrics.refused.WithLabelValues("unserved").Add(float64(n))
		s.log.Warn("audio was never transcribed", "frames", n)
	}
	s.srv.metrics.ends.WithLabelValues(why.code).Inc()
	s.srv.metrics.replayed.Add(float64(sum(s.snd.replayed)))
	s.log.Info("session closed", "code", why.code, "why", why.text, "numbers", s.snd.last(), "sent_again", sum(s.snd.replayed),
		"uncovered", s.snd.uncoveredTo(s.snd.last()))
	s.out.finish(why)
}

func sum(counts map[uint32]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

func (s *session) unwatch() {
	if s.probe != "" {
		s.srv.probes.unwatch(s.probe, s)
		s.probe = ""
	}
}
