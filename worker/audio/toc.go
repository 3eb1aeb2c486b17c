package audio

import (
	"errors"
	"fmt"
	"time"
)

// Bounds of an Opus packet.
const (
	maxPacketDuration = 120 * time.Millisecond
	// 48 frames of 1275 bytes, the length of each, the TOC byte and the frame count
	// make 61,298 bytes; padding may come on top.
	maxPacketBytes = 64 << 10
)

// OpusPacketDuration is how long an Opus packet sounds, by its first two bytes
// (RFC 6716, section 3.1).
func OpusPacketDuration(packet []byte) (time.Duration, error) {
	if len(packet) == 0 {
		return 0, errors.New("opus packet is empty")
	}
	frames := 1
	switch packet[0] & 3 {
	case 1, 2:
		frames = 2
	case 3:
		if len(packet) < 2 {
			return 0, errors.New("opus packet of 1 byte: the number of its frames is missing")
		}
		frames = int(packet[1] & 0x3f)
	}
	d := time.Duration(frames) * opusFrameDuration(packet[0]>>3)
	if d <= 0 || d > maxPacketDuration {
		return 0, fmt.Errorf("opus packet lasts %v, allowed is more than 0 and at most %v", d, maxPacketDuration)
	}
	return d, nil
}

// opusFrameDuration is the frame length of one of the 32 configurations.
func opusFrameDuration(config byte) time.Duration {
	switch {
	case config < 12: // SILK
		return []time.Duration{10, 20, 40, 60}[config%4] * time.Millisecond
	case config < 16: // hybrid
		return []time.Duration{10, 20}[config%2] * time.Millisecond
	default: // CELT
		return []time.Duration{2500, 5000, 10000, 20000}[config%4] * time.Microsecond
	}
}
