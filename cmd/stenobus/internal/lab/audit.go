package lab

import (
	"hash"
	"hash/fnv"
	"math/bits"
	"time"

	"stenobus/subjects"
	"stenobus/worker/engine/tally"
)

// mostFrames is more than any source says.
const mostFrames = 1 << 32

// audit checks the results log of one session, entry by entry in its order, and then
// against what its client sent and heard. It does no I/O.
type audit struct {
	session    uint32
	id         string
	frameBytes int
	tracks     []track // by source, from 1
	finals     []final // stored
	found      []Wrong

	life, epoch uint64
	seq         uint64
	ended       bool   // the present life
	ends        int    // of all lives
	accepted    uint64 // frames, as the ended of all lives say
	refused     uint64 // of lives before the present one
	marked      uint64
	present     tallies
	sum         hash.Hash64
	frame       []byte
}

// tallies are the counts of one life, as its last entry states them.
type tallies struct{ refused, frames, named uint64 }

// track is one source's frames by number.
type track struct {
	covered set
	last    uint64 // of the final before
}

// view is what the client and the onlooker know of a session.
type view struct {
	sent   []uint64 // by source, from 1: the last frame that the client sent
	seen   []uint64 // by source, from 1: the last frame that was on the bus; nil: none was
	heard  []final
	failed bool // it was not carried to its end
	told   uint64
}

func newAudit(session uint32, id string, sources, frameBytes int) *audit {
	return &audit{
		session: session, id: id, frameBytes: frameBytes, tracks: make([]track, sources+1), sum: fnv.New64a(),
	}
}

func (a *audit) wrong(at time.Time, f Fail, n uint64, format string, args ...any) {
	if n == 0 {
		return
	}
	w := wrong(f, n, "%s: "+format, append([]any{a.id}, args...)...)
	w.At = at
	a.found = append(a.found, w)
}

// enter takes the next entry.
func (a *audit) enter(e entry) {
	if e.seq <= a.seq {
		a.wrong(e.at, FinalDisordered, 1, "entry %d after entry %d", e.seq, a.seq)
	}
	a.seq = e.seq
	switch {
	case e.Life < a.life, e.Life == a.life && e.Epoch < a.epoch:
		a.wrong(e.at, FinalStale, 1, "%s %d of life %d epoch %d was stored after one of life %d epoch %d",
			e.kind, e.seq, e.Life, e.Epoch, a.life, a.epoch)
		return
	case e.kind == subjects.KindOwner:
		a.own(e)
	case e.Life != a.life, e.Epoch != a.epoch:
		a.wrong(e.at, FinalStale, 1, "%s %d of life %d epoch %d, which does not own the session", e.kind, e.seq, e.Life, e.Epoch)
		return
	case a.ended:
		a.wrong(e.at, FinalDisordered, 1, "%s %d after the end of life %d", e.kind, e.seq, e.Life)
	}
	a.count(e)
	switch e.kind {
	case subjects.KindFinal:
		a.final(e)
	case subjects.KindEnded:
		a.ended, a.ends = true, a.ends+1
		for _, n := range e.accepted {
			a.accepted += n
		}
	}
}

func (a *audit) own(e entry) {
	if e.Life == a.life && e.Epoch == a.epoch {
		a.wrong(e.at, FinalStale, 1, "a second owner of life %d epoch %d at %d: %s", e.Life, e.Epoch, e.seq, e.worker)
	}
	switch {
	case e.Life == a.life, a.life == 0: // another worker's, or the first
	case a.ended:
		a.wrong(e.at, Leftover, 1, "life %d began on %s after the end of life %d: %s", e.Life, e.worker, a.life, e.reason)
	default:
		a.wrong(e.at, SessionLost, 1, "life %d began on %s, life %d has no end: %s", e.Life, e.worker, a.life, e.reason)
	}
	if e.Life != a.life {
		a.refused += a.present.refused
		a.marked += a.present.frames - min(a.present.named, a.present.frames)
		a.present = tallies{}
	}
	if e.Life != a.life {
		a.ended = false
	}
	a.life, a.epoch = e.Life, e.Epoch
}

// count keeps what the life says of itself.
func (a *audit) count(e entry) {
	a.present.refused, a.present.frames = 0, 0
	for _, reasons := range e.progress.Refused {
		for _, n := range reasons {
			a.present.refused += n
		}
	}
	for _, n := range e.progress.Frames {
		a.present.frames += n
	}
}

// final checks which frames one covers, and with which bytes.
func (a *audit) final(e entry) {
	a.finals = append(a.finals, final{e.seq, sumOf(e.source, e.text)})
	st := e.covers
	if e.unclear != nil {
		a.wrong(e.at, FrameUnaccounted, 1, "final %d: %v", e.seq, e.unclear)
		return
	}
	source := sourceOf(e.source)
	a.sum.Reset()
	for _, r := range st.Audio {
		if r.Session != a.session || int(r.Source) != source || source >= len(a.tracks) || r.Last > mostFrames {
			a.wrong(e.at, FrameUnaccounted, r.Last-r.First+1, "final %d of source %q covers frames of session %d source %d", e.seq, e.source, r.Session, r.Source)
			return
		}
		a.run(e, source, r)
	}
	if a.sum.Sum64() != st.Sum {
		a.wrong(e.at, FrameUnaccounted, uint64(st.Count), "final %d of source %d: other bytes than were sent: %s", e.seq, source, e.text)
	}
}

func (a *audit) run(e entry, source int, r tally.Run) {
	t := &a.tracks[source]
	if r.First <= t.last {
		a.wrong(e.at, FinalDisordered, 1, "final %d of source %d begins with frame %d after frame %d", e.seq, source, r.First, t.last)
	}
	t.last = max(t.last, r.Last)
	twice := uint64(0)
	for n := r.First; n <= r.Last; n++ {
		if !t.covered.add(n) {
			twice++
		}
		a.frame = tally.Number{Session: a.session, Source: uint32(source), N: n}.Append(a.frame[:0], a.frameBytes)
		_, _ = a.sum.Write(a.frame) // never fails
	}
	a.present.named += r.Last - r.First + 1
	a.wrong(e.at, FrameUnaccounted, twice, "final %d of source %d covers frames %d-%d, %d of them for the second time", e.seq, source, r.First, r.Last, twice)
}

// close compares the log with the client's view.
func (a *audit) close(v view, now time.Time) []Wrong {
	a.refused += a.present.refused
	a.marked += a.present.frames - min(a.present.named, a.present.frames)
	excused := a.refused + a.marked
	for i := 1; i < len(a.tracks); i++ {
		want := at(v.sent, i)
		if v.failed { // what the client sent may not have come to the bus
			want = at(v.seen, i)
		} else if s := at(v.seen, i); s > want {
			a.wrong(now, FrameUnaccounted, s-want, "source %d: frame %d was on the bus and frame %d is the last that was sent", i, s, want)
		}
		missing, first := a.tracks[i].covered.missing(want)
		pardoned := min(missing, excused)
		excused -= pardoned
		a.wrong(now, FrameUnaccounted, missing-pardoned, "source %d: %d of frames 1-%d are in no result, the first is %d (%d refused)", i, missing, want, first, a.refused)
		beyond := a.tracks[i].covered.above(at(v.sent, i))
		a.wrong(now, FrameUnaccounted, beyond, "source %d: %d frames behind %d are covered and were never sent", i, beyond, at(v.sent, i))
	}
	if !v.failed {
		if a.ends == 0 {
			a.wrong(now, SessionLost, 1, "the client heard the end, the log has none")
		}
		if v.told != a.accepted {
			a.wrong(now, FrameUnaccounted, diff(v.told, a.accepted), "the client was told that %d frames were accepted, the log says %d", v.told, a.accepted)
		}
		if sent := total64(v.sent); sent != a.accepted && len(a.found) == 0 {
			a.wrong(now, FrameUnaccounted, diff(sent, a.accepted), "%d frames were sent and %d accepted", sent, a.accepted)
		}
	}
	a.compare(v, now)
	return a.found
}

func at(list []uint64, i int) uint64 {
	if i < len(list) {
		return list[i]
	}
	return 0
}

func total64(list []uint64) (sum uint64) {
	for _, n := range list {
		sum += n
	}
	return sum
}

func diff(a, b uint64) uint64 { return max(a, b) - min(a, b) }

// compare finds finals that were stored and not delivered, and the other way round.
func (a *audit) compare(v view, now time.Time) {
	heard := make(map[uint64]uint64, len(v.heard))
	last := uint64(0)
	for _, f := range v.heard {
		heard[f.cursor] = f.sum
		last = max(last, f.cursor)
	}
	for _, f := range a.finals {
		sum, ok := heard[f.cursor]
		switch {
		case ok && sum != f.sum:
			a.wrong(now, FinalDoubled, 1, "the final at %d was delivered with other words than are stored", f.cursor)
		case !ok && (!v.failed || f.cursor <= last):
			a.wrong(now, FinalLost, 1, "the final at %d is stored and was not delivered", f.cursor)
		}
		delete(heard, f.cursor)
	}
	for cursor := range heard {
		a.wrong(now, FinalDoubled, 1, "a final at %d was delivered and is not stored", cursor)
	}
}

// set is a set of frame numbers from 1.
type set struct{ words []uint64 }

// add reports whether n was not in the set.
func (s *set) add(n uint64) bool {
	i, bit := (n-1)/64, uint64(1)<<((n-1)%64)
	for uint64(len(s.words)) <= i {
		s.words = append(s.words, 0)
	}
	if s.words[i]&bit != 0 {
		return false
	}
	s.words[i] |= bit
	return true
}

// missing counts the numbers up to n that are not in the set, and finds the first.
func (s *set) missing(n uint64) (count, first uint64) {
	for i := uint64(0); i*64 < n; i++ {
		var have uint64
		if i < uint64(len(s.words)) {
			have = s.words[i]
		}
		gone := ^have
		if left := n - i*64; left < 64 {
			gone &= 1<<left - 1
		}
		if gone != 0 && first == 0 {
			first = i*64 + uint64(bits.TrailingZeros64(gone)) + 1
		}
		count += uint64(bits.OnesCount64(gone))
	}
	return count, first
}

// above counts the numbers above n that are in the set.
func (s *set) above(n uint64) (count uint64) {
	for i, w := range s.words {
		base := uint64(i) * 64
		switch {
		case base >= n:
			count += uint64(bits.OnesCount64(w))
		case n-base < 64:
			count += uint64(bits.OnesCount64(w >> (n - base)))
		}
	}
	return count
}
