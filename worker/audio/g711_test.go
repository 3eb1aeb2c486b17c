package audio

import (
	"slices"
	"testing"
)

// The values are those of the tables of ITU-T G.711 (11/88), in 16 bits.
func TestG711(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		encoding string
		channels int
		data     []byte
		want     []int16
		err      string
	}{
		"mulaw":        {MuLaw, 1, []byte{0xff, 0x7f, 0x80, 0x00, 0xf0, 0x70}, []int16{0, 0, 32124, -32124, 120, -120}, ""},
		"alaw":         {ALaw, 1, []byte{0xd5, 0x55, 0xaa, 0x2a, 0xd4, 0x54}, []int16{8, -8, 32256, -32256, 24, -24}, ""},
		"mulaw stereo": {MuLaw, 2, []byte{0x80, 0x00, 0x80, 0x80, 0xf0, 0xff}, []int16{0, 32124, 60}, ""},
		"alaw stereo":  {ALaw, 2, []byte{0xaa, 0x2a, 0xd4, 0xd5}, []int16{0, 16}, ""},
		"empty":        {MuLaw, 1, nil, nil, ""},
		"half a pair":  {ALaw, 2, []byte{1, 2, 3}, nil, "alaw frame of 3 bytes: samples of 2 channels are 2 bytes"},
		"a lone eight": {MuLaw, 8, []byte{1}, nil, "mulaw frame of 1 bytes: samples of 8 channels are 8 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := mustDecoder(t, Format{c.encoding, 8000, c.channels}, 8000, nil)
			defer d.Close()
			got, err := d.Decode(7, -1, 0, c.data)
			if err == nil && c.err != "" || err != nil && err.Error() != c.err {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if !slices.Equal(got.PCM, c.want) || got.Through != 7 || got.Concealed != 0 {
				t.Errorf("%+v, want %v through 7", got, c.want)
			}
			if got, err := d.Decode(8, -1, 0, make([]byte, 16)); err != nil || len(got.PCM) != 16/c.channels {
				t.Errorf("afterwards %d samples, error %v", len(got.PCM), err)
			}
		})
	}
}

// What engines ask for is not what telephony has.
func TestG711Resampled(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{MuLaw, ALaw} {
		d := mustDecoder(t, Format{encoding, 8000, 1}, 16000, nil)
		samples := 0
		for n := range uint64(50) {
			got, err := d.Decode(n+1, -1, 0, make([]byte, 160))
			if err != nil {
				t.Fatal(err)
			}
			samples += len(got.PCM)
		}
		if samples < 15800 || samples > 16000 {
			t.Errorf("%s: a second became %d samples", encoding, samples)
		}
	}
}
