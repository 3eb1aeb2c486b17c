package openai

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"stenobus/gateway/dialect"
)

// format is the client's audio, mono as all of the API's is.
type format struct {
	kind string // as the API names it now
	rate int    // samples/s
}

// Kinds of audio.
const (
	kindPCM  = "audio/pcm" // 16 bits, little endian
	kindPCMU = "audio/pcmu"
	kindPCMA = "audio/pcma"
)

const (
	minRate       = 8000
	maxRate       = 48000
	telephoneRate = 8000
	flatPCM       = "pcm_s16le_" // of servers that imitate the API: the rate follows
	allowedFlat   = "pcm16, g711_ulaw, g711_alaw, and pcm_s16le_RATE with a RATE from 8000 to 48000"
	frameMS       = 100 // most audio in one frame
)

var pcm24 = format{kindPCM, 24000}

// neutral is the format in the gateway's words.
func (f format) neutral() dialect.Format {
	encoding := "l16"
	switch f.kind {
	case kindPCMU:
		encoding = "mulaw"
	case kindPCMA:
		encoding = "alaw"
	}
	return dialect.Format{Encoding: encoding, SampleRate: f.rate, Channels: 1}
}

// width is the length of a sample in bytes.
func (f format) width() int {
	if f.kind == kindPCM {
		return 2
	}
	return 1
}

// frame is the length of the longest frame in bytes.
func (f format) frame() int { return f.rate * frameMS / 1000 * f.width() }

// lasts is how long whole samples last.
func (f format) lasts(bytes int) time.Duration {
	return time.Duration(bytes/f.width()) * time.Second / time.Duration(f.rate)
}

// flat is the beta's name of the format.
func (f format) flat() string {
	switch {
	case f.kind == kindPCMU:
		return "g711_ulaw"
	case f.kind == kindPCMA:
		return "g711_alaw"
	case f.rate == pcm24.rate:
		return "pcm16"
	}
	return flatPCM + strconv.Itoa(f.rate)
}

func flatFormat(name string) (format, bool) {
	switch name {
	case "pcm16":
		return pcm24, true
	case "g711_ulaw":
		return format{kindPCMU, telephoneRate}, true
	case "g711_alaw":
		return format{kindPCMA, telephoneRate}, true
	}
	digits, ok := strings.CutPrefix(name, flatPCM)
	rate, err := strconv.Atoi(digits)
	return format{kindPCM, rate}, ok && err == nil && rate >= minRate && rate <= maxRate
}

// named reads the API's own form of a format.
func (f format) named(kind string, rate int) (format, string) {
	switch kind {
	case kindPCM:
		if rate == 0 {
			rate = pcm24.rate
		}
		if rate < minRate || rate > maxRate {
			return f, fmt.Sprintf("an integer from %d to %d", minRate, maxRate)
		}
	case kindPCMU, kindPCMA:
		if rate == 0 {
			rate = telephoneRate
		}
		if rate != telephoneRate {
			return f, strconv.Itoa(telephoneRate)
		}
	}
	return format{kind, rate}, ""
}
