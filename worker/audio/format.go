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
)

// What is allowed of l16.
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
	Encoding   string // "opus", "ogg-opus" or "l16"
	SampleRate int    // samples/s of l16; not looked at with Opus, which may be decoded to any
	Channels   int    // of l16 1 to 8; of Opus 1, 2 or, for not known, 0
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
	case L16:
		return f.validateL16()
	default:
		return fmt.Errorf("encoding is %q, allowed are %s, %s and %s", f.Encoding, Opus, OggOpus, L16)
	}
}

func (f Format) validateL16() error {
	var errs []error
	if f.SampleRate < minRate || f.SampleRate > maxRate {
		errs = append(errs, fmt.Errorf("sample rate is %d, allowed with l16 are %d to %d samples/s",
			f.SampleRate, minRate, maxRate))
	}
	if f.Channels < 1 || f.Channels > maxChannels {
		errs = append(errs, fmt.Errorf("channels is %d, allowed with l16 are 1 to %d", f.Channels, maxChannels))
	}
	return errors.Join(errs...)
}
