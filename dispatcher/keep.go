package dispatcher

import (
	"context"

	"stenobus/subjects"
)

// renew starts the expiry of a session's record anew, for the owner that it names. A
// record that is not there, though nobody ended the session, is written again: not one
// of a life that the results log knows to be over, for requests may come late.
func (d *Dispatcher) renew(ctx context.Context, req subjects.KeepRequest) error {
	return retry(ctx, func() error {
		was, err := d.store.read(ctx, req.Session)
		if err != nil {
			return err
		}
		rec := was.Record
		switch {
		case was.there:
			if err := mine(was, req); err != nil {
				return err
			}
		case was.ended && was.rev > req.Life:
			return subjects.Errorf(subjects.CodeSuperseded, "life %d of the session has ended", req.Life)
		default:
			if err := d.lives(ctx, req); err != nil {
				return err
			}
			rec = subjects.Record{
				Stamp: req.Stamp, Session: req.Session, Worker: req.Worker,
				Reason: subjects.ReasonResume, Options: req.Options,
			}
		}
		_, err = d.store.write(ctx, was, rec)
		return err
	})
}

// lives refuses a life that has ended, or that another one followed, by the results log.
func (d *Dispatcher) lives(ctx context.Context, req subjects.KeepRequest) error {
	last, _, err := d.lastResult(ctx, req.Session)
	switch {
	case err != nil:
		return err
	case last.Life > req.Life, last.Life == req.Life && last.Kind == subjects.KindEnded:
		return subjects.Errorf(subjects.CodeSuperseded, "life %d of the session has ended", req.Life)
	}
	return nil
}

// end deletes a session's record, for the owner that it names. That it is not there
// any more is success.
func (d *Dispatcher) end(ctx context.Context, req subjects.KeepRequest) error {
	return retry(ctx, func() error {
		was, err := d.store.read(ctx, req.Session)
		if err != nil || !was.there {
			return err
		}
		if req.Nonce != "" {
			return d.withdraw(ctx, was, req)
		}
		if err := mine(was, req); err != nil {
			return err
		}
		return d.store.remove(ctx, was)
	})
}

// withdraw deletes the record of a life that began with a claim which its gateway has
// given up. If a later attach is there, the life is that one's.
func (d *Dispatcher) withdraw(ctx context.Context, was held, req subjects.KeepRequest) error {
	if was.Nonce != req.Nonce || was.Attach != 1 {
		return subjects.Errorf(subjects.CodeSuperseded, "the session is at attach %d of another connection", was.Attach)
	}
	if err := d.store.remove(ctx, was); err != nil {
		return err
	}
	d.release(was, subjects.MoveEnded)
	return nil
}

// mine tells whether a record still has the life and epoch of a request. One that has
// a lower one was read from a server that lags, and is read again.
func mine(was held, req subjects.KeepRequest) error {
	switch {
	case was.Life == req.Life && was.Epoch == req.Epoch && was.Worker == req.Worker:
		return nil
	case was.Life < req.Life, was.Life == req.Life && was.Epoch < req.Epoch:
		return errConflict
	}
	return subjects.Errorf(subjects.CodeSuperseded, "the session is at life %d epoch %d of worker %s", was.Life, was.Epoch, was.Worker)
}
