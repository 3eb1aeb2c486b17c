package pocketsphinx

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"stenobus/worker"
)

const piece = 60 * time.Millisecond

var _ worker.Engine = (*Engine)(nil)

// One engine for all, because decoders are dear.
func TestEngine(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{MaxDecoders: 2})
	for name, test := range map[string]func(*testing.T, *Engine){
		"a pause makes two finals": pauseMakesTwoFinals,
		"two at once":              twoAtOnce,
		"piece sizes":              pieceSizes,
		"silence is marked":        silenceIsMarked,
		"a long turn":              noPause,
		"flush":                    flush,
		"cancelled":                cancelled,
		"counts from anew":         countsAnew,
		"utterance end":            utteranceEnd,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}

func pauseMakesTwoFinals(t *testing.T, e *Engine) {
	audio := pcm(t, "pause.ogg")
	l := listen(t, e, audio, piece)
	l.check(t, length(audio), "hear what you say", "writing", "second machine", "stops")
	if len(l.finals) != 2 {
		t.Fatalf("%d finals, want 2: %q", len(l.finals), l.text())
	}
	for i, f := range l.finals {
		if f.Confidence < 0.3 || f.Confidence > 1 {
			t.Errorf("final %d has confidence %v", i, f.Confidence)
		}
	}
	// The second sentence begins, by the waveform, at 5.61 s.
	if at := l.finals[1].Words[0].Start; at < 5500*time.Millisecond || at > 5900*time.Millisecond {
		t.Errorf("the second sentence begins at %v", at)
	}
	if n := len(l.interims); n < 10 || n > 45 {
		t.Errorf("%d interims", n)
	}
	for i := 1; i < len(l.interims); i++ {
		if l.interims[i].Text == l.interims[i-1].Text {
			t.Errorf("interim %q twice", l.interims[i].Text)
		}
		if gap := l.interims[i].End - l.interims[i-1].End; gap < 200*time.Millisecond {
			t.Errorf("interims %v apart", gap)
		}
	}
	endpointing(t, e, audio, l.finals[0].End)
}

func twoAtOnce(t *testing.T, e *Engine) {
	for name, words := range map[string][]string{
		"sessions.wav": {"stop the program", "any time", "another machine"},
		"thanks.ogg":   {"meeting will continue", "tomorrow morning"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			audio := pcm(t, name)
			listen(t, e, audio, piece).check(t, length(audio), words...)
		})
	}
}

// A whole file at once is no other than packets.
func pieceSizes(t *testing.T, e *Engine) {
	audio := append(pcm(t, "writing.ogg"), silence(time.Second)...)
	for _, p := range []time.Duration{7 * time.Millisecond, time.Hour} {
		l := listen(t, e, audio, p)
		l.check(t, length(audio), "read the text", "morning")
	}
}

func silenceIsMarked(t *testing.T, e *Engine) {
	audio := slices.Concat(silence(12*time.Second), pcm(t, "writing.ogg"), silence(13*time.Second))
	l := listen(t, e, audio, piece)
	l.check(t, length(audio), "read the text", "morning")
	covered := time.Duration(0)
	for _, r := range l.all {
		if !r.Final {
			continue
		}
		if d := r.End - covered; d > 5*time.Second {
			t.Errorf("%v without a final or a mark, up to %v", d, r.End)
		}
		covered = r.End
	}
	if covered != length(audio) {
		t.Errorf("covered is %v, want %v", covered, length(audio))
	}
	if len(l.marks) < 5 {
		t.Errorf("%d marks", len(l.marks))
	}
}

// Speech without a pause is cut where the speaker takes breath, and no word is lost.
func noPause(t *testing.T, e *Engine) {
	gap := silence(180 * time.Millisecond)
	audio := slices.Concat(trimmed(t, "thanks.ogg"), gap, trimmed(t, "sessions.wav"), gap, trimmed(t, "story.ogg"), gap)
	l := listen(t, e, audio, piece)
	l.check(t, length(audio), "meeting will continue", "stop the program", "another machine", "nothing is lost", "another computer")
	for _, f := range l.finals {
		if d := f.End - f.Start; d > 11*time.Second {
			t.Errorf("a final lasts %v", d)
		}
	}
}

func flush(t *testing.T, e *Engine) {
	l := &listener{}
	s := open(t, e, l)
	flush := func() {
		t.Helper()
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	write(t, s, nil, piece)
	flush()
	if len(l.all) > 0 {
		t.Fatalf("without audio: %+v", l.all)
	}
	audio := pcm(t, "sessions.wav")
	write(t, s, audio[:3*rate], piece)
	flush()
	if len(l.finals) != 1 || l.finals[0].End != 3*time.Second {
		t.Errorf("after 3 s: %+v", l.finals)
	}
	flush()
	write(t, s, audio[3*rate:], piece)
	flush()
	l.check(t, length(audio), "stop the program", "another machine")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
	if s.Write(t.Context(), worker.Audio{PCM: audio}) == nil || s.Flush(t.Context()) == nil {
		t.Error("a closed stream takes audio")
	}
}

// After a very long time the decoder starts to count again, and nobody notices.
func countsAnew(t *testing.T, e *Engine) {
	audio := slices.Concat(silence(3*time.Second), pcm(t, "writing.ogg"))
	want := listen(t, e, audio, piece).finals[0].Words[0].Start
	l := &listener{}
	s := open(t, e, l).(*stream)
	write(t, s, audio[:2*rate], piece)
	s.base -= rebaseAfter
	write(t, s, audio[2*rate:], piece)
	if err := errors.Join(s.Flush(t.Context()), s.Close()); err != nil {
		t.Error(err)
	}
	l.check(t, length(audio), "read the text", "morning")
	if s.base < 2*rate {
		t.Error("it goes on counting")
	}
	if got := l.finals[0].Words[0].Start; (got - want).Abs() > 20*time.Millisecond {
		t.Errorf("the first word comes at %v, want %v", got, want)
	}
}

func cancelled(t *testing.T, e *Engine) {
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var l listener
	s, err := e.Open(ctx, worker.StreamConfig{}, func(r worker.Result) {
		l.emit(r)
		cancel(cause)
	})
	if err != nil {
		t.Fatal(err)
	}
	audio := append(pcm(t, "sessions.wav"), silence(time.Minute)...)
	if err := s.Write(ctx, worker.Audio{PCM: audio}); !errors.Is(err, cause) {
		t.Errorf("Write: %v", err)
	}
	if err := s.Flush(ctx); !errors.Is(err, cause) {
		t.Errorf("Flush: %v", err)
	}
	if len(l.all) != 1 || l.all[0].End > 2*time.Second {
		t.Errorf("after the end of ctx: %+v", l.all)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := e.Open(ctx, worker.StreamConfig{}, l.emit); !errors.Is(err, cause) {
		t.Errorf("Open: %v", err)
	}
}

// A decoder that has heard others must hear exactly what a new one does: neither
// words nor what it learnt of a voice may go from one stream into the next.
func TestDecoderIsReused(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{MaxDecoders: 1})
	audio := pcm(t, "writing.ogg")
	first := listen(t, e, audio, piece)
	used := e.pool.idle[0]

	l := &listener{}
	s := open(t, e, l)
	write(t, s, pcm(t, "sessions.wav")[:2*rate], piece) // and never finalised
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	listen(t, e, pcm(t, "thanks.ogg"), piece)

	again := listen(t, e, audio, piece)
	if len(e.pool.idle) != 1 || e.pool.idle[0] != used {
		t.Error("the decoder was not used again")
	}
	if !reflect.DeepEqual(first.all, again.all) {
		t.Errorf("at first %+v\nthen %+v", first.finals, again.finals)
	}
}

func TestOpenWaits(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{MaxDecoders: 1})
	l := &listener{}
	s := open(t, e, l)
	cause := errors.New("waited enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	waiting := make(chan error)
	go func() {
		_, err := e.Open(ctx, worker.StreamConfig{}, l.emit)
		waiting <- err
	}()
	cancel(cause)
	if err := <-waiting; !errors.Is(err, cause) {
		t.Errorf("Open: %v", err)
	}
	go func() {
		s, err := e.Open(t.Context(), worker.StreamConfig{}, l.emit)
		waiting <- errors.Join(err, s.Close())
	}()
	if err := errors.Join(s.Close(), <-waiting); err != nil {
		t.Error(err)
	}
}

func TestCloseWithStream(t *testing.T) {
	t.Parallel()
	e := newEngine(t, Config{MaxDecoders: 2})
	l := &listener{}
	s := open(t, e, l)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	audio := pcm(t, "thanks.ogg")
	write(t, s, audio, piece)
	if err := errors.Join(s.Flush(t.Context()), s.Close()); err != nil {
		t.Error(err)
	}
	l.check(t, length(audio), "meeting will continue")
	if _, err := e.Open(t.Context(), worker.StreamConfig{}, l.emit); !errors.Is(err, errClosed) {
		t.Errorf("Open: %v", err)
	}
	if n := len(e.pool.idle); n != 0 {
		t.Errorf("%d decoders are kept", n)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	for name, c := range map[string]struct {
		cfg  Config
		want []string
	}{
		"library":       {Config{Library: "libnosuchsphinx.so.3"}, []string{"libnosuchsphinx.so.3", "libpocketsphinx3 and pocketsphinx-en-us"}},
		"other library": {Config{Library: "libc.so.6"}, []string{"libc.so.6", "has no function", "libpocketsphinx3"}},
		"model":         {Config{Dir: empty}, []string{empty, "no such file", "libpocketsphinx3 and pocketsphinx-en-us"}},
		"decoders":      {Config{MaxDecoders: -1}, []string{"MaxDecoders is -1", "1 and more"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New(c.cfg)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
		})
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                                 "",
		"<s> go <sil> forward(2) </s>":     "go forward",
		"[NOISE] ++UH++ ten [SPEECH]":      "ten",
		"it's a (2) read(13)  book":        "it's a (2) read book",
		"< [ all these) are words":         "< [ all these) are words",
		"<sil> [COUGH]":                    "",
		"the(3) the(2) <sil> weather's(2)": "the the weather's",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func BenchmarkStream(b *testing.B) {
	e := newEngine(b, Config{MaxDecoders: 1})
	audio := pcm(b, "pause.ogg")
	for b.Loop() {
		listen(b, e, audio, piece)
	}
	b.ReportMetric(b.Elapsed().Seconds()/(float64(b.N)*length(audio).Seconds()), "of-real-time")
}

// The decoder takes 20 ms at a time.
func BenchmarkSilence(b *testing.B) {
	e := newEngine(b, Config{MaxDecoders: 1})
	s := open(b, e, &listener{})
	audio := silence(20 * time.Millisecond)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Write(b.Context(), worker.Audio{PCM: audio}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}
