package worker

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

func newLog(t *testing.T, bus *subjectstest.Bus, stamp subjects.Stamp) *resultLog {
	t.Helper()
	nc := bus.Dial()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return &resultLog{
		js: js, results: bus.Ensure(nc, subjects.BusConfig{}).Results, id: "s",
		stamp: func() subjects.Stamp { return stamp },
		waits: func(err error) { t.Log(err) },
		queue: make(chan entry, logQueue),
	}
}

func owner(p subjects.Progress) any { return subjects.Owner{Progress: p, Worker: "w"} }

func cover(through uint64) entry {
	return markEntry(coverage{source: 1, first: 1, last: through, frames: through})
}

func TestLogGoesOnWhereTheLastOwnerStood(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	first := newLog(t, bus, subjects.Stamp{Life: 5, Epoch: 1, Attach: 1})
	if err := first.take(ctx, owner); err != nil {
		t.Fatal(err)
	}
	if err := first.write(ctx, cover(7)); err != nil {
		t.Fatal(err)
	}
	second := newLog(t, bus, subjects.Stamp{Life: 5, Epoch: 2, Attach: 1})
	if err := second.take(ctx, owner); err != nil {
		t.Fatal(err)
	}
	if got := second.progress.Covered[1]; got != 7 {
		t.Errorf("the second owner begins after %d, want 7", got)
	}
	// The first slept through this and wakes: the server refuses its words.
	if err := first.write(ctx, cover(9)); !errors.Is(err, errSuperseded) {
		t.Errorf("the first owner's write: %v, want errSuperseded", err)
	}
	if m, err := second.results.Last(ctx, "s"); err != nil || m.Sequence != second.last {
		t.Errorf("the log's last message is %v, %v, want sequence %d", m, err, second.last)
	}
	if err := second.write(ctx, cover(9)); err != nil {
		t.Fatal(err)
	}
}

func TestLogOfAnotherLife(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	old := newLog(t, bus, subjects.Stamp{Life: 5, Epoch: 3, Attach: 1})
	if err := old.take(ctx, owner); err != nil {
		t.Fatal(err)
	}
	ended := entry{kind: subjects.KindEnded, build: func(p subjects.Progress) any { return subjects.Ended{Progress: p} }}
	if err := old.write(ctx, ended); err != nil {
		t.Fatal(err)
	}
	same := newLog(t, bus, subjects.Stamp{Life: 5, Epoch: 4, Attach: 2})
	if err := same.take(ctx, owner); !errors.Is(err, errEnded) {
		t.Errorf("taking an ended life: %v, want errEnded", err)
	}
	fresh := newLog(t, bus, subjects.Stamp{Life: 9, Epoch: 1, Attach: 1})
	if err := fresh.take(ctx, owner); err != nil {
		t.Fatal(err)
	}
	if fresh.progress.Begin != old.last || len(fresh.progress.Covered) != 0 {
		t.Errorf("a new life begins with %+v, want nothing after sequence %d", fresh.progress, old.last)
	}
	if err := old.take(ctx, owner); !errors.Is(err, errSuperseded) {
		t.Errorf("the old life's worker: %v, want errSuperseded", err)
	}
}

// A life begins without a read of its log: the fence tells whether something is in it. Only
// then it is read, once.
func TestLogOfNewLifeIsNotRead(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	onlooker := bus.Dial()
	reads, err := onlooker.SubscribeSync("$JS.API.STREAM.MSG.GET.>")
	if err == nil {
		err = onlooker.FlushWithContext(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{0, 1} {
		l := newLog(t, bus, subjects.Stamp{Life: uint64(5 + i), Epoch: 1, Attach: 1})
		var stored []uint64
		l.stored = func(_ entry, seq uint64) { stored = append(stored, seq) }
		l.waits = func(err error) { t.Errorf("life %d: it waits: %v", l.stamp().Life, err) }
		if err := l.take(ctx, owner); err != nil {
			t.Fatal(err)
		}
		if l.progress.Begin != uint64(i) || !slices.Equal(stored, []uint64{uint64(i) + 1}) {
			t.Errorf("life %d begins after %d, stored are %d", l.stamp().Life, l.progress.Begin, stored)
		}
		if err := onlooker.FlushWithContext(ctx); err != nil {
			t.Fatal(err)
		}
		if n, _, _ := reads.Pending(); n != want {
			t.Errorf("%d reads up to life %d, want %d", n, l.stamp().Life, want)
		}
	}
}

// A worker that had the session already, in the very epoch, is asked once more, as dispatchers
// do when an answer is late: it was started again meanwhile, or has forgotten the session. It
// goes on where it stood, and a life that has ended is over.
func TestLogOfTheSameEpochAgain(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	stamp := subjects.Stamp{Life: 5, Epoch: 1, Attach: 1}
	old := newLog(t, bus, subjects.Stamp{Life: 3, Epoch: 1, Attach: 1})
	if err := old.take(ctx, owner); err != nil {
		t.Fatal(err)
	}
	begin := old.last
	first := newLog(t, bus, stamp)
	if err := first.take(ctx, owner); err != nil {
		t.Fatal(err)
	}
	silent := newLog(t, bus, stamp)
	if err := silent.take(ctx, owner); err != nil {
		t.Fatal(err)
	}
	if silent.progress.Begin != begin {
		t.Errorf("after an owner without a word the life begins after %d, want %d", silent.progress.Begin, begin)
	}
	if err := silent.write(ctx, cover(7)); err != nil {
		t.Fatal(err)
	}
	again := newLog(t, bus, stamp)
	if err := again.take(ctx, owner); err != nil {
		t.Fatal(err)
	}
	if p := again.progress; p.Begin != begin || p.Covered[1] != 7 || again.last <= silent.last {
		t.Errorf("it goes on after %d with %+v, want 7 covered in a life that began after %d", again.last, p, begin)
	}
	ended := entry{kind: subjects.KindEnded, build: func(p subjects.Progress) any { return subjects.Ended{Progress: p} }}
	if err := again.write(ctx, ended); err != nil {
		t.Fatal(err)
	}
	if err := newLog(t, bus, stamp).take(ctx, owner); !errors.Is(err, errEnded) {
		t.Errorf("taking an ended life: %v, want errEnded", err)
	}
}

// The acknowledgement of a life's first owner was lost, or it came too late to be waited
// for: the owner is stored once.
func TestLogLostAcknowledgementOfItsOwner(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	l := newLog(t, bus, subjects.Stamp{Life: 5, Epoch: 1, Attach: 1})
	if err := l.take(ctx, owner); err != nil {
		t.Fatal(err)
	}
	stored := l.last
	l.last = 0 // as if the acknowledgement had not come
	if taken, err := l.open(ctx, entry{kind: subjects.KindOwner, build: owner}); !taken || err != nil || l.last != stored {
		t.Errorf("opened again: %v, %v, last %d, want %d", taken, err, l.last, stored)
	}
	if err := l.write(ctx, cover(3)); err != nil {
		t.Fatal(err)
	}
	if info, err := l.results.Stream("s").Info(ctx); err != nil || info.State.Msgs != 2 {
		t.Errorf("%d messages are stored (%v), want owner and mark", info.State.Msgs, err)
	}
}

// A write whose acknowledgement was lost is in the log: reading back finds it.
func TestLogLostAcknowledgement(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	l := newLog(t, bus, subjects.Stamp{Life: 5, Epoch: 1, Attach: 1})
	if err := l.take(ctx, owner); err != nil {
		t.Fatal(err)
	}
	before := l.last
	if err := l.write(ctx, cover(3)); err != nil {
		t.Fatal(err)
	}
	stored := l.last
	l.last = before // as if the acknowledgement had not come
	if err := l.readBack(ctx, subjects.KindMark, nil, errors.New("time-out")); err != nil || l.last != stored {
		t.Errorf("read back: %v, last %d, want %d", err, l.last, stored)
	}
	if err := l.write(ctx, cover(5)); err != nil {
		t.Fatal(err)
	}
	info, err := l.results.Stream("s").Info(ctx)
	if err != nil || info.State.Msgs != 3 {
		t.Errorf("%d messages are stored (%v), want owner and two marks", info.State.Msgs, err)
	}
}
