package gateway

import (
	"bytes"
	"time"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// pauseGap is how far audio without time stamps may lag before it counts as a pause.
const pauseGap = 1000 // ms

// feed is one source's place on the session clock, as its gateway sees it.
type feed struct {
	number   uint32 // in the session; 0: not numbered yet
	format   dialect.Format
	language string           // BCP 47; empty: the session's
	starts   *subjects.Source // to travel with the next frame
	heard    bool             // a frame was numbered
	last     uint64           // number of the last of these
	done     bool             // a flush was numbered since
	spoke    int64            // when it began or was last heard, ms since the connection began
	lasts    time.Duration    // of the last frame's audio; 0: that takes more than its length to tell
	cadence  cadence          // of what comes
	placed   bool             // a frame was placed
	origin   int64            // session clock of the first one, without the offset of a session that lived before

	anchored bool
	anchor   int64         // session clock of the first frame since the anchor, ms
	first    int64         // the client's own clock there, ms
	end      int64         // session clock where the last frame ended, ms
	part     time.Duration // how much later it ended, below a ms: many frames would add up
}

// place puts a frame on the session clock. The client's time stamps count, so that
// audio sent faster or slower than real time keeps its shape; without them frames
// follow one another until one comes so late that there was a pause, unless there are
// no pauses in what the client sends.
func (f *feed) place(ev dialect.Event, now int64, gapless bool) int64 {
	if f.format.Encoding == "opus" && isOgg(ev.Payload) {
		f.format.Encoding = "ogg-opus" // or bytes of its pages would be taken for lengths of packets
	}
	f.spoke = now
	at := f.position(ev, now, gapless)
	if !f.placed {
		f.placed, f.origin = true, at
	}
	return at
}

func (f *feed) position(ev dialect.Event, now int64, gapless bool) int64 {
	f.lasts = duration(f.format, ev.Payload)
	exact := f.part + f.lasts
	length := exact.Milliseconds()
	f.part = exact - time.Duration(length)*time.Millisecond
	at := max(f.end, 0)
	switch {
	case ev.TimeMS >= 0:
		if !f.anchored || ev.TimeMS < f.first || f.anchor+ev.TimeMS-f.first > f.end+maxJump {
			f.anchored, f.anchor, f.first = true, max(now, f.end), ev.TimeMS
		}
		at = f.anchor + ev.TimeMS - f.first
	case gapless && f.placed && length > 0:
	case f.end == 0 || now-f.end > pauseGap:
		at = max(now, f.end)
	}
	f.end = max(f.end, at+length)
	return at
}

// maxJump is the longest pause that a time stamp may claim, ms.
const maxJump = 3600_000

// restart forgets the client's clock: its numbering begins anew.
func (f *feed) restart(format dialect.Format, language string, now int64) {
	f.format, f.language, f.anchored, f.spoke = format, language, false, now
}

// isOgg tells a page of an Ogg stream from an Opus packet: none begins with these bytes,
// as they would mean 39 frames of 20 ms (RFC 6716, 3.2.5: at most 120 ms).
func isOgg(payload []byte) bool { return bytes.HasPrefix(payload, []byte("OggS")) }

// duration is how long a frame's audio lasts; 0 where that takes more than its length.
func duration(f dialect.Format, payload []byte) time.Duration {
	switch f.Encoding {
	case "l16":
		return samplesDuration(f, 2, payload)
	case "mulaw", "alaw":
		return samplesDuration(f, 1, payload)
	case "opus":
		return opusDuration(payload)
	}
	return 0
}

func samplesDuration(f dialect.Format, bytes int, payload []byte) time.Duration {
	rate := bytes * f.SampleRate * f.Channels
	if rate <= 0 {
		return 0
	}
	return time.Duration(len(payload)) * time.Second / time.Duration(rate)
}

// opusDuration reads a packet's duration from its first two bytes (RFC 6716, 3.1 and
// 3.2), 0 for what is no packet.
func opusDuration(p []byte) time.Duration {
	if len(p) == 0 || bytes.HasPrefix(p, []byte("OggS")) { // the latter is labelled wrongly, see number
		return 0
	}
	config := p[0] >> 3
	var frame time.Duration
	switch {
	case config < 12: // SILK
		frame = [...]time.Duration{10, 20, 40, 60}[config&3] * time.Millisecond
	case config < 16: // hybrid
		frame = [...]time.Duration{10, 20}[config&1] * time.Millisecond
	default: // CELT
		frame = 2500 * time.Microsecond << (config & 3)
	}
	switch p[0] & 3 {
	case 0:
		return frame
	case 1, 2:
		return 2 * frame
	}
	if len(p) < 2 {
		return 0
	}
	lasts := time.Duration(p[1]&63) * frame
	if lasts > 120*time.Millisecond { // RFC 6716, 3.2.5: it is no packet
		return 0
	}
	return lasts
}
