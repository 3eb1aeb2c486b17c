package pocketsphinx

const (
	longTurn    = 7 * rate // after so many samples of speech a short pause will do to end an utterance
	shortPause  = rate / 8 // samples
	quietFactor = 16       // how far below the loudest step in power, here 12 dB below in amplitude
)

// breath finds places where a long turn can be cut. Speech without a pause would
// otherwise be cut by a deadline, in the middle of a word.
type breath struct {
	loud   float64 // power of recent speech, decaying
	quiet  int     // samples since the last step that was not quiet
	enough int     // of these, cut however short the turn; 0: never
}

// heard takes a step of an utterance that now lasts length samples; true means cut here.
func (b *breath) heard(pcm []int16, length int64) bool {
	var sum float64
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	power := sum / float64(len(pcm))
	b.loud = max(power, b.loud*0.995)
	if power*quietFactor > b.loud {
		b.quiet = 0
		return false
	}
	b.quiet += len(pcm)
	return length >= longTurn && b.quiet >= shortPause || b.enough > 0 && b.quiet >= b.enough
}
