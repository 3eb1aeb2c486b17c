package mediajson

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"stenobus/gateway/dialect"
)

// tag is what a connection knows of one source. Its format outlives a stop, so that
// media which comes after one is still understood.
type tag struct {
	name    string
	format  dialect.Format
	live    bool  // a Start went out, and no Stop since
	known   bool  // started by the client, or told that it was not
	blocked bool  // its last start was refused
	told    bool  // that its media is dropped
	last    int64 // highest packet number since the start; -1: none
}

func (t *tag) start(f dialect.Format) {
	*t = tag{name: t.name, format: f, live: true, known: true, last: -1}
}

func (t *tag) stop() { t.live, t.last = false, -1 }

func (t *tag) block() { t.blocked, t.told = true, false }

// track finds a tag or makes it. Where there are too many, those that stopped are
// forgotten; nil says that it did not help, and the client was told.
func (r *reader) track(name string, emit func(dialect.Event)) *tag {
	if t := r.tags[name]; t != nil {
		return t
	}
	if len(r.tags) >= maxTags {
		maps.DeleteFunc(r.tags, func(_ string, t *tag) bool { return !t.live && !t.blocked })
	}
	if len(r.tags) >= maxTags {
		emit(notice(dialect.Note{
			Code: CodeTooManySources, Field: "tag", Allowed: fmt.Sprintf("at most %d on one connection", maxTags), Tag: name,
			Message: fmt.Sprintf("source %.64q is not transcribed", name),
		}))
		return nil
	}
	t := &tag{name: name, format: r.format, last: -1}
	r.tags[name] = t
	return t
}

// frame is a media event as it was read: what it holds is the message's.
type frame struct {
	tag       []byte
	payload   []byte // base64
	chunk     int64  // -1: none
	timestamp int64  // likewise
}

// media takes one frame. A frame that is refused changes nothing, so that the same
// packet may come again.
func (r *reader) media(f frame, emit func(dialect.Event)) {
	t := r.tags[string(f.tag)] // does not allocate
	if t == nil {
		if t = r.track(string(f.tag), emit); t == nil {
			return
		}
	}
	if t.blocked {
		if !t.told {
			t.told = true
			emit(notice(dialect.Note{
				Code: CodeBlockedTag, Field: "media.tag", Allowed: "a tag whose last start was valid", Tag: t.name,
				Message: fmt.Sprintf("media of %.64q is dropped since its start was refused", t.name),
			}))
		}
		return
	}
	old := f.chunk >= 0 && f.chunk <= t.last
	if old && t.last-f.chunk <= maxBack {
		emit(notice(dialect.Note{
			Code: CodeOldPacket, Field: "media.chunk", Allowed: fmt.Sprintf("> %d", t.last), Tag: t.name,
			Message: fmt.Sprintf("packet %d of %.64q came twice or too late and is dropped", f.chunk, t.name),
		}))
		return
	}
	payload, why := r.room.unpack(f.payload, t.format)
	if why != "" {
		emit(notice(dialect.Note{Code: CodeBadPayload, Field: "media.payload", Allowed: "base64 of one whole frame", Tag: t.name, Message: why}))
		return
	}
	if !t.live {
		r.begin(t, emit)
	}
	if old {
		emit(notice(dialect.Note{
			Code: CodePacketRestart, Field: "media.chunk", Allowed: fmt.Sprintf("> %d", t.last), Tag: t.name,
			Message: fmt.Sprintf("packet numbers of %.64q begin anew at %d", t.name, f.chunk),
		}))
	}
	if f.chunk >= 0 {
		t.last = f.chunk
	}
	at := f.timestamp
	if at >= 0 {
		at /= ticksPerMS
	}
	emit(dialect.Event{Kind: dialect.Media, Tag: t.name, Payload: payload, Packet: f.chunk, TimeMS: at})
}

// begin starts a source whose client did not, or goes on with one after its stop.
func (r *reader) begin(t *tag, emit func(dialect.Event)) {
	t.live = true
	emit(dialect.Event{Kind: dialect.Start, Tag: t.name, Format: t.format, Implicit: !t.known})
	if t.known {
		return
	}
	t.known = true
	if r.resumes { // its formats are remembered
		return
	}
	emit(notice(dialect.Note{
		Code: CodeMediaBeforeStart, Field: "media.tag", Allowed: "a tag that was started", Tag: t.name,
		Message: fmt.Sprintf("source %.64q was never started: it is taken as %s, %d Hz, %d channels",
			t.name, t.format.Encoding, t.format.SampleRate, t.format.Channels),
	}))
}

// blockSize is how much memory is taken for frames at once, bytes. Frames of a session go
// in the order in which they came, so few blocks are held by one frame alone.
const blockSize = 4 << 10

// block is memory for the frames that come next.
type block []byte

// take returns room for a frame.
func (b *block) take(size int) []byte {
	if size > blockSize/4 {
		return make([]byte, size)
	}
	if len(*b) < size {
		*b = make([]byte, blockSize)
	}
	return (*b)[:size:size]
}

// use keeps what was taken last.
func (b *block) use(size int) {
	if size <= len(*b) {
		*b = (*b)[size:]
	}
}

// unpack decodes a frame, or says why it can't.
func (b *block) unpack(payload []byte, f dialect.Format) (audio []byte, why string) {
	if len(payload) == 0 {
		return nil, "payload is missing, no string or empty"
	}
	dst := b.take((len(payload)*3 + 3) / 4)
	audio, ok := decodeBase64(dst, payload)
	if !ok {
		return nil, fmt.Sprintf("payload of %d characters is no base64", len(payload))
	}
	if sample := 2 * f.Channels; f.Encoding == encodingL16 && len(audio)%sample != 0 {
		return nil, fmt.Sprintf("payload of %d bytes is no whole number of %d-byte samples", len(audio), sample)
	}
	if cap(dst) <= blockSize/4 {
		b.use(cap(dst))
	}
	return audio[:len(audio):len(audio)], ""
}

// decodeBase64 is as lenient as the clients' own decoders: either alphabet, any
// padding, white space anywhere. The strict decoder is only faster. dst has room for what
// comes out.
func decodeBase64(dst, s []byte) ([]byte, bool) {
	if n, err := base64.StdEncoding.Decode(dst, s); err == nil {
		return dst[:n], n > 0
	}
	dst = dst[:0]
	var bits uint32
	var have int
	for i, c := range s {
		v, ok := sextet(c)
		switch {
		case ok:
			bits, have = bits<<6|uint32(v), have+6
			if have >= 8 {
				have -= 8
				dst = append(dst, byte(bits>>have))
			}
		case c == '=':
			return dst, len(dst) > 0 && strings.Trim(string(s[i:]), "= \t\r\n\v\f") == ""
		case !strings.ContainsRune(" \t\r\n\v\f", rune(c)):
			return nil, false
		}
	}
	return dst, len(dst) > 0
}

func sextet(c byte) (byte, bool) {
	switch {
	case c >= 'A' && c <= 'Z':
		return c - 'A', true
	case c >= 'a' && c <= 'z':
		return c - 'a' + 26, true
	case c >= '0' && c <= '9':
		return c - '0' + 52, true
	case c == '+' || c == '-':
		return 62, true
	case c == '/' || c == '_':
		return 63, true
	}
	return 0, false
}

// defaults are what a format leaves unsaid.
func defaults(encoding string) dialect.Format {
	if encoding == encodingL16 {
		return dialect.Format{Encoding: encoding, SampleRate: 24000, Channels: 1}
	}
	return dialect.Format{Encoding: encoding, SampleRate: 48000, Channels: 2}
}

// What a start may say of its format.
const (
	minRate, maxRate = 1000, 384000 // samples a second
	maxChannels      = 255
)

// encoding is what a name of the protocol means here, in lower case.
func (r *reader) encoding(name string) (encoding string, ok bool) {
	switch name {
	case encodingOpus:
		return r.format.Encoding, true // the URL may say that opus means ogg-opus
	case "ogg", encodingOggOpus:
		return encodingOggOpus, true
	case encodingL16:
		return encodingL16, true
	}
	return "", false
}

// plainFormat is the format that a start names in the short way, if nothing is wrong
// with it.
func (r *reader) plainFormat(f format) (dialect.Format, bool) {
	encoding, ok := r.encoding(string(f.encoding))
	if !ok {
		return dialect.Format{}, false
	}
	d := defaults(encoding)
	if f.rate >= 0 {
		ok = f.rate >= minRate && f.rate <= maxRate
		d.SampleRate = int(f.rate)
	}
	if f.channels >= 0 {
		ok = ok && f.channels >= 1 && f.channels <= maxChannels
		d.Channels = int(f.channels)
	}
	return d, ok
}

// mediaFormat reads the format of a start, or says what is wrong with it.
func (r *reader) mediaFormat(raw json.RawMessage) (dialect.Format, *dialect.Note) {
	const field = "start.mediaFormat"
	body, ok := nested(raw)
	if !ok {
		return dialect.Format{}, &dialect.Note{Code: CodeBadField, Field: field, Allowed: "an object", Message: "start has no mediaFormat"}
	}
	given, _ := text(body["encoding"])
	encoding, ok := r.encoding(strings.ToLower(given))
	if !ok {
		return dialect.Format{}, &dialect.Note{
			Code: CodeBadEncoding, Field: field + ".encoding", Allowed: "opus, ogg, ogg-opus, l16",
			Message: fmt.Sprintf("encoding %.64q is not spoken here", given),
		}
	}
	format := defaults(encoding)
	for _, n := range []struct {
		name     string
		to       *int
		min, max int64
	}{{"sampleRate", &format.SampleRate, minRate, maxRate}, {"channels", &format.Channels, 1, maxChannels}} {
		if absent(body[n.name]) {
			continue
		}
		v, ok := integer(body[n.name])
		if !ok || v < n.min || v > n.max {
			return dialect.Format{}, &dialect.Note{
				Code: CodeBadField, Field: field + "." + n.name, Allowed: fmt.Sprintf("an integer from %d to %d, as a number", n.min, n.max),
				Message: fmt.Sprintf("%s %.64q is out of range", n.name, []byte(body[n.name])),
			}
		}
		*n.to = int(v)
	}
	return format, nil
}
