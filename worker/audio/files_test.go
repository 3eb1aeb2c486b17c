package audio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestOggReader(t *testing.T) {
	t.Parallel()
	file := readSample(t, "pause.ogg")
	r, err := NewOggReader(iotest.OneByteReader(bytes.NewReader(file)))
	if err != nil {
		t.Fatal(err)
	}
	if r.Channels() != 1 {
		t.Errorf("%d channels, want 1", r.Channels())
	}
	var length time.Duration
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(p.Data) == 0 {
			t.Fatalf("packet %x, error %v", p.Data, err)
		}
		length += p.Duration
	}
	if length < 9*time.Second || length > 10*time.Second {
		t.Errorf("the file lasts %v", length)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestOggReaderRefuses(t *testing.T) {
	t.Parallel()
	file := readSample(t, "thanks.ogg")
	vorbis := newMuxer(1)
	vorbis.packet(flagFirst, 255, []byte("\x01vorbis"))
	damaged := bytes.Clone(file)
	damaged[len(damaged)/2] ^= 1
	for name, c := range map[string]struct {
		file io.Reader
		want string
	}{
		"empty":    {strings.NewReader(""), "not an Ogg-Opus file"},
		"text":     {strings.NewReader(strings.Repeat("text", 10)), "not an Ogg-Opus file"},
		"vorbis":   {&vorbis.Buffer, "does not hold Opus"},
		"middle":   {bytes.NewReader(file[100:]), "not an Ogg-Opus file"},
		"cut":      {bytes.NewReader(file[:len(file)-10]), "unexpected EOF in the middle of a page"},
		"damaged":  {bytes.NewReader(damaged), "damaged Ogg page"},
		"unwilled": {iotest.ErrReader(errors.New("the disk is away")), "the disk is away"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := NewOggReader(c.file)
			for err == nil {
				_, err = r.Next()
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q", err, c.want)
			}
		})
	}
}

// wav builds a WAV file: chunks before fmt, the fmt chunk, and the data chunk.
func wav(before string, tag, channels uint16, rate uint32, bits uint16, size uint32, data string) string {
	b := []byte("RIFF\x00\x00\x00\x00WAVE" + before + "fmt \x10\x00\x00\x00")
	b = binary.LittleEndian.AppendUint16(b, tag)
	b = binary.LittleEndian.AppendUint16(b, channels)
	b = binary.LittleEndian.AppendUint32(b, rate)
	b = binary.LittleEndian.AppendUint32(b, rate*uint32(channels)*uint32(bits)/8)
	b = binary.LittleEndian.AppendUint16(b, channels*bits/8)
	b = binary.LittleEndian.AppendUint16(b, bits)
	b = binary.LittleEndian.AppendUint32(append(b, "data"...), size)
	return string(b) + data
}

func TestReadWAV(t *testing.T) {
	t.Parallel()
	extensible := strings.Replace(wav("", 0xfffe, 1, 8000, 16, 2, "ab"), "fmt \x10", "fmt \x28", 1)
	extensible = strings.Replace(extensible, "data", strings.Repeat("\x00", 8)+"\x01\x00"+strings.Repeat("\x00", 14)+"data", 1)
	for name, c := range map[string]struct {
		file, data string
		format     Format
		err        string
	}{
		"plain":       {wav("", 1, 2, 44100, 16, 4, "abcdtail"), "abcd", Format{L16, 44100, 2}, ""},
		"unknown":     {wav("", 1, 1, 8000, 16, math.MaxUint32, "abcdef"), "abcdef", Format{L16, 8000, 1}, ""},
		"unwritten":   {wav("", 1, 1, 8000, 16, 0, "abcdef"), "abcdef", Format{L16, 8000, 1}, ""},
		"more chunks": {wav("LIST\x03\x00\x00\x00abc\x00", 1, 1, 8000, 16, 2, "ab"), "ab", Format{L16, 8000, 1}, ""},
		"extensible":  {extensible, "ab", Format{L16, 8000, 1}, ""},
		"float":       {wav("", 3, 1, 8000, 32, 4, "abcd"), "", Format{}, "format tag is 3, allowed is 1 (PCM)"},
		"24 bits":     {wav("", 1, 1, 8000, 24, 3, "abc"), "", Format{}, "bits per sample is 24, allowed is 16"},
		"no channel":  {wav("", 1, 0, 8000, 16, 4, "abcd"), "", Format{}, "channels is 0"},
		"slow":        {wav("", 1, 1, 10, 16, 4, "abcd"), "", Format{}, "sample rate is 10"},
		"no data":     {wav("", 1, 1, 8000, 16, 0, "")[:36], "", Format{}, "data chunk: unexpected EOF"},
		"data first":  {"RIFF1234WAVEdata\x02\x00\x00\x00ab", "", Format{}, "data chunk comes before the fmt chunk"},
		"tiny fmt":    {"RIFF1234WAVEfmt \x02\x00\x00\x00ab", "", Format{}, "fmt chunk has 2 bytes"},
		"cut fmt":     {"RIFF1234WAVEfmt \x10\x00\x00\x00ab", "", Format{}, "fmt chunk: unexpected EOF"},
		"cut chunk":   {"RIFF1234WAVELIST\x10\x00\x00\x00ab", "", Format{}, `"LIST" chunk: unexpected EOF`},
		"AVI":         {"RIFF1234AVI LIST", "", Format{}, "not a WAV file"},
		"empty":       {"", "", Format{}, "not a WAV file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			format, r, err := ReadWAV(strings.NewReader(c.file))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil || string(data) != c.data || format != c.format {
				t.Errorf("%+v with %q, error %v; want %+v with %q", format, data, err, c.format, c.data)
			}
		})
	}
}
