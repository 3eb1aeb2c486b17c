package audio

import (
	"testing"
	"time"
)

func TestOpusPacketDuration(t *testing.T) {
	t.Parallel()
	const us = time.Microsecond
	for _, c := range []struct {
		packet []byte
		want   time.Duration // 0: an error
	}{
		{[]byte{0 << 3}, 10 * ms}, {[]byte{1 << 3}, 20 * ms}, {[]byte{2 << 3}, 40 * ms}, {[]byte{3 << 3}, 60 * ms},
		{[]byte{11 << 3}, 60 * ms}, {[]byte{12 << 3}, 10 * ms}, {[]byte{15 << 3}, 20 * ms},
		{[]byte{16 << 3}, 2500 * us}, {[]byte{17 << 3}, 5 * ms}, {[]byte{30 << 3}, 10 * ms}, {[]byte{31 << 3}, 20 * ms},
		{[]byte{31<<3 | 1}, 40 * ms}, {[]byte{31<<3 | 4 | 2}, 40 * ms}, // two frames, mono and stereo
		{[]byte{16<<3 | 3, 48}, 120 * ms}, {[]byte{31<<3 | 3, 0xc0 | 6}, 120 * ms}, // counted frames
		{nil, 0}, {[]byte{3}, 0}, {[]byte{3, 0}, 0}, {[]byte{31<<3 | 3, 7}, 0}, {[]byte{16<<3 | 3, 49}, 0},
	} {
		got, err := OpusPacketDuration(c.packet)
		if got != c.want || (err != nil) != (c.want == 0) {
			t.Errorf("%x: %v, %v; want %v", c.packet, got, err, c.want)
		}
	}
}
