package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	backoffLeast = 50 * time.Millisecond
	backoffMost  = 2 * time.Second
	backTries    = 60               // to come back after one break
	backWait     = 40 * time.Second // over all of them, until the session goes on
	resumeWait   = 25 * time.Second // on one connection, until the gateway says where to go on
	endWait      = 90 * time.Second // from a session's end to the goodbye, however often it has to come back
	stagger      = 7                // frames that a speaker begins after the one before
	burst        = 100              // frames in a row that are sent without looking around
)

// order is what the lab makes a client do.
type order int

const (
	orderCut    order = iota // lose the connection
	orderSecond              // open a second connection and go on with that
)

// client is one session and whoever speaks in it, on as many connections as it takes.
// One goroutine, run, sends; each line has a reader; what they share is under mu.
type client struct {
	crew    *crew
	index   uint32
	base    uint32 // the index of the first client with this id
	id      string
	tags    []string // by source, from 0
	last    uint64   // the number of frames that each source is to say
	orders  chan order
	readers sync.WaitGroup

	// The sender's.
	voice    voice
	begin    time.Time // when frame 1 is due
	next     []uint64  // by source, from 0
	started  []bool
	saidBye  bool
	overAt   time.Time // when the last frame was due
	opened   time.Time
	at       atomic.Int32 // gateway of the present line; -1: none
	attempts int

	sent []atomic.Uint64 // by source, from 1: the highest number sent

	mu      sync.Mutex // guards what follows
	ear     *ear
	readyAt time.Time
	failed  error // why the session could not be carried to its end
}

func newClient(w *crew, index, base uint32, frames uint64) *client {
	c := &client{
		crew: w, index: index, base: base, id: fmt.Sprintf("%s-%d", w.prefix, base), last: max(frames, 1),
		orders: make(chan order, 1), next: make([]uint64, w.sources), started: make([]bool, w.sources),
		sent: make([]atomic.Uint64, w.sources+1),
	}
	c.ear = newEar(c.id, w.sources)
	c.voice = voice{session: index, size: w.frameBytes, rate: w.rate}
	c.at.Store(-1)
	for i := range w.sources {
		c.tags = append(c.tags, tagOf(i+1))
		c.next[i] = 1
	}
	return c
}

// run carries the session to its end and says why it could not, if so.
func (c *client) run(ctx context.Context) error {
	defer c.readers.Wait()
	defer c.at.Store(-1)
	c.opened = time.Now()
	l, err := c.connect(ctx, false)
	if err != nil {
		return err
	}
	c.begin = time.Now().Add(time.Duration(rand.Int64N(int64(c.crew.gap()))))
	broken := time.Time{} // since when the session does not go on
	for {
		c.at.Store(int32(l.gateway))
		next, went, err := c.speak(ctx, l)
		if went {
			broken = time.Time{}
		}
		if next != nil {
			l = next
			continue
		}
		c.at.Store(-1)
		l.cut()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		why, text := c.verdictOf(l, err)
		if broken.IsZero() {
			broken = time.Now()
		}
		switch {
		case why == over:
			return nil
		case why == lost:
			return fmt.Errorf("%s%s", text, c.complaint())
		case time.Since(broken) > backWait:
			return fmt.Errorf("did not go on within %v, last: %s%s", backWait, text, c.complaint())
		case c.saidBye && time.Since(c.overAt) > endWait:
			return fmt.Errorf("no goodbye within %v, last: %s%s", endWait, text, c.complaint())
		}
		if l, err = c.connect(ctx, true); err != nil {
			return err
		}
	}
}

// verdictOf judges a line's end: what the gateway said counts before what failed here.
func (c *client) verdictOf(l *line, err error) (verdict, string) {
	c.mu.Lock()
	ended := c.ear.ended
	c.mu.Unlock()
	v, text := judge(l.err, ended)
	if v == again && err != nil {
		text = err.Error()
	}
	return v, text
}

func (c *client) complaint() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ear.complaint()
}

// connect tries gateways in turn, with full jitter between tries.
func (c *client) connect(ctx context.Context, resume bool) (*line, error) {
	until := time.Now().Add(backWait)
	delay := backoffLeast
	for try := 1; ; try++ {
		if resume || try > 1 {
			if err := pause(ctx, rand.N(delay)); err != nil {
				return nil, err
			}
			delay = min(2*delay, backoffMost)
		}
		gateway := (int(c.index) + c.attempts) % len(c.crew.urls)
		c.attempts++
		l, err := c.dial(ctx, gateway, resume)
		if err == nil {
			return l, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if v, text := judgeRefusal(err); v == lost || try >= backTries || time.Now().After(until) {
			return nil, fmt.Errorf("no connection after %d tries: %s%s", try, text, c.complaint())
		}
	}
}

// speak uses one line until it ends. It returns the line to go on with where that is
// another one, and whether the session went on here.
func (c *client) speak(ctx context.Context, l *line) (next *line, went bool, err error) {
	if !l.resumed {
		went = true
		c.restart(map[string]int64{})
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	ping := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil, went, context.Cause(ctx)
		case <-l.done:
			return nil, went, nil
		case packets := <-l.goOn:
			if l.resumed && !went {
				c.restart(packets)
				went = true
				timer.Reset(0)
			}
		case o := <-c.orders:
			if o == orderCut {
				return nil, went, nil
			}
			if next = c.second(ctx, l); next != nil {
				return next, went, nil
			}
		case <-timer.C:
			now := time.Now()
			if !now.Before(ping) {
				ping = now.Add(pingEvery)
				if err := c.look(l, now, went); err != nil {
					return nil, went, err
				}
			}
			due := ping
			if went {
				if due, err = c.sendDue(l, now); err != nil {
					return nil, went, err
				}
			}
			timer.Reset(time.Until(earlier(due, ping)))
		}
	}
}

// look pings the gateway and gives up what takes too long.
func (c *client) look(l *line, now time.Time, went bool) error {
	switch {
	case l.silent(now):
		return errSilent
	case !went && now.Sub(l.since) > resumeWait:
		return fmt.Errorf("not told where to go on within %v", resumeWait)
	case c.saidBye && now.Sub(c.overAt) > endWait:
		return fmt.Errorf("not over %v after its end", endWait)
	}
	l.bound(now)
	return l.write([]byte(pingMessage))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// restart goes on behind the packets that the session has.
func (c *client) restart(packets map[string]int64) {
	c.saidBye = false
	for i, tag := range c.tags {
		n, known := packets[tag]
		c.next[i], c.started[i] = uint64(max(n, 0))+1, known
	}
}

// second opens another connection for the live session, from where this one stands,
// and leaves this one to the gateway. It returns nil where that fails.
func (c *client) second(ctx context.Context, l *line) *line {
	c.mu.Lock() // no final is heard here any more
	l.frozen.Store(true)
	c.mu.Unlock()
	gateway := (int(c.index) + c.attempts) % len(c.crew.urls)
	c.attempts++
	next, err := c.dial(ctx, gateway, true)
	if err != nil {
		l.cut() // it may have said what was not heard
		return nil
	}
	c.readers.Go(func() {
		timer := time.NewTimer(backWait)
		defer timer.Stop()
		select {
		case <-l.done: // superseded, as it should be
		case <-timer.C:
			c.crew.wrongs.add(wrong(Leftover, 1, "%s: its first connection is open %v after the second one", c.id, backWait))
		case <-ctx.Done():
		}
		l.cut()
	})
	return next
}

// sendDue sends what is due and tells when there is more.
func (c *client) sendDue(l *line, now time.Time) (time.Time, error) {
	last := c.last
	if stop := c.crew.stopAt.Load(); stop != 0 {
		last = min(last, c.dueBy(time.Unix(0, stop)))
	}
	sent, err := c.sendUpTo(l, last, now)
	if err != nil {
		return now, err
	}
	done := c.lowest() > last
	switch {
	case sent >= burst:
		return now, nil
	case !done:
		return c.nextDue(last), nil
	case c.saidBye:
		return now.Add(pingEvery), nil
	}
	c.saidBye = true
	if c.overAt.IsZero() {
		c.overAt = now
	}
	return now.Add(pingEvery), l.write([]byte(endMessage))
}

// sendUpTo sends frames that are due, the sources in turn, and tells how many it sent.
func (c *client) sendUpTo(l *line, last uint64, now time.Time) (sent int, err error) {
	for begin := -1; sent < burst && sent != begin; {
		begin = sent
		for i := range c.tags {
			if c.next[i] > last || c.frameAt(i, c.next[i]).After(now) {
				continue
			}
			if err := c.sendNext(l, i); err != nil {
				return sent, err
			}
			sent++
		}
	}
	return sent, nil
}

// sendNext sends one frame, the first of a source after its start.
func (c *client) sendNext(l *line, i int) error {
	if !c.started[i] {
		if err := l.write([]byte(startMessage(c.tags[i]))); err != nil {
			return err
		}
		c.started[i] = true
	}
	n := c.next[i]
	if err := l.write(c.voice.media(i+1, c.tags[i], n)); err != nil {
		return err
	}
	c.next[i]++
	if c.sent[i+1].Load() < n {
		c.sent[i+1].Store(n)
		c.crew.frames.Add(1)
	}
	return nil
}

// frameAt is when a frame of a source is due. Speakers begin one after the other, so that
// their finals do not come at the same frames.
func (c *client) frameAt(i int, n uint64) time.Time {
	return c.begin.Add(time.Duration(n-1+uint64(i)*stagger) * c.crew.gap())
}

// nextDue is when the next frame is due of those up to last.
func (c *client) nextDue(last uint64) time.Time {
	var first time.Time
	for i, n := range c.next {
		if at := c.frameAt(i, n); n <= last && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// dueBy is the last frame of the first source that is due at a time, at least the first: a session without
// a word proves nothing.
func (c *client) dueBy(t time.Time) uint64 {
	return uint64(max(int64(t.Sub(c.begin)/c.crew.gap())+1, 1))
}

func (c *client) lowest() uint64 {
	n := c.next[0]
	for _, m := range c.next {
		n = min(n, m)
	}
	return n
}

// before is where the session stands.
func (c *client) before(epoch uint64) before {
	b := before{epoch: epoch, sent: make([]uint64, len(c.sent))}
	for i := range c.sent {
		b.sent[i] = c.sent[i].Load()
	}
	return b
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
