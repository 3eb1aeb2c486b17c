package dispatcher

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
)

// offer asks a record's worker to take the session. A worker that is not there or does
// not answer counts as one that refuses, with the code worker_gone or worker_silent,
// which stay inside this package.
func (c *claim) offer(ctx context.Context, h held) (*subjects.Error, error) {
	asked := time.Now()
	wait, cancel := context.WithTimeout(ctx, c.d.cfg.AssignWait)
	defer cancel()
	reason := c.reason
	if reason == "" {
		reason = h.Reason
	}
	m, err := c.d.nc.RequestWithContext(wait, subjects.Worker(h.Worker), subjects.Encode(subjects.WorkerRequest{
		V: subjects.Version, Op: subjects.OpAssign, Session: h.Session, Gateway: h.Gateway, Probe: h.Probe,
		Reason: reason, Why: h.Why, Stamp: h.Stamp, Options: h.Options,
		Fresh: c.req.Fresh || !c.req.Moves(), Log: c.d.results.Tell(h.Session),
	}))
	var refused *subjects.Error
	var reply subjects.WorkerReply
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		refused = subjects.Errorf(subjects.MoveGone, "nobody answers for worker %s", h.Worker)
	case err != nil && time.Since(asked) > 2*c.d.cfg.AssignWait:
		return nil, err // it was this dispatcher that slept: the record tells what became of it
	case err != nil && (ctx.Err() != nil || wait.Err() == nil || !c.d.nc.IsConnected()):
		return nil, err // this dispatcher's fault or the bus's, not the worker's
	case err != nil:
		refused = subjects.Errorf(subjects.MoveSilent, "worker %s did not answer within %v", h.Worker, c.d.cfg.AssignWait)
	default:
		if reply, err = subjects.DecodeDoc[subjects.WorkerReply]("worker reply", m.Data); err != nil {
			c.d.fault("a worker's answer is not readable", err)
			refused = subjects.Errorf(subjects.CodeInternal, "worker %s: %v", h.Worker, err)
		} else {
			c.d.fleet.Answered(h.Worker, reply)
			refused = reply.Error
		}
	}
	if m == nil || err != nil {
		c.d.fleet.Silent(h.Worker, time.Now())
	}
	c.d.metrics.assigns.WithLabelValues(result(refused)).Inc()
	return refused, nil
}

// release tells a worker, without waiting, that a session is not its any more. If it
// does not hear, the fence of the results log tells it.
func (d *Dispatcher) release(h held, reason string) {
	err := d.nc.Publish(subjects.Worker(h.Worker), subjects.Encode(subjects.WorkerRequest{
		V: subjects.Version, Op: subjects.OpRelease, Session: h.Session, Gateway: h.Gateway,
		Reason: reason, Stamp: h.Stamp,
	}))
	if err != nil {
		d.fault("a release was not sent", err)
	}
}
