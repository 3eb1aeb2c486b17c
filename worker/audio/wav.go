package audio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Format tags of WAV.
const (
	wavPCM        = 1
	wavExtensible = 0xfffe // what the format is stands further on
)

// ReadWAV reads the header of a WAV file with 16-bit PCM, and returns its format, which
// is l16, and a reader of its samples. Errors name the field that is wrong.
func ReadWAV(r io.Reader) (Format, io.Reader, error) {
	var riff [12]byte
	if _, err := io.ReadFull(r, riff[:]); err != nil || string(riff[:4]) != "RIFF" || string(riff[8:]) != "WAVE" {
		return Format{}, nil, errors.New("not a WAV file: it does not begin with RIFF and WAVE")
	}
	var f Format
	for {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return Format{}, nil, fmt.Errorf("WAV file: data chunk: %w", unexpected(err))
		}
		size := int64(binary.LittleEndian.Uint32(head[4:]))
		switch name := string(head[:4]); {
		case name == "data" && f.Encoding == "":
			return Format{}, nil, errors.New("WAV file: data chunk comes before the fmt chunk")
		case name == "data":
			return f, wavData(r, size), nil
		case name == "fmt ":
			var err error
			if f, err = wavFormat(r, size); err != nil {
				return Format{}, nil, fmt.Errorf("WAV file: %w", err)
			}
		default:
			if _, err := io.CopyN(io.Discard, r, size+size%2); err != nil {
				return Format{}, nil, fmt.Errorf("WAV file: %q chunk: %w", name, unexpected(err))
			}
		}
	}
}

// wavData reads size bytes, or all there are where the writer did not know the size.
func wavData(r io.Reader, size int64) io.Reader {
	if size == 0 || size == math.MaxUint32 {
		return r
	}
	return io.LimitReader(r, size)
}

func wavFormat(r io.Reader, size int64) (Format, error) {
	const plain, extensible, most = 16, 40, 1 << 10
	if size < plain || size > most {
		return Format{}, fmt.Errorf("fmt chunk has %d bytes, allowed are %d to %d", size, plain, most)
	}
	b := make([]byte, size+size%2)
	if _, err := io.ReadFull(r, b); err != nil {
		return Format{}, fmt.Errorf("fmt chunk: %w", unexpected(err))
	}
	tag := binary.LittleEndian.Uint16(b)
	if tag == wavExtensible && size >= extensible {
		tag = binary.LittleEndian.Uint16(b[24:])
	}
	if tag != wavPCM {
		return Format{}, fmt.Errorf("format tag is %d, allowed is %d (PCM)", tag, wavPCM)
	}
	if bits := binary.LittleEndian.Uint16(b[14:]); bits != 8*sampleBytes {
		return Format{}, fmt.Errorf("bits per sample is %d, allowed is %d", bits, 8*sampleBytes)
	}
	f := Format{
		Encoding:   L16,
		SampleRate: int(min(binary.LittleEndian.Uint32(b[4:]), math.MaxInt32)),
		Channels:   int(binary.LittleEndian.Uint16(b[2:])),
	}
	return f, f.Validate()
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
