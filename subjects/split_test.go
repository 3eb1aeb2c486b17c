package subjects_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"stenobus/subjects"
	"stenobus/subjects/subjectstest"
)

// The names of a split log are the contract too: each is pinned as a literal.
func TestSplitNames(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		split           subjects.Split
		id              subjects.SessionID
		subject, stream string
	}{
		{0, "meeting 1", "transcribe.result.meeting=201", "TRANSCRIBE_RESULTS"},
		{1, "meeting 1", "transcribe.result.meeting=201", "TRANSCRIBE_RESULTS"},
		{2, "meeting 1", "transcribe.result.1of2.meeting=201", "TRANSCRIBE_RESULTS"},
		{4, "meeting 1", "transcribe.result.3of4.meeting=201", "TRANSCRIBE_RESULTS_3"},
		{3, "a.b", "transcribe.result.2of3.a=2Eb", "TRANSCRIBE_RESULTS_2"},
		{3, "2of3.x", "transcribe.result.1of3.2of3=2Ex", "TRANSCRIBE_RESULTS"},
	} {
		p := tc.split.Place(tc.id)
		if p.Subject != tc.subject || p.Stream != tc.stream {
			t.Errorf("split %d, %q: %+v, want %s in %s", tc.split, tc.id, p, tc.subject, tc.stream)
		}
		if id, err := subjects.ParseResult(p.Subject); err != nil || id != tc.id {
			t.Errorf("%s is of %q, %v", p.Subject, id, err)
		}
	}
}

// The page has a worked example of the rule, which other languages are checked by.
func TestProtocolPageSplitsAsTheCodeDoes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	part := func(id subjects.SessionID) string {
		word := strings.Split(subjects.Split(3).Place(id).Subject, ".")[2]
		return strings.TrimSuffix(word, "of3")
	}
	want := fmt.Sprintf("For N = 3 the part of `meeting=201` is %s, of `a=2Eb` %s, of `room` %s.", part("meeting 1"), part("a.b"), part("room"))
	if !strings.Contains(string(page), want) {
		t.Errorf("the page does not say %q", want)
	}
}

func TestParseResultRefuses(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]error{
		"transcribe.result.":                 subjects.ErrID,
		"transcribe.inbox.a":                 subjects.ErrSubject,
		"transcribe.result.a.b":              subjects.ErrSubject,
		"transcribe.result.of.b":             subjects.ErrSubject,
		"transcribe.result.1of1.b":           subjects.ErrSubject,
		"transcribe.result.1of65.b":          subjects.ErrSubject,
		"transcribe.result.0of3.b":           subjects.ErrSubject,
		"transcribe.result.4of3.b":           subjects.ErrSubject,
		"transcribe.result.1of-3.b":          subjects.ErrSubject,
		"transcribe.result.1of3.b.c":         subjects.ErrSubject,
		"transcribe.result.1of3.*":           subjects.ErrSubject,
		"transcribe.result.1of3.":            subjects.ErrID,
		otherPart(subjects.SessionID("b")):   subjects.ErrSubject,
		"transcribe.result.01of3.meeting=20": subjects.ErrSubject,
	} {
		if id, err := subjects.ParseResult(subject); !errors.Is(err, want) {
			t.Errorf("%q: got %q, %v, want %v", subject, id, err, want)
		}
	}
}

// otherPart is a subject that would be a session's if the hash were another one.
func otherPart(id subjects.SessionID) string {
	for part := 1; ; part++ {
		if s := fmt.Sprintf("transcribe.result.%dof3.%s", part, id.Token()); s != subjects.Split(3).Place(id).Subject {
			return s
		}
	}
}

// Sessions spread evenly, whether their ids are random or counted.
func TestSplitIsEven(t *testing.T) {
	t.Parallel()
	const sessions = 30_000
	for _, n := range []subjects.Split{2, 3, 8, 64} {
		for name, id := range map[string]func(i int) subjects.SessionID{
			"uuid":    func(int) subjects.SessionID { return subjects.FreshSessionID() },
			"counted": func(i int) subjects.SessionID { return subjects.SessionID(fmt.Sprintf("meeting-%d", i)) },
		} {
			count := map[string]int{}
			for i := range sessions {
				count[n.Place(id(i)).Stream]++
			}
			want := sessions / int(n)
			for stream, c := range count {
				if c < want*3/4 || c > want*5/4 {
					t.Errorf("%s ids over %d: %s has %d, want about %d", name, n, stream, c, want)
				}
			}
			if len(count) != int(n) {
				t.Errorf("%s ids over %d: only %d streams have any", name, n, len(count))
			}
		}
	}
}

func TestEnsureSplit(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	nc := bus.Dial()
	cfg := subjects.BusConfig{Split: 3, ResultsBytes: 3 << 20, ResultsEach: 7}
	for range 2 {
		bus.Ensure(nc, cfg)
	}
	js, _ := jetstream.New(nc)
	r, err := subjects.OpenResults(t.Context(), js)
	if err != nil || r.Split() != 3 || len(r.Streams()) != 3 {
		t.Fatalf("opened %+v, %v", r, err)
	}
	for i, name := range []string{"TRANSCRIBE_RESULTS", "TRANSCRIBE_RESULTS_2", "TRANSCRIBE_RESULTS_3"} {
		c := r.Streams()[i].CachedInfo().Config
		stored := fmt.Sprintf("transcribe.result.%dof3.*", i+1)
		if c.Name != name || len(c.Subjects) != 1 || c.Subjects[0] != stored || c.RePublish.Source != stored ||
			c.MaxBytes != 1<<20 || c.MaxMsgsPerSubject != 7 || c.MaxAge == 0 || c.Discard != jetstream.DiscardNew || !c.DiscardNewPerSubject || c.AllowDirect {
			t.Errorf("stream %d is %+v", i+1, c)
		}
	}
}

// Whoever was told another number than the bus has is refused before anything is made,
// in words that say what to do. A program that knows no number finds other subjects.
func TestEnsureRefusesAnotherSplit(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		have, want subjects.Split
		words      []string
	}{
		{3, 0, []string{"has 3 streams", "told 1", "--bus-results-streams", "transcribe.result.1of3.*"}},
		{3, 2, []string{"has 3 streams", "told 2"}},
		{1, 3, []string{"has 1 streams", "told 3", "transcribe.result.*"}},
		{1, 65, []string{"allowed are 1 to 64"}},
		{1, -1, []string{"allowed are 1 to 64"}},
	} {
		bus := subjectstest.NewBus(t)
		nc := bus.Dial()
		bus.Ensure(nc, subjects.BusConfig{Split: tc.have})
		js, _ := jetstream.New(nc)
		_, err := subjects.Ensure(t.Context(), js, subjects.BusConfig{Split: tc.want})
		if !errors.Is(err, subjects.ErrIncompatible) {
			t.Errorf("%d on a bus of %d: %v", tc.want, tc.have, err)
			continue
		}
		for _, w := range tc.words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%d on a bus of %d: %q does not say %q", tc.want, tc.have, err, w)
			}
		}
		n := 0
		for range js.StreamNames(t.Context(), jetstream.WithStreamListSubject("transcribe.result.>")).Name() {
			n++
		}
		if n != tc.have.Count() {
			t.Errorf("%d on a bus of %d: it has %d streams of results now", tc.want, tc.have, n)
		}
	}
}

// A stream that is left of another split is not taken for one of this.
func TestEnsureRefusesRemainsOfAnotherSplit(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	nc := bus.Dial()
	bus.Ensure(nc, subjects.BusConfig{Split: 3})
	js, _ := jetstream.New(nc)
	if err := js.DeleteStream(t.Context(), subjects.ResultsStream); err != nil {
		t.Fatal(err)
	}
	_, err := subjects.Ensure(t.Context(), js, subjects.BusConfig{Split: 2})
	if !errors.Is(err, subjects.ErrIncompatible) || !strings.Contains(err.Error(), "TRANSCRIBE_RESULTS_2") {
		t.Errorf("got %v, want an ErrIncompatible that names the stream", err)
	}
}

// In each part results are fenced and sent on to the inbox as they are where there is one.
func TestSplitResultsAreFencedAndRepublished(t *testing.T) {
	t.Parallel()
	bus := subjectstest.NewBus(t)
	nc := bus.Dial()
	r := bus.Ensure(nc, subjects.BusConfig{Split: 3}).Results
	js, _ := jetstream.New(nc)
	ctx, cancel := context.WithTimeout(context.Background(), subjectstest.Wait)
	defer cancel()
	streams := map[string]bool{}
	for i := 0; len(streams) < 3; i++ {
		id := subjects.SessionID(fmt.Sprintf("room %d", i))
		if streams[r.Place(id).Stream] {
			continue
		}
		streams[r.Place(id).Stream] = true
		inbox, err := nc.SubscribeSync(subjects.InboxAll(id))
		if err != nil {
			t.Fatal(err)
		}
		publish := func(expect uint64) (*jetstream.PubAck, error) {
			e := subjects.Envelope{Kind: subjects.KindMark, Stamp: subjects.Stamp{Life: 1, Epoch: 1, Attach: 1}}
			return js.PublishMsg(ctx, e.Msg(r.Subject(id), []byte("{}")), jetstream.WithExpectLastSequencePerSubject(expect))
		}
		first, err := publish(0)
		if err != nil || first.Stream != r.Place(id).Stream {
			t.Fatalf("stored %+v, %v", first, err)
		}
		if _, err := publish(0); err == nil {
			t.Error("a write that did not know the last one was accepted")
		}
		second, err := publish(first.Sequence)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"0", "1"} {
			m, err := inbox.NextMsgWithContext(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Header.Get(jetstream.LastSequenceHeader); got != want || m.Subject != subjects.Inbox(id, subjects.ChannelResult) {
				t.Errorf("republished to %s, previous sequence %q, want %q", m.Subject, got, want)
			}
		}
		if last, err := r.Last(ctx, id); err != nil || last.Sequence != second.Sequence {
			t.Errorf("last %+v, %v", last, err)
		}
		if next, err := r.Next(ctx, id, first.Sequence); err != nil || next.Sequence != second.Sequence {
			t.Errorf("next %+v, %v", next, err)
		}
		if _, err := r.Next(ctx, id, second.Sequence); !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Errorf("behind the last: %v", err)
		}
	}
	if _, err := js.Publish(ctx, subjects.Result("room"), []byte("{}"), jetstream.WithRetryAttempts(0)); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("a result of who knows no split: %v, want that no stream answers", err)
	}
}
