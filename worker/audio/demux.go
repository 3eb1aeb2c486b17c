package audio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// maxSpan is how far apart in the stream a packet's parts may lie, in bytes: what is
// held back is bounded by it.
const maxSpan = 4 * maxPage

// sink takes what a demuxer finds.
type sink interface {
	head(h opusHead) error
	packet(p []byte) error // valid during the call
}

// opusHead is the first packet of a logical stream (RFC 7845, section 5.1).
type opusHead struct {
	channels int
	preSkip  int   // samples at 48 kHz to be dropped at the beginning
	gain     int16 // 1/256 dB
}

// demuxer takes the Opus packets out of an Ogg stream. The stream may begin in its
// middle, be damaged and be a chain of several; of streams side by side it follows one.
type demuxer struct {
	pages    pages
	chosen   bool // serial is that of a stream under way
	serial   uint32
	sequence uint32 // of the page that should come next
	mute     bool   // the stream cannot be decoded, for a reason that was told

	partial   []byte // of a packet that goes on in the next page
	partialAt int64  // where the page with its beginning lies
	skipping  bool   // the rest of the present packet is of no use
}

func newDemuxer() *demuxer { return &demuxer{pages: pages{crc: newCRCTable()}} }

// push takes the next bytes of the stream, however they are cut. Its error joins what
// was wrong; all that could be used has gone to the sink.
func (d *demuxer) push(data []byte, to sink) error {
	var errs faults
	for len(data) > 0 {
		n := min(d.pages.room(), len(data))
		d.pages.add(data[:n])
		data = data[n:]
		for more := true; more; {
			read := d.pages.read
			g, ok, err := d.pages.next()
			errs.add(err)
			if ok {
				d.page(g, to, &errs)
			}
			more = d.pages.read > read
		}
	}
	return errs.err()
}

// held is where in the stream the first byte lies that has not come out yet.
func (d *demuxer) held() int64 {
	if len(d.partial) > 0 {
		return d.partialAt
	}
	return d.pages.held()
}

func (d *demuxer) page(g page, to sink, errs *faults) {
	if len(d.partial) > 0 && g.at-d.partialAt > maxSpan {
		errs.add(fmt.Errorf("opus packet spread over more than %d bytes", maxSpan))
		d.drop()
		d.skipping = true
	}
	if !d.choose(g, errs) {
		return
	}
	continued := g.flags&flagContinued != 0
	if g.sequence != d.sequence {
		errs.add(fmt.Errorf("page %d of the Ogg stream comes where page %d should", g.sequence, d.sequence))
	}
	if g.sequence != d.sequence || !continued {
		d.drop()
	}
	if continued && len(d.partial) == 0 {
		d.skipping = true
	}
	d.sequence = g.sequence + 1
	d.packets(g, to, errs)
	if g.flags&flagLast != 0 {
		d.drop()
		d.chosen = false
	}
}

// choose tells whether a page is of the stream that is followed. That is one that
// begins as Opus does, or else, for whoever joins in the middle, the first to be seen.
func (d *demuxer) choose(g page, errs *faults) bool {
	first := g.flags&flagFirst != 0
	opus := first && bytes.HasPrefix(g.body, []byte("OpusHead"))
	if opus || !d.chosen {
		d.drop()
		d.chosen, d.serial, d.sequence = true, g.serial, g.sequence
		d.mute = first && !opus
		if d.mute {
			errs.add(errors.New("the Ogg stream does not hold Opus"))
		}
	}
	return g.serial == d.serial
}

// drop forgets a packet whose rest will not come.
func (d *demuxer) drop() { d.partial, d.skipping = d.partial[:0], false }

// packets cuts a page's body: a lacing value below 255 ends a packet.
func (d *demuxer) packets(g page, to sink, errs *faults) {
	body, size := g.body, 0
	for _, n := range g.lacing {
		size += int(n)
		if n == 255 {
			continue
		}
		d.whole(body[:size], to, errs)
		body, size = body[size:], 0
	}
	if len(g.lacing) > 0 && g.lacing[len(g.lacing)-1] == 255 {
		d.keep(g.at, body, errs)
	}
}

// keep stores the beginning, or some of the middle, of a packet.
func (d *demuxer) keep(at int64, part []byte, errs *faults) {
	if d.skipping {
		return
	}
	if len(d.partial) == 0 {
		d.partialAt = at
		// Comments may hold pictures, and are of any size.
		if bytes.HasPrefix(part, []byte("OpusTags")) {
			d.skipping = true
			return
		}
	}
	if !d.fits(part, errs) {
		d.skipping = true
		return
	}
	d.partial = append(d.partial, part...)
}

// fits tells whether a packet may be part longer. If not, it is dropped.
func (d *demuxer) fits(part []byte, errs *faults) bool {
	if len(d.partial)+len(part) <= maxPacketBytes {
		return true
	}
	d.drop()
	errs.add(fmt.Errorf("opus packet of more than %d bytes", maxPacketBytes))
	return false
}

// whole handles the last, and most often only, part of a packet.
func (d *demuxer) whole(part []byte, to sink, errs *faults) {
	if d.skipping {
		d.skipping = false
		return
	}
	packet := part
	if len(d.partial) > 0 {
		if !d.fits(part, errs) {
			return
		}
		d.partial = append(d.partial, part...)
		packet = d.partial
	}
	errs.add(d.deliver(packet, to))
	d.partial = d.partial[:0]
}

func (d *demuxer) deliver(packet []byte, to sink) error {
	switch {
	case bytes.HasPrefix(packet, []byte("OpusTags")):
		return nil
	case bytes.HasPrefix(packet, []byte("OpusHead")):
		h, err := parseHead(packet)
		d.mute = err != nil
		if err != nil {
			return err
		}
		return to.head(h)
	case d.mute:
		return nil
	}
	return to.packet(packet)
}

func parseHead(p []byte) (opusHead, error) {
	const size = 19
	if len(p) < size {
		return opusHead{}, fmt.Errorf("OpusHead of %d bytes, allowed are %d and more", len(p), size)
	}
	if version := p[8]; version >= 16 {
		return opusHead{}, fmt.Errorf("OpusHead version is %d, allowed are 0 to 15", version)
	}
	h := opusHead{
		channels: int(p[9]),
		preSkip:  int(binary.LittleEndian.Uint16(p[10:])),
		gain:     int16(binary.LittleEndian.Uint16(p[16:])),
	}
	if h.channels < 1 || h.channels > 2 {
		return opusHead{}, fmt.Errorf("channels is %d, allowed with ogg-opus are 1 and 2", h.channels)
	}
	return h, nil
}

// faults joins errors, of which a hostile frame may cause any number.
type faults struct {
	first error
	more  int
}

func (f *faults) add(err error) {
	switch {
	case err == nil:
	case f.first == nil:
		f.first = err
	default:
		f.more++
	}
}

func (f *faults) err() error {
	if f.more > 0 {
		return fmt.Errorf("%w (and %d more faults)", f.first, f.more)
	}
	return f.first
}
