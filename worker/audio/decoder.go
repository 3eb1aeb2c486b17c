// Package audio turns what clients send into what engines hear: mono PCM at the rate
// that an engine asks for. It also reads the files that a sending program reads.
//
// A Decoder belongs to one source and to one goroutine. It keeps working after an
// error: bad input costs the frame that it is in, never the stream.
package audio

import (
	"fmt"
	"time"
)

// Decoder decodes the frames of one source. Make it with NewDecoder.
type Decoder struct {
	format Format
	rate   int
	codec  newCodec
	frames framing // nil until the first frame shows what the source really sends
}

// Chunk is what one frame made audible.
type Chunk struct {
	PCM       []int16       // mono; valid until the next Decode; may be empty
	Through   uint64        // the last frame of which no byte is still held back; 0: none yet
	Concealed time.Duration // how much of the head of PCM stands for lost packets
}

// framing is how packets or samples lie in frames.
type framing interface {
	decode(f frame) (Chunk, error)
}

// frame is the input of one Decode.
type frame struct {
	number uint64
	packet int64
	at     time.Duration
	data   []byte
}

// NewDecoder checks the format and makes a decoder to rate samples/s, 8000 to 48000.
// Opus is decoded by libopus where the system has it, and otherwise by Go code that
// puts silence where packets were lost.
func NewDecoder(f Format, rate int) (*Decoder, error) {
	return newDecoder(f, rate, bestCodec)
}

func newDecoder(f Format, rate int, codec newCodec) (*Decoder, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if rate < minOutRate || rate > maxOutRate {
		return nil, fmt.Errorf("output rate is %d, allowed are %d to %d samples/s", rate, minOutRate, maxOutRate)
	}
	return &Decoder{format: f, rate: rate, codec: codec}, nil
}

// Decode takes the bytes of one frame. packet is the sender's own packet number, or
// -1 when it has none; at is the frame's position on the session clock. An error tells
// what was wrong with some of the bytes; the chunk is right nevertheless, and the next
// frame will be decoded.
func (d *Decoder) Decode(number uint64, packet int64, at time.Duration, data []byte) (Chunk, error) {
	if d.frames == nil {
		frames, err := d.start(data)
		if err != nil {
			return Chunk{Through: number}, err
		}
		d.frames = frames
	}
	return d.frames.decode(frame{number, packet, at, data})
}

// start chooses by the first frame: clients that forward a recorder's output often
// call an Ogg stream "opus".
func (d *Decoder) start(first []byte) (framing, error) {
	switch d.format.Encoding {
	case L16:
		return newL16(d.format, d.rate), nil
	case MuLaw, ALaw:
		return newCompanded(d.format, d.rate), nil
	}
	v, err := newVoice(d.codec, d.rate)
	if err != nil {
		return nil, err
	}
	if d.format.Encoding == OggOpus || len(first) >= len(capture) && string(first[:len(capture)]) == capture {
		return newOggStream(v), nil
	}
	return newOpusPackets(v), nil
}

// Close ends the use of the decoder. All its memory is Go's, so nothing leaks where
// it is forgotten.
func (d *Decoder) Close() { d.frames = nil }
