//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd && !windows

package spool

import (
	"errors"
	"fmt"
	"os"
)

// tryLock refuses: without a lock that dies with its process no mailbox can be polled safely.
func tryLock(*os.File) (bool, error) {
	return false, fmt.Errorf("file locks: %w", errors.ErrUnsupported)
}
