package clip_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stenobus/cmd/stenobus/internal/clip"
	"stenobus/cmd/stenobus/samples"
)

func TestRawPCM(t *testing.T) {
	t.Parallel()
	sound := bytes.Repeat([]byte{1, 2}, 8000/2) // half a second
	c, err := clip.Read("raw", bytes.NewReader(append(sound, 3)), 8000)
	if err != nil {
		t.Fatal(err)
	}
	if want := (clip.Format{Encoding: "l16", SampleRate: 8000, Channels: 1}); c.Format != want {
		t.Errorf("format %+v, want %+v", c.Format, want)
	}
	if end := checkChunks(t, c, sound); end != 500*time.Millisecond {
		t.Errorf("clip lasts %v, want half a second", end)
	}
}

func TestShippedSamples(t *testing.T) {
	t.Parallel()
	kinds := make(map[string]int)
	for _, s := range samples.All() {
		t.Run(s.Name, func(t *testing.T) {
			c, err := clip.Read(s.Name, bytes.NewReader(s.Audio), 0)
			if err != nil {
				t.Fatal(err)
			}
			kinds[c.Format.Encoding]++
			if end := checkChunks(t, c, nil); end < 2*time.Second || end > time.Minute {
				t.Errorf("sample lasts %v", end)
			}
		})
	}
	if kinds["opus"] == 0 || kinds["l16"] == 0 {
		t.Errorf("kinds %v, want opus and l16", kinds)
	}
}

func TestStereoIsMixed(t *testing.T) {
	t.Parallel()
	header := []byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x02\x00" +
		"\x40\x1f\x00\x00\x00\x7d\x00\x00\x04\x00\x10\x00data\x0c\x00\x00\x00")
	pairs := []byte{100, 0, 200, 0, 0xff, 0x7f, 0xff, 0x7f, 0, 0x80, 0, 0x80}
	c, err := clip.Read("stereo", bytes.NewReader(append(header, pairs...)), 0)
	if err != nil {
		t.Fatal(err)
	}
	if want := (clip.Format{Encoding: "l16", SampleRate: 8000, Channels: 1}); c.Format != want {
		t.Errorf("format %+v, want %+v", c.Format, want)
	}
	chunk, err := c.Next()
	if want := []byte{150, 0, 0xff, 0x7f, 0, 0x80}; err != nil || !bytes.Equal(chunk.Data, want) {
		t.Errorf("samples %v, %v, want %v", chunk.Data, err, want)
	}
	if _, err := c.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last: %v, want EOF", err)
	}
}

// checkChunks reads a clip to its end: its chunks follow each other without a gap.
func checkChunks(t *testing.T, c *clip.Clip, want []byte) time.Duration {
	t.Helper()
	var got []byte
	var end time.Duration
	for {
		chunk, err := c.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if chunk.At != end || chunk.Length <= 0 || chunk.Length > 120*time.Millisecond {
			t.Fatalf("chunk at %v of %v, want at %v", chunk.At, chunk.Length, end)
		}
		end += chunk.Length
		got = append(got, chunk.Data...)
	}
	if want != nil && !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want the %d that were put in", len(got), len(want))
	}
	return end
}

func TestWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct{ path, want string }{
		"missing":       {filepath.Join(dir, "nowhere.ogg"), "nowhere.ogg"},
		"a folder":      {dir, dir},
		"another kind":  {write("song.mp3", "ID3 and more"), "accepted are " + clip.Accepted},
		"empty":         {write("empty.wav", ""), "empty.wav: the file is empty"},
		"ogg in name":   {write("cut.ogg", "OggS"), "cut.ogg"},
		"wav in name":   {write("cut.wav", "RIFF"), "cut.wav"},
		"three letters": {write("x", "abc"), "accepted are"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := clip.Open(tc.path, 0)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("open: %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var clips []*clip.Clip
	for _, name := range []string{"a.raw", "sub/a.raw", "b.c.raw", ".raw", "other/a.pcm"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 320), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := clip.Open(path, 16000)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clips = append(clips, c)
	}
	clip.Distinct(clips)
	var got []string
	for _, c := range clips {
		got = append(got, c.Name)
	}
	if want := "a a-2 b.c .raw a-3"; strings.Join(got, " ") != want {
		t.Errorf("names %q, want %q", got, want)
	}
}
