// Package clip reads audio files as the pieces in which the client protocol carries
// them: Ogg-Opus as its bare Opus packets, WAV and raw PCM as short runs of samples.
package clip

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Accepted says what can be read, for error messages and help.
const Accepted = "Ogg-Opus, WAV, and raw s16le mono with --pcm-rate"

// pieceLength is how much PCM goes into one chunk.
const pieceLength = 60 * time.Millisecond

// ErrFormat is wrapped where a file is none of the accepted kinds.
var ErrFormat = errors.New("not an audio file that can be sent; accepted are " + Accepted)

// Format is what a start event says of a source.
type Format struct {
	Encoding   string
	SampleRate int
	Channels   int
}

// Chunk is the content of one media event.
type Chunk struct {
	Data       []byte
	At, Length time.Duration // on the clip's clock
}

// Clip is an opened audio file. It is read by one goroutine.
type Clip struct {
	Name   string // of the source: the file's name, unless told otherwise
	Format Format
	next   func() (Chunk, error)
	close  func() error
}

// Next returns the next chunk, io.EOF after the last.
func (c *Clip) Next() (Chunk, error) {
	chunk, err := c.next()
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read %s: %w", c.Name, err)
	}
	return chunk, err
}

// Close closes the file.
func (c *Clip) Close() error { return c.close() }

// Open opens a file and reads its header. A pcmRate above 0 says that files which are
// neither Ogg nor WAV are raw samples at that rate.
func Open(path string, pcmRate int) (*Clip, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	c, err := Read(baseName(path), f, pcmRate)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	c.close = f.Close
	return c, nil
}

// Read is Open for what is open already. Closing the clip leaves r alone.
func Read(name string, r io.Reader, pcmRate int) (*Clip, error) {
	c := &Clip{Name: name, close: func() error { return nil }}
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case string(magic) == "OggS":
		err = c.readOgg(b)
	case string(magic) == "RIFF":
		err = c.readWAV(b)
	case len(magic) == 0:
		err = errors.New("the file is empty")
	case pcmRate > 0:
		c.readPCM(b, pcmRate)
		err = nil
	default:
		err = ErrFormat
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// readPCM cuts raw samples into pieces.
func (c *Clip) readPCM(r io.Reader, rate int) {
	c.Format = Format{Encoding: "l16", SampleRate: rate, Channels: 1}
	size := 2 * int(int64(rate)*int64(pieceLength)/int64(time.Second))
	var samples int64
	c.next = func() (Chunk, error) {
		data := make([]byte, max(size, 2))
		n, err := io.ReadFull(r, data)
		n -= n % 2 // half a sample at the end is no sample
		if n == 0 {
			if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			return Chunk{}, err
		}
		at := duration(samples, rate)
		samples += int64(n / 2)
		return Chunk{Data: data[:n], At: at, Length: duration(samples, rate) - at}, nil
	}
}

func duration(samples int64, rate int) time.Duration {
	return time.Duration(samples * int64(time.Second) / int64(rate))
}

// nameLimit keeps names, in characters, well below what the protocol allows of a tag.
const nameLimit = 60

// baseName is a file's name without its folder and its ending.
func baseName(path string) string {
	name := strings.ToValidUTF8(filepath.Base(path), "_")
	if short := strings.TrimSuffix(name, filepath.Ext(name)); short != "" {
		name = short
	}
	if runes := []rune(name); len(runes) > nameLimit {
		name = string(runes[:nameLimit])
	}
	return name
}

// Distinct gives clips with the same name a number: every source of a session has a
// name of its own.
func Distinct(clips []*Clip) {
	seen := make(map[string]bool)
	for _, c := range clips {
		name := c.Name
		for n := 2; seen[c.Name]; n++ {
			c.Name = fmt.Sprintf("%s-%d", name, n)
		}
		seen[c.Name] = true
	}
}
