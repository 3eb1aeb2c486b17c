package bench

import (
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
)

const (
	variants = 256  // frames that differ
	opusHead = 0x78 // first byte of an Opus packet that says 20 ms, mono; the rest is noise
	ticks    = 48000
)

// audio is what all sessions speak: noise in the shape of Opus packets, encoded ahead so
// that the load costs little. Frames that follow one another differ, and so do frames of
// the same number in neighbouring sessions.
type audio struct {
	frames  [variants][]byte
	encoded [variants]string
}

func newAudio(size int) *audio {
	a := &audio{}
	noise := rand.NewChaCha8([32]byte{})
	for i := range variants {
		f := make([]byte, size)
		_, _ = noise.Read(f) // never fails
		f[0] = opusHead
		a.frames[i], a.encoded[i] = f, base64.StdEncoding.EncodeToString(f)
	}
	return a
}

// variant picks the bytes of a session's nth frame.
func variant(session int, n uint64) int { return int((uint64(session)*31 + n) % variants) }

// sum is the hash that tally states for these frames of a session.
func (a *audio) sum(session int, frames []uint64) uint64 {
	h := fnv.New64a()
	for _, n := range frames {
		_, _ = h.Write(a.frames[variant(session, n)]) // never fails
	}
	return h.Sum64()
}

func tagOf(source int) string { return fmt.Sprintf("%08x-a0", source) }

func startMessage(tag string) string {
	return `{"event":"start","start":{"tag":"` + tag + `","mediaFormat":{"encoding":"opus","sampleRate":48000,"channels":2}}}`
}

func pingMessage(n uint64) string {
	return `{"event":"ping","id":` + strconv.FormatUint(n, 10) + `}`
}

const endMessage = `{"event":"session-end"}`

// media is one frame as a bridge writes it, numbers in quotes.
type media struct {
	sequence  uint64 // on the connection
	tag       string
	chunk     uint64
	timestamp uint64
	payload   string
}

// appendTo writes the message behind b. It allocates only where b has no room.
func (m media) appendTo(b []byte) []byte {
	b = append(b, `{"event":"media","sequenceNumber":"`...)
	b = strconv.AppendUint(b, m.sequence, 10)
	b = append(b, `","media":{"tag":"`...)
	b = append(b, m.tag...)
	b = append(b, `","chunk":"`...)
	b = strconv.AppendUint(b, m.chunk, 10)
	b = append(b, `","timestamp":"`...)
	b = strconv.AppendUint(b, m.timestamp, 10)
	b = append(b, `","payload":"`...)
	b = append(b, m.payload...)
	return append(b, `"}}`...)
}
