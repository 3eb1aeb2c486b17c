package deepgram

import (
	"bytes"
	"encoding/binary"

	"stenobus/gateway/dialect"
)

const oggMagic = "OggS"

// Layout of a page (RFC 3533, section 6) and of an identification header (RFC 7845, 5.1).
const (
	pageFlags    = 5
	pageGranule  = 6
	pageSegments = 26
	pageHead     = 27 // bytes before the segment table
	flagBegin    = 2
	headMagic    = "OpusHead"
	headPreSkip  = 10
	headBytes    = 19
)

const (
	granulesMS = 48        // of Opus, whatever the rate of its input
	lateStart  = 60 * 1000 // ms; a stream whose first page ends later was joined in its middle
)

// ogg cuts an Ogg stream into its pages, each a frame with its place in the audio.
// Whether a page is whole is for its decoder to judge.
type ogg struct {
	format  dialect.Format
	started bool
	held    []byte // a page whose end has not come
	lost    int    // bytes since the last page that belong to none

	timed   bool  // the granules of this chain count from its first sample
	first   bool  // no page of this chain has ended a packet of audio yet
	preSkip int64 // granules
	origin  int64 // ms at which this chain begins
	now     int64 // ms at which the last page ended
}

func (o *ogg) take(data []byte, r *reader) {
	o.held = append(o.held, data...)
	for !r.unusable {
		page := o.next(r)
		if page == nil {
			return
		}
		o.page(page, r)
	}
}

// next takes a page off what is held, nil where none has come whole. What lies between
// pages is dropped.
func (o *ogg) next(r *reader) []byte {
	at := bytes.Index(o.held, []byte(oggMagic))
	if at < 0 {
		at = max(0, len(o.held)-len(oggMagic)+1) // the next page may begin in the last bytes
	}
	o.lost += at
	o.held = o.held[at:]
	if len(o.held) < pageHead {
		return nil
	}
	segments := int(o.held[pageSegments])
	if len(o.held) < pageHead+segments {
		return nil
	}
	size := pageHead + segments
	for _, n := range o.held[pageHead:size] {
		size += int(n)
	}
	if len(o.held) < size {
		return nil
	}
	if o.lost > 0 {
		r.garbage("%d bytes between the pages of an Ogg stream belong to none", o.lost)
		o.lost = 0
	}
	page := bytes.Clone(o.held[:size])
	if o.held = o.held[size:]; len(o.held) == 0 {
		o.held = nil
	}
	return page
}

func (o *ogg) page(page []byte, r *reader) {
	body := page[pageHead+int(page[pageSegments]):]
	begins := page[pageFlags]&flagBegin != 0
	switch {
	case begins && !bytes.HasPrefix(body, []byte(headMagic)):
		if !o.started {
			r.refuse("Ogg that holds no Opus is not read here")
			return
		}
		r.garbage("a stream within Ogg that is no Opus")
		return
	case begins && len(body) >= headBytes:
		o.timed, o.first, o.origin = true, true, o.now
		o.preSkip = int64(binary.LittleEndian.Uint16(body[headPreSkip:]))
	}
	if !o.started {
		o.started = true
		o.format = dialect.Format{Encoding: encodingOggOpus, SampleRate: opusRate, Channels: 1}
		if begins && len(body) > 9 && body[9] == opusChannels {
			o.format.Channels = opusChannels
		}
		r.start(o.format)
	}
	at := int64(-1)
	if o.timed {
		at = o.now
	}
	r.frame(page, at)
	o.pass(int64(binary.LittleEndian.Uint64(page[pageGranule:])))
}

// pass notes where a page ends: at its granule, unless that is of a stream that was
// joined late or leaps. -1: no packet ends in it.
func (o *ogg) pass(granule int64) {
	if !o.timed || granule <= 0 {
		return
	}
	end := o.origin + max(0, granule-o.preSkip)/granulesMS
	if o.first && end-o.origin > lateStart {
		o.timed = false
		return
	}
	o.first = false
	o.now = max(o.now, end)
}
