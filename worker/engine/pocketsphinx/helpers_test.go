package pocketsphinx

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stenobus/worker"
	"stenobus/worker/audio"
)

const samplesDir = "../../../cmd/stenobus/samples"

// pcm is a sample at 16 kHz.
func pcm(tb testing.TB, name string) []int16 {
	tb.Helper()
	file, err := os.ReadFile(filepath.Join(samplesDir, name))
	if err != nil {
		tb.Fatal(err)
	}
	f := audio.Format{Encoding: audio.OggOpus}
	if strings.HasSuffix(name, ".wav") {
		format, data, err := audio.ReadWAV(bytes.NewReader(file))
		if err != nil {
			tb.Fatal(err)
		}
		f = format
		if file, err = io.ReadAll(data); err != nil {
			tb.Fatal(err)
		}
	}
	d, err := audio.NewDecoder(f, rate)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := d.Decode(1, -1, 0, file)
	if err != nil {
		tb.Fatal(err)
	}
	return c.PCM
}

// trimmed is a sample without the silence around it.
func trimmed(tb testing.TB, name string) []int16 {
	all := pcm(tb, name)
	const quiet = 500
	loud := func(v int16) bool { return v > quiet || v < -quiet }
	for len(all) > 0 && !loud(all[0]) {
		all = all[1:]
	}
	for len(all) > 0 && !loud(all[len(all)-1]) {
		all = all[:len(all)-1]
	}
	return all
}

func silence(d time.Duration) []int16 { return make([]int16, int(d*rate/time.Second)) }

// newEngine fails, rather than skips, where the packages are missing: tests that are
// quietly left out find nothing.
func newEngine(tb testing.TB, cfg Config) *Engine {
	tb.Helper()
	e, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := e.Close(); err != nil {
			tb.Error(err)
		}
	})
	return e
}

// listener collects what a stream emits.
type listener struct {
	interims, finals []worker.Result // finals with text
	marks            []worker.Result
	all              []worker.Result
}

func (l *listener) emit(r worker.Result) {
	l.all = append(l.all, r)
	switch {
	case !r.Final:
		l.interims = append(l.interims, r)
	case r.Text == "":
		l.marks = append(l.marks, r)
	default:
		l.finals = append(l.finals, r)
	}
}

func (l *listener) text() string {
	var b strings.Builder
	for _, r := range l.finals {
		b.WriteString(r.Text + " ")
	}
	return b.String()
}

// check wants words in this order, and results in order that tile the time up to end.
func (l *listener) check(tb testing.TB, end time.Duration, words ...string) {
	tb.Helper()
	rest := l.text()
	for _, w := range words {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			tb.Errorf("%q is not in %q, or not in this place", w, l.text())
			return
		}
		rest = after
	}
	var last time.Duration
	for _, r := range l.all {
		if r.Start < last || r.End < r.Start || r.End > end {
			tb.Errorf("a result from %v to %v after one that ended at %v, of %v", r.Start, r.End, last, end)
		}
		if r.Final {
			last = r.End
		}
		checkWords(tb, r)
	}
}

func checkWords(tb testing.TB, r worker.Result) {
	tb.Helper()
	var texts []string
	at := r.Start
	for _, w := range r.Words {
		texts = append(texts, w.Text)
		if w.Start < at || w.End <= w.Start || w.End > r.End || w.Confidence < 0 || w.Confidence > 1 {
			tb.Errorf("word %+v in a result from %v to %v, after %v", w, r.Start, r.End, at)
		}
		at = w.End
	}
	if r.Final && strings.Join(texts, " ") != r.Text {
		tb.Errorf("words %q of %q", texts, r.Text)
	}
}

// listen sends audio through a stream of its own, a piece at a time.
func listen(tb testing.TB, e *Engine, audio []int16, piece time.Duration) *listener {
	tb.Helper()
	l := &listener{}
	s := open(tb, e, l)
	write(tb, s, audio, piece)
	if err := s.Flush(tb.Context()); err != nil {
		tb.Error(err)
	}
	if err := s.Close(); err != nil {
		tb.Error(err)
	}
	return l
}

func open(tb testing.TB, e *Engine, l *listener) worker.Stream {
	tb.Helper()
	s, err := e.Open(tb.Context(), worker.StreamConfig{}, l.emit)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func write(tb testing.TB, s worker.Stream, audio []int16, piece time.Duration) {
	tb.Helper()
	size := int(piece * rate / time.Second)
	for len(audio) > 0 {
		n := min(size, len(audio))
		if err := s.Write(tb.Context(), worker.Audio{PCM: audio[:n]}); err != nil {
			tb.Error(err)
			return
		}
		audio = audio[n:]
	}
}

func length(pcm []int16) time.Duration { return clock(int64(len(pcm))) }
