//go:build !darwin && !linux

package pocketsphinx

import (
	"errors"
	"runtime"
)

const libraryName = "libpocketsphinx"

func dlopen(string) (uintptr, error) {
	return 0, errors.New("this engine is not available on " + runtime.GOOS)
}

func dlsym(uintptr, string) (uintptr, error) { return 0, errors.ErrUnsupported }
