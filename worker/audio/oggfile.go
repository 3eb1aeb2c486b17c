package audio

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

var errNotOpus = errors.New("not an Ogg-Opus file: it does not begin with an OpusHead")

// OpusPacket is one packet of a file.
type OpusPacket struct {
	Data     []byte // the caller's to keep
	Duration time.Duration
}

// OggReader reads the packets of an Ogg-Opus file.
type OggReader struct {
	r     io.Reader
	demux *demuxer
	buf   []byte
	read  int64 // bytes of r
	found oggPackets
	err   error // for when the packets found are used up
}

// oggPackets is where the demuxer puts what it finds.
type oggPackets struct {
	channels int // 0: no header was found yet
	list     []OpusPacket
}

// NewOggReader reads as far as the first packet of sound. It fails where the file is
// not Ogg-Opus.
func NewOggReader(r io.Reader) (*OggReader, error) {
	const piece = 8 << 10
	o := &OggReader{r: r, demux: newDemuxer(), buf: make([]byte, piece)}
	for len(o.found.list) == 0 && o.err == nil {
		o.fill()
	}
	switch {
	case o.found.channels > 0 && (o.err == nil || errors.Is(o.err, io.EOF) || len(o.found.list) > 0):
		return o, nil
	case o.found.channels == 0 && (o.err == nil || errors.Is(o.err, io.EOF)):
		return nil, errNotOpus
	}
	return nil, o.err
}

// Channels is 1 or 2, by the file's header.
func (o *OggReader) Channels() int { return o.found.channels }

// Next returns the next packet, io.EOF after the last. A damaged file ends with
// another error.
func (o *OggReader) Next() (OpusPacket, error) {
	for len(o.found.list) == 0 {
		if o.err != nil {
			return OpusPacket{}, o.err
		}
		o.fill()
	}
	p := o.found.list[0]
	o.found.list = o.found.list[1:]
	return p, nil
}

// fill reads some more of the file.
func (o *OggReader) fill() {
	n, err := o.r.Read(o.buf)
	o.read += int64(n)
	if bad := o.demux.push(o.buf[:n], &o.found); bad != nil {
		o.err = fmt.Errorf("Ogg-Opus file: %w", bad)
		return
	}
	if errors.Is(err, io.EOF) && o.demux.held() != o.read {
		err = fmt.Errorf("Ogg-Opus file: %w in the middle of a page", io.ErrUnexpectedEOF)
	}
	o.err = err
}

func (o *oggPackets) head(h opusHead) error {
	o.channels = max(o.channels, h.channels)
	return nil
}

func (o *oggPackets) packet(p []byte) error {
	length, err := OpusPacketDuration(p)
	if err != nil {
		return err
	}
	if o.channels == 0 {
		return errNotOpus // joined in its middle, which a file is not
	}
	o.list = append(o.list, OpusPacket{slices.Clone(p), length})
	return nil
}
