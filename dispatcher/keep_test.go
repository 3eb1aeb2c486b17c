package dispatcher

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

// ttl is the expiry that the server has for a session's record.
func (r *rig) ttl(d *Dispatcher, id string) string {
	r.Helper()
	m, err := d.store.stream.GetLastMsgForSubject(r.ctx(), subjects.SessionRecord(subjects.SessionID(id)))
	if err != nil {
		r.Fatal(err)
	}
	return m.Header.Get(jetstream.MsgTTLHeader)
}

func TestEveryWriteKeepsTheExpiry(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{RecordExpiry: 90 * time.Second})
	r.worker("a", 5)
	r.worker("b", 5)
	r.sees(2, d)
	got := r.granted(open("s", "n1"))
	same(r, "after create", r.ttl(d, "s"), "1m30s")
	got2 := r.granted(open("s", "n2"))
	same(r, "after attach", r.ttl(d, "s"), "1m30s")
	got3 := r.granted(moved(open("s", "n2"), got2, subjects.MoveSilent))
	same(r, "after move", r.ttl(d, "s"), "1m30s")
	before := r.record(d, "s")
	if e := r.keep(subjects.ClaimRenew, "s", got3); e != nil {
		t.Fatal(e)
	}
	after := r.record(d, "s")
	same(r, "after renewal", r.ttl(d, "s"), "1m30s")
	same(r, "life after renewal", after.Life, got.Life)
	same(r, "stamp after renewal", after.Stamp, before.Stamp)
	if after.rev <= before.rev {
		t.Error("a renewal wrote nothing")
	}
}

func TestRecordExpiresUnlessRenewed(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{TombstoneExpiry: time.Second})
	d := r.dispatch(Config{RecordExpiry: time.Second, Bus: subjects.BusConfig{TombstoneExpiry: time.Second}})
	r.worker("a", 5)
	r.sees(1, d)
	lost, kept := r.granted(open("lost", "n")), r.granted(open("kept", "n"))
	w, err := r.kv.Sessions.WatchAll(r.ctx(), jetstream.UpdatesOnly())
	if err != nil {
		t.Fatal(err)
	}
	defer closeWatch(w)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	bound := time.After(subjectstest.Wait)
	for gone := false; !gone; {
		select {
		case <-bound:
			t.Fatal("the record did not expire")
		case <-tick.C:
			if e := r.keep(subjects.ClaimRenew, "kept", kept); e != nil {
				t.Fatal(e)
			}
		case e := <-w.Updates():
			if e.Operation() != jetstream.KeyValuePut {
				same(r, "expired key", e.Key(), "lost")
				gone = true
			}
		}
	}
	same(r, "renewed record", r.record(d, "kept").Stamp, kept.Stamp)

	// What expired, though its worker lives, comes back with its life.
	if e := r.keep(subjects.ClaimRenew, "lost", lost); e != nil {
		t.Fatal(e)
	}
	back := r.record(d, "lost")
	same(r, "stamp of the record that is back", back.Stamp, lost.Stamp)
	resumed := r.granted(open("lost", "n2"))
	same(r, "resumed", resumed.Stamp, subjects.Stamp{Life: lost.Life, Epoch: 1, Attach: 2})
	same(r, "its options", r.record(d, "lost").Options.GraceMS, 1000)
}

func TestEndLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{TombstoneExpiry: time.Second})
	d := r.dispatch(Config{Bus: subjects.BusConfig{TombstoneExpiry: time.Second}})
	r.worker("a", 5)
	r.sees(1, d)
	got := r.granted(open("s", "n"))
	for range 2 { // the second finds nothing, which is as good
		if e := r.keep(subjects.ClaimEnd, "s", got); e != nil {
			t.Fatal(e)
		}
	}
	if keys, err := r.kv.Sessions.Keys(r.ctx()); !errors.Is(err, jetstream.ErrNoKeysFound) {
		t.Errorf("keys left: %v %v", keys, err)
	}
	r.refused(r.keep(subjects.ClaimRenew, "s", got), subjects.CodeSuperseded)
	subjectstest.Eventually(t, "the tombstone expires", func() bool {
		info, err := d.store.stream.Info(r.ctx())
		return err == nil && info.State.Msgs == 0
	})
}

// A dispatcher that hung renews late: the record of a life that is over stays gone.
func TestLateRenewalBringsNothingBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	r.worker("a", 5)
	r.sees(1, d)
	for _, kind := range []subjects.Kind{subjects.KindEnded, subjects.KindOwner} {
		id := "s-" + string(kind)
		got := r.granted(open(id, "n"))
		if err := d.store.kv.Purge(r.ctx(), subjects.SessionID(id).Token(), jetstream.PurgeTTL(time.Second)); err != nil {
			t.Fatal(err)
		}
		subjectstest.Eventually(t, "the tombstone expires", func() bool {
			h, err := d.store.read(r.ctx(), subjects.SessionID(id))
			return err == nil && !h.there && !h.ended
		})
		last := subjects.Envelope{Kind: kind, Stamp: got.Stamp}
		if kind == subjects.KindOwner { // of the next life
			last.Life++
		}
		if _, err := d.js.PublishMsg(r.ctx(), last.Msg(subjects.Result(subjects.SessionID(id)), []byte("{}"))); err != nil {
			t.Fatal(err)
		}
		r.refused(r.keep(subjects.ClaimRenew, subjects.SessionID(id), got), subjects.CodeSuperseded)
	}
}

func TestOnlyTheOwnerKeeps(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	r.worker("a", 5)
	r.worker("b", 5)
	r.sees(2, d)
	first := r.granted(open("s", "n"))
	second := r.granted(moved(open("s", "n"), first, subjects.MoveDraining))
	stranger := second
	stranger.Worker = "x"
	for name, of := range map[string]subjects.ClaimReply{"old epoch": first, "stranger": stranger} {
		for _, subject := range []string{subjects.ClaimRenew, subjects.ClaimEnd} {
			if e := r.keep(subject, "s", of); e == nil || e.Code != subjects.CodeSuperseded {
				t.Errorf("%s on %s: got %v", name, subject, e)
			}
		}
	}
	if e := r.keep(subjects.ClaimEnd, "s", second); e != nil {
		t.Fatal(e)
	}
	third := r.granted(open("s", "n"))
	r.refused(r.keep(subjects.ClaimEnd, "s", second), subjects.CodeSuperseded)
	same(r, "record", r.record(d, "s").Stamp, third.Stamp)
}

// TestLaggingRead has the store answer from before a write: the write must be refused.
func TestLaggingRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, subjects.BusConfig{})
	d := r.dispatch(Config{})
	r.worker("a", 5)
	r.sees(1, d)
	r.granted(open("s", "n1"))
	old := r.record(d, "s")
	r.granted(open("s", "n2"))
	if _, err := d.store.write(r.ctx(), old, old.Record); !errors.Is(err, errConflict) {
		t.Errorf("write: got %v", err)
	}
	if err := d.store.remove(r.ctx(), old); !errors.Is(err, errConflict) {
		t.Errorf("remove: got %v", err)
	}
	if _, err := d.store.write(r.ctx(), held{}, old.Record); !errors.Is(err, errConflict) {
		t.Errorf("create: got %v", err)
	}
	same(r, "attach", r.record(d, "s").Attach, 2)
}
