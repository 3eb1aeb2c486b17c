package samples_test

import (
	"bytes"
	"testing"

	"stenobus/cmd/stenobus/samples"
)

func TestAll(t *testing.T) {
	t.Parallel()
	all := samples.All()
	total, kinds := 0, map[string]int{}
	for _, s := range all {
		total += len(s.Audio)
		switch {
		case bytes.HasPrefix(s.Audio, []byte("OggS")):
			kinds["ogg"]++
		case bytes.HasPrefix(s.Audio, []byte("RIFF")):
			kinds["wav"]++
		default:
			t.Errorf("%s is neither Ogg nor WAV", s.Name)
		}
		if len(s.Text) < 20 || s.Name == "" {
			t.Errorf("sample %q says %q", s.Name, s.Text)
		}
	}
	if kinds["ogg"] < 3 || kinds["wav"] < 1 {
		t.Errorf("kinds %v, want at least 3 ogg and 1 wav", kinds)
	}
	if total > 300_000 {
		t.Errorf("the samples have %d bytes, which makes the program larger than they are worth", total)
	}
}
