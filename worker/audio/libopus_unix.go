//go:build darwin || linux

package audio

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
)

// libopus decodes by the system's library, opened at run time, so the program needs no
// C compiler. The decoder's state lies in Go memory: there is nothing to free.
type libopus struct {
	state      []uint64 // words, because C wants it aligned
	rate       int
	initialise uintptr // opus_decoder_init
	opusDecode uintptr // opus_decode
}

// newLibopus opens the library again for each decoder. Once it is loaded that only
// counts a reference, and so there is no state of the package to guard.
func newLibopus(rate int) (codec, error) {
	library, err := purego.Dlopen("libopus.so.0", purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	size, err1 := purego.Dlsym(library, "opus_decoder_get_size")
	initialise, err2 := purego.Dlsym(library, "opus_decoder_init")
	decode, err3 := purego.Dlsym(library, "opus_decode")
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	const mono, wordBytes = 1, 8
	bytes, _, _ := purego.SyscallN(size, mono)
	l := &libopus{
		state: make([]uint64, (int32(bytes)+wordBytes-1)/wordBytes),
		rate:  rate, initialise: initialise, opusDecode: decode,
	}
	return l, l.reset()
}

func (l *libopus) decode(packet []byte, pcm []int16) (int, error) {
	n, err := l.call(packet, pcm, false)
	if err != nil {
		return 0, fmt.Errorf("opus packet of %d bytes: %w", len(packet), err)
	}
	return n, nil
}

// conceal uses what next may say of its predecessor (in-band error correction), and
// for the rest, or without it, extrapolates.
func (l *libopus) conceal(next []byte, pcm []int16) error {
	_, err := l.call(next, pcm, true)
	return err
}

func (l *libopus) call(packet []byte, pcm []int16, lost bool) (int, error) {
	var fec uintptr
	if lost {
		fec = 1
	}
	r, _, _ := purego.SyscallN(l.opusDecode,
		uintptr(unsafe.Pointer(unsafe.SliceData(l.state))),
		uintptr(unsafe.Pointer(unsafe.SliceData(packet))), uintptr(len(packet)),
		uintptr(unsafe.Pointer(unsafe.SliceData(pcm))), uintptr(len(pcm)), fec)
	if n := int32(r); n >= 0 {
		return int(n), nil
	}
	return 0, opusError(int32(r))
}

func (l *libopus) reset() error {
	const mono = 1
	r, _, _ := purego.SyscallN(l.initialise,
		uintptr(unsafe.Pointer(unsafe.SliceData(l.state))), uintptr(l.rate), mono)
	if int32(r) != 0 {
		return fmt.Errorf("opus decoder to %d samples/s: %w", l.rate, opusError(int32(r)))
	}
	return nil
}

// opusError puts the library's error codes into words.
func opusError(code int32) error {
	switch code {
	case -1:
		return errors.New("bad argument")
	case -2:
		return errors.New("too long")
	case -4:
		return errors.New("damaged, or no Opus")
	default:
		return fmt.Errorf("libopus error %d", code)
	}
}
