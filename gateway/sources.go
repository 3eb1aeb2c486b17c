package gateway

import (
	"fmt"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

const (
	silentFor   = 10 * time.Second // without a frame, after which a source may lose its place to another
	sourceTold  = 320              // most bytes that a result takes for a source beside its name, which it may have twice
	stoppedCode = "silent_source"
)

// open makes room for a source and opens it. It reports false where there is none. Who was
// stopped for others goes on in the format of before.
func (s *session) open(ev dialect.Event) bool {
	if s.usedUp(ev.Tag) || !s.makeRoom(ev.Tag) {
		return false
	}
	f := s.rested[ev.Tag]
	delete(s.rested, ev.Tag)
	if f == nil {
		f = &feed{format: s.deflt}
	}
	if !s.numbered {
		s.madeSrc++
	}
	s.feeds[ev.Tag] = f
	if ev.Kind == dialect.Media { // not started: the format of before or the request's holds
		s.take(dialect.Event{Kind: dialect.Start, Tag: ev.Tag, Format: f.format, Language: f.language, Implicit: true}, f)
	}
	return true
}

// usedUp ends a life that has had as many sources as it may: every result tells of all of
// them, in one message of the bus. Its client goes on in another.
func (s *session) usedUp(tag string) bool {
	have := s.madeSrc
	if s.numbered {
		have = int(s.nextSrc)
	}
	if _, back := s.resumed[tag]; back || have < s.srv.cfg.MaxLifeSources && s.toldB < s.snd.room {
		return false
	}
	s.srv.metrics.refused.WithLabelValues(endUsedUp.code).Inc()
	why := endUsedUp.because(fmt.Sprintf("the session has had %d sources", have))
	s.log.Warn("session given up", "code", why.code, "why", why.text)
	s.tell(dialect.Note{Event: dialect.EventError, Code: why.code, Message: why.text})
	s.end(subjects.EndRefused, why)
	s.out.finish(why) // at once, so that the client goes on in another life; a worker hears the rest
	return true
}

// makeRoom stops the source that has been silent the longest where there are as many as
// may be at once: its client may never say that somebody has left.
func (s *session) makeRoom(tag string) bool {
	most, now := s.srv.cfg.MaxSources, time.Since(s.began).Milliseconds()
	if len(s.feeds) >= most {
		oldest := ""
		for each, f := range s.feeds {
			if o := s.feeds[oldest]; o == nil || f.spoke < o.spoke {
				oldest = each
			}
		}
		if now-s.feeds[oldest].spoke < silentFor.Milliseconds() {
			s.srv.metrics.refused.WithLabelValues("too_many_sources").Inc()
			s.warn(dialect.Note{
				Code: "too_many_sources", Field: "tag", Allowed: fmt.Sprintf("%d sources of a session at once", most),
				Message: fmt.Sprintf("source %.64q is not transcribed", tag),
			})
			return false
		}
		s.rest(oldest)
	}
	if len(s.feeds)+len(s.resumed) >= most && now >= silentFor.Milliseconds() {
		s.restResumed(tag)
	}
	return true
}

// rest stops a source that its client did not stop.
func (s *session) rest(tag string) {
	f := *s.feeds[tag]
	s.take(dialect.Event{Kind: dialect.Stop, Tag: tag}, s.feeds[tag])
	f.number, f.starts, f.heard, f.last, f.done = 0, nil, false, 0, false
	s.rested[tag] = &f
	s.warn(dialect.Note{
		Code: stoppedCode, Field: "tag", Tag: tag, Allowed: fmt.Sprintf("%d sources of a session at once", s.srv.cfg.MaxSources),
		Message: fmt.Sprintf("source %.64q was silent and has given its place to another until it speaks again", tag),
	})
}

// restResumed stops one source of an earlier connection that has said nothing in this one.
func (s *session) restResumed(but string) {
	for tag, src := range s.resumed {
		if tag == but {
			continue
		}
		delete(s.resumed, tag)
		s.snd.push(entry{kind: subjects.KindStop, source: src.Source})
		s.rested[tag] = &feed{language: src.Language, format: formatOf(src)}
		return
	}
}

// feedOf is a source that is open or was stopped for others.
func (s *session) feedOf(tag string) *feed {
	if f := s.feeds[tag]; f != nil {
		return f
	}
	return s.rested[tag]
}

// sourceNumber finds the number of a source that an earlier attach announced, or
// gives out the next.
func (s *session) sourceNumber(name string) uint32 {
	if src, ok := s.resumed[name]; ok {
		delete(s.resumed, name)
		return src.Source
	}
	s.nextSrc++
	s.knowSource(s.nextSrc, name)
	return s.nextSrc
}

func (s *session) knowSource(number uint32, name string) {
	s.byNum[number] = name
	s.toldB += sourceTold + 2*len(subjects.Encode(name))
}

func formatOf(src subjects.Source) dialect.Format {
	return dialect.Format{Encoding: src.Encoding, SampleRate: src.SampleRate, Channels: src.Channels}
}
