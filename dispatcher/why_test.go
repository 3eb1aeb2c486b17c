package dispatcher

import (
	"testing"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

func TestWhyGoesWithTheSession(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{Strategy: StrategyPack})
	a, b := r.worker("a", 5), r.worker("b", 5)
	r.sees(2, d)
	first := r.granted(open("s", "n1"))
	why := "pack: load 0/5, the fullest of 2 with room; 2 known"
	same(r, "record", r.record(d, "s").Why, why)
	same(r, "request", a.asked(subjects.OpAssign)[0].Why, why)

	r.granted(open("s", "n2"))
	same(r, "record of another attach", r.record(d, "s").Why, why)
	same(r, "request of another attach", a.asked(subjects.OpAssign)[1].Why, why)

	a.die()
	subjectstest.Eventually(t, "the move", func() bool {
		return r.claim(moved(open("s", "n2"), subjects.ClaimReply{Stamp: subjects.Stamp{Life: first.Life, Epoch: 1, Attach: 2}}, subjects.MoveGone)).Error == nil
	})
	why = "pack: load 0/5, the only one with room; 2 known, not a, which it leaves"
	same(r, "record after a move", r.record(d, "s").Why, why)
	same(r, "request after a move", b.asked(subjects.OpAssign)[0].Why, why)
}
