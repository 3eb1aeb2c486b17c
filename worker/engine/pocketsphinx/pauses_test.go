package pocketsphinx

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"stenobus/worker"
)

func TestPausesOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		endpointing, gap string
		want             pauses
		short            int
	}{
		{"", "", pauses{end: rate / 2}, 0},
		{"false", "x", pauses{end: rate / 2}, 0},
		{"850ms", "-1", pauses{end: rate / 2}, 0},
		{"10", "1000", pauses{end: rate / 5, gap: rate}, rate / 5},
		{"300", "", pauses{end: 3 * rate / 10}, 3 * rate / 10},
		{"1500", "", pauses{end: 3 * rate / 2}, 0},
		{"99999999", "99999999", pauses{end: mostPause, gap: mostPause}, 0},
	} {
		got := pausesOf(map[string]string{"endpointing": tt.endpointing, "utterance_end_ms": tt.gap})
		if got != tt.want || got.short() != tt.short {
			t.Errorf("endpointing %q, gap %q: %+v short %d", tt.endpointing, tt.gap, got, got.short())
		}
	}
}

// listenWith is listen for a client that has wishes.
func listenWith(t *testing.T, e *Engine, audio []int16, options map[string]string) *listener {
	t.Helper()
	l := &listener{}
	s, err := e.Open(t.Context(), worker.StreamConfig{Options: options}, l.emit)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, audio, piece)
	if err := errors.Join(s.Flush(t.Context()), s.Close()); err != nil {
		t.Error(err)
	}
	return l
}

// The pause between the sentences of audio takes 1.3 s. Who has no wishes has the first final
// at usual.
func endpointing(t *testing.T, e *Engine, audio []int16, usual time.Duration) {
	t.Helper()
	words := []string{"hear what you say", "second machine", "stops"}
	long := listenWith(t, e, audio, map[string]string{"endpointing": "5000"})
	long.check(t, length(audio), words...)
	if first := long.finals[0].Text; !strings.Contains(first, "writing") || !strings.Contains(first, "second machine") {
		t.Errorf("where no pause ends an utterance, the first is %q", first)
	}
	short := listenWith(t, e, audio, map[string]string{"endpointing": "200"})
	short.check(t, length(audio), "hear what you say", "second machine")
	if len(short.finals) < 2 || short.finals[0].End >= usual {
		t.Errorf("after 200 ms of silence a final ends at %v, after 500 ms at %v", short.finals[0].End, usual)
	}
}

// Whoever wants to know of a second without words hears of it before a usual mark comes.
func utteranceEnd(t *testing.T, e *Engine) {
	audio := slices.Concat(pcm(t, "writing.ogg"), silence(3*time.Second))
	for _, endpointing := range []string{"", "200"} {
		l := listenWith(t, e, audio, map[string]string{"utterance_end_ms": "1000", "endpointing": endpointing})
		l.check(t, length(audio), "morning")
		spoken := l.finals[len(l.finals)-1]
		last := spoken.Words[len(spoken.Words)-1].End
		at := slices.IndexFunc(l.marks, func(m worker.Result) bool { return m.End >= last+time.Second })
		if at < 0 || l.marks[at].End-last > 1100*time.Millisecond {
			t.Errorf("the last word ends at %v, marks are %+v", last, l.marks)
		}
	}
}
