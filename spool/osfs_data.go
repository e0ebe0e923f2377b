//go:build linux

package spool

import (
	"errors"
	"os"
	"syscall"
)

// syncData is fdatasync(2): the length is made durable if it has changed, the times are not.
func syncData(f *os.File) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = c.Control(func(fd uintptr) {
		for {
			if serr = syscall.Fdatasync(int(fd)); !errors.Is(serr, syscall.EINTR) {
				return
			}
		}
	})
	return errors.Join(err, os.NewSyscallError("fdatasync", serr))
}
