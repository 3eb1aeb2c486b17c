package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
	"stenobus/subjects/safeguard"
)

// startClaim asks for an owner, or for another one: reason says why.
func (s *session) startClaim(ctx context.Context, reason string) {
	req := s.claimRequest(reason)
	s.phase, s.claimed = claiming, true
	s.clock.silence, s.clock.beat = time.Time{}, time.Time{}
	s.srv.wg.Go(func() { s.claim(ctx, req) })
}

// present notes a sign of life of the client and claims its session. A session that a
// client names may live elsewhere, and a gateway that hung finds requests of clients that
// have long gone there: for these no session is taken from whoever has it.
func (s *session) present(ctx context.Context) {
	s.clock.doubt = time.Time{}
	if !s.claimed && s.phase != done {
		s.startClaim(ctx, subjects.ReasonOpen)
	}
}

func (s *session) claimRequest(reason string) subjects.ClaimRequest {
	return subjects.ClaimRequest{
		V: subjects.Version, Session: s.id, Gateway: s.srv.cfg.Name, Probe: s.srv.probe, Nonce: s.nonce,
		Reason: reason, Stamp: s.stamp, Fresh: !s.numbered, Options: s.opts, Split: s.srv.results.Split(),
		Resume: s.resume && s.stamp.Life == 0, After: s.after, Shown: s.creds.shown, Authenticated: s.creds.authenticated,
	}
}

// claimResult takes what the dispatchers said.
func (s *session) claimResult(ctx context.Context, c claimed) {
	switch {
	case s.phase != claiming:
		return
	case c.wait != nil:
		s.log.Info("waiting for a worker", "why", c.wait.Message)
		s.tell(dialect.Note{Event: dialect.EventWaiting, Code: c.wait.Code, Message: c.wait.Message, RetryAfterMS: c.wait.RetryAfterMS})
		return
	case c.err != nil:
		s.claimFailed(ctx, c.err)
		return
	}
	if s.stamp.Life != 0 && c.reply.Life != s.stamp.Life {
		s.close(endLost)
		return
	}
	s.stamp, s.worker = c.reply.Stamp, string(c.reply.Worker)
	s.log = s.srv.log.With("session", string(s.id), "life", s.stamp.Life, "epoch", s.stamp.Epoch, "attach", s.stamp.Attach)
	s.phase, s.asked = taking, time.Now() // it owes a ready
	s.took, s.clock.silence = s.asked, s.asked.Add(silenceBound)
	if s.stamp.Attach == 1 && !s.numbered {
		s.startCount(1, nil)
	}
	if m := s.early; m != nil {
		s.early = nil
		s.fromWorker(ctx, m)
	}
}

func (s *session) claimFailed(ctx context.Context, err error) {
	var refusal *subjects.Error
	switch {
	case !errors.As(err, &refusal):
		s.giveUp(endBus.because(err.Error()), subjects.EndRefused)
		s.close(endBus.because(err.Error()))
	case refusal.Code == subjects.CodeSuperseded:
		s.close(endSuperseded)
	case refusal.Code == subjects.CodeForbidden:
		s.close(endForbidden)
	case refusal.Code == subjects.CodeEnded:
		s.lifeOver(ctx)
	case refusal.Code == subjects.CodeNoWorker:
		s.tell(dialect.Note{Event: dialect.EventError, Code: refusal.Code, Message: err.Error(), RetryAfterMS: refusal.RetryAfterMS})
		s.close(endNoWorker.because(refusal.Message))
	default:
		s.tell(dialect.Note{Event: dialect.EventError, Code: refusal.Code, Message: refusal.Message})
		s.close(endInternal.because(refusal.Message))
	}
}

// yield lets a later connection have the session: this one's client is told, and what
// it has said is sent to the worker before the other's count begins.
func (s *session) yield() {
	s.asked = time.Time{}
	if s.yielding {
		return
	}
	if s.phase == claiming { // it has no owner to send to
		s.close(endSuperseded)
		return
	}
	for _, ev := range s.mail.fetch() { // read already: it counts
		s.event(ev)
	}
	if !s.over {
		s.finalise() // so that what was spoken is covered soon
	}
	s.yielding = true
	s.log.Info("a later connection has the session")
	s.out.finish(endSuperseded)
	now := time.Now()
	s.clock.grace = time.Time{}
	s.clock.leave = now.Add(s.srv.cfg.EndWait)
	s.clock.socket = now.Add(socketBound)
	s.flow(now)
}

// yielded ends a session that yields once the worker has everything and results cover it:
// until then its worker may die, and nobody else could send it again. What is received
// is waited for no longer than coverBound. The socket's reader speaks first if it can:
// the client may have said goodbye before it came back.
func (s *session) yielded() {
	switch {
	case s.phase == done:
		return
	case s.hurry:
	case !s.snd.drained(), !s.unread:
		return
	case s.snd.uncoveredTo(s.snd.last()) > 0:
		if !s.covering {
			s.covering = true
			s.clock.leave = time.Now().Add(coverBound)
		}
		return
	}
	s.publish(subjects.Envelope{Kind: subjects.KindDetach, N: s.snd.last()}, nil)
	s.close(endSuperseded)
}

// startCount numbers what was held, from n on.
func (s *session) startCount(n uint64, known []subjects.Source) {
	s.snd.continueAt(n, known)
	for _, counts := range []map[uint32]uint64{s.snd.accepted, s.snd.covered} {
		for source := range counts {
			s.nextSrc = max(s.nextSrc, source) // a number is never given out twice
		}
	}
	for _, src := range known {
		s.knowSource(src.Source, src.Name)
		s.nextSrc = max(s.nextSrc, src.Source)
		s.resumed[src.Name] = src
	}
	s.numbered = true
	for _, r := range s.held {
		s.number(r)
	}
	s.held, s.heldB = nil, 0
	if s.over {
		s.numberEnd()
	}
}

// fromWorker takes one message of the inbox.
func (s *session) fromWorker(ctx context.Context, m *nats.Msg) {
	if _, channel, _ := subjects.ParseInbox(m.Subject); channel == subjects.ChannelResult {
		s.republished(ctx, m)
		return
	}
	var e subjects.Envelope
	if err := e.ParseMsg(m); err != nil {
		s.srv.metrics.bad.Inc()
		s.grumble("message refused", err)
		return
	}
	if s.stamp.Life == 0 {
		if e.Kind == subjects.KindReady || e.Kind == subjects.KindRelease { // it came before the claim's answer
			s.early = m
		}
		return
	}
	switch {
	case e.Life > s.stamp.Life:
		s.close(endSuperseded)
		return
	case e.Life == s.stamp.Life && e.Attach > s.stamp.Attach && e.Epoch > s.stamp.Epoch:
		s.close(endSuperseded) // its worker listens to us no more
		return
	case e.Life == s.stamp.Life && e.Attach > s.stamp.Attach:
		s.yield()
		return
	case !safeguard.LifeOff && e.Life < s.stamp.Life,
		!safeguard.EpochOff && (e.Epoch != s.stamp.Epoch || e.Attach < s.stamp.Attach && e.Kind != subjects.KindInterim):
		s.srv.metrics.stale.Inc()
		return
	}
	if s.asked = (time.Time{}); s.phase == taking {
		s.asked = time.Now() // a sign of life is not yet the ready that it owes
	}
	s.fromOwner(ctx, e, m.Data)
}

func (s *session) fromOwner(ctx context.Context, e subjects.Envelope, data []byte) {
	switch e.Kind {
	case subjects.KindReady:
		s.ownerReady(ctx, e, data)
	case subjects.KindAck:
		s.snd.ack(e.N)
		if e.Log > s.tail.cursor {
			s.tail.seen = max(s.tail.seen, e.Log)
			s.expectResult()
		}
	case subjects.KindNak:
		if last := min(e.To, s.snd.first-1); e.N <= last { // only a gateway before this one had them
			s.publish(subjects.Envelope{Kind: subjects.KindSkip, N: e.N, To: last}, subjects.Encode(subjects.Skip{
				Reason: subjects.RefusedLost, Runs: []subjects.Run{{Count: last - e.N + 1}},
			}))
		}
		s.snd.nak(e.N, e.To)
	case subjects.KindInterim:
		s.interim(data)
		return
	case subjects.KindRelease:
		r, err := subjects.Decode[subjects.Release](e.Kind, data)
		if err != nil {
			s.grumble("release refused", err)
			return
		}
		s.released(ctx, r)
	}
	s.flow(time.Now())
}

// released obeys a worker that wants the session moved.
func (s *session) released(ctx context.Context, r subjects.Release) {
	if s.phase == claiming {
		return
	}
	if r.Reason == subjects.MoveEnded {
		s.lifeOver(ctx)
		return
	}
	if r.Detail != "" {
		s.warn(dialect.Note{Code: r.Reason, Message: r.Detail, Field: "engine"})
	}
	s.move(ctx, r.Reason)
}

// lifeOver begins another life if nothing of this connection was in the one that has
// ended; otherwise the last results are in the store.
func (s *session) lifeOver(ctx context.Context) {
	if s.yielding {
		s.close(endSuperseded)
		return
	}
	if s.numbered {
		s.clock = clocks{end: time.Now().Add(lastResults)}
		s.readMissed(ctx)
		return
	}
	if s.resume {
		s.phase, s.stamp = claiming, subjects.Stamp{}
		s.readLastLife(ctx)
		return
	}
	s.beginAnew(ctx)
}

// workerGone obeys a probe.
func (s *session) workerGone(ctx context.Context, subject string) {
	if subject == s.probe && s.phase == streaming {
		s.move(ctx, subjects.MoveGone)
	}
}

// move asks for another owner. A session that no worker can hold is given up.
func (s *session) move(ctx context.Context, reason string) {
	if s.phase == claiming || s.phase == done {
		return
	}
	now := time.Now()
	for len(s.moves) > 0 && now.Sub(s.moves[0]) > moveSpan {
		s.moves = s.moves[1:]
	}
	if s.moves = append(s.moves, now); len(s.moves) > maxMoves {
		s.tell(dialect.Note{Event: dialect.EventError, Code: endEngine.code, Message: fmt.Sprintf("moved %d times in %v, last for %s", maxMoves, moveSpan, reason)})
		s.close(endEngine.because(reason))
		return
	}
	s.log.Warn("session moves", "worker", s.worker, "why", reason)
	s.srv.metrics.moves.WithLabelValues(reason).Inc()
	s.unwatch()
	s.snd.pause()
	s.startClaim(ctx, reason)
}

// flow sends what may be sent now, or a little later if frames are to share messages.
func (s *session) flow(now time.Time) {
	if s.phase == streaming && s.waits(now) {
		return
	}
	if s.phase != streaming || s.busAway() {
		s.oldest = time.Time{} // it waits for more than others now
		return
	}
	for s.phase == streaming {
		out, ok := s.snd.pop()
		if !ok {
			break
		}
		s.tellOwner(out.envelope, out.payload, now)
	}
	if s.snd.next == s.snd.end {
		s.shared(now)
	}
	if want := now.Add(beatEvery); s.clock.beat.IsZero() || s.clock.beat.After(want) && s.snd.acked < s.snd.next-1 {
		s.clock.beat = want
	}
}

// tellOwner publishes what the owner answers sooner or later.
func (s *session) tellOwner(e subjects.Envelope, payload []byte, now time.Time) {
	s.publish(e, payload)
	if s.sent = now; s.asked.IsZero() {
		s.asked = now
	}
}

func (s *session) publish(e subjects.Envelope, payload []byte) {
	e.Stamp = s.stamp
	if safeguard.ApartOff {
		s.srv.together.Lock()
		defer s.srv.together.Unlock()
		defer func() { _ = s.srv.nc.FlushTimeout(time.Second) }() // it is only to take time
	}
	switch err := s.srv.nc.PublishMsg(s.writer.Msg(&e, s.subject, payload)); {
	case errors.Is(err, nats.ErrMaxPayload): // it was told to take less: nothing would ever fill the hole
		s.close(endBus.because(fmt.Sprintf("it takes no message of %d bytes any more", len(payload))))
	case err != nil:
		s.srv.metrics.unsent.Inc() // the owner reports the hole once the bus is back
	default:
		s.srv.metrics.messages.Inc()
	}
}

// beat repeats the last number, so that a lost tail shows, and so that the owner knows
// that somebody speaks for the session. An owner that answers what it is sent anyway is
// not asked.
func (s *session) beat(now time.Time) {
	every := beatEvery
	last := s.snd.next - 1
	switch {
	case s.snd.next < s.snd.end: // no room in flight: an acknowledgement may be lost
		every = stallBeat
	case s.snd.empty() && !s.yielding && !s.stopping && !s.over:
		every = s.calmBeat()
	}
	s.clock.beat = now.Add(every)
	if now.Sub(s.sent) >= beatEvery {
		s.snd.rest()
	}
	owes := !s.asked.IsZero() && now.Sub(s.asked) >= min(every, beatEvery)
	if s.phase == streaming && (now.Sub(s.sent) >= min(every, beatEvery) || owes) {
		s.tellOwner(subjects.Envelope{Kind: subjects.KindLast, N: last}, nil, now)
	}
	s.logSources(now)
}

// calmBeat is how often a session says that it is there while all that was sent is
// covered: thrice before its worker takes it for lost.
func (s *session) calmBeat() time.Duration {
	return min(calmBeat, max(beatEvery, (s.srv.cfg.Grace+subjects.GatewayQuiet)/4))
}
