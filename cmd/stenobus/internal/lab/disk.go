package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

const (
	diskNode = busNodes - 1 // whose streams live on a small filesystem
	diskSize = 2 << 30
	fillStep = 1 << 20
)

// disk is a small filesystem below one node's streams, to be filled.
type disk struct {
	dir     string
	mounted bool
}

// mountDisk makes a small filesystem at dir. It takes root and a Linux that lets it.
func mountDisk(dir string) (*disk, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("small filesystem: %w", err)
	}
	if err := mountTmpfs(dir, diskSize); err != nil {
		return nil, fmt.Errorf("small filesystem at %s (%s needs it): %w", dir, DiskFull, err)
	}
	return &disk{dir: dir, mounted: true}, nil
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// fill takes all the room that is left.
func (d *disk) fill() error {
	f, err := os.Create(d.filler())
	if err != nil {
		return fmt.Errorf("fill the disk: %w", err)
	}
	b := make([]byte, fillStep)
	for len(b) > 0 {
		if _, err = f.Write(b); err == nil {
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, io.ErrShortWrite) {
			return errors.Join(fmt.Errorf("fill the disk: %w", err), f.Close())
		}
		b = b[:len(b)/2]
	}
	return f.Close()
}

func (d *disk) free() error { return os.Remove(d.filler()) }

// unmount may be called twice, and on none.
func (d *disk) unmount() error {
	if d == nil || !d.mounted {
		return nil
	}
	d.mounted = false
	return unmountTmpfs(d.dir)
}
