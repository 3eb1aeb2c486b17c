package mediajson

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/coder/websocket"

	"stenobus/gateway/dialect"
	"stenobus/subjects"
)

// BenchmarkDecodeMedia takes one media event: 20 ms of Opus, and of PCM.
func BenchmarkDecodeMedia(b *testing.B) {
	for _, bm := range []struct {
		name, format string
		size         int
		long         bool
	}{
		{"opus", opusFormat, 80, false},
		{"opus-long-way", opusFormat, 80, true},
		{"l16", `{"encoding":"l16","sampleRate":16000}`, 640, false},
	} {
		b.Run(bm.name, func(b *testing.B) {
			conv, _ := open(b, Config{}, anyOutput)
			conv.long = bm.long
			decode(conv, startOf("aaaaaaaa-305123557", bm.format))
			payload := base64.StdEncoding.EncodeToString(make([]byte, bm.size))
			data := fmt.Appendf(nil, `{"event":"media","sequenceNumber":"2","media":{"tag":"aaaaaaaa-305123557","chunk":"31456","timestamp":"268460","payload":"%s"},"event":"media"}`, payload)
			n := 0
			emit := func(ev dialect.Event) {
				if ev.Kind == dialect.Media {
					n++
				}
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				conv.tags["aaaaaaaa-305123557"].last = -1
				conv.Decode(websocket.MessageText, data, emit)
			}
			if n != b.N {
				b.Fatalf("%d of %d frames", n, b.N)
			}
		})
	}
}

// BenchmarkDecodeStart takes the event with which a source begins.
func BenchmarkDecodeStart(b *testing.B) {
	for _, long := range []bool{false, true} {
		b.Run(fmt.Sprintf("long-way=%t", long), func(b *testing.B) {
			conv, _ := open(b, Config{}, anyOutput)
			conv.long = long
			data := []byte(startOf("aaaaaaaa-305123557", opusFormat))
			n := 0
			emit := func(ev dialect.Event) {
				if ev.Kind == dialect.Start {
					n++
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				conv.Decode(websocket.MessageText, data, emit)
			}
			if n != b.N {
				b.Fatalf("%d of %d starts", n, b.N)
			}
		})
	}
}

func BenchmarkResult(b *testing.B) {
	for _, query := range []string{"", "&stenobus=1"} {
		b.Run("query"+query, func(b *testing.B) {
			conv, _ := open(b, Config{}, anyOutput+query)
			r := dialect.Result{
				Type: dialect.TypeFinal, Session: "s", Tag: "aaaaaaaa-a0", Text: "glue the sheet to the dark blue background", Number: 3, Confidence: 0.9,
				ID: "u1", TimeMS: 1768341932350, Words: make([]subjects.Word, 8),
			}
			b.ReportAllocs()
			for b.Loop() {
				conv.Result(r)
			}
		})
	}
}
