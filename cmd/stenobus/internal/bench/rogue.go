package bench

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	// phaseLasts is how long quiet and unquiet take turns: not long, so that what else the
	// machine does falls into both. Nothing of its beginning counts, which has to do with the
	// phase before. Which of two is first is drawn: garbage is collected every few seconds, and
	// with turns that are as regular it might be so in one kind of phase for minutes.
	phaseLasts   = 2 * time.Second
	phaseSettles = 250 * time.Millisecond
)

// rogue is a client that misbehaves until its context ends.
type rogue struct {
	every time.Duration // between two messages
	reads bool          // what it is told
	says  func(a *audio, i int) []byte
}

// realTime is the frames a second of one that speaks in real time beside others that are silent.
const realTime = 50

// rogues are one that speaks at 20 times real time, one that sends what nobody understands, and
// one that never reads. Real time is rate frames a second: the media clock of the others goes so.
func rogues(rate float64) []rogue {
	if rate == 0 {
		rate = realTime
	}
	frame := func(a *audio, i int) []byte {
		return media{
			sequence: uint64(i), tag: tagOf(0), chunk: uint64(i), timestamp: uint64(float64(i) * ticks / rate), payload: a.encoded[i%variants],
		}.appendTo(nil)
	}
	return []rogue{
		{time.Duration(float64(time.Second) / (20 * rate)), true, frame},
		{time.Millisecond, true, func(_ *audio, i int) []byte {
			return fmt.Appendf(nil, `{"event":%d,"media":{"tag":"%s`, i, bytes.Repeat([]byte("x"), i%1000))
		}},
		{20 * time.Millisecond, false, frame},
	}
}

// run misbehaves. A rogue that is closed is quiet until ctx ends: nothing that is measured
// depends on it.
func (r *rogue) run(ctx context.Context, at string, a *audio) {
	conn, _, err := websocket.Dial(ctx, at, nil)
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(readLimit)
	if r.reads {
		var reader sync.WaitGroup
		defer reader.Wait()
		defer func() { _ = conn.CloseNow() }()
		reader.Go(func() {
			for err := error(nil); err == nil; {
				_, _, err = conn.Read(context.WithoutCancel(ctx))
			}
		})
	}
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	for i := 1; conn.Write(ctx, websocket.MessageText, r.says(a, i)) == nil; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// phase is a part of the steady time.
type phase struct {
	from, to time.Time
	unquiet  bool // the rogues were there
}

// misbehave lets rogues come and go for as long as lasts, and tells when they were there.
func misbehave(ctx context.Context, l *Load, lasts time.Duration, show func(string)) ([]phase, error) {
	count := 2 * max(1, int(lasts/(2*phaseLasts)))
	each := lasts / time.Duration(count)
	draw := rand.New(rand.NewPCG(0, 0))
	var out []phase
	for i := range count {
		p := phase{}
		if i%2 == 0 {
			p.unquiet = draw.IntN(2) == 1
		} else {
			p.unquiet = !out[i-1].unquiet
		}
		stop := func() {}
		if p.unquiet {
			stop = unleash(ctx, l)
		}
		begin := time.Now()
		p.from, p.to = begin.Add(min(phaseSettles, each/4)), begin.Add(each)
		show(fmt.Sprintf("phase %d of %d", i+1, count))
		err := pauseUntil(ctx, p.to)
		stop()
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// unleash starts the rogues and returns what ends them.
func unleash(ctx context.Context, l *Load) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	at := l.cfg.URL + "?" + url.Values{"sendBack": {"true"}, "sendBackInterim": {"true"}, "stenobus": {"1"}}.Encode()
	for _, r := range rogues(l.cfg.Rate) {
		wg.Go(func() { r.run(ctx, at, l.audio) })
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// Isolation is what three clients that misbehave do to the others: the 99th percentiles of
// all that was due while they were there over those of all that was due while they were not.
type Isolation struct {
	FrameQuiet float64 `json:"frame_p99_quiet_ms"`
	FrameRatio float64 `json:"frame_p99_ratio"`
	PingQuiet  float64 `json:"ping_p99_quiet_ms"`
	PingRatio  float64 `json:"ping_p99_ratio"`
}

// isolation reads a load that has ended.
func isolation(l *Load, phases []phase) *Isolation {
	frameQuiet, frameUnquiet := l.p99(phases, func(s *session) []sample { return s.arrivals })
	pingQuiet, pingUnquiet := l.p99(phases, func(s *session) []sample { return s.pongs })
	return &Isolation{
		FrameQuiet: ms(frameQuiet), FrameRatio: round(ratio(float64(frameUnquiet), float64(frameQuiet))),
		PingQuiet: ms(pingQuiet), PingRatio: round(ratio(float64(pingUnquiet), float64(pingQuiet))),
	}
}

// p99 pools phases of a kind: one alone has too few samples for a percentile that says much.
func (l *Load) p99(phases []phase, of func(*session) []sample) (quiet, unquiet time.Duration) {
	var by [2][]time.Duration
	for _, p := range phases {
		i := 0
		if p.unquiet {
			i = 1
		}
		for _, s := range l.sessions {
			by[i] = appendDue(by[i], of(s), p.from, p.to)
		}
	}
	return quantile(by[0], 0.99), quantile(by[1], 0.99)
}
