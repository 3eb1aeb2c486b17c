package worker

import (
	"context"
	"fmt"

	"stenobus/subjects"
)

// emit turns what the engine heard into an interim, a final or a mark.
func (s *source) emit(ctx context.Context, r Result) {
	stamp := s.out.stamped()
	s.mu.Lock()
	through := r.Through
	if through == 0 {
		through = s.acct.through(r.End)
	}
	u := s.utteranceOf(r, stamp, through)
	if !r.Final {
		s.hot = true
		s.mu.Unlock()
		if u.Text != "" {
			s.out.interim(u)
		}
		return
	}
	cover, ok := s.acct.cover(through)
	if r.Text != "" || s.hot {
		s.utterance++
		s.hot = false
	}
	s.mu.Unlock()
	if ok {
		u.FirstFrame, u.LastFrame = cover.first, cover.last
	}
	switch {
	case r.Text != "":
		s.out.append(ctx, finalEntry(u, cover, ok))
	case ok:
		s.out.append(ctx, markEntry(cover))
	}
}

// utteranceOf places a result on the session clock. Its caller holds mu.
func (s *source) utteranceOf(r Result, stamp subjects.Stamp, through uint64) subjects.Utterance {
	u := subjects.Utterance{
		Source: s.info.Source, Name: s.info.Name,
		Utterance: fmt.Sprintf("%d.%d.%d.%d", stamp.Life, stamp.Epoch, s.info.Source, s.utterance+1),
		Text:      r.Text, Confidence: r.Confidence, Language: r.Language, Speaker: r.Speaker,
		LastFrame: through,
	}
	if n := len(s.acct.open); n > 0 {
		u.FirstFrame = s.acct.open[0].n + 1 - s.acct.open[0].count
		u.StartMS = s.acct.open[0].at
		for _, f := range s.acct.open {
			if f.n <= through {
				u.EndMS = f.at
			}
		}
		u.EndMS = max(u.EndMS, u.StartMS)
	}
	if r.Through == 0 && r.Text != "" {
		u.StartMS, u.EndMS = s.acct.clock(r.Start), s.acct.clock(r.End)
	}
	for _, w := range r.Words {
		u.Words = append(u.Words, subjects.Word{
			Text: w.Text, StartMS: s.acct.clock(w.Start), EndMS: s.acct.clock(w.End), Confidence: w.Confidence,
		})
	}
	return u
}

func finalEntry(u subjects.Utterance, cover coverage, covers bool) entry {
	e := entry{kind: subjects.KindFinal, build: func(p subjects.Progress) any {
		return subjects.Final{Progress: p, Utterance: u, Number: p.Finals}
	}}
	if covers {
		e.cover = &cover
	}
	return e
}

func markEntry(cover coverage) entry {
	return entry{kind: subjects.KindMark, cover: &cover, build: func(p subjects.Progress) any {
		return subjects.Mark{Progress: p, Source: cover.source, FirstFrame: cover.first, LastFrame: cover.last}
	}}
}
