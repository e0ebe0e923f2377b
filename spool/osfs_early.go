//go:build linux && (amd64 || arm64)

package spool

import "syscall"

// startSync begins writing the file's bytes to the disk. It is a hint: Sync tells whether they got there.
func (f *osFile) startSync() {
	const write = 2 // SYNC_FILE_RANGE_WRITE
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = c.Control(func(fd uintptr) { _ = syscall.SyncFileRange(int(fd), 0, 0, write) })
}
