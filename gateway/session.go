package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

const (
	inboxRoom    = 512                    // messages that wait for the session's loop; beyond it the results are read from the store
	beatEvery    = time.Second            // a quiet gateway repeats its last number
	stallBeat    = 200 * time.Millisecond // and sooner while it waits for room in flight
	silenceBound = 3 * time.Second        // a worker that says nothing for so long is replaced
	resultLag    = 300 * time.Millisecond // a stored result that has not come by then is read from the store
	maxMoves     = 8                      // moves within moveSpan, beyond which no worker seems able
	moveSpan     = 30 * time.Second
	maxEntries   = 200_000                // entries waiting, whatever their size: a minute of 60 sources
	socketBound  = 250 * time.Millisecond // for the last word of a superseded client's socket
	aheadBound   = 5 * time.Second        // a client this far ahead of real time fills the window itself
)

// session is one client's connection to one session: the sender of its audio and the
// reader of its results. One goroutine, run, owns everything but the channels.
type session struct {
	srv   *Server
	id    subjects.SessionID
	given bool
	log   *slog.Logger
	opts  subjects.Options
	deflt dialect.Format
	began time.Time

	mail    *mailbox   // from the socket's reader
	hungup  chan error // the reader's last word
	wrote   chan error // the writer's last word
	inbox   chan *nats.Msg
	claims  chan claimed
	gone    chan string // probes: nobody answers at this subject
	repairs chan repair
	deleted chan struct{} // the record is gone

	// The client; nil while it is away.
	conv   dialect.Conversation
	out    *outbox
	client string // remote address
	away   bool   // its connection broke

	// The ownership.
	stamp    subjects.Stamp
	subject  string // where frames go
	nonce    string
	worker   string
	probe    string
	early    *nats.Msg
	numbered bool // the count of numbers is known
	moves    []time.Time

	snd     *sender
	held    []received // what came before the count was known
	heldB   int
	feeds   map[string]*feed
	byNum   map[uint32]string // source names
	nextSrc uint32
	resumed map[string]uint32 // numbers of sources that an earlier attach announced
	clockMS int64             // the session clock's offset, for a session that lived before
	tail    tail
	refused map[uint32]uint64 // as last told to the client
	notices map[string]*notice

	phase    phase
	over     bool   // the client says nothing more: the session's end is numbered, or will be
	stopping bool   // this gateway stops, the session goes on elsewhere
	yielding bool   // a later connection has the session, ours sends what it has
	unread   bool   // the socket's reader has ended
	hurry    bool   // the time for an orderly leave is up
	closing  end    // how to close once the last results are delivered
	reason   string // of the session's end, for the log
	leaveAt  uint64 // last number when leave began
	clock    clocks
	heard    time.Time // the owner's last sign of life
	connects uint64    // how often this gateway had lost the bus by then
	sent     time.Time
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
type clocks struct{ beat, silence, share, grace, end, late, leave, socket time.Time }

// received is an entry that has no number yet.
type received struct {
	event dialect.Event
	feed  *feed // of its source, nil for all of them
	at    int64
}

// notice keeps one kind of complaint from flooding log and client.
type notice struct {
	last  time.Time
	since uint64
}

// repair is what a read of the store brought: one result, or its end.
type repair struct {
	msg  stored
	done bool
	err  error
}

func newSession(g *Server, id subjects.SessionID, given bool, req dialect.Request, conv dialect.Conversation, remote string) *session {
	opts := req.Options
	opts.GraceMS = g.cfg.Grace.Milliseconds()
	s := &session{
		srv: g, id: id, given: given, opts: opts, deflt: req.Default, began: time.Now(),
		subject: subjects.Frames(id),
		nonce:   freshNonce(),
		log:     g.log.With("session", string(id)),
		conv:    conv,
		client:  remote,
		mail:    newMailbox(),
		hungup:  make(chan error, 1),
		wrote:   make(chan error, 1),
		inbox:   make(chan *nats.Msg, inboxRoom),
		claims:  make(chan claimed, 1),
		gone:    make(chan string, 1),
		repairs: make(chan repair, 16),
		deleted: make(chan struct{}),
		snd:     newSender(),
		feeds:   map[string]*feed{},
		byNum:   map[uint32]string{},
		resumed: map[string]uint32{},
		refused: map[uint32]uint64{},
		notices: map[string]*notice{},
	}
	s.out = newOutbox(g.cfg.SendBuffer, func(n int) { g.metrics.shed.Add(float64(n)) })
	return s
}

// run serves the session until it is over here: ended, superseded, given up, or left
// to another gateway. ctx ends the session at once; stop asks it to leave in order.
func (s *session) run(ctx context.Context, stop <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sub, err := s.srv.nc.ChanSubscribe(subjects.InboxAll(s.id), s.inbox)
	if err != nil {
		s.close(endInternal.because(err.Error()))
		return fmt.Errorf("subscribe to inbox: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only where the connection is gone with it
	defer s.unwatch()
	s.heard = time.Now()
	s.startClaim(ctx, subjects.ReasonOpen)

	timer := time.NewTimer(0)
	defer timer.Stop()
	armed := time.Time{}
	for s.phase != done {
		if next := s.clock.next(); armed.IsZero() || next.Before(armed) {
			armed = next
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
			s.close(endMoving)
			return context.Cause(ctx)
		case <-stop:
			stop = nil
			s.leave(time.Now())
		case <-s.mail.wake:
			s.received()
		case err := <-s.hungup:
			s.hangup(err)
		case err := <-s.wrote:
			s.writerEnded(err)
		case m := <-s.inbox:
			s.fromWorker(ctx, m)
		case c := <-s.claims:
			s.claimResult(ctx, c)
		case subject := <-s.gone:
			s.workerGone(ctx, subject)
		case r := <-s.repairs:
			s.repaired(ctx, r)
		case <-s.deleted:
			s.close(s.closing)
		case <-timer.C:
			armed = time.Time{}
			s.tick(ctx, time.Now())
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

// received takes the events of the client that wait. Frames among them share messages.
func (s *session) received() {
	for _, ev := range s.mail.fetch() {
		s.event(ev)
	}
	s.bound()
	s.flow(time.Now())
}

// event takes one event of the client.
func (s *session) event(ev dialect.Event) {
	switch {
	case ev.Kind == dialect.Notice:
		s.warn(ev.Note)
		return
	case s.yielding:
		return
	case s.over || s.phase == done:
		if ev.Kind == dialect.Media {
			s.warn(dialect.Note{Code: "after_end", Message: "audio after the session's end is not transcribed", Field: "event"})
		}
		return
	case ev.Kind == dialect.Media && s.feeds[ev.Tag] == nil, ev.Kind == dialect.Start && s.feeds[ev.Tag] == nil:
		if len(s.feeds) >= s.srv.cfg.MaxSources {
			s.srv.metrics.refused.WithLabelValues("too_many_sources").Inc()
			s.warn(dialect.Note{Code: "too_many_sources", Field: "tag", Allowed: fmt.Sprintf("at most %d sources in a session", s.srv.cfg.MaxSources),
				Message: fmt.Sprintf("source %.64q is not transcribed", ev.Tag)})
			return
		}
		s.feeds[ev.Tag] = &feed{format: s.deflt}
		if ev.Kind == dialect.Media { // never started: the request's format holds
			s.take(dialect.Event{Kind: dialect.Start, Tag: ev.Tag, Format: s.deflt})
		}
	}
	if ev.Kind == dialect.End {
		s.end(subjects.EndClient, endDone)
		return
	}
	s.take(ev)
}

// take places an event on the session clock and numbers it, or holds it until the
// count is known.
func (s *session) take(ev dialect.Event) {
	f := s.feeds[ev.Tag]
	r := received{event: ev, feed: f}
	switch ev.Kind {
	case dialect.Start:
		f.restart(ev.Format)
	case dialect.Media:
		r.at = f.place(ev, time.Since(s.began).Milliseconds())
		s.srv.metrics.frames.Inc()
	case dialect.Stop:
		if f == nil {
			return
		}
		delete(s.feeds, ev.Tag)
	}
	if !s.numbered {
		s.held = append(s.held, r)
		s.heldB += len(ev.Payload)
		return
	}
	s.number(r)
}

// number gives an event its place in the session's count.
func (s *session) number(r received) {
	ev, f := r.event, r.feed
	switch ev.Kind {
	case dialect.Start:
		if f.number == 0 {
			f.number = s.sourceNumber(ev.Tag)
		}
		f.starts = &subjects.Source{
			Source: f.number, Name: ev.Tag, Encoding: ev.Format.Encoding,
			SampleRate: ev.Format.SampleRate, Channels: ev.Format.Channels, Language: ev.Language,
		}
	case dialect.Media:
		if f.starts != nil && f.starts.Encoding == "opus" && bytes.HasPrefix(ev.Payload, []byte("OggS")) {
			f.starts.Encoding = "ogg-opus" // said here once, for a worker that joins in the middle can't see it
		}
		s.snd.push(entry{
			kind: subjects.KindFrames, source: f.number, payload: ev.Payload,
			packet: ev.Packet, at: r.at + s.clockMS, starts: f.starts,
		})
		f.starts, f.heard = nil, true
	case dialect.Stop:
		if f.heard {
			s.snd.push(entry{kind: subjects.KindStop, source: f.number})
		}
	case dialect.Flush:
		for _, each := range s.feeds {
			if each.heard && (ev.Tag == "" || each == f) {
				s.snd.push(entry{kind: subjects.KindFlush, source: each.number})
			}
		}
	}
}

// sourceNumber finds the number of a source that an earlier attach announced, or
// gives out the next.
func (s *session) sourceNumber(name string) uint32 {
	if n, ok := s.resumed[name]; ok {
		delete(s.resumed, name)
		return n
	}
	s.nextSrc++
	s.byNum[s.nextSrc] = name
	return s.nextSrc
}

// bound keeps the window within its limits. A client that runs ahead of real time has
// filled it itself and is told so; otherwise the oldest audio is given up.
func (s *session) bound() {
	cfg := s.srv.cfg
	span, bytes, newest := s.snd.span(), s.snd.bytes, s.snd.newest()-s.clockMS
	if !s.numbered && len(s.held) > 0 {
		newest = s.held[len(s.held)-1].at
		span, bytes = time.Duration(newest-s.held[0].at)*time.Millisecond, s.heldB
	}
	if s.over {
		return
	}
	if len(s.held)+len(s.snd.window) > maxEntries {
		s.giveUp(endTooFast.because(fmt.Sprintf("more than %d messages wait", maxEntries)), subjects.EndRefused)
		return
	}
	if span <= cfg.Window && bytes <= cfg.WindowBytes {
		return
	}
	ahead := time.Duration(newest)*time.Millisecond - time.Since(s.began)
	switch {
	case ahead > aheadBound:
		s.giveUp(endTooFast.because(fmt.Sprintf("%.0f s of audio wait, %.0f s ahead of real time", span.Seconds(), ahead.Seconds())), subjects.EndRefused)
	case !s.numbered:
		s.giveUp(endNoWorker.because(fmt.Sprintf("%.0f s of audio waited for a worker", span.Seconds())), subjects.EndRefused)
	default:
		lost, announce := s.snd.giveUp(cfg.Window, cfg.WindowBytes)
		if announce && s.snd.ready {
			s.announce(s.snd.begin(nil, s.snd.acked+1))
		}
		if lost > 0 {
			s.srv.metrics.refused.WithLabelValues(subjects.RefusedWindow).Add(float64(lost))
		}
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
	s.snd.push(entry{kind: subjects.KindEnd, payload: subjects.Encode(subjects.End{Reason: s.reason, Accepted: s.snd.accepted})})
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
func (s *session) hangup(err error) {
	for _, ev := range s.mail.fetch() { // the reader has ended: these are its last
		s.event(ev)
	}
	s.out.cut(endDone) // nobody reads any more
	s.unread = true
	s.srv.clientLeft(s)
	if s.yielding {
		if hangupOf(err) == hangupClean { // it ended this life before it began another
			s.end(subjects.EndClient, endSuperseded)
			s.flow(time.Now())
		}
		return
	}
	switch hangupOf(err) {
	case hangupClean:
		s.end(subjects.EndClient, endDone)
	case hangupTooBig:
		s.giveUp(endTooBig.because(fmt.Sprintf("at most %d bytes are allowed", s.srv.cfg.MaxMessage)), subjects.EndRefused)
	default:
		s.detach(err)
	}
	s.flow(time.Now())
}

// detach keeps the session for a client whose connection broke.
func (s *session) detach(err error) {
	if s.over {
		return
	}
	s.away = true
	s.log.Info("client is away", "grace", s.srv.cfg.Grace, "why", err)
	s.clock.grace = time.Now().Add(s.srv.cfg.Grace)
}

// writerEnded takes the writer's last word. A client that reads too slowly is cut
// off; its finals stay in the store.
func (s *session) writerEnded(err error) {
	if errors.Is(err, errSlow) {
		s.srv.metrics.ends.WithLabelValues(endSlow.code).Inc()
		s.log.Warn("client reads too slowly, it is cut off")
	}
}

// close ends the connection and, with it, the session here.
func (s *session) close(why end) {
	if s.phase == done {
		return
	}
	s.phase = done
	s.srv.metrics.ends.WithLabelValues(why.code).Inc()
	s.log.Info("session closed", "code", why.code, "why", why.text, "frames", s.snd.last(), "sent_again", s.snd.replayed)
	s.out.finish(why)
}

func (s *session) unwatch() {
	if s.probe != "" {
		s.srv.probes.unwatch(s.probe, s)
		s.probe = ""
	}
}
