package explain

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

// rig is a bus with a reader and somebody who writes to a session's log.
type rig struct {
	*testing.T
	bus *subjects.Bus
	nc  *nats.Conn
	js  jetstream.JetStream
	r   *Reader
}

func newRig(t *testing.T) *rig {
	t.Helper()
	b := subjectstest.NewBus(t)
	nc := b.Dial()
	bus := b.Ensure(nc, subjects.BusConfig{})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), b.Dial())
	if err != nil {
		t.Fatal(err)
	}
	return &rig{T: t, bus: bus, nc: nc, js: js, r: r}
}

func (r *rig) store(id subjects.SessionID, kind subjects.Kind, epoch uint64, payload any) {
	r.Helper()
	e := subjects.Envelope{Kind: kind, Stamp: subjects.Stamp{Life: 1, Epoch: epoch, Attach: 1}}
	if _, err := r.js.PublishMsg(r.Context(), e.Msg(subjects.Result(id), subjects.Encode(payload))); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) record(id subjects.SessionID, epoch uint64) {
	r.Helper()
	if _, err := r.bus.Sessions.Put(r.Context(), id.Token(), subjects.Encode(subjects.Record{
		V: 1, Stamp: subjects.Stamp{Life: 1, Epoch: epoch, Attach: 1}, Session: id, Worker: "w1", Reason: subjects.ReasonOpen,
		Since: time.Now().UTC().Format(time.RFC3339),
	})); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) forget(id subjects.SessionID) {
	r.Helper()
	if err := r.bus.Sessions.Purge(r.Context(), id.Token()); err != nil {
		r.Fatal(err)
	}
}

// alone fails where something reads the log that was not there before.
func (r *rig) alone() {
	r.Helper()
	info, err := r.bus.Results.Streams()[0].Info(r.Context())
	if err != nil || info.State.Consumers != 0 {
		r.Errorf("%d consumers left on the results, %v", info.State.Consumers, err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.store("meeting 1", subjects.KindOwner, 1, subjects.Owner{Worker: "w1"})
	r.record("a.b", 1)
	for name, want := range map[string]struct {
		id      subjects.SessionID
		byToken bool
	}{
		"meeting 1":   {"meeting 1", false},
		"meeting=201": {"meeting 1", true},
		"a.b":         {"a.b", false},
		"a=2Eb":       {"a.b", true},
	} {
		s, byToken, err := r.r.Find(t.Context(), name)
		if err != nil || s.Session != want.id || byToken != want.byToken || len(s.Lives) != 1 {
			t.Errorf("%s: %+v, by token %v, %v", name, s, byToken, err)
		}
	}
	r.store("meeting=201", subjects.KindOwner, 1, subjects.Owner{Worker: "w1"}) // as hostile as ids come
	if s, byToken, err := r.r.Find(t.Context(), "meeting=201"); err != nil || s.Session != "meeting=201" || byToken {
		t.Errorf("the literal id: %+v, by token %v, %v", s, byToken, err)
	}
	for name, words := range map[string][]string{
		"nobody":    {`"nobody"`, subjects.SessionsBucket, subjects.ResultsStream, "keeps results for 24 h"},
		"no=20body": {`"no=20body"`, "no=3D20body", `nor of "no body"`},
	} {
		_, _, err := r.r.Find(t.Context(), name)
		if !errors.Is(err, ErrNoTrace) {
			t.Fatalf("%s: %v", name, err)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", name, err, w)
			}
		}
	}
	if _, _, err := r.r.Find(t.Context(), ""); !errors.Is(err, subjects.ErrID) {
		t.Errorf("an empty id: %v", err)
	}
	r.alone()
}

// A long log is read in pages, past what is not readable, and by one who came for it alone.
func TestReadsLongLogs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const marks = 3*pageSize + 7
	r.store("s", subjects.KindOwner, 1, subjects.Owner{Worker: "w1"})
	r.store("other", subjects.KindOwner, 1, subjects.Owner{Worker: "w1"})
	for i := range uint64(marks) {
		r.store("s", subjects.KindMark, 1, subjects.Mark{Progress: subjects.Progress{Frames: map[uint32]uint64{1: i + 1}}})
	}
	if _, err := r.js.Publish(t.Context(), subjects.Result("s"), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.bus.Sessions.Put(t.Context(), "s", []byte(`{"v":2}`)); err != nil {
		t.Fatal(err)
	}
	s, err := r.r.Read(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	if s.Messages != marks+2 || s.Lives[0].Marks != marks || len(s.Unreadable) != 1 || s.State != StateLive || !strings.Contains(s.RecordFault, "has 2") {
		t.Errorf("read %+v", s)
	}
	r.alone()
}

func TestFollow(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record("s", 1)
	r.store("s", subjects.KindOwner, 1, subjects.Owner{Worker: "w1"})
	s, err := r.r.Read(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	r.store("s", subjects.KindFinal, 1, subjects.Final{Number: 1}) // before anyone listens
	var text bytes.Buffer
	heard := make(chan Event, 100)
	out := NewText(&text)
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), subjectstest.Wait)
	defer cancel()
	go func() {
		done <- r.r.Follow(ctx, s, func(e Event) error { heard <- e; return out.Event(e) })
	}()
	next := func(kind subjects.Kind) {
		t.Helper()
		select {
		case e := <-heard:
			if e.Kind != kind {
				t.Fatalf("heard %s, want %s", e.Kind, kind)
			}
		case <-ctx.Done():
			t.Fatalf("no %s was heard", kind)
		}
	}
	next(subjects.KindFinal)
	r.store("s", subjects.KindMark, 1, subjects.Mark{})
	next(subjects.KindMark)
	r.store("s", subjects.KindOwner, 2, subjects.Owner{Worker: "w2", Reason: subjects.MoveGone})
	next(subjects.KindOwner)
	r.store("s", subjects.KindEnded, 2, subjects.Ended{Reason: subjects.EndClient})
	next(subjects.KindEnded)
	if err := <-done; err != nil || s.State != StateEnded || s.Messages != 5 {
		t.Errorf("%v, %+v", err, s)
	}
	if !strings.Contains(text.String(), "w2, epoch 2") {
		t.Errorf("told %s", &text)
	}
	r.alone()
}

// A notice that says that there was one before it makes the follower read.
func TestFollowFillsHoles(t *testing.T) {
	t.Parallel()
	s := NewStory("s", subjects.Split(1).Place("s"), time.Hour)
	m := func(seq, before string) *nats.Msg {
		e := subjects.Envelope{Kind: subjects.KindMark, Stamp: subjects.Stamp{Life: 1, Epoch: 1}}
		m := e.Msg("x", []byte("{}"))
		m.Header.Set(jetstream.SequenceHeader, seq)
		m.Header.Set(jetstream.LastSequenceHeader, before)
		m.Header.Set(timeHeader, time.Now().Format(time.RFC3339Nano))
		return m
	}
	s.last = 7
	for _, c := range []struct {
		seq, before string
		ok          bool
	}{{"9", "7", true}, {"9", "8", false}, {"7", "3", false}, {"x", "7", false}} {
		if _, ok := s.next(m(c.seq, c.before)); ok != c.ok {
			t.Errorf("%+v: %v", c, ok)
		}
	}
}

// Whoever leaves a session without an end does not keep its follower for ever.
func TestFollowEndsWithTheRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.record("s", 1)
	r.store("s", subjects.KindOwner, 1, subjects.Owner{Worker: "w1"})
	s, err := r.r.Read(t.Context(), "s")
	if err != nil || s.State != StateLive {
		t.Fatal(s, err)
	}
	r.forget("s")
	if err := r.r.Follow(t.Context(), s, func(Event) error { return nil }); err != nil || s.State != StateLost {
		t.Errorf("%v, %+v", err, s)
	}
	r.alone()
}

func TestOpenCreatesNothing(t *testing.T) {
	t.Parallel()
	b := subjectstest.NewBus(t)
	_, err := Open(t.Context(), b.Dial())
	if err == nil || !strings.Contains(err.Error(), subjects.ResultsStream) {
		t.Errorf("on an empty bus: %v", err)
	}
}
