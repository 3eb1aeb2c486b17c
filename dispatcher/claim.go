package dispatcher

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"stenobus/dispatcher/placement"
	"stenobus/subjects"
	"stenobus/subjects/ask"
)

const (
	claimWait   = 1800 * time.Millisecond // of a whole claim: gateways ask again after 2 s
	cleanupWait = time.Second             // of removing what a refused claim left
	staleWait   = 20 * time.Millisecond   // until a record is read again that was stale
	maxLives    = 3                       // lives begun by one claim because the one before had ended
)

// claim is one request on its way. One goroutine has it.
type claim struct {
	d      *Dispatcher
	req    subjects.ClaimRequest
	search *placement.Search
	reason string // told to the worker; empty: the record's

	looked   bool            // the record was looked for
	attached bool            // the record has this claim's attach
	begun    bool            // this claim began the life
	left     *held           // the ownership that a move leaves
	ending   *subjects.Error // a worker said that it is still ending the session
	lives    int
	began    time.Time // when the request came
}

// grant serves a claim: it returns the record that the session's worker accepted, or
// why there is none. A claim may come twice and to two dispatchers at once: whatever
// is read may be stale, and only writes decide. Each write can be told from the
// record, so after a lost answer the next round goes on from there.
func (d *Dispatcher) grant(ctx context.Context, req subjects.ClaimRequest) (held, error) {
	c := &claim{d: d, req: req, began: time.Now(), search: d.fleet.Search(req.Session, req.Options, placement.Patience{
		Wait: d.cfg.AssignWait, Whole: claimWait, Tries: d.cfg.AssignTries,
	}).From(or(req.Cell, d.cell()), d.cfg.Spill == placement.SpillFull)}
	var h held
	err := retry(ctx, func() (err error) {
		h, err = c.round(ctx)
		return err
	})
	return h, err
}

// retry repeats what lost a compare-and-set or met a fault of the bus, until ctx ends.
// A refusal is final.
func retry(ctx context.Context, f func() error) error {
	const first, most = 2 * time.Millisecond, 100 * time.Millisecond
	for pause := first; ; pause = min(2*pause, most) {
		err := f()
		var refusal *subjects.Error
		if err == nil || errors.As(err, &refusal) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

func (c *claim) round(ctx context.Context) (held, error) {
	if h, ok := c.open(ctx); ok {
		return c.settle(ctx, h)
	}
	was, err := c.d.store.read(ctx, c.req.Session)
	if err != nil {
		return held{}, err
	}
	h := was
	switch {
	case c.req.Moves():
		h, err = c.move(ctx, was)
	case !was.there && c.req.Resume:
		return held{}, subjects.Errorf(subjects.CodeEnded, "no life of the session is left to resume")
	case !was.there:
		h, err = c.begin(ctx, was)
	case was.Nonce != c.req.Nonce:
		h, err = c.attach(ctx, was)
	}
	if err != nil {
		return held{}, err
	}
	return c.settle(ctx, h)
}

// attach makes this claim's connection the session's.
func (c *claim) attach(ctx context.Context, was held) (held, error) {
	if c.attached {
		return held{}, subjects.Errorf(subjects.CodeSuperseded, "another connection has the session, at attach %d", was.Attach)
	}
	if !c.req.Permitted(was.Options.Access) {
		return held{}, forbidden(was)
	}
	if c.overtakenByClient(was) {
		return held{}, subjects.Errorf(subjects.CodeSuperseded, "the client has left and is back on another connection, at attach %d", was.Attach)
	}
	rec := c.restored(was)
	if !c.req.Shown && c.req.Options.Token != "" { // the connection was given a token of its own, which is the session's from now on
		rec.Options.Token = c.req.Options.Token
	}
	rec.Attach++
	rec.Nonce, rec.Gateway, rec.Probe = c.req.Nonce, c.req.Gateway, c.req.Probe
	rec.Joined = now()
	h, err := c.d.store.write(ctx, was, rec)
	if err == nil {
		c.attached, c.reason = true, subjects.ReasonResume
	}
	return h, err
}

// overtakenByClient tells whether the claim is of a connection that is gone, and a later
// one has the session. The two times are of two clocks: where these differ by more than
// a client needs to come back, the session goes to the wrong one, which then ends.
func (c *claim) overtakenByClient(was held) bool {
	came, err := time.Parse(time.RFC3339Nano, c.req.Came)
	if err != nil {
		return false
	}
	joined, err := time.Parse(time.RFC3339Nano, was.Joined)
	return err == nil && joined.After(came)
}

func now() string { return time.Now().UTC().Format(time.RFC3339Nano) }

// restored is a record with its options. One that a worker of version 0.1 brought back
// has none: they come back with the claim.
func (c *claim) restored(was held) subjects.Record {
	rec := was.Record
	if rec.Nonce == "" && rec.Options.GraceMS == 0 {
		rec.Options = c.req.Options
	}
	return rec
}

// move takes the session away from the owner that the request names, unless that was
// done already.
func (c *claim) move(ctx context.Context, was held) (held, error) {
	asked := c.req.Stamp
	same := was.there && was.Life == asked.Life
	switch {
	case was.there && was.Life > asked.Life:
		return held{}, subjects.Errorf(subjects.CodeSuperseded, "the session is in life %d", was.Life)
	case same && was.Attach > asked.Attach:
		return held{}, subjects.Errorf(subjects.CodeSuperseded, "another connection has the session, at attach %d", was.Attach)
	case same && was.Epoch > asked.Epoch:
		return was, nil
	case was.ended && was.rev > asked.Life:
		return held{}, subjects.Errorf(subjects.CodeEnded, "life %d of the session has ended", asked.Life)
	}
	rec := subjects.Record{Session: c.req.Session, Options: c.req.Options}
	if same {
		rec = c.restored(was)
	}
	rec.Stamp = subjects.Stamp{Life: asked.Life, Epoch: max(rec.Epoch, asked.Epoch), Attach: asked.Attach}
	w, ok := c.search.Replace(rec.Worker, rec.Since, c.req.Reason)
	if !ok {
		return held{}, c.refusal()
	}
	rec.Epoch++
	if same {
		c.left = &was
	}
	h, err := c.own(ctx, was, rec, w, c.req.Reason)
	if err == nil && same && w == was.Worker {
		c.d.release(was, c.req.Reason) // before the assignment, or it would still have the session
	}
	return h, err
}

// own writes a worker into the record. The slot promised to it is taken back where the
// write fails.
func (c *claim) own(ctx context.Context, was held, rec subjects.Record, w subjects.WorkerID, reason string) (held, error) {
	rec.Worker, rec.Reason, rec.Why = w, reason, c.search.Why()
	rec.Nonce, rec.Gateway, rec.Probe = c.req.Nonce, c.req.Gateway, c.req.Probe
	rec.Since = now()
	h, err := c.d.store.write(ctx, was, rec)
	if err != nil {
		c.search.Forget()
	}
	return h, err
}

// settle asks the record's worker to take the session, and others if it does not.
func (c *claim) settle(ctx context.Context, h held) (held, error) {
	for {
		refused, err := c.offer(ctx, h)
		c.search.Unreserve()
		if err != nil {
			if c.first(h) && !c.alone() { // the worker may have taken it all the same
				c.takeBack(ctx, h)
			}
			return held{}, err
		}
		if refused == nil {
			if h, err = c.confirm(ctx, h); err != nil {
				return held{}, err
			}
			c.leave(h)
			if c.search.Spilled() {
				c.d.metrics.spilled.Inc()
			}
			return h, nil
		}
		switch {
		case refused.Code == subjects.CodeEnded && c.req.Moves():
			c.remove(ctx, h)
			return held{}, refused
		case refused.Code == subjects.CodeEnded && c.req.Resume:
			c.remove(ctx, h)
			return held{}, refused
		case refused.Code == subjects.CodeEnded:
			h, err = c.begin(ctx, h)
		case refused.Code == subjects.CodeSuperseded:
			return held{}, c.overtaken(ctx, h, refused)
		case refused.Code == subjects.CodeEnding && !c.req.Moves():
			// The record stays, so that the next try comes to the same worker: another
			// one would cut off the last words of the life that ends here.
			return held{}, refused
		default:
			h, err = c.next(ctx, h, refused)
		}
		if err != nil {
			return held{}, err
		}
	}
}

// overtaken decides what it means that the worker knows of something later: usually
// another claim, which is then in the record.
func (c *claim) overtaken(ctx context.Context, h held, refused *subjects.Error) error {
	now, err := c.d.store.read(ctx, c.req.Session)
	switch {
	case err != nil:
		return err
	case now.rev != h.rev:
		return errConflict
	}
	c.giveUp(ctx, h, false)
	return refused
}

// next passes the session on to another worker, in a new epoch.
func (c *claim) next(ctx context.Context, h held, refused *subjects.Error) (held, error) {
	silent := refused.Code == subjects.MoveSilent
	if refused.Code == subjects.CodeEnding {
		c.ending = refused
	}
	deadline, _ := ctx.Deadline()
	if !c.search.Refused(h.Worker, refused.Code, time.Until(deadline)) {
		c.giveUp(ctx, h, silent)
		return held{}, c.refusal()
	}
	w, ok := c.search.Reserve()
	if !ok {
		c.giveUp(ctx, h, silent)
		return held{}, c.refusal()
	}
	rec := h.Record
	rec.Epoch++
	reason := h.Reason
	if !c.begun && !c.req.Moves() { // its worker had it and has it no more
		reason = moveReason(refused)
	}
	c.reason = ""
	own, err := c.own(ctx, h, rec, w, reason)
	if err == nil && silent { // should it wake up. Before the record is another's, another dispatcher may have placed the session there
		c.d.release(h, refused.Code)
	}
	return own, err
}

func moveReason(refused *subjects.Error) string {
	switch refused.Code {
	case subjects.CodeDraining:
		return subjects.MoveDraining
	case subjects.MoveSilent:
		return subjects.MoveSilent
	}
	return subjects.MoveGone
}

// refusal says why no worker takes the session, and when to ask again.
func (c *claim) refusal() *subjects.Error {
	if c.ending != nil {
		return c.ending
	}
	return c.search.Refusal()
}

// confirm notes that the session is granted, where another dispatcher may be at work on the
// same claim: what that one does not achieve must not undo it. Where the record has changed
// since it was read, the worker may have been asked for what is over.
func (c *claim) confirm(ctx context.Context, h held) (held, error) {
	if !c.first(h) || c.alone() {
		return h, nil
	}
	rec := h.Record
	rec.Granted = true
	now, err := c.d.store.write(ctx, h, rec)
	if err != nil {
		c.takeBack(ctx, h)
	}
	return now, err
}

// takeBack tells the worker that accepted h to let go of it if that ownership is over: the
// gateway that asked twice has had its answer from another dispatcher and given the claim up,
// or another claim has come in between.
func (c *claim) takeBack(ctx context.Context, h held) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupWait)
	defer cancel()
	for ctx.Err() == nil {
		now, err := c.d.store.read(ctx, h.Session)
		switch {
		case err == nil && now.there && now.rev >= h.rev && now.Life == h.Life && now.Epoch == h.Epoch:
			return // it still has it
		case err == nil && (now.rev == 0 || now.rev > h.rev):
			c.d.release(h, subjects.MoveEnded)
			return
		}
		select { // it was not read, or what was read is older than what was written
		case <-ctx.Done():
		case <-time.After(staleWait):
		}
	}
}

// giveUp leaves nothing of a life that no gateway heard of: its first attach is this
// claim's, which nobody accepted. Any other record stays, for the claim's next try.
//
// A worker that has not answered may take the session yet, though the record is gone: silent
// says so.
func (c *claim) giveUp(ctx context.Context, h held, silent bool) {
	switch {
	case !c.first(h):
	case !h.Granted && c.remove(ctx, h):
		c.d.release(h, subjects.MoveEnded) // its worker may have taken it, and only the answer is lost
	case silent && !c.alone():
		c.takeBack(ctx, h)
	}
}

// first tells whether a record is of a life that began with this very claim.
func (c *claim) first(h held) bool {
	return h.Attach == 1 && h.Nonce == c.req.Nonce && !c.req.Moves()
}

// alone tells whether no other dispatcher can have been asked the same: gateways are more
// patient than that.
func (c *claim) alone() bool {
	const most = ask.Patience * 4 / 5
	if sent, err := time.Parse(time.RFC3339Nano, c.req.Sent); err == nil && time.Since(sent) > most {
		return false
	}
	return time.Since(c.began) < most
}

// remove deletes a record if it can, and tells whether it did; if not, the record expires.
func (c *claim) remove(ctx context.Context, h held) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupWait)
	defer cancel()
	err := c.d.store.remove(ctx, h)
	if err != nil && !errors.Is(err, errConflict) {
		c.d.fault("a record is left to expire", err)
	}
	return err == nil
}

// leave tells the worker that had the session before, if it can hear.
func (c *claim) leave(h held) {
	if c.left != nil && c.left.Worker != h.Worker && c.req.Reason != subjects.MoveGone {
		c.d.release(*c.left, c.req.Reason)
	}
}
