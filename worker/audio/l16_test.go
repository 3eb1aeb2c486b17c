package audio

import (
	"math"
	"slices"
	"testing"
)

func TestL16(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		channels int
		data     []byte
		want     []int16
		err      string
	}{
		"mono":         {1, bytesOf(1, -2, math.MinInt16, math.MaxInt16), []int16{1, -2, math.MinInt16, math.MaxInt16}, ""},
		"stereo":       {2, bytesOf(100, 200, -32768, -32768, 5, -5), []int16{150, -32768, 0}, ""},
		"eight":        {8, bytesOf(8, 8, 8, 8, 0, 0, 0, 0), []int16{4}, ""},
		"empty":        {1, nil, nil, ""},
		"odd":          {1, []byte{1, 2, 3}, nil, "l16 frame of 3 bytes: samples are 2 bytes"},
		"odd stereo":   {2, []byte{1, 2, 3, 4, 5}, nil, "l16 frame of 5 bytes: samples are 2 bytes"},
		"half a pair":  {2, bytesOf(1, 2, 3), nil, "l16 frame of 6 bytes: samples of 2 channels are 4 bytes"},
		"single byte":  {1, []byte{1}, nil, "l16 frame of 1 bytes: samples are 2 bytes"},
		"a lone eight": {8, bytesOf(1), nil, "l16 frame of 2 bytes: samples of 8 channels are 16 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := mustDecoder(t, Format{L16, 16000, c.channels}, 16000, nil)
			defer d.Close()
			got, err := d.Decode(7, -1, 0, c.data)
			if err == nil && c.err != "" || err != nil && err.Error() != c.err {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if !slices.Equal(got.PCM, c.want) || got.Through != 7 || got.Concealed != 0 {
				t.Errorf("%+v, want %v through 7", got, c.want)
			}
			if got, err := d.Decode(8, -1, 0, make([]byte, 16)); err != nil || len(got.PCM) != 8/c.channels {
				t.Errorf("afterwards %d samples, error %v", len(got.PCM), err)
			}
		})
	}
}
