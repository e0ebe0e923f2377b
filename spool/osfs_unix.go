//go:build unix

package spool

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openNonblock keeps the opening of a pipe that was put at a name a moment ago from blocking.
const openNonblock = syscall.O_NONBLOCK

func checkOwner(fi fs.FileInfo) error {
	if fi.Mode().Perm()&0o022 != 0 {
		return ErrNotPrivate
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return ErrNotOwner
	}
	return nil
}

func isCrossDevice(err error) bool { return errors.Is(err, syscall.EXDEV) }

func syncDir(f *os.File) error { return f.Sync() }
