package gateway

import (
	"slices"

	"stenobus/subjects"
)

// outgoing is one message to send: the envelope but for the stamp, and the payload. It
// lasts until the next.
type outgoing struct {
	envelope subjects.Envelope
	payload  []byte
}

// pop returns the next message to send, if there is one and the owner has room for it.
func (s *sender) pop() (outgoing, bool) {
	if !s.ready {
		return outgoing{}, false
	}
	for len(s.again) > 0 {
		r := &s.again[0]
		r.from = max(r.from, s.base)
		if r.from > r.to {
			s.again = s.again[1:]
			continue
		}
		out, next := s.message(r.from, r.to)
		r.from = next
		s.sent(out)
		return out, true
	}
	limit := min(s.end-1, s.acked+maxInFlight)
	if s.next > limit {
		return outgoing{}, false
	}
	out, next := s.message(s.next, limit)
	s.next = next
	s.sent(out)
	return out, true
}

// onlyFresh tells whether there is something to send, and nothing but frames that were not
// sent before and fit one message.
func (s *sender) onlyFresh() bool {
	fresh := s.end - s.next
	return fresh > 0 && fresh < maxShared && len(s.again) == 0 && s.window[len(s.window)-1].kind == subjects.KindFrames
}

// sent counts the frames of a message that were sent before.
func (s *sender) sent(out outgoing) {
	n := out.envelope.N
	for i, f := range out.envelope.Frames {
		if n+uint64(i) <= s.top {
			s.replayed[f.Source]++
		}
	}
	s.top = max(s.top, n+uint64(max(1, len(out.envelope.Frames)))-1)
}

// message makes one message of the entries from number n on, none beyond last, and
// returns the number after it.
func (s *sender) message(n, last uint64) (outgoing, uint64) {
	i := s.find(n)
	e := &s.window[i]
	switch {
	case e.tooBig:
		return skipping(n, subjects.RefusedTooBig, []subjects.Run{{Source: e.source, Count: 1}})
	case e.kind == subjects.KindFrames:
		return s.frames(i, n, last)
	case e.kind == subjects.KindSkip:
		return skipping(n, subjects.RefusedWindow, s.runsFrom(e, n))
	}
	out := outgoing{envelope: subjects.Envelope{Kind: e.kind, N: n}, payload: e.payload}
	if e.kind == subjects.KindStop || e.kind == subjects.KindFlush {
		out.envelope.Source = e.source
	}
	return out, n + 1
}

// skipping makes the message which says that the numbers from n on will never come.
func skipping(n uint64, reason string, runs []subjects.Run) (outgoing, uint64) {
	next := n
	for _, r := range runs {
		next += r.Count
	}
	return outgoing{
		envelope: subjects.Envelope{Kind: subjects.KindSkip, N: n, To: next - 1},
		payload:  subjects.Encode(subjects.Skip{Reason: reason, Runs: runs}),
	}, next
}

// runsFrom are the runs of a skip, which stands first in the window, from number n on: as
// many as one message holds.
func (s *sender) runsFrom(e *entry, n uint64) []subjects.Run {
	skipped, from := n-s.base, 0
	for e.runs[from].Count <= skipped {
		skipped -= e.runs[from].Count
		from++
	}
	runs := slices.Clone(e.runs[from:min(len(e.runs), from+max(1, s.room/runRoom))])
	runs[0].Count -= skipped
	return runs
}

// frames puts frames that follow one another into one message.
func (s *sender) frames(i int, n, last uint64) (outgoing, uint64) {
	out := outgoing{envelope: subjects.Envelope{Kind: subjects.KindFrames, N: n}}
	size, k, most := 0, i, min(maxPayload, s.room)
	for ; k < len(s.window) && k-i < maxShared && n+uint64(k-i) <= last; k++ {
		e := &s.window[k]
		if e.kind != subjects.KindFrames || e.tooBig || k > i && (e.starts != nil || size+len(e.payload) > most) {
			break
		}
		size += len(e.payload)
		if e.starts != nil { // alone, with its source
			out.envelope.Kind, out.envelope.Starts = subjects.KindStart, e.starts
			k++
			break
		}
	}
	s.infos = s.infos[:0]
	if k-i > 1 {
		if cap(s.body) < size || cap(s.body) > max(maxSpare, size) {
			s.body = make([]byte, 0, size)
		}
		out.payload = s.body[:0]
	}
	for _, e := range s.window[i:k] {
		s.infos = append(s.infos, subjects.FrameInfo{Source: e.source, Size: len(e.payload), Packet: e.packet, At: e.at})
		if k-i == 1 {
			out.payload = e.payload
		} else {
			out.payload = append(out.payload, e.payload...)
		}
	}
	out.envelope.Frames = s.infos
	return out, n + uint64(k-i)
}

// find returns the index of the entry that holds number n. It follows from the number, as
// only the first entry, a skip, may stand for several.
func (s *sender) find(n uint64) int {
	if last := s.base + s.window[0].count - 1; n > last {
		return int(n - last)
	}
	return 0
}

// each calls f for the entries with numbers from to to.
func (s *sender) each(from, to uint64, f func(n uint64, e *entry)) {
	n := s.base
	for i := range s.window {
		if n > to {
			return
		}
		if n >= from {
			f(n, &s.window[i])
		}
		n += s.window[i].count
	}
}
