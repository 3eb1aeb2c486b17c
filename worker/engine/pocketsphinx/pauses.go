package pocketsphinx

import "strconv"

// Bounds of pauses, in samples. Below the least a stop within a word would end it.
const (
	leastEnd  = rate / 5
	mostPause = 60 * rate
	usualEnd  = pauseFrames * frameSamples
)

// pauses are what a client's options say of silence, in samples.
type pauses struct {
	end int64 // ends an utterance: endpointing, in ms; 500 ms if it is no number
	gap int64 // is marked at once when it has passed without a word: utterance_end_ms; 0: not asked for
}

func pausesOf(options map[string]string) pauses {
	p := pauses{end: usualEnd}
	if n, ok := milliseconds(options["endpointing"]); ok {
		p.end = max(n, leastEnd)
	}
	if n, ok := milliseconds(options["utterance_end_ms"]); ok {
		p.gap = n
	}
	return p
}

// short is an end that comes before the voice detector's own, 0 if it does not.
func (p pauses) short() int {
	if p.end >= usualEnd {
		return 0
	}
	return int(p.end)
}

func milliseconds(text string) (samples int64, ok bool) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, false
	}
	return min(int64(n)*rate/1000, mostPause), true
}
