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
)

var errStreamClosed = errors.New("pocketsphinx: the stream is closed")

// stream hears one source. An utterance is what lies between two pauses, as the
// decoder's voice detector sees them: only voiced frames reach the search, and within
// an utterance they are contiguous, so that one origin gives the time of each word.
type stream struct {
	pool    *pool
	decoder *decoder // nil once closed
	emit    func(worker.Result)

	written int64 // samples
	covered int64 // samples that finals and marks cover

	speaking bool
	origin   int64  // where the utterance begins
	shown    int64  // where the last interim came
	interim  string // its text
	breath   breath
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
	switch {
	case voice && !s.speaking:
		s.speaking = true
		s.origin = max(s.covered, s.written-s.decoder.heard())
		s.shown, s.interim = s.written, ""
		s.breath = breath{}
	case s.speaking && (!voice || s.breath.heard(pcm, s.written-s.origin)):
		return s.finish()
	case s.speaking && s.written-s.shown >= interimEvery:
		s.show()
	case !s.speaking && s.written-s.covered >= markEvery+onset:
		s.mark(s.written - onset)
	}
	return nil
}

// show emits an interim if there is news.
func (s *stream) show() {
	s.shown = s.written
	text := s.decoder.text()
	if text == "" || text == s.interim {
		return
	}
	s.interim = text
	s.emit(worker.Result{Text: text, Start: clock(s.origin), End: clock(s.written)})
}

// finish finalises the utterance and begins the next.
func (s *stream) finish() error {
	spoken := s.speaking
	s.speaking = false
	if err := s.decoder.end(); err != nil {
		return err
	}
	if spoken {
		s.final()
	} else {
		s.mark(s.written)
	}
	return s.decoder.start()
}

func (s *stream) final() {
	r := worker.Result{Final: true, Text: s.decoder.text(), Start: clock(s.origin), End: clock(s.written)}
	if r.Text != "" {
		for _, w := range s.decoder.words() {
			r.Words = append(r.Words, worker.Word{
				Text:       w.text,
				Start:      clock(min(s.origin+w.first, s.written)),
				End:        clock(min(s.origin+w.last, s.written)),
				Confidence: w.posterior,
			})
		}
		r.Confidence = confidence(r.Words)
	}
	s.covered = s.written
	s.emit(r)
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
