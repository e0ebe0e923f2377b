package spool

import (
	"errors"
	"syscall"
)

// A together is a Dir that can make many of its files durable in one go, for less than a sync each.
type together interface {
	// syncTogether returns an error for each file, nil for one that is durable; or false, and has done nothing that counts.
	// The first file was opened before all others.
	syncTogether(files []File) ([]error, bool)
}

// An earlySyncer is a File that can begin writing to the disk without waiting. A sync right behind it then has less to
// do, and on a journalling file system many share one commit.
type earlySyncer interface{ startSync() error }

// refused reports whether it was the call and not the disk that failed: a kernel or a sandbox without it.
func refused(err error) bool {
	return errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) ||
		errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOPNOTSUPP)
}
