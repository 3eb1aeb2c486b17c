package dispatcher

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
)

// answerCheck tells a gateway, before it lets a client in, whether a claim would have
// the right to its session. Only the claim itself decides: this is for a clear refusal.
func (d *Dispatcher) answerCheck(ctx context.Context, data []byte) any {
	req, err := readRequest[subjects.ClaimRequest]("check", data)
	if err == nil {
		err = checkClaim(req, d.results.Split())
	}
	if err == nil {
		err = retry(ctx, func() error { return d.check(ctx, req) })
	}
	refused := d.refused("a claim could not be checked", err)
	d.metrics.claims.WithLabelValues("check", result(refused)).Inc()
	return claimRefused(refused)
}

func (d *Dispatcher) check(ctx context.Context, req subjects.ClaimRequest) error {
	was, err := d.store.read(ctx, req.Session)
	if err != nil {
		return err
	}
	access := was.Options.Access
	if !was.there {
		if !req.Resume {
			return nil // a new life is anybody's
		}
		if req.After == 0 {
			return nil // it has nothing of the life that was, so it may have been another's
		}
		if access, err = d.lastAccess(ctx, req.Session); err != nil || access == (subjects.Access{}) {
			return err // unknown: nothing of it is delivered, so there is nothing to refuse
		}
	}
	if !req.Permitted(access) {
		return forbidden(was)
	}
	return nil
}

// lastAccess is who may read the end of a life that is over, empty where that is unknown.
func (d *Dispatcher) lastAccess(ctx context.Context, id subjects.SessionID) (subjects.Access, error) {
	e, data, err := d.lastResult(ctx, id)
	if err != nil || e.Kind != subjects.KindEnded {
		return subjects.Access{}, err // what it is, the claim will tell
	}
	ended, err := subjects.Decode[subjects.Ended](e.Kind, data)
	if err != nil {
		return subjects.Access{}, subjects.Errorf(subjects.CodeInternal, "%v", err)
	}
	return ended.Access, nil
}

// lastResult is the last message of a session's results log, the zero Envelope where
// there is none or it can't be read.
func (d *Dispatcher) lastResult(ctx context.Context, id subjects.SessionID) (subjects.Envelope, []byte, error) {
	m, err := d.results.Last(ctx, id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return subjects.Envelope{}, nil, nil
	}
	if err != nil {
		return subjects.Envelope{}, nil, fmt.Errorf("read the results log: %w", err)
	}
	var e subjects.Envelope
	if e.ParseMsg(&nats.Msg{Header: m.Header, Data: m.Data}) != nil {
		return subjects.Envelope{}, nil, nil
	}
	return e, m.Data, nil
}

func forbidden(was held) *subjects.Error {
	if was.Options.Principal != "" {
		return subjects.Errorf(subjects.CodeForbidden, "the session belongs to somebody else, or the resume token is wrong")
	}
	return subjects.Errorf(subjects.CodeForbidden, "the resume token is missing or wrong")
}
