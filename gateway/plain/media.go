package plain

import (
	"bytes"
	"fmt"
	"math"

	"stenobus/gateway/dialect"
	"stenobus/gateway/ogg"
)

// Encodings as the rest of Stenobus names them.
const (
	encodingL16     = "l16"
	encodingMulaw   = "mulaw"
	encodingAlaw    = "alaw"
	encodingOpus    = "opus"     // one packet a message
	encodingOggOpus = "ogg-opus" // a stream, cut anywhere
)

// encodings maps what clients write to an encoding. Read only.
var encodings = map[string]string{
	"l16": encodingL16, "s16le": encodingL16, "linear16": encodingL16, "pcm": encodingL16,
	"mulaw": encodingMulaw, "alaw": encodingAlaw,
	"opus": encodingOpus, "ogg-opus": encodingOggOpus,
}

const wantEncoding = "l16 (also written s16le, linear16, pcm), mulaw, alaw, opus, ogg-opus"

// span is an inclusive range of whole numbers.
type span struct{ min, max int }

func (s span) holds(v float64) bool {
	return v == math.Trunc(v) && v >= float64(s.min) && v <= float64(s.max)
}

func (s span) String() string { return fmt.Sprintf("a whole number from %d to %d", s.min, s.max) }

var rates = span{1000, 384000}

func channels(encoding string) span {
	if width(encoding) == 0 {
		return span{1, 2}
	}
	return span{1, 8}
}

// width is bytes of a sample; 0 where these are not visible.
func width(encoding string) int {
	switch encoding {
	case encodingL16:
		return 2
	case encodingMulaw, encodingAlaw:
		return 1
	}
	return 0
}

// defaults are what a client leaves unsaid.
func defaults(encoding string) dialect.Format {
	switch encoding {
	case encodingMulaw, encodingAlaw: // the telephone's
		return dialect.Format{Encoding: encoding, SampleRate: 8000, Channels: 1}
	case encodingOpus, encodingOggOpus: // packets say themselves what they are
		return dialect.Format{Encoding: encoding, SampleRate: 48000, Channels: 2}
	}
	return dialect.Format{Encoding: encoding, SampleRate: 16000, Channels: 1}
}

const (
	frameMS   = 100   // most audio of one frame
	maxPacket = 61440 // bytes: more than any Opus packet has (RFC 6716, 3.4)
)

// media cuts what a client sent into frames. data is not kept.
func (r *reader) media(data []byte, emit func(dialect.Event)) {
	if !r.begun && r.format.Encoding == encodingOpus && bytes.HasPrefix(data, []byte(ogg.Magic)) {
		r.format = defaults(encodingOggOpus) // what forwards a recorder's output often calls it so
	}
	switch r.format.Encoding {
	case encodingOpus:
		if len(data) > maxPacket {
			emit(notice(CodeBadPacket, "audio", fmt.Sprintf("one Opus packet of at most %d bytes a message", maxPacket),
				fmt.Sprintf("message of %d bytes is dropped", len(data))))
			return
		}
		r.frame(data, -1, emit)
	case encodingOggOpus:
		r.pages(data, emit)
	default:
		r.samples(data, emit)
	}
}

// pages cuts an Ogg stream into its pages, each of which knows its place in the audio.
func (r *reader) pages(data []byte, emit func(dialect.Event)) {
	r.ogg.Add(data)
	for {
		page, ok := r.ogg.Next()
		if !ok {
			return
		}
		if page.Lost > 0 {
			emit(strayBytes(page.Lost))
		}
		r.frame(page.Bytes, page.AtMS, emit)
	}
}

func strayBytes(n int) dialect.Event {
	return notice(CodeBadOgg, "audio", "pages of an Ogg stream", fmt.Sprintf("%d bytes are in no page of an Ogg stream and are dropped", n))
}

// samples cuts PCM at whole samples of all channels. What is left waits for the next
// message.
func (r *reader) samples(data []byte, emit func(dialect.Event)) {
	whole := width(r.format.Encoding) * r.format.Channels
	if len(r.carry) > 0 {
		need := min(whole-len(r.carry), len(data))
		if r.carry = append(r.carry, data[:need]...); len(r.carry) < whole {
			return
		}
		data = append(r.carry, data[need:]...) // carry holds less than a sample, so this copies once
	}
	most := max(r.format.SampleRate*frameMS/1000, 1) * whole
	for len(data) >= whole {
		n := min(most, len(data)-len(data)%whole)
		r.frame(data[:n], -1, emit)
		data = data[n:]
	}
	r.carry = bytes.Clone(data)
}

// frame hands one frame over, and before the first one the source's format. atMS is its
// place in the audio, -1 where that follows from what came before.
func (r *reader) frame(data []byte, atMS int64, emit func(dialect.Event)) {
	if len(data) == 0 {
		return
	}
	if !r.begun {
		r.begun = true
		emit(dialect.Event{Kind: dialect.Start, Tag: source, Format: r.format, Language: r.language})
	}
	emit(dialect.Event{Kind: dialect.Media, Tag: source, Payload: bytes.Clone(data), Packet: -1, TimeMS: atMS})
}
