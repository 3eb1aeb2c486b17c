package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	bridge "stenobus/cmd/stenobus/internal/client"
	"stenobus/cmd/stenobus/internal/clip"
	"stenobus/cmd/stenobus/internal/wer"
	"stenobus/cmd/stenobus/samples"
)

const (
	midSentence = 3               // words of a sentence that are heard before its worker is killed
	speechWait  = 2 * time.Minute // for one sample to be spoken and heard
)

// SpeechReport is what became of one sample, whose worker was killed in mid sentence.
type SpeechReport struct {
	Sample      string  `json:"sample"`
	Said        string  `json:"said"`
	Undisturbed string  `json:"undisturbed"` // what is heard when nobody dies
	Disturbed   string  `json:"disturbed"`
	Killed      string  `json:"killed"`    // the worker
	KilledAt    string  `json:"killed_at"` // what was heard by then
	ErrorRate   float64 `json:"word_error_rate"`
	Before      float64 `json:"word_error_rate_undisturbed"`
	RecoveryMS  float64 `json:"recovery_ms"` // from the death to the next words
}

// speech speaks every sample twice, in real time: once undisturbed, and once with the
// worker that hears it killed in mid sentence. Each sentence that is heard the first
// time must be in the second transcript once: not lost with the worker, not twice.
func (r *run) speech(ctx context.Context, url string) error {
	r.open = time.Now()
	rng := rand.New(rand.NewPCG(r.cfg.Seed, 0x5beec4))
	for _, s := range samples.All() {
		quiet := &listener{}
		if err := r.speak(ctx, url, s, "quiet", quiet); err != nil {
			return err
		}
		sentences := sentencesOf(s.Text)
		before := strings.Join(sentences[:rng.IntN(len(sentences))], " ")
		loud := &listener{at: len(wer.Words(before)) + midSentence, kill: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- r.killWorker(ctx, loud) }()
		err := r.speak(ctx, url, s, "killed", loud)
		loud.killOnce() // where its moment never came
		if err = errors.Join(err, <-done); err != nil {
			return err
		}
		r.compare(s, sentences, quiet, loud)
	}
	r.took = time.Since(r.open)
	return nil
}

// speak sends one sample as a session of its own.
func (r *run) speak(ctx context.Context, url string, s samples.Sample, how string, ear *listener) error {
	ctx, cancel := context.WithTimeout(ctx, speechWait)
	defer cancel()
	sound, err := clip.Read(s.Name, bytes.NewReader(s.Audio), 0)
	if err != nil {
		return err
	}
	sum, err := bridge.Run(ctx, bridge.Options{
		URL: url, Session: fmt.Sprintf("lab-speech-%s-%s", s.Name, how), Interims: true, Speed: 1,
	}, []*clip.Clip{sound}, ear)
	if err != nil {
		return fmt.Errorf("sample %s: %w", s.Name, err)
	}
	r.accepted += sum.Frames
	if n := sum.Unaccounted; n != 0 {
		r.wrongs.add(wrong(FrameUnaccounted, uint64(max(n, -n)), "sample %s: the end says that %d frames are unaccounted for", s.Name, n))
	}
	return nil
}

// killWorker waits for the moment and kills the worker that has the session.
func (r *run) killWorker(ctx context.Context, ear *listener) error {
	select {
	case <-ear.kill:
	case <-ctx.Done():
		return nil
	}
	for _, p := range r.fleet.workers {
		if p.name != ear.victim {
			continue
		}
		ear.killedAt.Store(time.Now().UnixNano())
		p.Kill()
		r.note("worker_kill of %s in mid sentence: %s", p.name, ear.heardThen)
		return restart(ctx, p)
	}
	return errors.New("too little was heard of a sentence to kill its worker")
}

// compare looks for each sentence in what was heard.
func (r *run) compare(s samples.Sample, sentences []string, quiet, loud *listener) {
	report := SpeechReport{
		Sample: s.Name, Said: s.Text, Undisturbed: quiet.text(), Disturbed: loud.text(),
		Killed: loud.victim, KilledAt: loud.heardThen,
		ErrorRate: wer.Compare(s.Text, loud.text()).Rate(), Before: wer.Compare(s.Text, quiet.text()).Rate(),
		RecoveryMS: ms(loud.recovered),
	}
	r.recoveries.add(WorkerKill, loud.recovered)
	r.spoken = append(r.spoken, report)
	for _, sentence := range sentences {
		switch was, is := occurrences(sentence, quiet.text()), occurrences(sentence, loud.text()); {
		case is < was:
			r.wrongs.add(wrong(FinalLost, uint64(was-is), "sample %s: %q is in the transcript %d times, undisturbed %d: %q", s.Name, sentence, is, was, loud.text()))
		case is > was:
			r.wrongs.add(wrong(FinalDoubled, uint64(is-was), "sample %s: %q is in the transcript %d times, undisturbed %d: %q", s.Name, sentence, is, was, loud.text()))
		}
	}
}

// sentencesOf splits a text at its full stops.
func sentencesOf(text string) (out []string) {
	for s := range strings.SplitSeq(text, ".") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// alike is how many words of a sentence may be wrong for it to be found in a transcript.
const alike = 0.4

// occurrences counts how often a sentence is in what was heard, as a recogniser hears it:
// with some words wrong, some missing and some put in.
func occurrences(sentence, heard string) (n int) {
	want, got := wer.Words(sentence), wer.Words(heard)
	for i := 0; i < len(got); {
		length := matchAt(want, got[i:])
		if length == 0 {
			i++
			continue
		}
		n++
		i += length
	}
	return n
}

// matchAt is how many words of heard, from its first on, are a sentence best; 0 if it
// does not begin there.
func matchAt(want, got []string) (length int) {
	best := alike
	for k := max(1, len(want)-2); k <= min(len(got), len(want)+2); k++ {
		rate := wer.Compare(strings.Join(want, " "), strings.Join(got[:k], " ")).Rate()
		if rate < best && got[0] == want[0] || rate < best/2 {
			best, length = rate, k
		}
	}
	return length
}

// workerOf reads who has a session from an event.
func workerOf(raw json.RawMessage) string {
	var e struct{ Worker string }
	if json.Unmarshal(raw, &e) != nil {
		return ""
	}
	return e.Worker
}

var _ bridge.Watcher = (*listener)(nil)
