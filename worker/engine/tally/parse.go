package tally

import (
	"fmt"
	"strconv"
	"strings"
)

// Statement is what the text of a result says:
//
//	frames 1-50,53 count 51 fnv1a 9c1e00a4b7d20f36 audio 3/1/1001-1050 at 1764000000123456
//
// The words from audio on are there where frames had a Number, those from at on where
// the engine was told to say when frames come.
type Statement struct {
	Frames []uint64 // numbers of the frames covered, rising
	Count  int
	Sum    uint64 // FNV-1a, 64 bit, over the frames' bytes in order
	Audio  []Run  // the numbered ones among them, in the order in which they were heard
	At     int64  // when the last frame reached the engine, Unix time in µs; 0: it does not say
}

const maxRange = 1_000_000 // frames

// Parse reads the text of a result back. What follows, a later version's, is ignored.
func Parse(text string) (Statement, error) {
	var st Statement
	words := strings.Fields(text)
	if len(words) < 6 || words[0] != "frames" || words[2] != "count" || words[4] != "fnv1a" {
		return st, fmt.Errorf("tally: %q is no statement", text)
	}
	var err1, err2 error
	st.Count, err1 = strconv.Atoi(words[3])
	st.Sum, err2 = strconv.ParseUint(words[5], 16, 64)
	if err1 != nil || err2 != nil {
		return st, fmt.Errorf("tally: %q is no statement", text)
	}
	for r := range strings.SplitSeq(words[1], ",") {
		first, last, ok := parseRange(r)
		if !ok || last-first > maxRange {
			return st, fmt.Errorf("tally: %q has a bad range %q", text, r)
		}
		for n := first; n <= last; n++ {
			st.Frames = append(st.Frames, n)
		}
	}
	if len(st.Frames) != st.Count {
		return st, fmt.Errorf("tally: %q counts %d frames and names %d", text, st.Count, len(st.Frames))
	}
	rest := words[6:]
	if len(rest) >= 2 && rest[0] == "audio" {
		var err error
		if st.Audio, err = parseRuns(rest[1], st.Count); err != nil {
			return st, err
		}
		rest = rest[2:]
	}
	if len(rest) >= 2 && rest[0] == "at" {
		var err error
		if st.At, err = strconv.ParseInt(rest[1], 10, 64); err != nil {
			return st, fmt.Errorf("tally: %q has a bad time %q", text, rest[1])
		}
	}
	return st, nil
}
