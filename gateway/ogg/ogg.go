// Package ogg cuts an Ogg-Opus stream, whatever the messages it comes in, into its pages
// and tells where in the audio each lies: dialects hand pages over as frames, since only
// the stream itself knows how long they last. It decodes nothing; whether a page is whole
// is for its decoder to judge.
package ogg

import (
	"bytes"
	"encoding/binary"
)

// Magic begins every page; the only version of the format follows.
const (
	Magic   = "OggS"
	version = "\x00"
)

// MaxPage is the longest page in bytes.
const MaxPage = pageHead + 255 + 255*255

// Layout of a page (RFC 3533, section 6) and of an identification header (RFC 7845, 5.1).
const (
	pageFlags    = 5
	pageGranule  = 6
	pageSegments = 26
	pageHead     = 27 // bytes before the segment table
	flagBegin    = 2
	headMagic    = "OpusHead"
	headChannels = 9
	headPreSkip  = 10
	headBytes    = 19
)

const (
	granulesMS = 48        // of Opus, whatever the rate of its input
	lateStart  = 60 * 1000 // ms; a stream whose first page ends later was joined in its middle
)

// Page is a piece of a stream.
type Page struct {
	Bytes    []byte // the caller's; nil: bytes were lost, and no page came for long
	Lost     int    // bytes before it that belong to no page
	AtMS     int64  // where its audio begins, ms since the stream's first sample; -1: unknown
	Begins   bool   // a stream begins with it
	Opus     bool   // of one that begins: it holds Opus
	Channels int    // of Opus that begins
}

// Stream is one client's stream. The zero value waits for its first byte. What it holds is
// less than a page and what was added last.
type Stream struct {
	held []byte // a page whose end has not come
	lost int    // bytes since the last page that belong to none

	timed   bool  // the granules of this chain count from its first sample
	first   bool  // no page of this chain has ended a packet of audio yet
	preSkip int64 // granules
	origin  int64 // ms at which this chain begins
	now     int64 // ms at which the last page ended
}

// Add takes the next bytes. Call Next after it until there is no more.
func (s *Stream) Add(data []byte) { s.held = append(s.held, data...) }

// Rest forgets what is held and tells how many bytes that was, those before it that belong
// to no page included.
func (s *Stream) Rest() int {
	n := s.lost + len(s.held)
	s.held, s.lost = nil, 0
	return n
}

// Next takes a page off what is held; ok is false where none has come whole.
func (s *Stream) Next() (p Page, ok bool) {
	raw := s.cut()
	if raw == nil {
		if s.lost < MaxPage { // more may only be late
			return Page{}, false
		}
		p, s.lost = Page{Lost: s.lost, AtMS: -1}, 0
		return p, true
	}
	body := raw[pageHead+int(raw[pageSegments]):]
	p = Page{Bytes: raw, Lost: s.lost, AtMS: -1, Begins: raw[pageFlags]&flagBegin != 0}
	s.lost = 0
	if p.Begins {
		p.Opus = bytes.HasPrefix(body, []byte(headMagic))
		if !p.Opus {
			return p, true
		}
		if len(body) >= headBytes {
			p.Channels = int(body[headChannels])
			s.timed, s.first, s.origin = true, true, s.now
			s.preSkip = int64(binary.LittleEndian.Uint16(body[headPreSkip:]))
		}
	}
	if s.timed {
		p.AtMS = s.now
	}
	s.pass(int64(binary.LittleEndian.Uint64(raw[pageGranule:])))
	return p, true
}

// cut takes the bytes of a page; what lies before it is dropped.
func (s *Stream) cut() []byte {
	begin := []byte(Magic + version)
	at := bytes.Index(s.held, begin)
	if at < 0 {
		at = max(0, len(s.held)-len(begin)+1) // the next page may begin in the last bytes
	}
	s.lost += at
	s.held = s.held[at:]
	if len(s.held) < pageHead {
		return nil
	}
	size := pageHead + int(s.held[pageSegments])
	if len(s.held) < size {
		return nil
	}
	for _, n := range s.held[pageHead:size] {
		size += int(n)
	}
	if len(s.held) < size {
		return nil
	}
	page := bytes.Clone(s.held[:size])
	if s.held = s.held[size:]; len(s.held) == 0 {
		s.held = nil
	}
	return page
}

// pass notes where a page ends: at its granule, unless that is of a stream that was
// joined late or leaps. -1: no packet ends in it.
func (s *Stream) pass(granule int64) {
	if !s.timed || granule <= 0 {
		return
	}
	end := s.origin + max(0, granule-s.preSkip)/granulesMS
	if s.first && end-s.origin > lateStart {
		s.timed = false
		return
	}
	s.first = false
	s.now = max(s.now, end)
}
