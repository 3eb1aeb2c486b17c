package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/subjects/safeguard"
)

const (
	readersAtOnce = 4                // sessions of this worker that read the audio log at once: a stream has few consumers to give
	readPage      = 64               // messages asked for at a time
	readPageWait  = 2 * time.Second  // for a page
	readAskWait   = 2 * time.Second  // for an answer: a stream that elects a leader gives none, and must be asked again
	readBound     = 30 * time.Second // of one reading, its waiting and its retries included
	readBytes     = 64 << 20         // most audio of one reading, far above what a gateway's window holds
	readBack      = 90 * time.Second // how far before a session's last result its oldest uncovered frame may lie
	absentFor     = 5 * time.Second  // how long it is believed that there is no audio log
)

// audioLog is a worker's way into the audio log, for all its sessions.
type audioLog struct {
	js     jetstream.JetStream
	places chan struct{}

	mu     sync.Mutex // guards absent and nothing else
	absent time.Time  // until then there is no log
}

func newAudioLog(js jetstream.JetStream) *audioLog {
	return &audioLog{js: js, places: make(chan struct{}, readersAtOnce)}
}

// passage is what the audio log has of one life of a session: its numbered messages
// as they were sent, in their order and each number once.
type passage struct {
	items  []arrival
	states []sourceState // in order of their numbers
	top    uint64        // highest number known to have been given out
	ends   bool          // the session's end is among them
}

// sourceState is what is known of a source just before a number.
type sourceState struct {
	n    uint64
	info subjects.Source
	gone bool // it stopped
}

// wanted says what a session needs of the log: a life's messages from a number on, and
// of these the audio that no result covers.
type wanted struct {
	life    uint64
	from    uint64            // numbers below were taken
	covered map[uint32]uint64 // by source; not changed meanwhile
	since   time.Time         // zero: from its beginning
}

// read reads what the log has. It returns nothing where there is no log, and what it
// has got where the log fails in between.
func (l *audioLog) read(ctx context.Context, id subjects.SessionID, want wanted) (passage, error) {
	if l.isAbsent() {
		return passage{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, readBound)
	defer cancel()
	select {
	case l.places <- struct{}{}:
		defer func() { <-l.places }()
	case <-ctx.Done():
		return passage{}, context.Cause(ctx)
	}
	got := newGathering(want)
	try := func() (struct{}, error) {
		got = newGathering(want)
		err := l.gather(ctx, id, got)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			l.noteAbsent()
			return struct{}{}, nil
		}
		return struct{}{}, err
	}
	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(backoff.NewExponentialBackOff()), backoff.WithMaxElapsedTime(readBound))
	return got.passage(), err
}

func (l *audioLog) isAbsent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.absent)
}

func (l *audioLog) noteAbsent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.absent = time.Now().Add(absentFor)
}

// gather reads the session's messages page by page, as many as there are when it begins.
func (l *audioLog) gather(ctx context.Context, id subjects.SessionID, into *gathering) error {
	cfg := jetstream.ConsumerConfig{
		FilterSubject: subjects.Frames(id), AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: 5 * time.Second,
	}
	if since := into.since; !since.IsZero() {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	ask, cancel := context.WithTimeout(ctx, readAskWait)
	defer cancel()
	c, err := l.js.CreateConsumer(ask, subjects.AudioStream, cfg)
	if err != nil {
		return fmt.Errorf("read the audio log: %w", err)
	}
	info := c.CachedInfo()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = l.js.DeleteConsumer(ctx, subjects.AudioStream, info.Name) // if not, it ends by its threshold
	}()
	for left := info.NumPending; left > 0; {
		n := min(left, readPage)
		got, err := l.page(ctx, c, int(n), into)
		switch {
		case err != nil:
			return fmt.Errorf("read the audio log: %w", err)
		case got < int(n):
			return l.shortPage(ctx, c)
		case into.bytes > readBytes: // it would be as much again
			return backoff.Permanent(fmt.Errorf("read the audio log: more than %d bytes are not covered", readBytes))
		}
		left -= n
	}
	return nil
}

// shortPage tells a log whose oldest messages have aged out meanwhile from one that is slow.
func (l *audioLog) shortPage(ctx context.Context, c jetstream.Consumer) error {
	ctx, cancel := context.WithTimeout(ctx, readAskWait)
	defer cancel()
	info, err := c.Info(ctx)
	if err != nil {
		return fmt.Errorf("read the audio log: %w", err)
	}
	if info.NumPending > 0 {
		return fmt.Errorf("read the audio log: %d messages did not come within %v", info.NumPending, readPageWait)
	}
	return nil
}

func (l *audioLog) page(ctx context.Context, c jetstream.Consumer, n int, into *gathering) (got int, err error) {
	ctx, cancel := context.WithTimeout(ctx, readPageWait)
	defer cancel()
	batch, err := c.Fetch(n, jetstream.FetchContext(ctx))
	if err != nil {
		return 0, err
	}
	for m := range batch.Messages() {
		got++
		into.add(m.Headers(), m.Data())
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return got, err
	}
	return got, nil
}

// gathering collects one life's messages in the order of the log, in which messages
// that were sent again, or by another gateway, come later than their numbers say.
type gathering struct {
	wanted
	items  []arrival
	states []sourceState
	tops   map[uint64]uint64 // by attach: the highest number that its gateway spoke of
	first  map[uint64]uint64 // by attach: the lowest number that its gateway gave out
	bytes  int               // of audio
}

func newGathering(want wanted) *gathering {
	return &gathering{wanted: want, tops: map[uint64]uint64{}, first: map[uint64]uint64{}}
}

// add takes one message of the log. What is not of this life, or not readable, was
// refused by every worker, and is not part of the session.
func (g *gathering) add(header nats.Header, data []byte) {
	var e subjects.Envelope
	if e.ParseMsg(&nats.Msg{Header: header, Data: data}) != nil || e.Life != g.life {
		return
	}
	a := arrival{n: e.N, to: e.N, envelope: e, payload: data, logged: true}
	switch e.Kind {
	case subjects.KindAnnounce:
		g.note(e.Attach, e.N-1)
		if v, err := subjects.Decode[subjects.Announce](e.Kind, data); err == nil {
			for _, info := range v.Sources {
				g.states = append(g.states, sourceState{n: e.N, info: info})
			}
		}
		return
	case subjects.KindLast, subjects.KindDetach:
		g.note(e.Attach, e.N)
		return
	case subjects.KindFrames:
		a.to = e.N + uint64(len(e.Frames)) - 1
	case subjects.KindStart:
		g.states = append(g.states, sourceState{n: e.N, info: *e.Starts})
	case subjects.KindStop:
		g.states = append(g.states, sourceState{n: e.N, info: subjects.Source{Source: e.Source}, gone: true})
	case subjects.KindSkip:
		a.to = e.To
	case subjects.KindFlush, subjects.KindEnd:
	default:
		return
	}
	g.note(e.Attach, a.to)
	if f, ok := g.first[e.Attach]; e.Kind != subjects.KindSkip && (!ok || e.N < f) { // a skip may speak of another gateway's numbers
		g.first[e.Attach] = e.N
	}
	if e.Kind == subjects.KindFrames && g.needless(a) {
		a.payload = nil // its numbers are enough
	}
	g.items = append(g.items, a)
	g.bytes += len(a.payload)
}

// needless tells whether nobody will hear a message's audio again.
func (g *gathering) needless(a arrival) bool {
	if safeguard.DuplicatesOff {
		return false
	}
	for i, f := range a.envelope.Frames {
		if n := a.n + uint64(i); n >= g.from && n > g.covered[f.Source] {
			return false
		}
	}
	return true
}

func (g *gathering) note(attach, n uint64) { g.tops[attach] = max(g.tops[attach], n) }

// passage puts in order what was collected.
func (g *gathering) passage() passage {
	var p passage
	for attach, top := range g.tops {
		p.top = max(p.top, min(top, g.limit(attach)))
	}
	for _, a := range g.items {
		limit := g.limit(a.envelope.Attach)
		if a.n > limit {
			continue
		}
		if a.to > limit {
			a = a.until(limit)
		}
		p.ends = p.ends || a.envelope.Kind == subjects.KindEnd
		p.items = append(p.items, a)
	}
	p.items = inOrder(p.items)
	p.states = g.states
	slices.SortStableFunc(p.states, func(a, b sourceState) int { return cmp.Compare(a.n, b.n) })
	return p
}

// limit is the last number that counts of an attach: where a later gateway began to
// count, the one before it was taken for dead, and what it still sent was ignored.
func (g *gathering) limit(attach uint64) uint64 {
	limit := ^uint64(0)
	for later, first := range g.first {
		if later > attach {
			limit = min(limit, first-1)
		}
	}
	return limit
}

// until is a message without its numbers above n.
func (a arrival) until(n uint64) arrival {
	if k := int(n - a.n + 1); a.envelope.Kind == subjects.KindFrames {
		size := 0
		for _, f := range a.envelope.Frames[:k] {
			size += f.Size
		}
		a.envelope.Frames, a.payload = a.envelope.Frames[:k], a.payload[:min(size, len(a.payload))]
	}
	a.to = n
	return a
}

// inOrder sorts messages by number and leaves out those that hold nothing new. A skip
// comes after the frames with the same number: they were there before they were given up.
func inOrder(list []arrival) []arrival {
	rank := func(a arrival) int {
		if a.envelope.Kind == subjects.KindSkip {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(list, func(a, b arrival) int {
		return cmp.Or(cmp.Compare(a.n, b.n), cmp.Compare(rank(a), rank(b)), cmp.Compare(b.to, a.to))
	})
	reach := uint64(0) // highest number that is held, skips apart
	kept := list[:0]
	for _, a := range list {
		if a.to <= reach {
			continue
		}
		if rank(a) == 0 {
			reach = a.to
		}
		kept = append(kept, a)
	}
	clear(list[len(kept):])
	return kept
}

// begin is the lowest number at which something is not covered: there a receiver
// begins that knows nothing. It is 0 if nothing was found.
func (p *passage) begin(covered map[uint32]uint64) uint64 {
	for _, a := range p.items { // the first that matters, as they are in order
		switch a.envelope.Kind {
		case subjects.KindFrames, subjects.KindStart:
			for i, f := range a.envelope.Frames {
				if n := a.n + uint64(i); n > covered[f.Source] {
					return n
				}
			}
		case subjects.KindSkip:
			if skipsUncovered(a, covered) {
				return a.n
			}
		case subjects.KindEnd:
			return a.n
		}
	}
	if p.top == 0 {
		return 0
	}
	return p.top + 1
}

func skipsUncovered(a arrival, covered map[uint32]uint64) bool {
	skip, err := subjects.Decode[subjects.Skip](a.envelope.Kind, a.payload)
	if err != nil {
		return false
	}
	n := a.n
	for _, run := range skip.Runs {
		if n += run.Count; run.Source != 0 && n-1 > covered[run.Source] {
			return true
		}
	}
	return false
}

// sources is how every source stood just before its first frame from a number on, or at
// the end if it has none; live are those that had not stopped by then.
func (p *passage) sources(from uint64) (known []subjects.Source, live map[uint32]bool) {
	first := map[uint32]uint64{}
	for _, a := range p.items {
		for i, f := range a.envelope.Frames {
			if n := a.n + uint64(i); n >= from && first[f.Source] == 0 {
				first[f.Source] = n
			}
		}
	}
	at := map[uint32]subjects.Source{}
	live = map[uint32]bool{}
	for _, st := range p.states {
		source := st.info.Source
		n := first[source]
		switch _, seen := at[source]; {
		case st.gone && n == 0:
			live[source] = false
		case st.gone:
		case !seen, n == 0, st.n <= n: // the first that is known is better than none
			at[source], live[source] = st.info, true
		}
	}
	for source, info := range at {
		known = append(known, info)
		live[source] = live[source] || first[source] != 0
	}
	slices.SortFunc(known, func(a, b subjects.Source) int { return cmp.Compare(a.Source, b.Source) })
	return known, live
}
