package pocketsphinx

import (
	"context"
	"errors"
	"time"

	"stenobus/worker"
)

// Lengths of audio, in samples.
const (
	step         = rate / 50       // goes to the decoder at once: bounds the error of times and the wait for ctx
	interimEvery = rate / 5        // least between two interims
	markEvery    = 4 * rate        // of silence, between two marks
	onset        = 40 * rate / 100 // may yet turn out to be the beginning of a word
	detection    = startFrames * frameSamples
	rebaseAfter  = 3600 * rate // the decoder counts samples in 32 bits, enough for 37 hours
)

var errStreamClosed = errors.New("pocketsphinx: the stream is closed")

// stream hears one source. An utterance is what lies between two pauses, as the
// decoder's voice detector sees them; silence does not reach the search at all.
type stream struct {
	pool    *pool
	decoder *decoder // nil once closed
	emit    func(worker.Result)
	pauses  pauses

	written int64 // samples
	covered int64 // samples that finals and marks cover
	base    int64 // samples when the decoder began to count

	speaking bool
	origin   int64  // where the utterance begins, more or less
	shown    int64  // where the last interim came
	interim  string // its text
	breath   breath
	voiced   int64         // where the voice detector last heard somebody
	said     string        // before a pause that did not end the utterance
	heard    []worker.Word // its words
	cut      int64         // where the decoder last ended what it searched
	awaited  int64         // where a mark is due, unless words come first, that says how long there were none; 0: nowhere
}

// Write implements worker.Stream.
func (s *stream) Write(ctx context.Context, a worker.Audio) error {
	if s.decoder == nil {
		return errStreamClosed
	}
	for pcm := a.PCM; len(pcm) > 0; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(step, len(pcm))
		if err := s.hear(pcm[:n]); err != nil {
			return err
		}
		pcm = pcm[n:]
	}
	return nil
}

// hear takes one step and says what comes of it.
func (s *stream) hear(pcm []int16) error {
	if err := s.decoder.hear(pcm); err != nil {
		return err
	}
	s.written += int64(len(pcm))
	voice := s.decoder.speaking()
	if voice {
		s.voiced = s.written
	}
	switch {
	case voice && !s.speaking:
		s.listen()
	case s.speaking && !voice:
		return s.pause()
	case s.speaking && s.breath.heard(pcm, s.written-s.origin):
		return s.finish()
	case s.speaking && s.written-s.shown >= interimEvery:
		s.show()
	case s.said != "" && !s.speaking:
		if s.written-s.voiced >= s.pauses.end-usualEnd {
			s.final()
		}
	case !s.speaking && s.written-s.base >= rebaseAfter:
		return s.rebase()
	case !s.speaking && (s.written-s.covered >= markEvery+onset || s.awaited > 0 && s.written-onset >= s.awaited):
		s.awaited = 0
		s.mark(s.written - onset)
	}
	return nil
}

// listen begins an utterance. The silence before it is marked, so that an utterance
// is all that its final covers.
func (s *stream) listen() {
	const worthwhile = rate
	s.speaking = true
	s.shown, s.interim = s.written, s.said
	s.breath = breath{enough: s.pauses.short()}
	if s.said != "" {
		return // the utterance goes on
	}
	if s.written-onset-s.covered >= worthwhile {
		s.mark(s.written - onset)
	}
	s.origin = max(s.covered, s.written-detection)
}

// rebase lets the decoder count from 0 again, which costs it what it knows of noise.
func (s *stream) rebase() error {
	if err := s.decoder.end(); err != nil {
		return err
	}
	s.mark(s.written)
	s.base = s.written
	return s.decoder.begin()
}

// show emits an interim if there is news.
func (s *stream) show() {
	s.shown = s.written
	text := join(s.said, s.decoder.text())
	if text == "" || text == s.interim {
		return
	}
	s.interim = text
	s.emit(worker.Result{Text: text, Start: clock(s.origin), End: clock(s.written)})
}

// finish finalises the utterance and begins the next.
func (s *stream) finish() error {
	spoken := s.speaking
	if err := s.collect(); err != nil {
		return err
	}
	if spoken || s.said != "" {
		s.final()
	} else {
		s.mark(s.written)
	}
	return s.decoder.start()
}

// pause ends what the decoder has of the utterance, and the utterance unless the client
// wants a longer silence for that. The decoder itself can't wait: it does not count
// silence within what it searches, and would place words wrongly.
func (s *stream) pause() error {
	if err := s.collect(); err != nil {
		return err
	}
	if s.said == "" || s.pauses.end <= usualEnd {
		s.final()
	}
	return s.decoder.start()
}

// collect takes what was spoken from the decoder.
func (s *stream) collect() error {
	spoken := s.speaking
	s.speaking = false
	if err := s.decoder.end(); err != nil {
		return err
	}
	if text := s.decoder.text(); spoken && text != "" {
		s.said = join(s.said, text)
		s.heard = append(s.heard, s.words()...)
	}
	s.cut = s.written
	return nil
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}

// final emits what was spoken since the last one.
func (s *stream) final() {
	r := worker.Result{Final: true, Text: s.said, Start: clock(s.origin), End: clock(s.written), Words: s.heard}
	s.said, s.heard = "", nil
	if n := len(r.Words); n > 0 {
		r.Confidence = confidence(r.Words)
		r.Start = r.Words[0].Start
		s.await(r.Words[n-1].End)
	}
	s.covered = s.written
	s.emit(r)
}

// await lets a mark come as soon as nothing was spoken for as long as the client wants to
// know of.
func (s *stream) await(spoken time.Duration) {
	if s.pauses.gap > 0 {
		s.awaited = int64(spoken.Seconds()*rate) + s.pauses.gap
	}
}

// words places the words on the stream's clock.
func (s *stream) words() []worker.Word {
	var words []worker.Word
	// The decoder's frames are wider than their spacing: at the edges of an utterance
	// they reach beyond it.
	place := func(sample int64) time.Duration {
		return clock(min(max(s.base+sample, s.covered, s.cut), s.written))
	}
	for _, w := range s.decoder.words() {
		words = append(words, worker.Word{
			Text: w.text, Start: place(w.first), End: place(w.last), Confidence: w.posterior,
		})
	}
	return words
}

// confidence of an utterance is the mean of its words': the posterior of the whole
// falls with every further word and tells nobody anything.
func confidence(words []worker.Word) float64 {
	if len(words) == 0 {
		return 0
	}
	var sum float64
	for _, w := range words {
		sum += w.Confidence
	}
	return sum / float64(len(words))
}

// mark says that nothing was spoken up to end.
func (s *stream) mark(end int64) {
	if end <= s.covered {
		return
	}
	start := s.covered
	s.covered = end
	s.emit(worker.Result{Final: true, Start: clock(start), End: clock(end)})
}

// Flush implements worker.Stream.
func (s *stream) Flush(ctx context.Context) error {
	switch {
	case s.decoder == nil:
		return errStreamClosed
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.written == s.covered:
		return nil
	}
	return s.finish()
}

// Close implements worker.Stream.
func (s *stream) Close() error {
	if s.decoder != nil {
		s.pool.give(s.decoder)
		s.decoder = nil
	}
	return nil
}

// clock turns a position in samples into a time.
func clock(samples int64) time.Duration {
	return time.Duration(samples) * time.Second / rate
}
