package subjects

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// Version is the major version of the protocol. A message of another one is refused.
const Version = 1

// HeaderName is the NATS header that carries the Envelope, as one line of text:
//
//	Stenobus: 1 frames life=12 epoch=1 attach=1 n=101 frames=1/120/31456/2040
const HeaderName = "Stenobus"

// SourceHeader is the NATS header of a start message: the Source that begins, as JSON.
const SourceHeader = "Stenobus-Source"

// Errors of messages; every refusal wraps one of them and names the field.
var (
	ErrMessage = errors.New("bad message")
	ErrVersion = errors.New("unknown protocol version")
)

// Kind says what a message of a session is.
type Kind string

// Kinds from a gateway to the session's worker, on Frames. The first six are
// numbered: with the frames they make one count without gaps.
const (
	KindFrames   Kind = "frames"   // n, frames; payload: the frames' bytes one after another
	KindStart    Kind = "start"    // a frames message of one frame, with which a source begins or goes on in another format: header SourceHeader
	KindStop     Kind = "stop"     // n, source: no more audio of it, finalise and forget it
	KindFlush    Kind = "flush"    // n, source: finalise what was spoken, go on
	KindSkip     Kind = "skip"     // n, to; payload: Skip. These numbers will never come
	KindEnd      Kind = "end"      // n; payload: End. The session's last message
	KindAnnounce Kind = "announce" // n: sending goes on from here; payload: Announce. Answers ready
	KindLast     Kind = "last"     // n: the last number sent so far; repeated while nothing else is sent
	KindDetach   Kind = "detach"   // n: the last number sent; this gateway leaves, another may attach
)

// Kinds from a session's worker to its inbox.
const (
	KindReady   Kind = "ready"   // payload: Ready. Repeated until announce comes
	KindAck     Kind = "ack"     // n: all up to here received; log: sequence of the last stored result
	KindNak     Kind = "nak"     // n, to: these numbers are missing
	KindInterim Kind = "interim" // payload: Interim
	KindRelease Kind = "release" // payload: Release. This worker wants the session moved
	KindYield   Kind = "yield"   // a later attach waits: the gateway before it sends what it has, then detach
)

// Kinds of the results log, from a session's worker to Result.
const (
	KindOwner Kind = "owner" // payload: Owner
	KindFinal Kind = "final" // payload: Final
	KindMark  Kind = "mark"  // payload: Mark
	KindEnded Kind = "ended" // payload: Ended. The last of a life
)

// Stamp tells when a message belongs: which life of the session id, which ownership
// by a worker, which connection of a client.
type Stamp struct {
	Life   uint64 `json:"life"`
	Epoch  uint64 `json:"epoch"`
	Attach uint64 `json:"attach"`
}

// Envelope is the header of every message of a session.
type Envelope struct {
	Kind Kind
	Stamp
	N      uint64 // number; for a range its first
	To     uint64 // last number of a range
	Source uint32 // the source's number
	Log    uint64 // sequence in the results stream
	Frames []FrameInfo
	Starts *Source // of start
}

// FrameInfo describes one frame of a frames message. Written source/size/packet/at.
type FrameInfo struct {
	Source uint32 // the source's number, from its start
	Size   int    // bytes
	Packet int64  // the client's own packet number, to tell loss from silence; -1: none
	At     int64  // ms on the session clock of the frame's begin
}

// AppendTo appends the envelope's text form to b.
func (e *Envelope) AppendTo(b []byte) []byte {
	b = strconv.AppendInt(b, Version, 10)
	b = append(append(b, ' '), e.Kind...)
	b = appendField(b, " life=", e.Life)
	b = appendField(b, " epoch=", e.Epoch)
	b = appendField(b, " attach=", e.Attach)
	for _, f := range [...]struct {
		key string
		v   uint64
	}{{" n=", e.N}, {" to=", e.To}, {" source=", uint64(e.Source)}, {" log=", e.Log}} {
		if f.v != 0 {
			b = appendField(b, f.key, f.v)
		}
	}
	for i, f := range e.Frames {
		if i == 0 {
			b = append(b, " frames="...)
		} else {
			b = append(b, ',')
		}
		b = f.append(b)
	}
	return b
}

func appendField(b []byte, key string, v uint64) []byte {
	return strconv.AppendUint(append(b, key...), v, 10)
}

func (f FrameInfo) append(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(f.Source), 10)
	b = strconv.AppendInt(append(b, '/'), int64(f.Size), 10)
	b = append(b, '/')
	if f.Packet < 0 {
		b = append(b, '-')
	} else {
		b = strconv.AppendInt(b, f.Packet, 10)
	}
	return strconv.AppendInt(append(b, '/'), f.At, 10)
}

// Parse reads the text form into e, reusing the room of e.Frames. Unknown fields are
// skipped: a later minor version may add some.
func (e *Envelope) Parse(text string) error {
	frames := e.Frames[:0]
	*e = Envelope{}
	version, rest, _ := strings.Cut(text, " ")
	if v, err := strconv.Atoi(version); err != nil {
		return fmt.Errorf("%w: header %s does not begin with a version", ErrMessage, HeaderName)
	} else if v != Version {
		return fmt.Errorf("%w: message has %d, this program speaks %d", ErrVersion, v, Version)
	}
	kind, rest, _ := strings.Cut(rest, " ")
	if kind == "" {
		return fmt.Errorf("%w: header %s names no kind", ErrMessage, HeaderName)
	}
	e.Kind = Kind(kind)
	for rest != "" {
		var field string
		field, rest, _ = strings.Cut(rest, " ")
		key, value, _ := strings.Cut(field, "=")
		if key == "frames" {
			var err error
			if frames, err = parseFrameInfos(frames, value); err != nil {
				return err
			}
			continue
		}
		if err := e.set(key, value); err != nil {
			return err
		}
	}
	e.Frames = frames
	return e.check()
}

func (e *Envelope) set(key, value string) error {
	var p *uint64
	var source uint64
	switch key {
	case "life":
		p = &e.Life
	case "epoch":
		p = &e.Epoch
	case "attach":
		p = &e.Attach
	case "n":
		p = &e.N
	case "to":
		p = &e.To
	case "log":
		p = &e.Log
	case "source":
		p = &source
	default:
		return nil
	}
	v, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		return fmt.Errorf("%w: field %s=%q is not a number", ErrMessage, key, value)
	}
	if *p = v; key == "source" {
		if v > maxSource {
			return fmt.Errorf("%w: field source=%d is above %d", ErrMessage, v, maxSource)
		}
		e.Source = uint32(v)
	}
	return nil
}

const maxSource = 1<<31 - 1

// check refuses a known kind that lacks what it needs. A kind that is not known here
// is for its reader to refuse.
func (e *Envelope) check() error {
	if e.Life == 0 || e.Epoch == 0 {
		return fmt.Errorf("%w: %s without life and epoch", ErrMessage, e.Kind)
	}
	switch e.Kind {
	case KindFrames:
		if e.N == 0 || len(e.Frames) == 0 {
			return fmt.Errorf("%w: frames needs the fields n and frames", ErrMessage)
		}
	case KindStart:
		if e.N == 0 || len(e.Frames) != 1 {
			return fmt.Errorf("%w: start needs the fields n and frames, of one frame", ErrMessage)
		}
	case KindEnd, KindAnnounce:
		if e.N == 0 {
			return fmt.Errorf("%w: %s needs the field n", ErrMessage, e.Kind)
		}
	case KindStop, KindFlush:
		if e.N == 0 || e.Source == 0 {
			return fmt.Errorf("%w: %s needs the fields n and source", ErrMessage, e.Kind)
		}
	case KindSkip, KindNak:
		if e.N == 0 || e.To < e.N {
			return fmt.Errorf("%w: %s needs the fields n and to, to not below n", ErrMessage, e.Kind)
		}
	}
	return nil
}

func parseFrameInfos(dst []FrameInfo, s string) ([]FrameInfo, error) {
	for s != "" {
		var item string
		item, s, _ = strings.Cut(s, ",")
		f, err := parseFrameInfo(item)
		if err != nil {
			return dst, err
		}
		dst = append(dst, f)
	}
	return dst, nil
}

func parseFrameInfo(item string) (FrameInfo, error) {
	source, rest, _ := strings.Cut(item, "/")
	size, rest, _ := strings.Cut(rest, "/")
	packet, at, _ := strings.Cut(rest, "/")
	f := FrameInfo{Packet: -1}
	src, err1 := strconv.ParseUint(source, 10, 31)
	sz, err2 := strconv.ParseUint(size, 10, 31)
	var err3 error
	if packet != "-" {
		var p uint64
		p, err3 = strconv.ParseUint(packet, 10, 63)
		f.Packet = int64(p)
	}
	ms, err4 := strconv.ParseInt(at, 10, 64)
	if err := errors.Join(err1, err2, err3, err4); err != nil || src == 0 {
		return f, fmt.Errorf("%w: field frames has %q, want source/size/packet/at", ErrMessage, item)
	}
	f.Source, f.Size, f.At = uint32(src), int(sz), ms
	return f, nil
}

// Msg makes the message for subject.
func (e *Envelope) Msg(subject string, payload []byte) *nats.Msg {
	text := e.AppendTo(make([]byte, 0, 96+28*len(e.Frames)))
	m := &nats.Msg{
		Subject: subject,
		Header:  nats.Header{HeaderName: []string{string(text)}},
		Data:    payload,
	}
	if e.Starts != nil {
		m.Header[SourceHeader] = []string{string(Encode(e.Starts))}
	}
	return m
}

// Writer makes the messages of one sender, one after the other, in the same memory. It is
// for one goroutine at a time.
type Writer struct {
	msg    nats.Msg
	values []string
	text   []byte
}

// Msg is Envelope.Msg; the message lasts until the next.
func (w *Writer) Msg(e *Envelope, subject string, payload []byte) *nats.Msg {
	if w.msg.Header == nil {
		w.values = []string{""}
		w.msg.Header = nats.Header{HeaderName: w.values}
	}
	w.text = e.AppendTo(w.text[:0])
	w.values[0] = string(w.text)
	w.msg.Subject, w.msg.Data = subject, payload
	if e.Starts != nil {
		w.msg.Header[SourceHeader] = []string{string(Encode(e.Starts))}
	} else if len(w.msg.Header) > 1 {
		delete(w.msg.Header, SourceHeader)
	}
	return &w.msg
}

// ParseMsg reads the envelope of a message into e and checks that the frames'
// sizes add up to the payload.
func (e *Envelope) ParseMsg(m *nats.Msg) error {
	values := m.Header[HeaderName]
	if len(values) == 0 {
		return fmt.Errorf("%w: no header %s", ErrMessage, HeaderName)
	}
	if err := e.Parse(values[0]); err != nil {
		return err
	}
	switch e.Kind {
	case KindFrames:
	case KindStart:
		if err := e.parseSource(m); err != nil {
			return err
		}
	default:
		return nil
	}
	total := 0
	for _, f := range e.Frames {
		if total += f.Size; total > len(m.Data) {
			break
		}
	}
	if total != len(m.Data) {
		return fmt.Errorf("%w: frames of %d bytes in a payload of %d", ErrMessage, total, len(m.Data))
	}
	return nil
}

func (e *Envelope) parseSource(m *nats.Msg) error {
	values := m.Header[SourceHeader]
	if len(values) == 0 {
		return fmt.Errorf("%w: start without header %s", ErrMessage, SourceHeader)
	}
	src, err := Decode[Source](e.Kind, []byte(values[0]))
	if err != nil {
		return err
	}
	if src.Source != e.Frames[0].Source {
		return fmt.Errorf("%w: start of source %d with a frame of source %d", ErrMessage, src.Source, e.Frames[0].Source)
	}
	e.Starts = &src
	return nil
}
