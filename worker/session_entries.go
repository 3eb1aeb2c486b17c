package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"stenobus/subjects"
	"stenobus/subjects/safeguard"
)

// apply takes the next number out of a message. It reports false where a source's
// queue is full: the number is then taken later, and the sender keeps the rest.
func (s *session) apply(ctx context.Context, a *arrival, now time.Time) bool {
	e := &a.envelope
	switch e.Kind {
	case subjects.KindFrames:
		return s.applyFrame(ctx, a, now)
	case subjects.KindStart:
		return s.applyStart(ctx, a, now)
	case subjects.KindStop:
		if src := s.sources[e.Source]; src != nil {
			close(src.queue)
			delete(s.sources, e.Source)
		}
	case subjects.KindFlush:
		if src := s.sources[e.Source]; src != nil && !s.push(src, item{kind: subjects.KindFlush}) {
			return false
		}
	case subjects.KindSkip:
		return s.applySkip(ctx, a)
	case subjects.KindEnd:
		end, err := subjects.Decode[subjects.End](e.Kind, a.payload)
		if err != nil {
			s.w.grumble(s.log, "end without a readable payload", err)
		}
		s.recv.take()
		s.finish(end)
		return true
	default:
		s.w.grumble(s.log, "message passed over", fmt.Errorf("%w: unknown kind %q", subjects.ErrMessage, e.Kind))
	}
	s.recv.take()
	return true
}

// applyStart takes the frame with which a source begins, or goes on in another format.
func (s *session) applyStart(ctx context.Context, a *arrival, now time.Time) bool {
	info := *a.envelope.Starts
	src := s.sources[info.Source]
	switch {
	case src == nil:
		s.openSource(ctx, info)
	case s.known[info.Source] == info:
	case !s.roomFor(src):
		return false
	default:
		s.know(info)
		src.put(item{kind: subjects.KindStart, info: &info})
	}
	return s.applyFrame(ctx, a, now)
}

func (s *session) applyFrame(ctx context.Context, a *arrival, now time.Time) bool {
	i := int(s.recv.next - a.n)
	offset := 0
	for _, f := range a.envelope.Frames[:i] {
		offset += f.Size
	}
	info := a.envelope.Frames[i]
	n := s.recv.next
	if n > s.covered[info.Source] || safeguard.DuplicatesOff { // otherwise it only fills a gap between frames of others
		src := s.sources[info.Source]
		f := openFrame{n: n, count: 1, at: info.At, packet: info.Packet, payload: a.payload[offset : offset+info.Size]}
		if src == nil {
			s.refuseUnknown(ctx, info.Source, n)
		} else if !src.direct(ctx, f, now) && !s.push(src, item{kind: subjects.KindFrames, frame: f}) {
			return false
		}
		s.atMS = max(s.atMS, info.At)
		s.audible.Store(now.UnixMilli())
		s.taken[info.Source]++
		if info.Packet >= 0 {
			s.packets[info.Source] = info.Packet
		}
		s.w.metrics.frames.Inc()
		if a.logged {
			s.w.metrics.recovered.Inc()
		}
	}
	s.recv.take()
	return true
}

// takeAgain hears a message whose numbers were taken before, as a receiver would that does
// not count: only where that safeguard is off.
func (s *session) takeAgain(ctx context.Context, a arrival) {
	next := s.recv.next
	for s.recv.next = a.n; s.recv.next <= a.to && s.ending == nil && s.apply(ctx, &a, time.Now()); {
	}
	s.recv.next = next
}

// refuseUnknown accounts for a frame of a source that nobody announced.
func (s *session) refuseUnknown(ctx context.Context, source uint32, n uint64) {
	s.w.grumble(s.log, "frame refused", fmt.Errorf("%w: source %d was never announced", subjects.ErrMessage, source))
	s.append(ctx, markEntry(coverage{source: source, first: n, last: n, packet: -1, refused: map[string]uint64{subjects.RefusedUndecodable: 1}}))
}

// applySkip accounts for numbers that will never come. Those that did come before
// the sender gave them up count as received.
func (s *session) applySkip(ctx context.Context, a *arrival) bool {
	skip, err := subjects.Decode[subjects.Skip](a.envelope.Kind, a.payload)
	if err != nil {
		s.w.grumble(s.log, "skip without a readable payload", err)
	}
	lost := s.lostIn(a, skip.Runs)
	for _, f := range lost { // all or nothing, or a second try would count some twice
		if src := s.sources[f.source]; src != nil && !s.roomFor(src) {
			return false
		}
	}
	for _, f := range lost {
		s.taken[f.source] += f.count
		s.log.Warn("audio is missing", "source", f.source, "frames", f.count, "reason", skip.Reason)
		// The source may have frames open before these, so its own goroutine accounts for them.
		if src := s.sources[f.source]; src != nil {
			src.put(item{kind: subjects.KindSkip, frame: openFrame{n: f.last, count: f.count, packet: -1, refused: skip.Reason}})
			continue
		}
		s.append(ctx, markEntry(coverage{source: f.source, first: a.n, last: f.last, packet: -1, refused: map[string]uint64{skip.Reason: f.count}}))
	}
	s.recv.takeTo(a.to)
	return true
}

// lostFrames are frames of one source that will never come.
type lostFrames struct {
	source      uint32
	count, last uint64
}

// lostIn finds what a skip takes away from this receiver, in order of the sources.
func (s *session) lostIn(a *arrival, runs []subjects.Run) []lostFrames {
	bySource := map[uint32]lostFrames{}
	n := a.n
	for _, run := range runs {
		if run.Count > a.to+1-n {
			break // says more than its range has
		}
		for end := n + run.Count; n < end; n++ {
			if run.Source != 0 && n >= s.recv.next && n > s.covered[run.Source] {
				f := bySource[run.Source]
				bySource[run.Source] = lostFrames{source: run.Source, count: f.count + 1, last: n}
			}
		}
	}
	return slices.SortedFunc(maps.Values(bySource), func(a, b lostFrames) int { return int(a.source) - int(b.source) })
}

// roomFor tells whether a source's queue has room; if not, the session is told when it has.
func (s *session) roomFor(src *source) bool {
	if len(src.queue) < cap(src.queue) {
		return true
	}
	s.waiting.Store(true)
	return len(src.queue) < cap(src.queue)
}

// push queues an entry for a source without waiting.
func (s *session) push(src *source, it item) bool {
	if !s.roomFor(src) {
		return false
	}
	src.put(it)
	return true
}

// prompt implements output.
func (s *session) prompt() bool { return len(s.rlog.queue) == 0 }

// room implements output: a source took something out of its queue.
func (s *session) room() {
	if !s.waiting.CompareAndSwap(true, false) {
		return
	}
	select {
	case s.roomy <- struct{}{}:
	default:
	}
}

func (s *session) openSource(ctx context.Context, info subjects.Source) {
	if s.sources[info.Source] != nil {
		return
	}
	src := newSource(info, sourceConfig{
		session: s.id, engine: s.engine, desc: s.engine.Describe(), options: s.opts,
		idleCommit: s.w.cfg.IdleCommit, turnLimit: s.w.cfg.TurnLimit,
	}, s, s.log)
	s.sources[info.Source] = src
	s.know(info)
	s.listening.Go(func() {
		if err := src.run(ctx); err != nil && ctx.Err() == nil {
			s.fail(fmt.Errorf("%w: %w", errEngineGone, err))
		}
	})
}

// know remembers a source, here and with the next result in the log.
func (s *session) know(info subjects.Source) {
	if s.known[info.Source] == info {
		return
	}
	s.known[info.Source] = info
	all := s.allSources()
	s.rlog.sources.Store(&all)
}

// allSources are the sources of this life, in order of their numbers.
func (s *session) allSources() []subjects.Source {
	return slices.SortedFunc(maps.Values(s.known), func(a, b subjects.Source) int { return int(a.Source) - int(b.Source) })
}

// append implements output.
func (s *session) append(ctx context.Context, e entry) bool { return s.rlog.append(ctx, e) }

// interim implements output. Interims are core messages: the latest wins.
func (s *session) interim(u subjects.Utterance) {
	if s.opts.NoInterims {
		return
	}
	s.publish(subjects.ChannelInterim, subjects.KindInterim, subjects.Interim{Utterance: u})
	s.w.metrics.interims.Inc()
}

// undecodable implements output.
func (s *session) undecodable(name string, err error) {
	s.w.metrics.undecodable.Inc()
	s.w.grumble(s.log.With("source", name), "frame could not be decoded", err)
}

// endedEntry closes the ledger: accepted = covered + refused, or it says by how much not.
func (s *session) endedEntry() entry {
	end, access, names := *s.ending, s.opts.Access, map[uint32]string{}
	for n, src := range s.known {
		names[n] = src.Name
	}
	return entry{kind: subjects.KindEnded, build: func(p subjects.Progress) any {
		ended := subjects.Ended{
			Progress: p, Access: access, Reason: end.Reason, Accepted: end.Accepted, Replayed: end.Replayed, Names: names,
		}
		if end.Accepted != nil {
			ended.Unaccounted = unaccounted(end.Accepted, p)
		}
		s.w.metrics.unaccounted.Add(float64(max(ended.Unaccounted, -ended.Unaccounted)))
		return ended
	}}
}

// unaccounted is how many accepted frames are neither covered nor refused; a
// negative number are frames counted twice.
func unaccounted(accepted map[uint32]uint64, p subjects.Progress) int64 {
	var n int64
	for _, c := range accepted {
		n += int64(c)
	}
	for _, c := range p.Frames {
		n -= int64(c)
	}
	for _, reasons := range p.Refused {
		for _, c := range reasons {
			n -= int64(c)
		}
	}
	return n
}

// counted is how many frames of each source a progress accounts for.
func counted(p subjects.Progress) map[uint32]uint64 {
	n := cloneCounts(p.Frames)
	for source, reasons := range p.Refused {
		for _, c := range reasons {
			n[source] += c
		}
	}
	return n
}

func cloneCounts[V uint64 | int64](m map[uint32]V) map[uint32]V {
	if m == nil {
		return map[uint32]V{}
	}
	return maps.Clone(m)
}
