package ogg

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// page is one of an Ogg stream, with a checksum of 0 and one packet.
func page(flags byte, granule int64, packet string) string {
	b := append([]byte("OggS\x00"), flags)
	b = binary.LittleEndian.AppendUint64(b, uint64(granule))
	b = append(b, make([]byte, 12)...)
	return string(append(b, 1, byte(len(packet)))) + packet
}

// head has a pre-skip of 480 granules, 10 ms.
const head = "OpusHead\x01\x01\xe0\x01\x80\xbb\x00\x00\x00\x00\x00"

func pages(s *Stream, pieces ...string) (got []string) {
	for _, piece := range pieces {
		s.Add([]byte(piece))
		for p, ok := s.Next(); ok; p, ok = s.Next() {
			got = append(got, fmt.Sprintf("%d bytes at %d, %d lost, begins %v opus %v", len(p.Bytes), p.AtMS, p.Lost, p.Begins, p.Opus))
		}
	}
	return got
}

func TestPages(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		stream string
		want   []string
		rest   int
	}{
		"audio": {
			page(2, 0, head) + page(0, 480+48000, "abc") + page(0, -1, "abc") + page(4, 480+96000, "abc"),
			[]string{"47 bytes at 0, 0 lost, begins true opus true", "31 bytes at 0, 0 lost, begins false opus false",
				"31 bytes at 1000, 0 lost, begins false opus false", "31 bytes at 1000, 0 lost, begins false opus false"}, 0,
		},
		"chain": {
			page(2, 0, head) + page(4, 480+24000, "abc") + page(2, 0, head) + page(0, 480, ""),
			[]string{"47 bytes at 0, 0 lost, begins true opus true", "31 bytes at 0, 0 lost, begins false opus false",
				"47 bytes at 500, 0 lost, begins true opus true", "28 bytes at 500, 0 lost, begins false opus false"}, 0,
		},
		"joined in its middle": {page(0, 480, "abc"), []string{"31 bytes at -1, 0 lost, begins false opus false"}, 0},
		"joined late": {
			page(2, 0, head) + page(0, 1<<40, "abc") + page(0, 1<<41, "abc"),
			[]string{"47 bytes at 0, 0 lost, begins true opus true", "31 bytes at 0, 0 lost, begins false opus false", "31 bytes at -1, 0 lost, begins false opus false"}, 0,
		},
		"of another codec":    {page(2, 0, "\x01vorbis"), []string{"35 bytes at -1, 0 lost, begins true opus false"}, 0},
		"another version":     {"OggS\x01" + page(0, 0, "abc"), []string{"31 bytes at -1, 5 lost, begins false opus false"}, 0},
		"rubbish and a rest":  {"rub" + page(0, 0, "abc") + "OggS\x00rest", []string{"31 bytes at -1, 3 lost, begins false opus false"}, 9},
		"nothing but rubbish": {strings.Repeat("x", MaxPage+9), nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var whole, cut Stream
			got := pages(&whole, tc.stream)
			if name == "nothing but rubbish" {
				if len(got) != 1 || !strings.HasPrefix(got[0], "0 bytes at -1, ") {
					t.Errorf("got %q", got)
				}
				return
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			if got := pages(&cut, strings.Split(tc.stream, "")...); !slices.Equal(got, tc.want) {
				t.Errorf("in bytes: got  %q\nwant %q", got, tc.want)
			}
			if n := whole.Rest(); n != tc.rest {
				t.Errorf("%d bytes are left, want %d", n, tc.rest)
			}
		})
	}
}
