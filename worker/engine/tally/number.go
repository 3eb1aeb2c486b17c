package tally

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// A numbered frame says in its first bytes which one it is, so that a statement proves
// not only how many frames were heard but which:
//
//	byte  0-3    "xnum". Its first byte says 20 ms, mono, to readers of Opus packets
//	byte  4-7    session, big-endian
//	byte  8-11   source
//	byte 12-19   number of the frame, from 1
//	byte 20-     noise that follows from these three
const magic = "xnum"

// NumberedLeast is the size of the smallest numbered frame, which has no noise.
const NumberedLeast = 20

// Number names a frame. Whoever sends it chooses what the parts mean.
type Number struct {
	Session, Source uint32
	N               uint64 // from 1
}

// Append writes the frame of that number behind b, size bytes long. The same number
// always gives the same bytes.
func (n Number) Append(b []byte, size int) []byte {
	begin := len(b)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, n.Session)
	b = binary.BigEndian.AppendUint32(b, n.Source)
	b = binary.BigEndian.AppendUint64(b, n.N)
	state := uint64(n.Session)<<32 ^ uint64(n.Source)<<16 ^ n.N*0x9e3779b97f4a7c15
	for len(b)-begin < size {
		b = binary.LittleEndian.AppendUint64(b, splitmix(&state))
	}
	return b[:begin+max(size, NumberedLeast)]
}

// splitmix is the generator SplitMix64.
func splitmix(state *uint64) uint64 {
	*state += 0x9e3779b97f4a7c15
	z := *state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// ReadNumber tells which frame a packet is, false for one without a number. It does
// not look at the noise: that is the hash's part.
func ReadNumber(packet []byte) (Number, bool) {
	if len(packet) < NumberedLeast || string(packet[:len(magic)]) != magic {
		return Number{}, false
	}
	n := Number{
		Session: binary.BigEndian.Uint32(packet[4:]),
		Source:  binary.BigEndian.Uint32(packet[8:]),
		N:       binary.BigEndian.Uint64(packet[12:]),
	}
	return n, n.N != 0 && n.N < 1<<63
}

// Run is numbered frames of one source that followed one another, first to last.
type Run struct {
	Session, Source uint32
	First, Last     uint64
}

// follows tells whether n is the frame after the run.
func (r Run) follows(n Number) bool {
	return r.Session == n.Session && r.Source == n.Source && n.N == r.Last+1
}

// appendRuns writes "3/1/1001-1050,3/1/1052".
func appendRuns(b []byte, runs []Run) []byte {
	for i, r := range runs {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.Session), 10)
		b = strconv.AppendUint(append(b, '/'), uint64(r.Source), 10)
		b = append(append(b, '/'), rangeText(r.First, r.Last)...)
	}
	return b
}

// parseRuns reads what appendRuns wrote. In all they may name most frames.
func parseRuns(text string, most int) ([]Run, error) {
	var runs []Run
	left := uint64(most)
	for item := range strings.SplitSeq(text, ",") {
		session, rest, _ := strings.Cut(item, "/")
		source, ranges, _ := strings.Cut(rest, "/")
		a, err1 := strconv.ParseUint(session, 10, 32)
		b, err2 := strconv.ParseUint(source, 10, 32)
		first, last, ok := parseRange(ranges)
		if err1 != nil || err2 != nil || !ok || first == 0 || last-first >= left {
			return nil, fmt.Errorf("tally: bad run of numbered frames %q", item)
		}
		left -= last - first + 1
		runs = append(runs, Run{uint32(a), uint32(b), first, last})
	}
	return runs, nil
}

// parseRange reads "7" or "7-9".
func parseRange(text string) (first, last uint64, ok bool) {
	from, to, several := strings.Cut(text, "-")
	if !several {
		to = from
	}
	first, err1 := strconv.ParseUint(from, 10, 63)
	last, err2 := strconv.ParseUint(to, 10, 63)
	return first, last, err1 == nil && err2 == nil && first <= last
}
