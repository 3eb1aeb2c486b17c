package audio

import (
	"fmt"
	"testing"
	"time"
)

func BenchmarkOpus(b *testing.B) {
	packets := packetsOf(b, readSample(b, "pause.ogg"))
	for name, codec := range codecs() {
		for _, rate := range []int{16000, 48000} {
			b.Run(fmt.Sprint(name, "/", rate), func(b *testing.B) {
				d := mustDecoder(b, Format{Encoding: Opus}, rate, codec)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, err := d.Decode(uint64(i), int64(i), time.Duration(i)*20*ms, packets[i%len(packets)].Data); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// 20 ms at a time.
func BenchmarkL16(b *testing.B) {
	for _, f := range []Format{{L16, 16000, 1}, {L16, 48000, 2}, {L16, 44100, 2}, {L16, 8000, 1}} {
		b.Run(fmt.Sprint(f.SampleRate, "/", f.Channels), func(b *testing.B) {
			d := mustDecoder(b, f, 16000, nil)
			data := make([]byte, f.SampleRate/50*f.Channels*sampleBytes)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := d.Decode(uint64(i), -1, 0, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// 200 bytes at a time, which at 24 kbit/s is 67 ms.
func BenchmarkOgg(b *testing.B) {
	file := readSample(b, "pause.ogg")
	d := mustDecoder(b, ogg, 16000, newLibopus)
	b.ReportAllocs()
	for at := 0; b.Loop(); at += 200 {
		if at+200 > len(file) {
			at = 0
			d = mustDecoder(b, ogg, 16000, newLibopus)
		}
		if _, err := d.Decode(1, -1, 0, file[at:at+200]); err != nil {
			b.Fatal(err)
		}
	}
}
