package tally

import (
	"fmt"
	"strconv"
	"strings"
)

// Statement is what the text of a result says.
type Statement struct {
	Frames []uint64 // numbers of the frames covered, rising
	Count  int
	Sum    uint64 // FNV-1a, 64 bit, over the frames' bytes in order
}

// Parse reads the text of a result back.
func Parse(text string) (Statement, error) {
	var st Statement
	var ranges string
	if _, err := fmt.Sscanf(text, "frames %s count %d fnv1a %x", &ranges, &st.Count, &st.Sum); err != nil {
		return st, fmt.Errorf("tally: %q is no statement: %w", text, err)
	}
	for r := range strings.SplitSeq(ranges, ",") {
		from, to, ok := strings.Cut(r, "-")
		if !ok {
			to = from
		}
		a, err1 := strconv.ParseUint(from, 10, 63)
		b, err2 := strconv.ParseUint(to, 10, 63)
		if err1 != nil || err2 != nil || b < a || b-a > 1_000_000 {
			return st, fmt.Errorf("tally: %q has a bad range %q", text, r)
		}
		for n := a; n <= b; n++ {
			st.Frames = append(st.Frames, n)
		}
	}
	if len(st.Frames) != st.Count {
		return st, fmt.Errorf("tally: %q counts %d frames and names %d", text, st.Count, len(st.Frames))
	}
	return st, nil
}
