package dispatcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
)

const (
	orphanMargin = 4 * time.Second // beyond its grace, before a session without a worker is another dispatcher's no more
	orphanAgain  = 5 * time.Second // pause before one that could not be judged or placed is looked at again
	orphanList   = 5 * time.Second // least time between two readings of all records
	orphanBound  = 30 * time.Second
	maxOrphans   = 10_000 // followed at once; the others' records expire
	probeWait    = time.Second
	gatherFor    = 500 * time.Millisecond // how long gateways may take to answer

	gatewaysPing = "$SRV.PING.stenobus-gateway" // every gateway answers here
)

// orphan is a session whose worker is gone. Usually its gateway moves it within seconds.
type orphan struct {
	rev uint64    // of its record
	due time.Time // when to judge it
}

// seekOrphans looks for sessions that lost gateway and worker at once, of whose last
// words nobody would ever hear: their frames are in the audio log, if there is one.
// Every dispatcher looks when a worker goes, and when it starts; a session that nobody
// has moved within its grace goes to a worker, which reads the log and ends it in
// order. Only one of the dispatchers succeeds: each writes over the record it read.
func (d *Dispatcher) seekOrphans(ctx context.Context, kv jetstream.KeyValue) {
	select {
	case <-ctx.Done():
		return
	case <-d.fleet.First():
	}
	found := map[subjects.SessionID]orphan{}
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	list := time.Time{} // when to read the records; zero: not at all
	last := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.fleet.Left():
			if list.IsZero() {
				list = time.Now().Add(rand.N(time.Second)) // not all dispatchers at once
				if least := last.Add(orphanList); list.Before(least) {
					list = least
				}
			}
		case now := <-tick.C:
			if !list.IsZero() && now.After(list) {
				list, last = time.Time{}, now
				if err := d.listOrphans(ctx, kv, found); err != nil && ctx.Err() == nil {
					d.fault("sessions without a worker are not looked for", err)
					list = now.Add(orphanList)
				}
			}
			d.judgeOrphans(ctx, found)
		}
	}
}

// listOrphans reads all records, and notes those whose worker is gone.
func (d *Dispatcher) listOrphans(ctx context.Context, kv jetstream.KeyValue, found map[subjects.SessionID]orphan) error {
	ctx, cancel := context.WithTimeout(ctx, orphanBound)
	defer cancel()
	_, err := d.js.Stream(ctx, subjects.AudioStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil // there is nothing to save
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", subjects.AudioStream, err)
	}
	w, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("list bucket %s: %w", subjects.SessionsBucket, err)
	}
	defer closeWatch(w)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the list of records ended early")
			}
			if e == nil {
				return nil
			}
			rec, err := subjects.DecodeDoc[subjects.Record]("session record", e.Value())
			if err != nil || len(found) >= maxOrphans || d.fleet.Has(rec.Worker, rec.Since) {
				continue
			}
			if found[rec.Session].rev != e.Revision() {
				found[rec.Session] = orphan{rev: e.Revision(), due: time.Now().Add(graceOf(rec) + orphanMargin)}
			}
		}
	}
}

// judgeOrphans looks at those that are due. None is judged soon after trouble of the bus.
func (d *Dispatcher) judgeOrphans(ctx context.Context, found map[subjects.SessionID]orphan) {
	var gateways map[string]bool
	for id, o := range found {
		now := time.Now()
		if now.Before(o.due) || ctx.Err() != nil {
			continue
		}
		if d.fleet.Calm(now) {
			if gateways == nil {
				gateways = d.gatewaysAlive(ctx)
			}
			if !d.judge(ctx, id, o, gateways) {
				delete(found, id)
				continue
			}
		}
		o.due = now.Add(orphanAgain/2 + rand.N(orphanAgain))
		found[id] = o
	}
}

// judge moves a session that nobody has any more. It reports whether to look again.
func (d *Dispatcher) judge(ctx context.Context, id subjects.SessionID, o orphan, gateways map[string]bool) (again bool) {
	ctx, cancel := context.WithTimeout(ctx, claimWait)
	defer cancel()
	h, err := d.store.read(ctx, id)
	switch {
	case err != nil:
		d.fault("a session without a worker could not be judged", err)
		return true
	case !h.there || h.rev != o.rev, d.fleet.Has(h.Worker, h.Since):
		return false
	case gateways[h.Gateway]: // it asks for a worker itself
		return true
	case d.answers(ctx, h.Worker) && !d.fleet.Reborn(h.Worker, h.Since): // it lives, and only its report is lost
		return true
	}
	h, err = d.grant(ctx, subjects.ClaimRequest{
		V: subjects.Version, Session: id, Gateway: d.cfg.Name, Nonce: h.Nonce,
		Reason: subjects.MoveGone, Stamp: h.Stamp, Fresh: true, Options: h.Options,
	})
	var refusal *subjects.Error
	switch {
	case err == nil:
		d.metrics.orphans.Inc()
		d.log.Info("session without gateway and worker is placed", "session", string(id),
			"life", h.Life, "epoch", h.Epoch, "worker", string(h.Worker))
		return false
	case errors.As(err, &refusal) && (refusal.Code == subjects.CodeSuperseded || refusal.Code == subjects.CodeEnded):
		return false
	}
	d.fault("a session without gateway and worker waits", err)
	return true
}

// answers tells whether anything listens for requests to a worker. The request is one
// that changes nothing: nobody owns a session in epoch 0.
func (d *Dispatcher) answers(ctx context.Context, w subjects.WorkerID) bool {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	_, err := d.nc.RequestWithContext(ctx, subjects.Worker(w), subjects.Encode(subjects.WorkerRequest{
		V: subjects.Version, Op: subjects.OpRelease,
	}))
	return !errors.Is(err, nats.ErrNoResponders)
}

// gatewaysAlive asks every gateway for its name.
func (d *Dispatcher) gatewaysAlive(ctx context.Context) map[string]bool {
	alive := map[string]bool{}
	ctx, cancel := context.WithTimeout(ctx, gatherFor)
	defer cancel()
	inbox := d.nc.NewRespInbox()
	sub, err := d.nc.SubscribeSync(inbox)
	if err != nil {
		return alive
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only where the connection is gone with it
	if err := d.nc.PublishRequest(gatewaysPing, inbox, nil); err != nil {
		return alive
	}
	for {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil { // the time is up, or there is none
			return alive
		}
		var ping struct {
			Metadata map[string]string `json:"metadata"`
		}
		if json.Unmarshal(m.Data, &ping) == nil {
			alive[ping.Metadata["gateway"]] = true
		}
	}
}
