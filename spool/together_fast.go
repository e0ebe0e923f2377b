//go:build linux && (amd64 || arm64)

package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
)

const (
	// fewFiles is how many are better synced one by one.
	fewFiles = 8
	// othersDirty is how much of other programs' may wait to be written, in bytes. A sync of the whole file system would
	// wait for all of it.
	othersDirty = 64 << 20
)

// syncTogether writes the files' bytes, each with a look at what became of it, and then has one syncfs(2) write what the
// file system knows of all of them, where fsync would do that file by file. It is for the file systems on which
// it was cut off and looked at, ext4 with and without a journal and XFS, and for kernels whose syncfs tells of write errors.
func (d *osDir) syncTogether(files []File) ([]error, bool) {
	if len(files) < fewFiles || !syncfsTells() || !d.local() {
		return nil, false
	}
	errs := make([]error, len(files))
	for i, f := range files {
		if errs[i] = f.(*osFile).startSync(); refused(errs[i]) {
			return nil, false
		}
	}
	sound := true
	for i, f := range files {
		if err := f.(*osFile).awaitSync(); errs[i] == nil && !refused(err) {
			errs[i] = err // told once: Sync might not tell it again
		}
		sound = sound && errs[i] == nil
	}
	each := func() ([]error, bool) {
		sideBySide(len(files), func(i int) {
			if errs[i] == nil {
				errs[i] = files[i].Sync()
			}
		})
		return errs, true
	}
	// A file that failed would fail all: the file system knows of it, too.
	if n, err := d.dirty(); !sound || err != nil || n > othersDirty {
		return each()
	}
	// The kernel tells a descriptor of all write errors on the file system since it was opened, and of one before that nobody
	// was told of: so it must be the oldest. That an error of another program's file fails the group is the price.
	first := files[0].(*osFile)
	err := onFile(first.File, "syncfs", d.syncfs)
	if refused(err) {
		return each()
	}
	if err == nil {
		// Without a journal, ext4 writes its inodes last and leaves them in the disk's own memory; any fdatasync empties that.
		err = first.Sync()
	}
	for i := range errs {
		errs[i] = err
	}
	return errs, true
}

func syncfs(fd int) error {
	if _, _, errno := syscall.Syscall(sysSyncfs, uintptr(fd), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// syncfsTells reports whether this kernel's syncfs returns write errors.
var syncfsTells = sync.OnceValue(func() bool {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return false
	}
	var release []byte
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		release = append(release, byte(c))
	}
	return tellsSince(string(release))
})

// tellsSince reports whether the syncfs of a Linux release returns all errors: of the files from 5.8 on, of the file system
// itself from 5.17 on.
func tellsSince(release string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n < 2 {
		return false
	}
	return major > 5 || major == 5 && minor >= 17
}

// local reports whether the directory is on a file system that syncTogether knows.
func (d *osDir) local() bool {
	d.kind.Do(func() {
		const ext4, xfs = 0xEF53, 0x58465342
		var st syscall.Statfs_t
		if onFile(d.self, "fstatfs", func(fd int) error { return syscall.Fstatfs(fd, &st) }) == nil {
			d.known = st.Type == ext4 || st.Type == xfs
		}
	})
	return d.known
}

// dirtyBytes is how much is waiting to be written on this machine.
func dirtyBytes() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	return dirtyOf(f)
}

func dirtyOf(meminfo io.Reader) (int64, error) {
	var sum int64
	found := 0
	s := bufio.NewScanner(meminfo)
	for s.Scan() {
		var kb int64
		for _, name := range []string{"Dirty: %d kB", "Writeback: %d kB"} {
			if n, _ := fmt.Sscanf(s.Text(), name, &kb); n == 1 {
				sum += kb << 10
				found++
			}
		}
	}
	if s.Err() == nil && found < 2 {
		return 0, errors.New("meminfo does not tell what is dirty")
	}
	return sum, s.Err()
}
