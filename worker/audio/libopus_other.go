//go:build !darwin && !linux

package audio

import "errors"

func newLibopus(int) (codec, error) { return nil, errors.ErrUnsupported }
