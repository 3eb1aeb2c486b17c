package tally

import (
	"fmt"
	"strconv"
	"strings"
)

// Statement is what the text of a result says:
//
//	frames 1-50,53 count 51 fnv1a 9c1e00a4b7d20f36 audio 3/1/1001-1050
//
// The last two words are there where frames had a Number.
type Statement struct {
	Frames []uint64 // numbers of the frames covered, rising
	Count  int
	Sum    uint64 // FNV-1a, 64 bit, over the frames' bytes in order
	Audio  []Run  // the numbered ones among them, in the order in which they were heard
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
	if len(words) < 8 || words[6] != "audio" {
		return st, nil
	}
	var err error
	st.Audio, err = parseRuns(words[7], st.Count)
	return st, err
}
