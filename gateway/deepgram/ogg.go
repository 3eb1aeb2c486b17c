package deepgram

import (
	"stenobus/gateway/dialect"
	"stenobus/gateway/ogg"
)

const oggMagic = ogg.Magic

// oggPages hands an Ogg stream over page by page, each a frame with its place in the audio.
type oggPages struct {
	format  dialect.Format
	started bool
	stream  ogg.Stream
}

func (o *oggPages) take(data []byte, r *reader) {
	o.stream.Add(data)
	for !r.unusable {
		page, ok := o.stream.Next()
		if !ok {
			return
		}
		o.page(page, r)
	}
}

func (o *oggPages) rest(r *reader) { r.cutOff(o.stream.Rest(), "page of Ogg") }

func (o *oggPages) page(page ogg.Page, r *reader) {
	switch {
	case page.Lost >= ogg.MaxPage && !o.started:
		r.refuse("no page of an Ogg stream comes within %d bytes", ogg.MaxPage)
		return
	case page.Lost > 0:
		r.garbage("%d bytes between the pages of an Ogg stream belong to none", page.Lost)
	}
	switch {
	case page.Bytes == nil:
		return
	case page.Begins && !page.Opus && !o.started:
		r.refuse("Ogg that holds no Opus is not read here")
		return
	case page.Begins && !page.Opus:
		r.garbage("a stream within Ogg that is no Opus")
		return
	case !o.started:
		o.started = true
		o.format = dialect.Format{Encoding: encodingOggOpus, SampleRate: opusRate, Channels: 1}
		if page.Channels == opusChannels {
			o.format.Channels = opusChannels
		}
		r.start(o.format)
	}
	r.frame(page.Bytes, page.AtMS)
}
