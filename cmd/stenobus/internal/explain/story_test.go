package explain

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"stenobus/subjects"
)

var update = flag.Bool("update", false, "write the golden texts anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// day is when the synthetic logs begin.
var day = time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)

// fake writes a session's log as workers would.
type fake struct {
	*Story
	life, epoch uint64
	p           subjects.Progress
	seq         uint64
	text        *Text // hears every event, as a follower does
}

func newFake(text *Text) *fake {
	return &fake{Story: NewStory("meeting 1", subjects.Split(1).Place("meeting 1"), 24*time.Hour), text: text}
}

func after(ms int) time.Time { return day.Add(time.Duration(ms) * time.Millisecond) }

func (f *fake) begin(life uint64) {
	f.life, f.epoch = life, 0
	f.p = subjects.Progress{Begin: f.seq, Covered: map[uint32]uint64{}, Frames: map[uint32]uint64{}, Refused: map[uint32]map[string]uint64{}}
}

func (f *fake) write(ms int, kind subjects.Kind, payload any) {
	f.seq++
	ev := f.Add(Entry{Seq: f.seq, At: after(ms), Data: subjects.Encode(payload), Envelope: subjects.Envelope{
		Kind: kind, Stamp: subjects.Stamp{Life: f.life, Epoch: f.epoch, Attach: 1},
	}})
	if f.text != nil {
		_ = f.text.Event(ev)
	}
}

func (f *fake) owner(ms int, epoch uint64, worker, reason, why string) {
	f.epoch = epoch
	f.write(ms, subjects.KindOwner, subjects.Owner{Progress: f.p, Worker: worker, Engine: "tally", Reason: reason, Why: why})
}

func (f *fake) cover(source uint32, frames uint64, refused map[string]uint64) {
	f.p.Frames[source] += frames
	for reason, n := range refused {
		if f.p.Refused[source] == nil {
			f.p.Refused[source] = map[string]uint64{}
		}
		f.p.Refused[source][reason] += n
		frames += n
	}
	f.p.Covered[source] += frames
}

func (f *fake) final(ms int, source uint32, name string, frames uint64) {
	f.cover(source, frames, nil)
	f.p.Finals++
	f.write(ms, subjects.KindFinal, subjects.Final{Progress: f.p, Number: f.p.Finals, Utterance: subjects.Utterance{
		Source: source, Name: name, Text: "words", FirstFrame: f.p.Covered[source] + 1 - frames, LastFrame: f.p.Covered[source],
	}})
}

func (f *fake) mark(ms int, source uint32, frames uint64, refused map[string]uint64) {
	first := f.p.Covered[source] + 1
	f.cover(source, frames, refused)
	f.write(ms, subjects.KindMark, subjects.Mark{Progress: f.p, Source: source, FirstFrame: first, LastFrame: f.p.Covered[source]})
}

func (f *fake) end(ms int, reason string, accepted map[uint32]uint64, unaccounted int64) {
	f.write(ms, subjects.KindEnded, subjects.Ended{Progress: f.p, Reason: reason, Accepted: accepted, Unaccounted: unaccounted})
}

// moved is a life with everything that can befall one, but for its end.
func moved(f *fake) {
	f.begin(12)
	f.owner(0, 1, "w1", subjects.ReasonOpen, "spread: load 3/10 against 7/10 of w2; 3 known")
	f.final(2100, 1, "alice", 50)
	f.mark(2400, 2, 10, map[string]uint64{subjects.RefusedUndecodable: 2})
	f.mark(3000, 2, 10, map[string]uint64{subjects.RefusedUndecodable: 1})
	f.final(3200, 1, "alice", 50)
	f.owner(4350, 2, "w2", subjects.MoveGone, "spread: load 7/10, the only one with room; 3 known, 1 tried in vain (w3: full), not w1, which it leaves")
	f.owner(8000, 3, "w3", subjects.MoveSilent, "")
	f.final(8500, 2, "bob\x1b[2J", 20)
	f.mark(9000, 1, 30, map[string]uint64{subjects.RefusedWindow: 120})
	f.owner(9800, 4, "w3", "moon_rises", "")
	f.final(21*3600_000, 1, "alice", 7)
}

func record(life, epoch uint64) *subjects.Record {
	return &subjects.Record{
		V: 1, Stamp: subjects.Stamp{Life: life, Epoch: epoch, Attach: 2}, Session: "meeting 1", Gateway: "gw1", Worker: "w4",
		Reason: subjects.MoveDraining, Why: "pack: load 1/2, the only one with room; 2 known", Since: "2026-11-25T00:00:09Z",
		Options: subjects.Options{Engine: "tally", Language: "en", Labels: map[string]string{"zone": "eu"}},
	}
}

// stories are synthetic ones by the name of their golden text.
var stories = map[string]func(*fake){
	"ended": func(f *fake) {
		moved(f)
		f.end(21*3600_000+10, subjects.EndClient, map[uint32]uint64{1: 257, 2: 43}, 0)
		f.Settle(nil, after(21*3600_000+125_000))
	},
	"live": func(f *fake) {
		moved(f)
		f.Settle(record(12, 4), after(21*3600_000+1500))
	},
	"moving": func(f *fake) {
		moved(f)
		f.Settle(record(12, 5), after(21*3600_000+9000))
	},
	"lives": func(f *fake) { // one lost, one that nobody closed the ledger of, one with a fault, one that begins
		f.begin(3)
		f.owner(0, 1, "w1", subjects.ReasonOpen, "")
		f.begin(7)
		f.owner(60_000, 1, "w1", subjects.ReasonOpen, "")
		f.final(61_000, 1, "alice", 5)
		f.end(80_000, subjects.EndGatewayLost, nil, 0)
		f.begin(12)
		f.owner(90_000, 1, "w1", subjects.ReasonOpen, "")
		f.final(91_000, 1, "alice", 5)
		f.owner(92_000, 2, "w2", subjects.MoveSilent, "")
		f.epoch = 1
		f.final(92_500, 1, "alice", 5)
		f.epoch = 2
		f.end(93_000, subjects.EndClient, map[uint32]uint64{1: 11}, 1)
		f.Settle(record(40, 1), after(100_000))
	},
	"cut": func(f *fake) { // the begin of the log has aged out, and something in it is not ours
		f.begin(12)
		f.epoch = 2
		f.cover(1, 100, map[string]uint64{subjects.RefusedLost: 9})
		f.p.Finals = 4
		f.final(0, 1, "alice", 5)
		f.Add(Entry{Seq: 2, At: after(10), Fault: errors.New("bad message: no header Stenobus")})
		f.owner(1000, 3, "w2", subjects.MoveEngine, "")
		f.mark(1200, 1, 1, map[string]uint64{subjects.RefusedLost: 1})
		f.Settle(nil, after(4000))
	},
	"unreadable-record": func(f *fake) {
		f.begin(12)
		f.owner(0, 1, "w1", subjects.ReasonOpen, "")
		f.RecordFault = "revision 12: unknown protocol version"
		f.Settle(nil, after(4000))
	},
}

func TestText(t *testing.T) {
	t.Parallel()
	for name, make := range stories {
		f := newFake(nil)
		make(f)
		var b bytes.Buffer
		if err := NewText(&b).Story(f.Story); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
	}
}

func TestFollowedText(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	f := newFake(NewText(&b))
	stories["ended"](f)
	golden(t, "followed", b.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if bytes.ContainsFunc(got, func(r rune) bool { return r < ' ' && r != '\n' }) {
		t.Errorf("%s: control characters in %q", name, got)
	}
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant (%v)\n%s", name, got, err, want)
	}
}

// The object has what the text has, with units in its names.
func TestJSON(t *testing.T) {
	t.Parallel()
	f := newFake(nil)
	stories["ended"](f)
	raw, err := json.Marshal(f.Story)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		State string  `json:"state"`
		Kept  float64 `json:"results_kept_s"`
		Found []int   `json:"lives_found"`
		Lives []struct {
			Finals, Marks int
			Owners        []struct {
				Worker, Reason, Why string
				GapMS               *int64 `json:"gap_ms"`
				FramesCovered       int    `json:"frames_covered"`
				Refused             []struct {
					Source int
					Reason string
					Frames int
				}
			}
			Longest struct {
				MS     int64
				Owners []string
			} `json:"longest_without_result"`
			End    struct{ Reason string }
			Ledger []struct {
				Source, Accepted, Covered, Unaccounted int
				Refused                                map[string]int
			}
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	l := got.Lives[0]
	if got.State != StateEnded || got.Kept != 86400 || len(got.Found) != 1 || l.Finals != 4 || l.Marks != 3 || l.End.Reason != subjects.EndClient {
		t.Errorf("got %s", raw)
	}
	o := l.Owners[1]
	if o.Worker != "w2" || o.Reason != subjects.MoveGone || o.GapMS == nil || *o.GapMS != 1150 || o.FramesCovered != 120 || !strings.Contains(o.Why, "w3: full") {
		t.Errorf("second owner %+v", o)
	}
	if r := l.Owners[0].Refused; l.Owners[0].GapMS != nil || len(r) != 1 || r[0].Source != 2 || r[0].Frames != 3 {
		t.Errorf("first owner %+v", l.Owners[0])
	}
	if a := l.Ledger[0]; a.Accepted != 257 || a.Covered != 137 || a.Refused[subjects.RefusedWindow] != 120 || a.Unaccounted != 0 {
		t.Errorf("ledger %+v", l.Ledger)
	}
	if l.Longest.MS != (21*3600_000)-9000 || len(l.Longest.Owners) != 1 {
		t.Errorf("longest %+v", l.Longest)
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	f := newFake(nil)
	stories["lives"](f)
	if err := f.Keep(8); err == nil || !strings.Contains(err.Error(), "[3 7 12 40]") {
		t.Errorf("an unknown life: %v", err)
	}
	if err := f.Keep(7); err != nil {
		t.Fatal(err)
	}
	if len(f.Lives) != 1 || f.Lives[0].Life != 7 || f.State != StateEnded || len(f.Found) != 4 {
		t.Errorf("kept %+v", f.Story)
	}
}

func TestEveryReasonHasWords(t *testing.T) {
	t.Parallel()
	for _, r := range []string{
		subjects.ReasonOpen, subjects.ReasonResume, subjects.MoveGone, subjects.MoveSilent, subjects.MoveDraining,
		subjects.MoveEngine, subjects.MoveEnded, subjects.EndClient, subjects.EndGrace, subjects.EndGatewayLost,
		subjects.EndRefused, subjects.EndWorker, subjects.RefusedWindow, subjects.RefusedLost,
		subjects.RefusedUndecodable, subjects.RefusedEngine, subjects.RefusedTooBig,
	} {
		if got := inWords(r); !strings.HasSuffix(got, " ("+r+")") {
			t.Errorf("%s: %q", r, got)
		}
	}
	if len(words) != 17 {
		t.Errorf("%d reasons have words: the list above is not all of them", len(words))
	}
	for r, want := range map[string]string{"moon_rises": "moon_rises", "a\x1b[2J": `"a\x1b[2J"`, "": "for no reason that is known"} {
		if got := inWords(r); got != want {
			t.Errorf("%q: %q, want %q", r, got, want)
		}
	}
}
