package lab

import (
	"strconv"
	"syscall"
)

func mountTmpfs(dir string, size int) error {
	return syscall.Mount("stenobus-lab", dir, "tmpfs", 0, "mode=0700,size="+strconv.Itoa(size))
}

func unmountTmpfs(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }
