package main

import (
	"os"
	"syscall"
	"unsafe"
)

// spread asks ext4 to put each directory made in dir into a block group of its own (chattr +T). Where many files were
// removed within the last minutes, as every test run does in the temporary directory, making a file takes up to a
// millisecond, because ext4 steps over all inodes that were freed a short time ago; that would be all that is measured.
// Other file systems refuse, which does no harm.
func spread(dir string) {
	const (
		getFlags = 0x80086601 // FS_IOC_GETFLAGS
		setFlags = 0x40086602 // FS_IOC_SETFLAGS
		topDir   = 0x00020000 // FS_TOPDIR_FL
	)
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	var flags int32
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), getFlags, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return
	}
	flags |= topDir
	_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), setFlags, uintptr(unsafe.Pointer(&flags)))
}

// calm has what is waiting to be written, of the round before and of others, out of the way.
func calm() { syscall.Sync() }
