package mediajson

import (
	"encoding/binary"
	"unicode/utf8"
)

// scanner reads the plain subset of JSON in which clients write their media events:
// no escapes, whole numbers, no values within values. It never guesses: false from
// any method says no more than that the long way must be taken.
type scanner struct {
	data []byte
	i    int
}

// scanMedia reads a media event without allocating. Where it says true, the long way
// would have found the same.
func scanMedia(data []byte) (f frame, ok bool) {
	s := scanner{data: data}
	var event []byte
	ok = s.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "event":
			event, ok = s.text()
		case "media":
			f, ok = s.frame()
		default:
			ok = s.scalar()
		}
		return ok
	})
	s.space()
	return f, ok && s.i == len(data) && string(event) == "media" &&
		len(f.tag) > 0 && len(f.tag) <= maxTagUnits && len(f.payload) > 0
}

// control is an event other than media, as far as it was read.
type control struct {
	event []byte
	id    []byte // of a ping; nil: none
	start beginning
}

// beginning is the body of a start.
type beginning struct {
	tag    []byte
	format format
}

// format is a start's mediaFormat.
type format struct {
	encoding       []byte
	rate, channels int64 // -1: none
}

// scanControl reads a start or a ping without allocating. Where it says true, the long way
// would have found the same.
func scanControl(data []byte) (c control, ok bool) {
	s := scanner{data: data}
	ok = s.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "event":
			c.event, ok = s.text()
		case "start":
			c.start, ok = s.beginning()
		case "id":
			c.id, ok = s.integer()
		default:
			ok = s.pass(maxPassed)
		}
		return ok
	})
	s.space()
	return c, ok && s.i == len(data)
}

func (s *scanner) beginning() (b beginning, ok bool) {
	ok = s.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "tag":
			b.tag, ok = s.text()
		case "mediaFormat":
			b.format, ok = s.format()
		case "diarize": // a wish that is told about
			ok = !s.next('t') && s.scalar()
		default:
			ok = s.pass(maxPassed)
		}
		return ok
	})
	return b, ok
}

func (s *scanner) format() (f format, ok bool) {
	f.rate, f.channels = -1, -1
	ok = s.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "encoding":
			f.encoding, ok = s.text()
		case "sampleRate":
			f.rate, ok = s.count()
		case "channels":
			f.channels, ok = s.count()
		default:
			ok = s.pass(maxPassed)
		}
		return ok
	})
	return f, ok
}

func (s *scanner) frame() (f frame, ok bool) {
	f.chunk, f.timestamp = -1, -1
	ok = s.object(func(key []byte) (ok bool) {
		switch string(key) {
		case "tag":
			f.tag, ok = s.text()
		case "payload":
			f.payload, ok = s.text()
		case "chunk":
			f.chunk, ok = s.number()
		case "timestamp":
			f.timestamp, ok = s.number()
		default:
			ok = s.scalar()
		}
		return ok
	})
	return f, ok
}

// object reads an object with one member or more; value reads the member that has key.
func (s *scanner) object(value func(key []byte) bool) bool {
	if !s.next('{') {
		return false
	}
	for {
		key, ok := s.text()
		if !ok || !s.next(':') || !value(key) {
			return false
		}
		if s.next('}') {
			return true
		}
		if !s.next(',') {
			return false
		}
	}
}

// verbatim are the bytes that stand for themselves within a string, alone.
var verbatim = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// eightVerbatim tells the same of eight bytes at once, as payloads are long.
func eightVerbatim(x uint64) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	quote, backslash := x^ones*'"', x^ones*'\\'
	return (x|(x-ones*' ')|(quote-ones)|(backslash-ones))&tops == 0
}

// text reads a string. It stays part of the message.
func (s *scanner) text() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	begin, ascii := s.i, true
	for s.i+8 <= len(s.data) && eightVerbatim(binary.LittleEndian.Uint64(s.data[s.i:])) {
		s.i += 8
	}
	for ; s.i < len(s.data); s.i++ {
		c := s.data[s.i]
		switch {
		case verbatim[c]:
		case c == '"':
			t := s.data[begin:s.i:s.i]
			s.i++
			return t, ascii || utf8.Valid(t)
		case c >= utf8.RuneSelf:
			ascii = false
		default:
			return nil, false
		}
	}
	return nil, false
}

// number reads a whole number from 0, in quotes or not.
func (s *scanner) number() (n int64, ok bool) {
	quoted := s.next('"')
	digits := s.digits()
	if len(digits) == 0 || !quoted && !canonical(digits) {
		return 0, false
	}
	n = decimal(digits)
	if quoted {
		if s.i == len(s.data) || s.data[s.i] != '"' {
			return 0, false
		}
		s.i++
	}
	return n, true
}

// integer reads a whole number that is in no quotes, digit for digit.
func (s *scanner) integer() (text []byte, ok bool) {
	s.space()
	begin := s.i
	if s.i < len(s.data) && s.data[s.i] == '-' {
		s.i++
	}
	digits := s.digits()
	return s.data[begin:s.i:s.i], len(digits) > 0 && canonical(digits)
}

// count reads a whole number from 0 that is in no quotes.
func (s *scanner) count() (n int64, ok bool) {
	text, ok := s.integer()
	if !ok || text[0] == '-' {
		return 0, false
	}
	return decimal(text), true
}

func decimal(digits []byte) (n int64) {
	for _, c := range digits {
		n = n*10 + int64(c-'0')
	}
	return n
}

// digits reads as many as surely fit an int64.
func (s *scanner) digits() []byte {
	const most = 18
	begin := s.i
	for s.i < len(s.data) && s.i-begin < most && s.data[s.i] >= '0' && s.data[s.i] <= '9' {
		s.i++
	}
	return s.data[begin:s.i]
}

func canonical(digits []byte) bool { return len(digits) == 1 || digits[0] != '0' }

// scalar passes over a value that nobody reads.
func (s *scanner) scalar() bool {
	s.space()
	if s.i == len(s.data) {
		return false
	}
	switch s.data[s.i] {
	case '"':
		_, ok := s.text()
		return ok
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	case '-':
		s.i++
	}
	digits := s.digits()
	return len(digits) > 0 && canonical(digits)
}

// maxPassed is how deep the values may be nested that nobody reads.
const maxPassed = 4

// pass passes over a value that nobody reads, an object too.
func (s *scanner) pass(depth int) bool {
	ahead := *s
	if !ahead.next('{') {
		return s.scalar()
	}
	if ahead.next('}') {
		*s = ahead
		return true
	}
	return depth > 0 && s.object(func([]byte) bool { return s.pass(depth - 1) })
}

func (s *scanner) literal(word string) bool {
	end := s.i + len(word)
	if end > len(s.data) || string(s.data[s.i:end]) != word {
		return false
	}
	s.i = end
	return true
}

// next passes over c and the white space before it, if c is what comes.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.i == len(s.data) || s.data[s.i] != c {
		return false
	}
	s.i++
	return true
}

func (s *scanner) space() {
	for s.i < len(s.data) {
		switch s.data[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}
