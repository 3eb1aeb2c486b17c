package gateway

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"stenobus/gateway/dialect"
)

func TestResolveID(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		raw   string
		fresh bool
		bad   bool
	}{
		{"", true, false}, {"   ", true, false}, {"unknown", true, false}, {"Default", true, false},
		{"null", true, false}, {"undefined", true, false}, {"global", true, false},
		{".", false, false}, {"*", false, false}, {">", false, false}, {"a.b", false, false},
		{"../x", false, false}, {"a\r\nb", false, false}, {"🙂", false, false}, {"unknown-7", false, false},
		{strings.Repeat("x", 128), false, false}, {strings.Repeat("x", 129), false, true},
		{strings.Repeat("x", 10_000), false, true}, {"\xff", false, true},
	} {
		id, given, err := resolveID(tt.raw)
		if (err != nil) != tt.bad {
			t.Errorf("%.20q: error %v", tt.raw, err)
			continue
		}
		if tt.bad {
			continue
		}
		if given == tt.fresh {
			t.Errorf("%.20q: given is %v", tt.raw, given)
		}
		if _, err := uuid.Parse(string(id)); (err == nil) != tt.fresh {
			t.Errorf("%.20q became %q", tt.raw, id)
		}
	}
}

func TestFeedPlacesFrames(t *testing.T) {
	t.Parallel()
	const gapless, gaps = true, false
	l16 := dialect.Format{Encoding: "l16", SampleRate: 16000, Channels: 1}
	opus := dialect.Format{Encoding: "opus", SampleRate: 48000, Channels: 2}
	mulaw := dialect.Format{Encoding: "mulaw", SampleRate: 8000, Channels: 1}
	cd := dialect.Format{Encoding: "l16", SampleRate: 44100, Channels: 1}
	frame := make([]byte, 640) // 20 ms of l16, 80 of mulaw, 7.26 of cd
	type in struct{ time, now, want int64 }
	for _, tt := range []struct {
		name    string
		format  dialect.Format
		gapless bool
		frames  []in
	}{
		{"own clock", opus, gaps, []in{{5000, 100, 100}, {5020, 100, 120}, {37000, 130, 32100}}},
		{"own clock restarts", opus, gaps, []in{{5000, 0, 0}, {5020, 20, 20}, {0, 500, 500}}},
		{"own clock leaps absurdly", opus, gaps, []in{{0, 0, 0}, {1 << 40, 40, 40}}},
		{"no clock, in a burst", l16, gaps, []in{{-1, 0, 0}, {-1, 0, 20}, {-1, 1, 40}}},
		{"no clock, with a pause", l16, gaps, []in{{-1, 0, 0}, {-1, 20, 20}, {-1, 5000, 5000}}},
		{"no clock, without pauses", l16, gapless, []in{{-1, 700, 700}, {-1, 720, 720}, {-1, 5000, 740}}},
		{"telephony, without pauses", mulaw, gapless, []in{{-1, 700, 700}, {-1, 720, 780}, {-1, 5000, 860}}},
		{"lengths of no whole ms", cd, gapless, []in{{-1, 0, 0}, {-1, 0, 7}, {-1, 0, 14}, {-1, 0, 21}, {-1, 0, 29}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := feed{format: tt.format}
			for i, x := range tt.frames {
				if got := f.place(dialect.Event{TimeMS: x.time, Payload: frame}, x.now, tt.gapless); got != x.want {
					t.Errorf("frame %d is at %d ms, want %d", i, got, x.want)
				}
			}
		})
	}
}

// Slices of an Ogg stream that is called opus have no length that can be told: their first
// bytes, read as an Opus packet's, would claim up to 3.78 s.
func TestFeedOfOggThatIsCalledOpus(t *testing.T) {
	t.Parallel()
	f := feed{format: dialect.Format{Encoding: "opus", SampleRate: 48000, Channels: 2}}
	for i, payload := range []string{"OggS\x00", "\xff\xff", "\xff\xff", "\xff\xff"} {
		now := int64(100 + 20*i)
		if at := f.place(dialect.Event{TimeMS: -1, Payload: []byte(payload)}, now, false); at != 100 {
			t.Errorf("slice %d is at %d ms, want 100: its length can't be told", i, at)
		}
	}
}

func TestOutboxShedsInterimsFirst(t *testing.T) {
	t.Parallel()
	shed := 0
	o := newOutbox(1000, func(n int) { shed += n }, nil)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	data := func(n int) []byte { return make([]byte, n) }
	must(o.push(message{data: data(300), source: "a"}))
	must(o.push(message{data: data(300), source: "a"})) // replaces the first
	must(o.push(message{data: data(300), source: "b"}))
	must(o.push(message{data: data(600)})) // room only without the interims
	if shed != 3 || len(o.queue) != 1 {
		t.Fatalf("shed %d, %d wait", shed, len(o.queue))
	}
	must(o.push(message{data: data(300), source: "a"})) // an interim never displaces
	if shed != 4 || len(o.queue) != 1 {
		t.Fatalf("shed %d, %d wait", shed, len(o.queue))
	}
	if err := o.push(message{data: data(300)}); err != errSlow {
		t.Fatalf("got %v, want errSlow", err)
	}
}

func TestTailFindsHoles(t *testing.T) {
	t.Parallel()
	tl := tail{cursor: 10, placed: true}
	if !tl.offer(stored{seq: 12, prev: 10}) {
		t.Fatal("the next one was not taken")
	}
	if tl.offer(stored{seq: 12, prev: 10}) {
		t.Fatal("the same one was taken twice")
	}
	if tl.offer(stored{seq: 20, prev: 15}) || !tl.behind() {
		t.Fatal("a hole was not seen")
	}
	tl.cursor = 20 // read from the store
	if tl.behind() || !tl.offer(stored{seq: 21, prev: 20}) {
		t.Fatal("after the repair it does not go on")
	}
}

func TestHowConnectionsEnd(t *testing.T) {
	t.Parallel()
	frame := func(code websocket.StatusCode, reason string) error {
		return fmt.Errorf("read: %w", websocket.CloseError{Code: code, Reason: reason})
	}
	for _, tt := range []struct {
		name string
		err  error
		want hangup
	}{
		{"normal", frame(1000, ""), hangupClean},
		{"a bridge that stops", frame(1001, "closing"), hangupClean},
		{"no code", frame(1005, ""), hangupClean},
		{"a bridge that waited too long for a pong", frame(1000, "Ping timeout"), hangupBroken},
		{"client failed", frame(1011, ""), hangupBroken},
		{"no close frame", io.EOF, hangupBroken},
		{"too big", fmt.Errorf("read: %w", errTooBig), hangupTooBig},
	} {
		if got := hangupOf(tt.err); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestEndReasonsFitACloseFrame(t *testing.T) {
	t.Parallel()
	e := endTooFast.because(strings.Repeat("ü", 200))
	if len(e.text) > 123 || !strings.HasPrefix(e.text, "audio_too_fast: ü") {
		t.Errorf("%d bytes: %s", len(e.text), e.text)
	}
}
