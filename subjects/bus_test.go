package subjects_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

func TestEnsure(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	nc := bus.Dial()
	for range 2 { // the second call finds what the first made
		bus.Ensure(nc, subjects.BusConfig{})
	}
	js, _ := jetstream.New(nc)
	ctx := context.Background()
	if err := js.DeleteStream(ctx, subjects.ResultsStream); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: subjects.ResultsStream, Subjects: []string{"other.*"}}); err != nil {
		t.Fatal(err)
	}
	_, err := subjects.Ensure(ctx, js, subjects.BusConfig{})
	if !errors.Is(err, subjects.ErrIncompatible) || !strings.Contains(err.Error(), "other.*") {
		t.Fatalf("got %v, want an ErrIncompatible that names the subjects", err)
	}
}

// The audio log is made by whoever wants one, and refuses what it has no room for.
func TestEnsureAudio(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	nc := bus.Dial()
	bus.Ensure(nc, subjects.BusConfig{})
	js, _ := jetstream.New(nc)
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	if _, err := js.Stream(ctx, subjects.AudioStream); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("a log that nobody wanted: %v", err)
	}
	for range 2 {
		if err := subjects.EnsureAudio(ctx, js, subjects.BusConfig{AudioBytes: 4096}); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		if err := nc.Publish(subjects.Frames("s"), make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := js.Stream(ctx, subjects.AudioStream)
	if err != nil {
		t.Fatal(err)
	}
	subjectstest.Eventually(t, "the log has the first messages and room for no more", func() bool { // it acknowledges none
		info, err := stream.Info(ctx)
		return err == nil && info.State.FirstSeq == 1 && info.State.LastSeq == 3
	})
	if err := js.DeleteStream(ctx, subjects.AudioStream); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: subjects.AudioStream, Subjects: []string{subjects.AllFrames}}); err != nil {
		t.Fatal(err)
	}
	if err := subjects.EnsureAudio(ctx, js, subjects.BusConfig{}); !errors.Is(err, subjects.ErrIncompatible) {
		t.Errorf("a log that discards: %v, want ErrIncompatible", err)
	}
}

func TestResultsAreFencedAndRepublished(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	nc := bus.Dial()
	bus.Ensure(nc, subjects.BusConfig{})
	js, _ := jetstream.New(nc)
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()

	id := subjects.SessionID("a.b")
	inbox, err := nc.SubscribeSync(subjects.InboxAll(id))
	if err != nil {
		t.Fatal(err)
	}
	publish := func(expect uint64) (*jetstream.PubAck, error) {
		e := subjects.Envelope{Kind: subjects.KindMark, Stamp: subjects.Stamp{Life: 1, Epoch: 1, Attach: 1}}
		return js.PublishMsg(ctx, e.Msg(subjects.Result(id), []byte("{}")), jetstream.WithExpectLastSequencePerSubject(expect))
	}
	first, err := publish(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publish(0); err == nil {
		t.Fatal("a write that did not know the last one was accepted")
	}
	if _, err := publish(first.Sequence); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"0", "1"} {
		m, err := inbox.NextMsgWithContext(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Header.Get(jetstream.LastSequenceHeader); got != want {
			t.Errorf("message %d: previous sequence %q, want %q", i, got, want)
		}
		if m.Subject != subjects.Inbox(id, subjects.ChannelResult) {
			t.Errorf("republished to %s", m.Subject)
		}
	}
	if n, _, err := inbox.Pending(); n != 0 || err != nil {
		t.Errorf("%d more messages (%v): a refused write was republished", n, err)
	}
}
