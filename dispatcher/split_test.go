package dispatcher

import (
	"testing"

	"stenobus/subjects"
)

// Where the results log is split an assign says where results go; where it is not the
// message is as it ever was.
func TestAssignTellsTheLog(t *testing.T) {
	t.Parallel()
	for _, n := range []subjects.Split{1, 3} {
		r := newRig(t, subjects.BusConfig{Split: n})
		d := r.dispatch(Config{Bus: subjects.BusConfig{Split: n}})
		w := r.worker("w1", 5, follows)
		r.sees(1, d)
		req := open("s", "n1")
		req.Split = r.kv.Results.Split()
		r.granted(req)
		asked := w.asked(subjects.OpAssign)
		same(r, "assigns", len(asked), 1)
		same(r, "place", asked[0].Place(), n.Place("s"))
		same(r, "the field log is there", asked[0].Log != nil, n > 1)
	}
}

func follows(r *subjects.WorkerReport) { r.Follows = true }

// A worker that would write elsewhere gets no session, and its dispatcher says so.
func TestWorkerThatDoesNotFollowTheLog(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{Split: 3})
	d := r.dispatch(Config{Bus: subjects.BusConfig{Split: 3}})
	r.worker("old", 50)
	good := r.worker("good", 5, follows)
	r.sees(1, d)
	for _, id := range []string{"a", "b", "c"} {
		req := open(id, "n1")
		req.Split = 3
		same(r, "worker", r.granted(req).Worker, good.id)
	}
	if _, told := d.faults.Load("a worker gets no sessions"); !told {
		t.Error("nobody was told why a worker gets no sessions")
	}
}

// Gateways that disagree about the split would not find what was stored: they are refused.
func TestClaimOfAnotherSplit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ bus, claim subjects.Split }{{3, 0}, {3, 2}, {1, 3}} {
		r := newRig(t, subjects.BusConfig{Split: tc.bus})
		d := r.dispatch(Config{Bus: subjects.BusConfig{Split: tc.bus}})
		r.worker("w1", 5, follows)
		r.sees(1, d)
		req := open("s", "n1")
		req.Split = tc.claim
		r.refused(r.claim(req).Error, subjects.CodeBadRequest)
	}
}
