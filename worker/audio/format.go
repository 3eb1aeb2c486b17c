package audio

import (
	"errors"
	"fmt"
)

// Encodings of a source.
const (
	Opus    = "opus"     // one bare Opus packet a frame
	OggOpus = "ogg-opus" // an Ogg stream cut anywhere into frames
	L16     = "l16"      // signed 16-bit little-endian samples, channels interleaved
	MuLaw   = "mulaw"    // samples of one byte, ITU-T G.711 µ-law, channels interleaved
	ALaw    = "alaw"     // the same in A-law
)

// What is allowed of l16, mulaw and alaw.
const (
	minRate     = 1000
	maxRate     = 384000
	maxChannels = 8
)

// What is allowed of the rate that an engine asks for.
const (
	minOutRate = 8000
	maxOutRate = 48000
)

// Format says what a source's frames hold.
type Format struct {
	Encoding   string // "opus", "ogg-opus", "l16", "mulaw" or "alaw"
	SampleRate int    // samples/s; not looked at with Opus, which may be decoded to any
	Channels   int    // 1 to 8; of Opus 1, 2 or, for not known, 0
}

// Validate names each field that is wrong and what is allowed.
func (f Format) Validate() error {
	switch f.Encoding {
	case Opus, OggOpus:
		// More than a check is not needed: every packet says how many channels it has.
		if f.Channels < 0 || f.Channels > 2 {
			return fmt.Errorf("channels is %d, allowed with %s are 1 and 2", f.Channels, f.Encoding)
		}
		return nil
	case L16, MuLaw, ALaw:
		return f.validateSamples()
	default:
		return fmt.Errorf("encoding is %q, allowed are %s, %s, %s, %s and %s", f.Encoding, Opus, OggOpus, L16, MuLaw, ALaw)
	}
}

func (f Format) validateSamples() error {
	var errs []error
	if f.SampleRate < minRate || f.SampleRate > maxRate {
		errs = append(errs, fmt.Errorf("sample rate is %d, allowed with %s are %d to %d samples/s",
			f.SampleRate, f.Encoding, minRate, maxRate))
	}
	if f.Channels < 1 || f.Channels > maxChannels {
		errs = append(errs, fmt.Errorf("channels is %d, allowed with %s are 1 to %d", f.Channels, f.Encoding, maxChannels))
	}
	return errors.Join(errs...)
}
