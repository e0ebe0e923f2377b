package spool

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

var procLockFileEx = syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")

const (
	lockfileFailImmediately = 1
	lockfileExclusiveLock   = 2
	errorLockViolation      = syscall.Errno(33)
	errorIOPending          = syscall.Errno(997)
)

// tryLock locks one byte far behind the end of the file: locks are mandatory here and must not hinder reading.
func tryLock(f *os.File) (bool, error) {
	c, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var lockErr error
	err = c.Control(func(fd uintptr) {
		ov := syscall.Overlapped{Offset: 0xfffffffe, OffsetHigh: 0x7fffffff}
		r, _, e := procLockFileEx.Call(fd, lockfileExclusiveLock|lockfileFailImmediately, 0, 1, 0, uintptr(unsafe.Pointer(&ov)))
		if r == 0 {
			lockErr = e
		}
	})
	switch {
	case err != nil:
		return false, err
	case errors.Is(lockErr, errorLockViolation), errors.Is(lockErr, errorIOPending):
		return false, nil
	case lockErr != nil:
		return false, lockErr
	}
	return true, nil
}
