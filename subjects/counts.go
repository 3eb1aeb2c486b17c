package subjects

import (
	"encoding/json"
	"slices"
	"strconv"
)

// Counts is a number for each source of a life, by the source's number. Every result has
// three of them, so in a room of 200 speakers they are nearly all of it: they are written
// and read without reflection. On the wire they are what a plain map is.
type Counts[V uint64 | int64] map[uint32]V

// countSize is room for one source's count, in bytes: most need less.
const countSize = 20

// MarshalJSON writes the sources in order of their numbers; nil is null.
func (c Counts[V]) MarshalJSON() ([]byte, error) {
	if c == nil {
		return []byte("null"), nil
	}
	sources := make([]uint32, 0, len(c))
	for source := range c {
		sources = append(sources, source)
	}
	slices.Sort(sources)
	b := make([]byte, 0, 2+countSize*len(c))
	b = append(b, '{')
	for i, source := range sources {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = strconv.AppendUint(b, uint64(source), 10)
		b = append(b, '"', ':')
		if n := c[source]; n < 0 {
			b = strconv.AppendInt(b, int64(n), 10)
		} else {
			b = strconv.AppendUint(b, uint64(n), 10)
		}
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads what any program may have written: the shape that MarshalJSON writes
// here, and everything else as a plain map, whose errors are also those of this one.
func (c *Counts[V]) UnmarshalJSON(b []byte) error {
	if counts, ok := scanCounts[V](b); ok {
		*c = counts
		return nil
	}
	plain := map[uint32]V(nil)
	if err := json.Unmarshal(b, &plain); err != nil {
		return err
	}
	*c = plain
	return nil
}

// scanCounts reads {"1":2,"3":4}, without spaces. It reports false where b is not exactly
// that, or holds a number that may not fit its type: such are for the general reader.
func scanCounts[V uint64 | int64](b []byte) (Counts[V], bool) {
	if len(b) < 2 || b[0] != '{' || b[len(b)-1] != '}' {
		return nil, false
	}
	b = b[1 : len(b)-1]
	c := make(Counts[V], len(b)/10) // about what a count takes
	for len(b) > 0 {
		if len(c) > 0 {
			if b[0] != ',' {
				return nil, false
			}
			b = b[1:]
		}
		if len(b) == 0 || b[0] != '"' {
			return nil, false
		}
		source, n := scanNumber(b[1:], 9)
		if b = b[1+n:]; n == 0 || len(b) < 2 || b[0] != '"' || b[1] != ':' {
			return nil, false
		}
		count, n := scanNumber(b[2:], 18)
		if n == 0 {
			return nil, false
		}
		b = b[2+n:]
		if _, again := c[uint32(source)]; again {
			return nil, false
		}
		c[uint32(source)] = V(count)
	}
	return c, true
}

// scanNumber reads a decimal number without sign or leading zeros, and tells how many
// digits it has: 0 where there is none, or more than most.
func scanNumber(b []byte, most int) (v uint64, digits int) {
	for digits < len(b) && b[digits]-'0' <= 9 {
		if digits == most {
			return 0, 0
		}
		v = v*10 + uint64(b[digits]-'0')
		digits++
	}
	if digits > 1 && b[0] == '0' {
		return 0, 0
	}
	return v, digits
}
