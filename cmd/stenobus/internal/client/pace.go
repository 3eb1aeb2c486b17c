package client

import (
	"context"
	"time"
)

// unknownWait is how long a gateway that has not said that it tells what it covers is
// given to do so, before it is sent its audio in real time.
const unknownWait = 2 * time.Second

// pace decides when the next piece of audio may go.
type pace struct {
	speed float64       // of real time; 0: as fast as the gateway keeps up
	ahead time.Duration // most audio under way, unless in real time
	flow  *flow
	start time.Time // when the audio's second 0 was due
}

func newPace(speed float64, ahead time.Duration, f *flow) *pace {
	return &pace{speed: speed, ahead: ahead, flow: f, start: time.Now()}
}

// wait returns when audio of tag that begins at the given time may go.
func (p *pace) wait(ctx context.Context, tag string, at time.Duration) error {
	if p.speed != 1 { // real time is live: it waits for nobody
		if err := p.waitFlow(ctx, tag, at); err != nil {
			return err
		}
	}
	if p.speed == 0 {
		return ctx.Err()
	}
	due := p.start.Add(time.Duration(float64(at) / p.speed))
	return pause(ctx, time.Until(due))
}

func (p *pace) waitFlow(ctx context.Context, tag string, at time.Duration) error {
	var patience <-chan time.Time
	for {
		ahead, told := p.flow.ahead(tag)
		if ahead <= p.ahead {
			return nil
		}
		if !told && patience == nil {
			timer := time.NewTimer(unknownWait)
			defer timer.Stop()
			patience = timer.C
		}
		if told {
			patience = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.flow.changed:
		case <-patience:
			p.speed, p.start = 1, time.Now().Add(-at)
			return nil
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
