package audio

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// opusRate is the clock of Opus: pre-skip and granule positions count it, samples/s.
const opusRate = 48000

// maxChunk bounds what one frame can grow to: as PCM, an Ogg page of silence is two thousand
// times as large.
const maxChunk = 10 * time.Minute

var errChunkFull = fmt.Errorf("a frame holds more than %v of audio, the rest of it is dropped", maxChunk)

// voice turns the Opus packets of one source into PCM, which it collects for a chunk.
type voice struct {
	codec    codec
	rate     int        // of the codec, samples/s
	resample *resampler // nil where the codec decodes to the wanted rate itself
	gain     float32    // 0 means 1
	skip     int        // samples at the codec's rate that are still to be dropped

	packet  []int16 // one packet at the codec's rate
	wide    []float32
	out     []int16
	outRate int // of out, samples/s
}

func newVoice(c newCodec, rate int) (*voice, error) {
	v := &voice{rate: opusRate, outRate: rate}
	switch rate {
	case 8000, 12000, 16000, 24000, opusRate:
		v.rate = rate
	default:
		v.resample = newResampler(opusRate, rate)
	}
	var err error
	if v.codec, err = c(v.rate); err != nil {
		return nil, err
	}
	v.packet = make([]int16, samplesIn(maxPacketDuration, v.rate))
	return v, nil
}

// restart prepares for another logical stream.
func (v *voice) restart(preSkip int, gain float32) error {
	v.skip = preSkip * v.rate / opusRate
	v.gain = gain
	return v.codec.reset()
}

// begin starts a chunk.
func (v *voice) begin() { v.out = v.out[:0] }

// decode adds a packet to the chunk.
func (v *voice) decode(packet []byte) error {
	// A decoder asked to decode nothing would conceal.
	if _, err := OpusPacketDuration(packet); err != nil {
		return err
	}
	if len(v.out) >= samplesIn(maxChunk, v.outRate) {
		return errChunkFull
	}
	n, err := v.codec.decode(packet, v.packet)
	if err != nil {
		return err
	}
	v.add(v.packet[:n])
	return nil
}

// conceal adds what stands for a loss of length before next and says how much it is.
func (v *voice) conceal(length time.Duration, next []byte) (time.Duration, error) {
	const unit = 2500 * time.Microsecond // the smallest frame of Opus
	length = min(length, maxPacketDuration).Truncate(unit)
	if length <= 0 {
		return 0, nil
	}
	before := len(v.out)
	pcm := v.packet[:samplesIn(length, v.rate)]
	if err := v.codec.conceal(next, pcm); err != nil {
		return 0, err
	}
	v.add(pcm)
	return time.Duration(len(v.out)-before) * time.Second / time.Duration(v.outRate), nil
}

// add passes decoded samples on to the chunk.
func (v *voice) add(pcm []int16) {
	n := min(v.skip, len(pcm))
	v.skip -= n
	pcm = pcm[n:]
	if v.gain == 0 && v.resample == nil {
		v.out = append(v.out, pcm...)
		return
	}
	gain := v.gain
	if gain == 0 {
		gain = 1
	}
	v.wide = slices.Grow(v.wide[:0], len(pcm))
	for _, s := range pcm {
		v.wide = append(v.wide, gain*float32(s))
	}
	v.out = v.resample.append(v.out, v.wide)
}

func samplesIn(d time.Duration, rate int) int {
	return int(int64(d) * int64(rate) / int64(time.Second))
}

// gainOf turns a header's gain, in 1/256 dB, into a factor, 0 for none.
func gainOf(q8 int16) float32 {
	if q8 == 0 {
		return 0
	}
	return float32(math.Pow(10, float64(q8)/(20*256)))
}

// opusPackets are frames of one bare packet each.
type opusPackets struct {
	voice  *voice
	packet int64         // number of the last packet; -1: it had none
	at     time.Duration // its place on the session clock
	length time.Duration // and how long it sounds; 0: none was decoded yet
}

func newOpusPackets(v *voice) *opusPackets { return &opusPackets{voice: v, packet: -1} }

func (o *opusPackets) decode(f frame) (Chunk, error) {
	c := Chunk{Through: f.number}
	length, err := OpusPacketDuration(f.data)
	if err != nil {
		return c, err // it counts neither as lost nor as come
	}
	o.voice.begin()
	concealed, errLost := o.voice.conceal(o.missing(f), f.data)
	err = o.voice.decode(f.data)
	c.PCM, c.Concealed = o.voice.out, concealed
	if err == nil {
		o.packet, o.at, o.length = f.packet, f.at, length
	}
	return c, errors.Join(errLost, err)
}

// missing is how much sound is lost between the last packet and f. Numbers alone will
// not do: a client that pauses may go on counting; nor does the clock: it runs on in
// a pause.
func (o *opusPackets) missing(f frame) time.Duration {
	if o.length == 0 || o.packet < 0 || f.packet <= o.packet+1 {
		return 0
	}
	lost := min(f.packet-o.packet-1, int64(maxPacketDuration/o.length)+1)
	return min(time.Duration(lost)*o.length, f.at-o.at-o.length)
}
