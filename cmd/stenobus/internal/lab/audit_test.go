package lab

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"stenobus/subjects"
	"stenobus/worker/engine/tally"
)

const (
	testSession = 3
	testBytes   = 40
)

// story is a session's log and what its client knows, for tests to spoil.
type story struct {
	log  []entry
	view view
}

// text is what tally states of these frames of a source.
func text(session uint32, source int, first, last uint64) string {
	h := fnv.New64a()
	for n := first; n <= last; n++ {
		_, _ = h.Write(tally.Number{Session: session, Source: uint32(source), N: n}.Append(nil, testBytes))
	}
	return fmt.Sprintf("frames %d-%d count %d fnv1a %016x audio %d/%d/%d-%d", first, last, last-first+1, h.Sum64(), session, source, first, last)
}

// wellTold is a session of two sources with ten frames each that moved once.
func wellTold() *story {
	s := &story{view: view{sent: []uint64{0, 10, 10}, seen: []uint64{0, 10, 9}, told: 20}}
	s.add(entry{kind: subjects.KindOwner, Stamp: subjects.Stamp{Life: 1, Epoch: 1}, worker: "w1"})
	s.final(1, 1, 1, 5)
	s.final(1, 2, 1, 4)
	s.add(entry{kind: subjects.KindOwner, Stamp: subjects.Stamp{Life: 1, Epoch: 2}, worker: "w2"})
	s.final(2, 1, 6, 10)
	s.final(2, 2, 5, 10)
	s.add(entry{kind: subjects.KindEnded, Stamp: subjects.Stamp{Life: 1, Epoch: 2}, accepted: map[string]uint64{"1": 10, "2": 10}})
	for _, e := range s.log {
		if e.kind == subjects.KindFinal {
			s.view.heard = append(s.view.heard, final{e.seq, sumOf(e.source, e.text)})
		}
	}
	return s
}

func (s *story) add(e entry) {
	e.seq = uint64(10 * (len(s.log) + 1))
	s.log = append(s.log, e)
}

func (s *story) final(epoch uint64, source int, first, last uint64) {
	s.add(entry{
		kind: subjects.KindFinal, Stamp: subjects.Stamp{Life: 1, Epoch: epoch},
		source: tagOf(source), text: text(testSession, source, first, last),
	})
}

func (s *story) judge() map[Fail]uint64 {
	a := newAudit(testSession, "s", 2, testBytes)
	for _, e := range s.log {
		e.covers, e.unclear = tally.Parse(e.text)
		a.enter(e)
	}
	got := map[Fail]uint64{}
	for _, w := range a.close(s.view, time.Time{}) {
		got[w.Fail] += w.N
	}
	return got
}

// Everything that may go wrong with a session is seen.
func TestAuditSees(t *testing.T) {
	t.Parallel()
	refused := func(n uint64) subjects.Progress {
		return subjects.Progress{Refused: map[uint32]map[string]uint64{1: {"window": n}}}
	}
	for name, tc := range map[string]struct {
		spoil func(*story)
		want  map[Fail]uint64
	}{
		"nothing": {func(*story) {}, nil},
		"a final that was not delivered": {func(s *story) { s.view.heard = slices.Delete(s.view.heard, 1, 2) },
			map[Fail]uint64{FinalLost: 1}},
		"a final that is not stored": {func(s *story) { s.view.heard = append(s.view.heard, final{999, 1}) },
			map[Fail]uint64{FinalDoubled: 1}},
		"other words": {func(s *story) { s.view.heard[0].sum++ }, map[Fail]uint64{FinalDoubled: 1}},
		"frames covered twice": {func(s *story) { s.log[4].text = text(testSession, 1, 4, 10) },
			map[Fail]uint64{FrameUnaccounted: 2, FinalDisordered: 1, FinalDoubled: 1}},
		"frames in no result": {func(s *story) { s.log[4].text = text(testSession, 1, 8, 10) },
			map[Fail]uint64{FrameUnaccounted: 2, FinalDoubled: 1}},
		"frames refused": {func(s *story) {
			s.log[4].text, s.log[6].progress = text(testSession, 1, 8, 10), refused(2)
			s.view.heard[2].sum = sumOf(tagOf(1), s.log[4].text)
		}, nil},
		"more frames missing than refused": {func(s *story) {
			s.log[4].text, s.log[6].progress = text(testSession, 1, 9, 10), refused(2)
			s.view.heard[2].sum = sumOf(tagOf(1), s.log[4].text)
		}, map[Fail]uint64{FrameUnaccounted: 1}},
		"other bytes": {func(s *story) {
			words := strings.Fields(s.log[4].text)
			words[5] = "0123456789abcdef"
			s.log[4].text = strings.Join(words, " ")
		}, map[Fail]uint64{FrameUnaccounted: 5, FinalDoubled: 1}},
		"another session's frames": {func(s *story) {
			s.log[4].text = text(testSession+1, 1, 6, 10)
			s.view.heard[2].sum = sumOf(tagOf(1), s.log[4].text)
		}, map[Fail]uint64{FrameUnaccounted: 10}},
		"frames never sent": {func(s *story) {
			s.view.sent[1], s.view.seen[1], s.view.told, s.log[6].accepted = 8, 8, 18, map[string]uint64{"1": 8, "2": 10}
		},
			map[Fail]uint64{FrameUnaccounted: 2}},
		"frames on the bus that nobody sent": {func(s *story) { s.view.seen[1] = 12 }, map[Fail]uint64{FrameUnaccounted: 2}},
		"finals out of order": {func(s *story) { s.log[1].text, s.log[4].text = s.log[4].text, s.log[1].text },
			map[Fail]uint64{FinalDisordered: 1, FinalDoubled: 2}},
		"a final of the former owner": {func(s *story) { s.log[4].Epoch = 1 },
			map[Fail]uint64{FinalStale: 1, FinalDoubled: 1, FrameUnaccounted: 5}},
		"a final of an owner to come": {func(s *story) { s.log[1].Epoch = 2 },
			map[Fail]uint64{FinalStale: 1, FinalDoubled: 1, FrameUnaccounted: 5}},
		"two owners of one epoch": {func(s *story) { s.log[3].Epoch, s.log[4].Epoch, s.log[5].Epoch, s.log[6].Epoch = 1, 1, 1, 1 },
			map[Fail]uint64{FinalStale: 1}},
		"no end": {func(s *story) { s.log = s.log[:6] }, map[Fail]uint64{SessionLost: 1, FrameUnaccounted: 20}},
		"something after the end": {func(s *story) {
			s.add(entry{kind: subjects.KindMark, Stamp: subjects.Stamp{Life: 1, Epoch: 2}})
		}, map[Fail]uint64{FinalDisordered: 1}},
		"a life after the end": {func(s *story) {
			s.add(entry{kind: subjects.KindOwner, Stamp: subjects.Stamp{Life: 2, Epoch: 1}})
		}, map[Fail]uint64{Leftover: 1}},
		"a life that has no end": {func(s *story) {
			for i := 3; i < 7; i++ {
				s.log[i].Life = 2
			}
		}, map[Fail]uint64{SessionLost: 1}},
		"the client was told another count": {func(s *story) { s.view.told = 19 }, map[Fail]uint64{FrameUnaccounted: 1}},
		"a failed session": {func(s *story) {
			s.view.failed, s.view.heard, s.log = true, s.view.heard[:3], s.log[:6]
		}, nil},
		"a failed session that missed a final": {func(s *story) {
			s.view.failed, s.view.heard, s.log = true, s.view.heard[1:3], s.log[:6]
		}, map[Fail]uint64{FinalLost: 1}},
		"a failed session whose audio was on the bus": {func(s *story) {
			s.view.failed, s.view.heard, s.log = true, s.view.heard[:3], s.log[:5]
		}, map[Fail]uint64{FrameUnaccounted: 5}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := wellTold()
			tc.spoil(s)
			if got := s.judge(); !maps.Equal(got, tc.want) {
				t.Errorf("found %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	var s set
	for _, n := range []uint64{1, 2, 64, 65, 130} {
		if !s.add(n) || s.add(n) {
			t.Errorf("%d is not added once", n)
		}
	}
	for _, tc := range []struct{ to, missing, first, above uint64 }{
		{0, 0, 0, 5}, {2, 0, 0, 3}, {3, 1, 3, 3}, {64, 61, 3, 2}, {65, 61, 3, 1}, {128, 124, 3, 1}, {130, 125, 3, 0}, {1000, 995, 3, 0},
	} {
		if m, first := s.missing(tc.to); m != tc.missing || first != tc.first || s.above(tc.to) != tc.above {
			t.Errorf("to %d: missing %d from %d, above %d, want %+v", tc.to, m, first, s.above(tc.to), tc)
		}
	}
}
