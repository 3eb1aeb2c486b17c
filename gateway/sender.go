package gateway

import (
	"maps"
	"slices"
	"time"

	"stenobus/subjects"
	"stenobus/subjects/safeguard"
)

const (
	maxInFlight = 512      // numbers sent and not acknowledged
	maxShared   = 64       // frames of one message
	maxPayload  = 64 << 10 // bytes of one message, unless a single frame has more
	runRoom     = 64       // most bytes that one run of a skip takes in its message
	spareRoom   = 256      // entries, of memory that is kept although little of it is used
)

// entry is one number of a session, or the run of numbers that a skip stands for,
// until a stored result covers it.
type entry struct {
	kind    subjects.Kind
	count   uint64 // numbers it stands for: 1, or more for a skip
	source  uint32
	tooBig  bool   // a frame that no message holds: a skip goes out in its place
	payload []byte // a frame's audio, or a control message's body
	packet  int64
	at      int64            // ms on the session clock
	starts  *subjects.Source // of a frame with which its source begins or changes
	runs    []subjects.Run   // of skip: what the numbers were
}

// sender is a session's window: it numbers frames and session control, keeps them
// until stored results cover them, and knows what to send, and to send again. It is
// pure: no clock, no bus. Its numbers begin at 1; base is where the window begins.
type sender struct {
	window []entry
	memory []entry // what window is a part of
	first  uint64  // number with which this sender began
	base   uint64  // number of window[0]
	end    uint64  // number after the window's last
	bytes  int     // what the window takes
	room   int     // most bytes of one message

	ready bool   // an owner has said where to begin
	next  uint64 // number to send next
	acked uint64 // all up to here received by the present owner
	again []span // ranges asked for again, before next

	infos []subjects.FrameInfo // of the message made last
	body  []byte               // its payload, where frames share it

	sources  map[uint32]subjects.Source // state of live sources just before base
	covered  map[uint32]uint64          // by source, from stored results
	accepted map[uint32]uint64          // frames numbered, by source
	top      uint64                     // the highest number ever sent
	replayed map[uint32]uint64          // how often a frame was sent again, by source
}

// span is a range of numbers, both ends included.
type span struct{ from, to uint64 }

func newSender() *sender {
	return &sender{
		first: 1, base: 1, end: 1, next: 1, room: maxPayload,
		sources:  map[uint32]subjects.Source{},
		covered:  map[uint32]uint64{},
		accepted: map[uint32]uint64{},
		replayed: map[uint32]uint64{},
	}
}

// continueAt sets the first number, for a session that another gateway has numbered
// before. Only before anything is pushed.
func (s *sender) continueAt(n uint64, sources []subjects.Source) {
	s.first, s.base, s.end, s.next, s.acked = n, n, n, n, n-1
	for _, src := range sources {
		s.sources[src.Source] = src
	}
}

// push numbers an entry and keeps it.
func (s *sender) push(e entry) uint64 {
	if e.count == 0 {
		e.count = 1
	}
	n := s.end
	if len(s.window) == cap(s.window) {
		s.makeRoom()
	}
	s.window = append(s.window, e)
	s.end += e.count
	s.bytes += e.size()
	if e.kind == subjects.KindFrames {
		s.accepted[e.source]++
	}
	return n
}

// makeRoom moves the window to the begin of its memory where enough of that is free: only to
// append would take new memory for every few dozen frames. Much too large memory is left.
func (s *sender) makeRoom() {
	have, need := len(s.memory), len(s.window)
	if need >= have*3/4 || have > spareRoom && need < have/4 {
		s.window = slices.Grow(s.window, 1)
		s.memory = s.window[:cap(s.window)]
		return
	}
	s.window = s.memory[:copy(s.memory, s.window)]
	clear(s.memory[need:])
}

// span is how much audio the window holds, by the session clock.
func (s *sender) span() time.Duration {
	for i := range s.window {
		if s.window[i].kind == subjects.KindFrames {
			return time.Duration(s.newest()-s.window[i].at) * time.Millisecond
		}
	}
	return 0
}

// begin starts or restarts sending: a new owner holds what covered says, or the
// present one repeats itself. The sources' state before the first number sent comes
// back, to be announced with that number.
func (s *sender) begin(covered map[uint32]uint64, expects uint64) (n uint64, live []subjects.Source) {
	s.pause()
	s.cover(covered)
	s.acked = s.base - 1
	sent := s.next
	if expects > s.base {
		s.acked = min(expects, s.end) - 1
		s.next = s.acked + 1
	} else {
		s.next = s.base
	}
	if safeguard.ResendOff {
		s.next = max(s.next, sent)
	}
	s.again = nil
	s.ready = true
	return s.next, s.live()
}

// live is the state of the sources just before the number that is sent next.
func (s *sender) live() []subjects.Source {
	state := maps.Clone(s.sources)
	s.each(s.base, s.next-1, func(_ uint64, e *entry) { applyState(state, e) })
	return slices.SortedFunc(maps.Values(state), func(a, b subjects.Source) int { return int(a.Source) - int(b.Source) })
}

// pause stops sending until the next begin: the owner is gone.
func (s *sender) pause() { s.ready, s.again = false, nil }

// ack notes what the owner has received.
func (s *sender) ack(n uint64) {
	if n >= s.end {
		return // of numbers never sent: not this sender's
	}
	s.acked = max(s.acked, n)
	s.trim()
}

// nak notes what the owner misses. Numbers that were never sent are not sent again.
func (s *sender) nak(from, to uint64) {
	from, to = max(from, s.base), min(to, s.next-1)
	if !s.ready || from > to || safeguard.ResendOff {
		return
	}
	for _, r := range s.again {
		if r.from <= from && to <= r.to {
			return
		}
	}
	s.again = append(s.again, span{from, to})
}

// cover notes, by source, the last frame that stored results cover.
func (s *sender) cover(covered map[uint32]uint64) {
	for source, n := range covered {
		s.covered[source] = max(s.covered[source], n)
	}
	s.trim()
}

// trim forgets what is covered at the window's begin, once the present owner has
// received it: a frame that an earlier owner's result covers may still be a hole in
// this one's count. Control stays in sources with what it did.
func (s *sender) trim() {
	k := 0
	for k < len(s.window) && s.done(&s.window[k]) {
		e := &s.window[k]
		applyState(s.sources, e)
		s.bytes -= e.size()
		s.base += e.count
		k++
	}
	if k == 0 {
		return
	}
	clear(s.window[:k])
	switch s.window = s.window[k:]; {
	case len(s.window) > 0:
	case len(s.memory) <= spareRoom: // the next frames of who speaks need as much again
		s.window = s.memory[:0]
	default:
		s.rest()
	}
	s.next = max(s.next, s.base)
	s.acked = max(s.acked, s.base-1)
}

// rest gives memory back where nothing waits: a silent session needs none.
func (s *sender) rest() {
	if len(s.window) == 0 {
		s.window, s.memory = nil, nil
	}
}

func (s *sender) done(e *entry) bool {
	received := s.acked >= s.base+e.count-1
	if s.ready && !received {
		return false
	}
	switch e.kind {
	case subjects.KindFrames:
		return s.base <= s.covered[e.source]
	case subjects.KindSkip:
		n := s.base
		for _, run := range e.runs {
			if n += run.Count; run.Source != 0 && s.covered[run.Source] < n-1 {
				return false
			}
		}
	case subjects.KindEnd:
		return false // only the session's end ends it
	default:
		return received
	}
	return true
}

func applyState(state map[uint32]subjects.Source, e *entry) {
	switch e.kind {
	case subjects.KindFrames:
		if e.starts != nil {
			state[e.source] = *e.starts
		}
	case subjects.KindStop:
		delete(state, e.source)
	}
}

// giveUp turns the oldest entries into a skip until at most keep of audio and bytes
// are left, and says how many frames that cost. Session control among them goes into
// the sources' state: if announce is true the present owner may not have seen it and
// must be told by another announce.
func (s *sender) giveUp(keep time.Duration, bytes int) (lost uint64, announce bool) {
	k := s.excess(keep, bytes)
	if k == 0 {
		return 0, false
	}
	skip, i := entry{kind: subjects.KindSkip}, 0
	if e := &s.window[0]; e.kind == subjects.KindSkip { // it grows
		skip, i = *e, 1
		s.bytes -= e.size()
	}
	for ; i < k; i++ {
		e := &s.window[i]
		switch e.kind {
		case subjects.KindFrames:
			if !e.tooBig { // else it was lost before
				lost++
			}
			announce = announce || e.starts != nil && s.base+skip.count > s.acked
			skip.run(e.source, 1)
			applyState(s.sources, e)
		default:
			announce = announce || e.kind == subjects.KindStop && s.base+skip.count > s.acked
			skip.run(0, 1)
			applyState(s.sources, e)
		}
		skip.count += e.count
		s.bytes -= e.size()
	}
	s.bytes += skip.size()
	clear(s.window[:k-1])
	s.window = s.window[k-1:]
	s.window[0] = skip
	return lost, announce
}

// excess is how many entries must go: up to and with the last frame that is too old, or
// the last entry too many.
func (s *sender) excess(keep time.Duration, bytes int) (k int) {
	newest, left := s.newest(), s.bytes
	for i := range s.window {
		e := &s.window[i]
		switch {
		case e.kind == subjects.KindEnd:
			return k
		case e.kind == subjects.KindSkip: // what was given up before stays
			continue
		case left > bytes, e.kind == subjects.KindFrames && newest-e.at > keep.Milliseconds():
			k = i + 1
		case e.kind == subjects.KindFrames:
			return k
		}
		left -= e.size()
	}
	return k
}

// skipped is how much the numbers that were given up take, bytes.
func (s *sender) skipped() int {
	if len(s.window) == 0 {
		return 0
	}
	return runCost * len(s.window[0].runs)
}

// run adds to a skip what its next count numbers were.
func (e *entry) run(source uint32, count uint64) {
	if i := len(e.runs) - 1; i >= 0 && e.runs[i].Source == source {
		e.runs[i].Count += count
		return
	}
	e.runs = append(e.runs, subjects.Run{Source: source, Count: count})
}

// newest is the session clock of the newest frame in the window, ms.
func (s *sender) newest() int64 {
	for i := len(s.window) - 1; i >= 0; i-- {
		if s.window[i].kind == subjects.KindFrames {
			return s.window[i].at
		}
	}
	return 0
}

// last is the last number given out so far.
func (s *sender) last() uint64 { return s.end - 1 }

// empty tells whether everything ever pushed is received and covered.
func (s *sender) empty() bool { return len(s.window) == 0 }

// drained tells whether every frame and message has been sent and received.
func (s *sender) drained() bool { return s.ready && s.acked >= s.end-1 }

// uncoveredTo counts the frames up to number n that no result covers yet.
func (s *sender) uncoveredTo(n uint64) (count int) {
	s.each(s.base, n, func(n uint64, e *entry) {
		if e.kind == subjects.KindFrames && n > s.covered[e.source] {
			count++
		}
	})
	return count
}
