package dispatcher

import (
	"context"

	"stenobus/subjects"
)

// open begins the life of a session that has no record, as most claims do, without a read
// before it: the write itself says whether there is one. It reports false where the record
// must be read: it is there, or there is no room for a new life, which says nothing of one
// that has its worker.
func (c *claim) open(ctx context.Context) (held, bool) {
	if c.looked || c.req.Moves() || c.req.Resume {
		return held{}, false
	}
	c.looked = true
	w, ok := c.search.Reserve()
	if !ok {
		return held{}, false
	}
	h, err := c.newLife(ctx, held{unread: true}, w)
	return h, err == nil
}

// begin starts a life, over whatever was there before.
func (c *claim) begin(ctx context.Context, was held) (held, error) {
	if c.lives >= maxLives {
		return held{}, subjects.Errorf(subjects.CodeInternal, "%d lives of the session ended at once", maxLives)
	}
	w, ok := c.search.Reserve()
	if !ok {
		if was.there { // of a life that is over
			c.remove(ctx, was)
		}
		return held{}, c.refusal()
	}
	return c.newLife(ctx, was, w)
}

// newLife writes the first record of a life.
func (c *claim) newLife(ctx context.Context, was held, w subjects.WorkerID) (held, error) {
	h, err := c.own(ctx, was, subjects.Record{
		Stamp: subjects.Stamp{Epoch: 1, Attach: 1}, Session: c.req.Session, Joined: now(), Options: c.req.Options,
	}, w, subjects.ReasonOpen)
	if err == nil {
		c.lives++
		c.begun, c.attached, c.reason = true, true, ""
	}
	return h, err
}
