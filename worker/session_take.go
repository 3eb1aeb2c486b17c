package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"stenobus/subjects"
)

// subscribe lets messages wait, frameRoom at most, until this goroutine leaves its turn.
func (s *session) subscribe(ctx context.Context) (*nats.Subscription, error) {
	sub, err := s.w.nc.Subscribe(subjects.Frames(s.id), func(m *nats.Msg) { s.arrived(ctx, m) })
	if err == nil {
		err = sub.SetPendingLimits(frameRoom, -1)
	}
	if err != nil {
		return nil, fmt.Errorf("subscribe to frames: %w", err)
	}
	return sub, nil
}

// take makes the results log ours. While the store is busy electing a leader the
// gateway hears acknowledgements, so that it knows this worker is alive.
func (s *session) take(ctx context.Context) error {
	done := make(chan error, 1)
	s.running.Go(func() {
		done <- s.rlog.take(ctx, func(p subjects.Progress) any {
			return subjects.Owner{
				Progress: p, Worker: string(s.w.id), Engine: s.engine.Describe().Name,
				Reason: s.reason, Why: subjects.BoundWhy(s.why),
			}
		})
	})
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			s.covered = cloneCounts(s.rlog.progress.Covered)
			s.begin = s.rlog.progress.Begin
			s.taken = counted(s.rlog.progress)
			s.packets = cloneCounts(s.rlog.progress.Packets)
			for _, src := range s.rlog.progress.Sources {
				s.known[src.Source] = src
			}
			s.logSeq.Store(s.rlog.last)
			return nil
		case <-alive.C:
			s.ack()
		case c := <-s.control:
			if c.op == subjects.OpRelease {
				return errReleased
			}
			s.early(c)
		}
	}
}

// early obeys a dispatcher while the log is being taken. A later attach waits for what
// the client of the one before has said, here as later.
func (s *session) early(c *control) {
	switch {
	case c.op == subjects.OpDrain:
		s.drainFrom(time.Now())
	case c.attach > s.attach.Load():
		s.opts.Access = c.access
		s.probes[c.attach] = c.probe
		s.queue(c.attach)
	}
}
