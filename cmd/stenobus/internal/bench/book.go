package bench

import (
	"fmt"

	"stenobus/worker/engine/tally"
)

// book keeps account of one session's frames by what its finals state. A gateway
// numbers frames in the order in which they come, from 1, so both sides agree on them.
type book struct {
	audio   *audio
	session int
	sources int

	covered []uint8 // by number, how often; 2 is as good as more
	doubled uint64
	damaged uint64 // frames of finals whose words do not fit what was sent
}

// enter takes the text of a final and returns what it states.
func (b *book) enter(tag, text string) (tally.Statement, error) {
	st, err := tally.Parse(text)
	if err != nil {
		return st, err
	}
	if err := b.check(tag, st); err != nil {
		b.damaged += uint64(st.Count)
		return st, err
	}
	for _, n := range st.Frames {
		for uint64(len(b.covered)) < n {
			b.covered = append(b.covered, 0)
		}
		if b.covered[n-1] > 0 {
			b.doubled++
		}
		b.covered[n-1] = min(b.covered[n-1]+1, 2)
	}
	return st, nil
}

// check finds frames of another source or session, and frames that were changed.
func (b *book) check(tag string, st tally.Statement) error {
	for _, n := range st.Frames {
		if n == 0 || tagOf(sourceOf(n, b.sources)) != tag {
			return fmt.Errorf("a final of %s covers frame %d, which is not its own", tag, n)
		}
	}
	if b.audio.sum(b.session, st.Frames) != st.Sum {
		return fmt.Errorf("frames %d to %d of %s are not the bytes that were sent", st.Frames[0], st.Frames[st.Count-1], tag)
	}
	return nil
}

// close tells how many of the sent frames are in no final, and adds those that are in
// one and were never sent to the doubled.
func (b *book) close(sent uint64) (lost, doubled uint64) {
	for i, n := range b.covered {
		switch {
		case uint64(i) >= sent && n > 0:
			b.doubled++
		case uint64(i) < sent && n == 0:
			lost++
		}
	}
	if n := uint64(len(b.covered)); sent > n {
		lost += sent - n
	}
	return lost, b.doubled
}

// sourceOf is the source of a session's nth frame: they take turns.
func sourceOf(n uint64, sources int) int { return int((n - 1) % uint64(sources)) }
