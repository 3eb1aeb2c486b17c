//go:build !linux

package lab

import "errors"

func mountTmpfs(string, int) error { return errors.ErrUnsupported }

func unmountTmpfs(string) error { return nil }
