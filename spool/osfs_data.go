//go:build linux

package spool

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// syncData is fdatasync(2): the length is made durable if it has changed, the times are not.
func syncData(f *os.File) error { return onFile(f, "fdatasync", syscall.Fdatasync) }

// onFile calls what takes a descriptor, again when a signal cut it off.
func onFile(f *os.File, op string, call func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var cerr error
	if c.Control(func(fd uintptr) {
		for {
			if cerr = call(int(fd)); !errors.Is(cerr, syscall.EINTR) {
				return
			}
		}
	}) != nil {
		return fs.ErrClosed
	}
	return os.NewSyscallError(op, cerr)
}
