package placement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"stenobus/subjects"
)

// A ring finds what a look at every member finds, while members come and go.
func TestRing(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var (
		r       ring
		members []ranked
	)
	for step := range 4000 {
		if grow := step%2000 < 1200; grow || len(members) == 0 || random.IntN(4) == 0 {
			c := &candidate{}
			c.Worker = subjects.WorkerID(fmt.Sprint("w", step))
			m := ranked{random.Uint64(), c}
			if step%10 == 0 && len(members) > 0 { // two at one point
				m.key = members[0].key
			}
			members = append(members, m)
			r.add(m)
		} else {
			i := random.IntN(len(members))
			r.remove(members[i])
			members = slices.Delete(members, i, i+1)
		}
		at := random.Uint64()
		switch {
		case step%7 == 0 && len(members) > 0:
			at = members[0].key
		case step%11 == 0:
			at = 0
		case step%13 == 0:
			at = ^uint64(0)
		}
		banned := map[*candidate]bool{}
		for _, m := range members {
			banned[m.candidate] = random.IntN(3) == 0
		}
		skip := func(c *candidate) bool { return banned[c] }
		if got, want := r.after(at, skip), nextByLook(members, at, skip); got != want {
			t.Fatalf("step %d, %d members: after %d comes %v, want %v", step, len(members), at, got, want)
		}
		if n := len(r.arcs); n < r.size || n > max(minArcs, 2*arcsToShrink*r.size) {
			t.Fatalf("step %d: %d arcs for %d members", step, n, r.size)
		}
	}
}

func nextByLook(members []ranked, at uint64, skip func(*candidate) bool) (found ranked) {
	for _, m := range members {
		if skip(m.candidate) {
			continue
		}
		if found.candidate == nil || m.key-at < found.key-at || m.key == found.key && ranksBefore(m, found) {
			found = m
		}
	}
	return found
}
