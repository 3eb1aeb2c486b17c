//go:build unix

package busserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockName is the file that says that a directory has a server. It stays when the
// server is gone; what counts is the lock on it, which ends with its process.
const lockName = "stenobus.lock"

type dirLock struct{ file *os.File }

// lockDir keeps a second server from the same files: JetStream itself does not notice.
func lockDir(dir string) (*dirLock, error) {
	abs, err := makeDir(dir)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(abs, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errors.Join(fmt.Errorf("data directory %s is %w by another server", abs, ErrInUse), f.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory %s: %w", abs, err), f.Close())
	}
	return &dirLock{file: f}, nil
}

func (l *dirLock) release() error {
	if l.file == nil { // of a server without a directory
		return nil
	}
	return l.file.Close()
}
