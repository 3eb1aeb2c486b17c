package gateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"

	"stenobus/subjects"
	"stenobus/subjects/ask"
)

const (
	lastResults   = 2 * time.Second // for the results of a life that is over
	endRecordWait = 5 * time.Second // over all tries to delete a record
)

// claimed is the outcome of a claim, for the session's loop.
type claimed struct {
	reply subjects.ClaimReply
	err   error // final: trying again would not help, or the time is up
	wait  *subjects.Error
}

// claim asks dispatchers until one grants the session, refuses it for good, or
// ClaimWait is over. What it waits for goes to the loop as well.
//
// A claim that was sent is waited for, whatever becomes of the session: only then can what
// it began be withdrawn.
func (s *session) claim(ctx context.Context, req subjects.ClaimRequest) {
	taken := false // by the session's loop, or there was nothing to take
	twice := false // a second dispatcher may have been asked
	defer func() {
		if !taken && !req.Moves() {
			s.srv.giveUpClaim(req.Session, req.Nonce, twice)
		}
	}()
	deadline := time.Now().Add(s.srv.cfg.ClaimWait)
	var told time.Time
	for {
		req.Cell = subjects.Cell(s.srv.nc, s.srv.cfg.Cell)
		req.Sent = time.Now().UTC().Format(time.RFC3339Nano)
		if s.absent.Load() && !req.Moves() {
			req.Came = s.began.UTC().Format(time.RFC3339Nano)
		}
		asked := time.Now()
		reply, err := s.srv.ask(s.srv.work, subjects.Claim, req)
		twice = twice || time.Since(asked) >= ask.Patience
		var refusal *subjects.Error
		if errors.As(err, &refusal) && refusal.Code == subjects.CodeLate && !req.Insist {
			req.Insist = true
			s.srv.grumble(s.log, "this gateway's clock differs from its dispatchers'", refusal)
			continue
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			taken = s.offer(ctx, claimed{reply: reply})
			return
		case errors.As(err, &refusal) && !retriable(refusal.Code, req.Moves() || req.Resume):
			s.offer(ctx, claimed{err: refusal})
			return
		case time.Now().After(deadline):
			s.offer(ctx, claimed{err: fmt.Errorf("not granted within %v: %w", s.srv.cfg.ClaimWait, err)})
			return
		}
		if refusal == nil {
			refusal = &subjects.Error{Code: subjects.CodeInternal, Message: err.Error()}
		}
		if refusal.Code != subjects.CodeEnding && time.Since(told) >= 10*time.Second {
			told = time.Now()
			s.offer(ctx, claimed{wait: refusal})
		}
		pause := max(time.Duration(refusal.RetryAfterMS)*time.Millisecond, 100*time.Millisecond)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// offer reports whether the session still is there to take it.
func (s *session) offer(ctx context.Context, c claimed) bool {
	return ctx.Err() == nil && s.post(func(ctx context.Context) { s.claimResult(ctx, c) })
}

func retriable(code string, goesOn bool) bool {
	switch code {
	case subjects.CodeNoWorker, subjects.CodeInternal, subjects.CodeEnding, subjects.CodeLate:
		return true
	case subjects.CodeEnded: // a new life can begin, an old one can't go on
		return !goesOn
	}
	return false
}

// ask makes one claim, or asks whether it would be granted.
func (g *Server) ask(ctx context.Context, subject string, req subjects.ClaimRequest) (subjects.ClaimReply, error) {
	started := time.Now()
	m, err := ask.Dispatchers(ctx, g.nc, subject, subjects.Encode(req))
	if errors.Is(err, nats.ErrNoResponders) {
		return subjects.ClaimReply{}, errors.New("no dispatcher answers")
	}
	if err != nil {
		return subjects.ClaimReply{}, fmt.Errorf("claim: %w", err)
	}
	reply, err := subjects.DecodeDoc[subjects.ClaimReply]("claim reply", m.Data)
	if err != nil {
		return reply, err
	}
	if reply.Error != nil {
		return reply, reply.Error
	}
	g.metrics.claim.Observe(time.Since(started).Seconds())
	return reply, nil
}

// giveUpClaim withdraws a claim. Where two dispatchers were asked, the one that has not
// answered may grant it yet, so it is withdrawn again when that one has given up too.
func (g *Server) giveUpClaim(id subjects.SessionID, nonce string, twice bool) {
	g.withdraw(id, nonce)
	if !twice {
		return
	}
	select {
	case <-g.work.Done():
	case <-time.After(ask.Timeout):
		g.withdraw(id, nonce)
	}
}

// withdraw deletes the record of a claim that this gateway gives up, if one was written
// and nobody came after it.
func (g *Server) withdraw(id subjects.SessionID, nonce string) {
	ctx, cancel := context.WithTimeout(g.work, endRecordWait)
	defer cancel()
	err := g.end(ctx, subjects.KeepRequest{V: subjects.Version, Session: id, Nonce: nonce})
	if err != nil && ctx.Err() == nil && g.nc.IsConnected() {
		g.grumble(g.log, "a record is left to expire", err)
	}
}

// endRecord deletes the session's record, with a few tries. If no dispatcher has time
// for it the record expires.
func (g *Server) endRecord(ctx context.Context, id subjects.SessionID, worker subjects.WorkerID, stamp subjects.Stamp) error {
	return g.end(ctx, subjects.KeepRequest{V: subjects.Version, Session: id, Worker: worker, Stamp: stamp})
}

func (g *Server) end(ctx context.Context, req subjects.KeepRequest) error {
	try := func() (struct{}, error) {
		m, err := ask.Dispatchers(ctx, g.nc, subjects.ClaimEnd, subjects.Encode(req))
		if err != nil {
			return struct{}{}, err
		}
		reply, err := subjects.DecodeDoc[subjects.KeepReply]("reply", m.Data)
		if err != nil {
			return struct{}{}, backoff.Permanent(err)
		}
		if e := reply.Error; e != nil && e.Code == subjects.CodeInternal {
			return struct{}{}, e
		}
		return struct{}{}, nil // a refusal means that the record is not ours to delete
	}
	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(endRecordWait))
	return err
}
