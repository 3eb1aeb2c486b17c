package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
)

const (
	watchOpen  = 10 * time.Second       // bound of starting the watch
	watchTick  = 500 * time.Millisecond // how often ages are looked at
	watchPause = 2 * time.Second        // longest pause before a watch that failed is tried again
)

// watch feeds the fleet from the workers bucket until ctx ends. It is one watcher for
// all workers. After a reconnect the list is read again, because a watcher may stay
// blind after the bus had trouble.
func (d *Dispatcher) watch(ctx context.Context, kv jetstream.KeyValue) {
	status := d.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED)
	defer d.nc.RemoveStatusListener(status)
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		err := d.watchOnce(ctx, kv, status)
		if err == nil {
			pause = 100 * time.Millisecond
			continue
		}
		if ctx.Err() != nil {
			return
		}
		d.fault("workers are not watched", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, watchPause)
		// The bus may have forgotten the bucket, which is in memory.
		if bus, err := d.ensureOnce(ctx); err == nil {
			kv = bus.Workers
		}
	}
}

// watchOnce watches until there is a reason to begin again: nil, or what failed.
func (d *Dispatcher) watchOnce(ctx context.Context, kv jetstream.KeyValue, status <-chan nats.Status) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	bound := time.AfterFunc(watchOpen, cancel)
	expiry, w, err := openWatch(ctx, kv)
	if err != nil {
		bound.Stop()
		return err
	}
	defer closeWatch(w)
	if !bound.Stop() {
		return fmt.Errorf("watch was not there within %v", watchOpen)
	}
	d.fleet.Listing()
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	heard := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case s, ok := <-status:
			if !ok {
				return nats.ErrConnectionClosed
			}
			d.fleet.Troubled(time.Now())
			if s == nats.CONNECTED {
				return nil
			}
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch ended")
			}
			heard = time.Now()
			d.reported(e, heard)
		case now := <-tick.C:
			d.fleet.Sweep(now, expiry)
			d.waiting.sweep(now)
			if d.fleet.Size() > 0 && now.Sub(heard) > expiry {
				return nil // every worker reports several times in this time: the watcher may be blind
			}
		}
	}
}

func openWatch(ctx context.Context, kv jetstream.KeyValue) (time.Duration, jetstream.KeyWatcher, error) {
	status, err := kv.Status(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("bucket %s: %w", subjects.WorkersBucket, err)
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return 0, nil, fmt.Errorf("watch bucket %s: %w", subjects.WorkersBucket, err)
	}
	return max(status.TTL(), minExpiry), w, nil
}

// closeWatch stops a watcher and takes what it still holds, on which it would block.
func closeWatch(w jetstream.KeyWatcher) {
	_ = w.Stop() // fails only where the connection is closed, and the watch with it
	bound := time.After(time.Second)
	for {
		select {
		case _, ok := <-w.Updates():
			if !ok {
				return
			}
		case <-bound:
			return
		}
	}
}

// reported takes one update of the workers bucket; nil ends the list.
func (d *Dispatcher) reported(e jetstream.KeyValueEntry, now time.Time) {
	if e == nil {
		d.fleet.Listed(now)
		return
	}
	id, err := subjects.ParseWorkerToken(e.Key())
	if err != nil {
		d.fault("a worker's key is not readable", err)
		return
	}
	if e.Operation() != jetstream.KeyValuePut {
		d.fleet.Remove(id)
		return
	}
	r, err := subjects.DecodeDoc[subjects.WorkerReport]("worker report", e.Value())
	if err == nil && r.Worker != id {
		err = fmt.Errorf("worker report: field worker is %q, its key is %q", r.Worker, id)
	}
	if err != nil {
		d.fault("a worker's report is not readable", err)
		return
	}
	if d.results.Split() != 0 && !r.Follows {
		d.fault("a worker gets no sessions", fmt.Errorf("%s does not follow the log of an assign, and the results log is split over %d streams", id, d.results.Split()))
		d.fleet.Remove(id)
		return
	}
	d.fleet.Put(r, now)
}
