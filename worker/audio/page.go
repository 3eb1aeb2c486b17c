package audio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The layout of an Ogg page (RFC 3533, section 6).
const (
	capture     = "OggS"
	headerBytes = 27
	maxPage     = headerBytes + 255 + 255*255

	flagContinued = 1
	flagFirst     = 2
	flagLast      = 4
)

// page is one Ogg page. Its slices are valid until pages is given more.
type page struct {
	flags    byte
	serial   uint32
	sequence uint32
	lacing   []byte
	body     []byte
	at       int64 // where it begins in the stream
}

var errNoPage = fmt.Errorf("no Ogg page in %d bytes", maxPage)

// pages finds the pages of a stream that comes in pieces and may begin anywhere.
//
// The reader of pion/opus takes an io.Reader that blocks, wants the first page of the
// stream first and gives up at damage. To feed it, one would have to find whole pages
// and check them, which is all there is to do.
type pages struct {
	buf    []byte // what may belong to a page that is not complete
	read   int    // bytes of buf that are done with
	base   int64  // where buf begins in the stream
	crc    crcTable
	synced bool // the last thing seen was a whole page
	lost   int  // bytes passed over since then
}

// room is how many bytes can be added now; there always is some.
func (p *pages) room() int { return maxPage + len(capture) - (len(p.buf) - p.read) }

// add takes some bytes, at most room.
func (p *pages) add(data []byte) {
	p.base += int64(p.read)
	p.buf = append(p.buf[:copy(p.buf, p.buf[p.read:])], data...)
	p.read = 0
}

// held is where in the stream the first byte lies that is not done with.
func (p *pages) held() int64 { return p.base + int64(p.read) }

// next returns the next whole page, false if more bytes are needed. An error says that
// bytes were passed over; the call after it goes on behind them.
func (p *pages) next() (page, bool, error) {
	if err := p.seek(); err != nil {
		return page{}, false, err
	}
	b := p.buf[p.read:]
	if len(b) < headerBytes || len(b) < headerBytes+int(b[26]) {
		return page{}, false, nil
	}
	lacing := b[headerBytes:][:b[26]]
	size := headerBytes + len(lacing)
	for _, n := range lacing {
		size += int(n)
	}
	if len(b) < size {
		return page{}, false, nil
	}
	b = b[:size]
	if b[4] != 0 || p.crc.ogg(b) != binary.LittleEndian.Uint32(b[22:]) {
		return page{}, false, p.refuse()
	}
	g := page{
		flags: b[5], serial: binary.LittleEndian.Uint32(b[14:]), sequence: binary.LittleEndian.Uint32(b[18:]),
		lacing: lacing, body: b[headerBytes+len(lacing):], at: p.held(),
	}
	p.read += size
	p.synced, p.lost = true, 0
	return g, true, nil
}

// refuse passes over what looked like a page. A whole one may be inside it.
func (p *pages) refuse() error {
	p.read += len(capture)
	p.lost += len(capture)
	p.synced = false
	return errors.New("damaged Ogg page")
}

// seek passes over what cannot begin a page.
func (p *pages) seek() error {
	b := p.buf[p.read:]
	skip := bytes.Index(b, []byte(capture))
	if skip < 0 {
		skip = len(b) - prefix(b)
	}
	if skip == 0 {
		return nil
	}
	p.read += skip
	before := p.lost
	p.lost += skip
	if p.synced {
		p.synced = false
		return errors.New("bytes between Ogg pages")
	}
	// Whoever joins in the middle has at most one page to wait.
	if before <= maxPage && p.lost > maxPage {
		return errNoPage
	}
	return nil
}

// prefix is how many of the last bytes may be the beginning of a capture pattern.
func prefix(b []byte) int {
	for n := min(len(capture)-1, len(b)); n > 0; n-- {
		if string(b[len(b)-n:]) == capture[:n] {
			return n
		}
	}
	return 0
}

// crcTable is for Ogg's checksum: the polynomial of Ethernet, most significant bit
// first, which hash/crc32 does not do.
type crcTable [256]uint32

func newCRCTable() (t crcTable) {
	for i := range t {
		r := uint32(i) << 24
		for range 8 {
			carry := r >> 31
			r = r<<1 ^ carry*0x04c11db7
		}
		t[i] = r
	}
	return t
}

// ogg is the checksum of a page, whose own field counts as zero.
func (t *crcTable) ogg(page []byte) uint32 {
	var zero [4]byte
	r := t.update(0, page[:22])
	r = t.update(r, zero[:])
	return t.update(r, page[26:])
}

func (t *crcTable) update(r uint32, b []byte) uint32 {
	for _, v := range b {
		r = r<<8 ^ t[byte(r>>24)^v]
	}
	return r
}
