package audio

import (
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		format Format
		want   []string // in the error; none: no error
	}{
		"opus":               {Format{Opus, 48000, 2}, nil},
		"opus, all unknown":  {Format{Opus, 0, 0}, nil},
		"ogg":                {Format{OggOpus, 44100, 1}, nil},
		"l16 least":          {Format{L16, 1000, 1}, nil},
		"l16 most":           {Format{L16, 384000, 8}, nil},
		"opus of 3":          {Format{Opus, 48000, 3}, []string{"channels is 3", "1 and 2"}},
		"ogg of -1":          {Format{OggOpus, 48000, -1}, []string{"channels is -1", "ogg-opus"}},
		"l16 slow":           {Format{L16, 999, 1}, []string{"sample rate is 999", "1000 to 384000"}},
		"l16 fast, no voice": {Format{L16, 384001, 0}, []string{"sample rate is 384001", "channels is 0", "1 to 8"}},
		"l16 of 9":           {Format{L16, 8000, 9}, []string{"channels is 9"}},
		"mulaw of 9":         {Format{MuLaw, 8000, 9}, []string{"channels is 9, allowed with mulaw"}},
		"alaw slow":          {Format{ALaw, 800, 1}, []string{"sample rate is 800, allowed with alaw"}},
		"mp3":                {Format{"mp3", 48000, 2}, []string{`encoding is "mp3"`, "opus, ogg-opus, l16, mulaw and alaw"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewDecoder(c.format, 16000)
			if (err != nil) != (c.want != nil) {
				t.Fatalf("error %v", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
		})
	}
	for _, rate := range []int{0, 7999, 48001} {
		if _, err := NewDecoder(Format{L16, 8000, 1}, rate); err == nil {
			t.Errorf("output rate %d is accepted", rate)
		}
	}
}
