//go:build linux && (amd64 || arm64)

package spool

import (
	"os"
	"syscall"
	"unsafe"
)

// renameNoReplace moves a file in one step, by the handles of the directories, and never onto another.
func renameNoReplace(from *osDir, name string, to *osDir, toName string) error {
	var moved error
	err := onFile(from.self, "", func(fromFD int) error {
		moved = onFile(to.self, "renameat2", func(toFD int) error { return renameat2(fromFD, name, toFD, toName) })
		return nil
	})
	if err == nil {
		err = moved
	}
	switch {
	case refused(err):
		return renameInSteps(from, name, to, toName) // a file system, a kernel or a sandbox without the call
	case err != nil:
		return &os.LinkError{Op: "rename", Old: name, New: toName, Err: err}
	}
	return nil
}

func renameat2(from int, name string, to int, toName string) error {
	const noReplace = 1 // RENAME_NOREPLACE
	p, err := syscall.BytePtrFromString(name)
	if err != nil {
		return err
	}
	q, err := syscall.BytePtrFromString(toName)
	if err != nil {
		return err
	}
	_, _, errno := syscall.Syscall6(sysRenameat2, uintptr(from), uintptr(unsafe.Pointer(p)), uintptr(to), uintptr(unsafe.Pointer(q)), noReplace, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// openAt opens by the handle of the directory, which costs a new file less than os.Root's way. Names have no separator
// (checkName), and a link is not followed.
func (d *osDir) openAt(name string, flag int, perm os.FileMode) (*os.File, error) {
	return d.openAs(name, name, flag, perm)
}

// openSelf opens the directory once more, for a listing: one that os.Root opened looks at each entry by itself.
func (d *osDir) openSelf() (*os.File, error) {
	return d.openAs(".", d.path, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
}

func (d *osDir) openAs(name, shown string, flag int, perm os.FileMode) (*os.File, error) {
	var fd int
	err := onFile(d.self, "openat", func(dir int) (err error) { // in it no Close gives the number to another directory
		fd, err = syscall.Openat(dir, name, flag|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, uint32(perm))
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: shown, Err: err}
	}
	return os.NewFile(uintptr(fd), shown), nil
}

// unchanged is Verify for when all is well, which is asked several times a mail.
func (d *osDir) unchanged() bool {
	was, ok := d.info.Sys().(*syscall.Stat_t)
	var st syscall.Stat_t
	return ok && syscall.Lstat(d.path, &st) == nil && st.Dev == was.Dev && st.Ino == was.Ino && st.Uid == was.Uid && st.Mode == was.Mode
}

func fileRange(f *os.File, flags int) error {
	return onFile(f, "sync_file_range", func(fd int) error { return syscall.SyncFileRange(fd, 0, 0, flags) })
}

// startSync begins writing the file's bytes to the disk.
func (f *osFile) startSync() error { return fileRange(f.File, 2) } // SYNC_FILE_RANGE_WRITE

// awaitSync waits for what startSync began and tells what became of it. The bytes may still be in the disk's own memory.
func (f *osFile) awaitSync() error { return fileRange(f.File, 4) } // SYNC_FILE_RANGE_WAIT_AFTER
