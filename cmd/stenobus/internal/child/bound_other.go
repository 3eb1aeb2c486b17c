//go:build !linux

package child

import "syscall"

// bound is for Linux, which alone has what is measured here.
func bound() *syscall.SysProcAttr { return nil }
