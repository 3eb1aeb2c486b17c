// Package bench measures what a deployment of Stenobus costs and how long it takes,
// beside the bare pipe: the least that any such path must do, in the same run.
package bench

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// byeWait is how long after their last frame sessions may take to end.
const byeWait = 60 * time.Second

var errNoBye = fmt.Errorf("not over %v after its last frame", byeWait)

// LoadConfig says what clients do. All fields but Rate, PingEvery and the flags are needed.
type LoadConfig struct {
	URL        string
	Sessions   int
	Sources    int           // of each session
	Rate       float64       // frames a second of each source; 0: they are open and silent
	PingEvery  time.Duration // of each session; 0: 1 s
	Ramp       time.Duration // over which sessions open, and end
	FrameBytes int
	Interims   bool // ask for them
	Bare       bool // the server is a Pipe: it says nothing
	Foreign    bool // the server does not say which frames its results cover, nor when a session is ready
}

// Load is clients at work, open loop: each sends by the clock, however the server fares.
type Load struct {
	cfg      LoadConfig
	audio    *audio
	upgrader *http.Client
	sessions []*session
	frames   atomic.Uint64 // sent up to now
	over     atomic.Int64  // Unix time in ns from which sessions end; 0: not yet
	begin    time.Time
	cancel   context.CancelCauseFunc
	wg       sync.WaitGroup
	open     chan struct{} // closed when every session is ready, or failed
	errs     []error       // by session; read it after wg
}

// Report is what the clients saw.
type Report struct {
	Frames   uint64 // sent in all
	Messages uint64 // sent in all
	Lost     uint64 // frames sent that no final covers, or not with the bytes that were sent
	Doubled  uint64 // frames covered twice, or never sent
	Late     uint64 // frames and pings sent late, because this machine was busy or the server did not read
	Failed   []error

	Ready                   []time.Duration
	Arrivals, Pings, Finals []time.Duration // of the steady phase alone
}

// StartLoad opens the sessions. Every StartLoad is followed by one End, which waits for
// all that was started here.
func StartLoad(ctx context.Context, cfg LoadConfig) *Load {
	ctx, cancel := context.WithCancelCause(ctx)
	l := &Load{
		cfg: cfg, audio: newAudio(cfg.FrameBytes), upgrader: newUpgrader(), begin: time.Now(),
		cancel: cancel, open: make(chan struct{}), errs: make([]error, cfg.Sessions),
	}
	var opening sync.WaitGroup
	opening.Add(cfg.Sessions)
	for i := range cfg.Sessions {
		s := newSession(l, i)
		s.opened = l.begin.Add(l.offset(i))
		l.sessions = append(l.sessions, s)
		l.wg.Go(func() { l.errs[i] = s.run(ctx, opening.Done) })
	}
	l.wg.Go(func() {
		opening.Wait()
		close(l.open)
	})
	return l
}

// Open returns when all sessions are ready or have failed, and the ramp is over. What is
// not ready after openWait is not waited for.
func (l *Load) Open(ctx context.Context) error {
	late := time.NewTimer(l.cfg.Ramp + openWait)
	defer late.Stop()
	select {
	case <-l.open:
	case <-late.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return pauseUntil(ctx, l.begin.Add(l.cfg.Ramp))
}

// Sent is the number of frames sent up to now.
func (l *Load) Sent() uint64 { return l.frames.Load() }

// End lets the sessions end, one after the other over the time of the ramp, and reports.
// The latencies are of what was due from the one moment to the other.
func (l *Load) End(from, to time.Time) Report {
	defer l.cancel(nil)
	l.over.Store(time.Now().UnixNano())
	late := time.AfterFunc(l.cfg.Ramp+byeWait, func() { l.cancel(errNoBye) })
	defer late.Stop()
	l.wg.Wait()
	now := time.Now()
	r := Report{Frames: l.Sent()}
	for i, s := range l.sessions {
		if err := l.errs[i]; err != nil {
			r.Failed = append(r.Failed, fmt.Errorf("session %d: %w", i, err))
		}
		r.add(s, now, from, to)
	}
	return r
}

// add reads a session that is over.
func (r *Report) add(s *session, now, from, to time.Time) {
	r.Messages += s.messages
	r.Late += s.late
	if s.load.cfg.Bare {
		return
	}
	if !s.load.cfg.Foreign {
		lost, doubled := s.book.close(s.plan.frames)
		r.Lost += lost
		r.Doubled += doubled
	}
	if s.ready > 0 {
		r.Ready = append(r.Ready, s.ready)
	}
	s.unanswered(now)
	r.Pings = appendDue(r.Pings, s.pongs, from, to)
	r.Finals = appendDue(r.Finals, s.finals, from, to)
	r.Arrivals = appendDue(r.Arrivals, s.arrivals, from, to)
}

// Wrong sums up what failed; nil if nothing did. Of many errors the first tells enough.
func (r *Report) Wrong() error {
	if len(r.Failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d sessions failed, the first: %w", len(r.Failed), r.Failed[0])
}

func appendDue(to []time.Duration, samples []sample, from, until time.Time) []time.Duration {
	for _, s := range samples {
		if !s.due.Before(from) && s.due.Before(until) {
			to = append(to, s.took)
		}
	}
	return to
}

// offset is how long after the first session another begins, and ends.
func (l *Load) offset(index int) time.Duration {
	return l.cfg.Ramp * time.Duration(index) / time.Duration(l.cfg.Sessions)
}

// overFor tells whether a session sends nothing more at that time.
func (l *Load) overFor(index int, due time.Time) bool {
	at := l.over.Load()
	return at != 0 && due.UnixNano() >= at+int64(l.offset(index))
}
