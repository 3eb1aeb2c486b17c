package bench

import (
	"context"
	"fmt"
	"time"
)

// limitStep is how near to the limit a search comes: within this part of it.
const limitStep = 0.05

// FindLimit searches for the most sessions that the server carries with every frame
// covered and the 99th percentile of its latency (of pings, where it does not tell more)
// below bound. The Result is that of the most sessions that it carried. It begins with
// the sessions of cfg, doubles them until it is too much, and halves the distance then.
func FindLimit(ctx context.Context, cfg Config, bound time.Duration) (Result, error) {
	cfg.NoPipe = true
	var best Result
	good, bad, worst := 0, 0, ""
	for n := cfg.Load.Sessions; ; {
		cfg.Load.Sessions = n
		r, err := Run(ctx, cfg)
		if ctx.Err() != nil {
			return best, context.Cause(ctx)
		}
		why := tooMuch(&r, err, cfg.Load.Foreign, bound)
		if why == "" {
			good, best = n, r
			why = "carried"
		} else {
			bad, worst = n, why
		}
		cfg.Progress(fmt.Sprintf("%d sessions: %s", n, why), "")
		if n = nextTry(good, bad); n == 0 {
			break
		}
	}
	if good == 0 {
		return best, fmt.Errorf("not even %d sessions stay below %v (%s): begin with fewer --sessions", bad, bound, worst)
	}
	return best, nil
}

// nextTry is how many sessions to try next, 0 where the limit is known well enough.
func nextTry(good, bad int) int {
	switch {
	case bad == 0:
		return 2 * good
	case good == 0, bad-good <= max(1, int(limitStep*float64(bad))):
		return 0
	}
	return (good + bad) / 2
}

// tooMuch tells why a load was too much; empty: it was not.
func tooMuch(r *Result, err error, foreign bool, bound time.Duration) string {
	p99, what := r.FrameP99, "frames"
	if foreign {
		p99, what = r.PingP99, "pings"
	}
	switch {
	case err != nil:
		return err.Error()
	case !r.OK():
		return fmt.Sprintf("%d frames lost, %d doubled, %d sessions failed", r.Lost, r.Doubled, r.Failed)
	case p99 == 0:
		return "nothing was measured: take a longer --duration"
	case p99 > ms(bound):
		return fmt.Sprintf("p99 of %s is %.1f ms", what, p99)
	}
	return ""
}
