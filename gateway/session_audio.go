package gateway

import (
	"fmt"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// received takes the events of the client that wait. Frames among them share messages.
func (s *session) received(now time.Time) {
	if wait := s.pace.wait(len(s.feeds), now); wait > 0 && !s.over {
		s.clock.pace = now.Add(wait)
		return // the client's socket is not read meanwhile
	}
	for _, ev := range s.mail.fetch() {
		s.event(ev)
	}
	s.bound()
	s.flow(now)
}

// event takes one event of the client.
func (s *session) event(ev dialect.Event) {
	switch {
	case ev.Kind == dialect.Notice:
		s.warn(ev.Note)
		return
	case s.yielding:
		return
	case s.turned:
		s.refuseMore(ev)
		return
	case s.over || s.phase == done:
		if ev.Kind == dialect.Media {
			s.warn(dialect.Note{Code: "after_end", Message: "audio after the session's end is not transcribed", Field: "event"})
		}
		return
	}
	f := s.feeds[ev.Tag]
	if f == nil && (ev.Kind == dialect.Media || ev.Kind == dialect.Start) {
		if !s.open(ev) {
			return
		}
		f = s.feeds[ev.Tag]
	}
	switch ev.Kind {
	case dialect.End:
		s.end(subjects.EndClient, endDone)
	case dialect.Unusable:
		s.giveUp(endBadAudio.because(ev.Note.Message), subjects.EndRefused)
	default:
		s.take(ev, f)
	}
}

// take places an event of a source on the session clock and numbers it, or holds it until
// the count is known.
func (s *session) take(ev dialect.Event, f *feed) {
	at := time.Now()
	now := at.Sub(s.began).Milliseconds()
	r := received{kind: ev.Kind, tag: ev.Tag, feed: f, payload: ev.Payload, packet: ev.Packet}
	switch ev.Kind {
	case dialect.Start:
		f.restart(ev.Format, ev.Language, now)
		r.start = &beginning{ev.Format, ev.Language, ev.Implicit}
	case dialect.Media:
		r.at = f.place(ev, now, s.gapless)
		s.srv.metrics.frames.Inc()
		f.cadence.frame(at, f.lasts)
		s.heard = f
		s.audible.Store(at.UnixMilli())
		if s.numbered { // before, its format may not be known, and the window bounds it
			s.pace.pay(f.lasts, len(s.feeds), at)
		}
		if len(r.payload) > s.snd.room {
			s.tooBig(&r)
		}
	case dialect.Stop:
		if delete(s.rested, ev.Tag); f == nil {
			return
		}
		delete(s.feeds, ev.Tag)
	}
	if !s.numbered {
		s.hold(r)
		return
	}
	s.number(r)
}

// number gives an event its place in the session's count.
func (s *session) number(r received) {
	f := r.feed
	switch r.kind {
	case dialect.Start:
		src, known := s.resumed[r.tag]
		if f.number == 0 {
			f.number = s.sourceNumber(r.tag)
		}
		if known && r.start.implicit { // in the format that an earlier connection told
			f.format, f.language, f.heard = formatOf(src), src.Language, true
			return
		}
		f.starts = &subjects.Source{
			Source: f.number, Name: r.tag, Encoding: r.start.format.Encoding,
			SampleRate: r.start.format.SampleRate, Channels: r.start.format.Channels, Language: r.start.language,
		}
	case dialect.Media:
		if f.starts != nil && f.starts.Encoding == "opus" && isOgg(r.payload) {
			f.starts.Encoding = "ogg-opus" // said here once, for a worker that joins in the middle can't see it
		}
		if s.follows { // a worker tells where the newest frame begins, and it lasts most likely as long as this one
			s.follows = false
			s.clockMS += max(0, f.lasts.Milliseconds()-r.at)
		}
		e := entry{kind: subjects.KindFrames, source: f.number, payload: r.payload, packet: r.packet, at: r.at + s.clockMS, tooBig: r.tooBig}
		if !e.tooBig { // else the next one says how the source begins
			e.starts = f.starts
			f.starts, f.heard = nil, true
		}
		f.last, f.done = s.snd.push(e), false
	case dialect.Stop:
		if f.heard {
			s.snd.push(entry{kind: subjects.KindStop, source: f.number})
		}
	case dialect.Flush:
		s.flush(r)
	}
}

// bound keeps the window within its limits. A client that runs ahead of real time has
// filled it itself and is told so; otherwise the oldest audio is given up.
func (s *session) bound() {
	cfg := s.srv.cfg
	span, bytes, newest := s.snd.span(), s.snd.bytes, s.snd.newest()-s.clockMS
	if !s.numbered && len(s.held) > 0 {
		newest = s.held[len(s.held)-1].at
		span, bytes = time.Duration(newest-s.held[0].at)*time.Millisecond, s.heldB
	}
	if s.over || s.turned {
		return
	}
	if span <= cfg.Window && bytes <= cfg.WindowBytes {
		return
	}
	ahead := time.Duration(newest)*time.Millisecond - time.Since(s.began)
	waits := fmt.Sprintf("%.0f s of audio in %d KiB", span.Seconds(), bytes>>10)
	switch {
	case s.busAway() && s.numbered:
		s.turnAway(span)
	case s.busAway():
		s.giveUp(endBus.because(waits+" waited for a worker"), subjects.EndRefused)
	case ahead > aheadBound:
		s.giveUp(endTooFast.because(fmt.Sprintf("%s wait, %.0f s ahead of real time", waits, ahead.Seconds())), subjects.EndRefused)
	case !s.numbered:
		s.giveUp(endNoWorker.because(waits+" waited for a worker"), subjects.EndRefused)
	case s.snd.skipped() > cfg.WindowBytes/2: // its worker has been alive and idle for minutes
		s.giveUp(endEngine.because("audio was given up for too long"), subjects.EndRefused)
	default:
		lost, announce := s.snd.giveUp(cfg.Window, cfg.WindowBytes)
		if announce && s.snd.ready {
			s.announce(s.snd.begin(nil, s.snd.acked+1))
		}
		if lost > 0 {
			s.srv.metrics.refused.WithLabelValues(subjects.RefusedWindow).Add(float64(lost))
		}
	}
}
