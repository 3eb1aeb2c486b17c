package lab

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"stenobus/worker/engine/tally"
)

const (
	ticks       = 48000 // of a media's timestamp, a second
	endMessage  = `{"event":"session-end"}`
	pingMessage = `{"event":"ping","id":1}`
)

// tagOf is the name of a session's source, from 1.
func tagOf(source int) string { return fmt.Sprintf("%08x-a0", source) }

// sourceOf is the inverse of tagOf, 0 for what is none.
func sourceOf(tag string) int {
	n, err := strconv.ParseUint(strings.TrimSuffix(tag, "-a0"), 16, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

func startMessage(tag string) string {
	return `{"event":"start","start":{"tag":"` + tag + `","mediaFormat":{"encoding":"opus","sampleRate":48000,"channels":2}}}`
}

// voice writes a session's frames as a bridge does. It reuses its room.
type voice struct {
	session uint32
	size    int // bytes of a frame
	rate    float64
	count   uint64 // messages of the connection
	frame   []byte
	message []byte
}

// media is the message of one frame. It is valid until the next call.
func (v *voice) media(source int, tag string, n uint64) []byte {
	v.frame = tally.Number{Session: v.session, Source: uint32(source), N: n}.Append(v.frame[:0], v.size)
	v.count++
	b := append(v.message[:0], `{"event":"media","sequenceNumber":"`...)
	b = strconv.AppendUint(b, v.count, 10)
	b = append(append(b, `","media":{"tag":"`...), tag...)
	b = strconv.AppendUint(append(b, `","chunk":"`...), n, 10)
	b = strconv.AppendUint(append(b, `","timestamp":"`...), uint64(float64(n)*ticks/v.rate), 10)
	b = append(b, `","payload":"`...)
	b = base64.StdEncoding.AppendEncode(b, v.frame)
	v.message = append(b, `"}}`...)
	return v.message
}

// heard is what a gateway says, as far as it matters here.
type heard struct {
	Event       string `json:"event"`
	ResumeToken string `json:"resumeToken"`
	Stenobus    *struct {
		Type        string            `json:"type"`
		Source      string            `json:"source"`
		Text        string            `json:"text"`
		ID          string            `json:"id"`
		Cursor      uint64            `json:"cursor"`
		Event       string            `json:"event"`
		Code        string            `json:"code"`
		Message     string            `json:"message"`
		Worker      string            `json:"worker"`
		Packets     map[string]int64  `json:"packets"`
		Accepted    map[string]uint64 `json:"accepted"`
		Covered     map[string]uint64 `json:"covered"`
		Refused     map[string]uint64 `json:"refused"`
		Unaccounted *int64            `json:"unaccounted"`
	} `json:"stenobus"`
}

func parseHeard(b []byte) (heard, error) {
	var h heard
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("read %.100q: %w", b, err)
	}
	return h, nil
}

// ownerOf reads life and epoch from an utterance's id, "life.epoch.source.n"; 0 where
// it is none.
func ownerOf(id string) (life, epoch uint64) {
	a, rest, _ := strings.Cut(id, ".")
	b, _, _ := strings.Cut(rest, ".")
	life, err1 := strconv.ParseUint(a, 10, 63)
	epoch, err2 := strconv.ParseUint(b, 10, 63)
	if err1 != nil || err2 != nil {
		return 0, 0
	}
	return life, epoch
}
