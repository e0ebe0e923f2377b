package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// OS gives the real disk: each directory is an os.Root, so that no name can lead out of it.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) MkdirAll(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return nil // whatever it is, OpenDir says what is wrong with it
	}
	var parents []string // that get a new entry
	for p := filepath.Dir(path); ; p = filepath.Dir(p) {
		parents = append(parents, p)
		if _, err := os.Lstat(p); err == nil || p == filepath.Dir(p) {
			break
		}
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	for _, p := range parents {
		f, err := os.Open(p)
		if err != nil {
			continue // one may make entries where one may not read
		}
		err = syncDir(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (osFS) OpenDir(path string) (Dir, error) {
	before, err := checkDir(path)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	self, err := root.Open(".")
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	d := &osDir{path: path, root: root, self: self, dirty: dirtyBytes, syncfs: syncfs}
	// The path may have been swapped for a link between the check and the opening.
	if d.info, err = self.Stat(); err == nil && !os.SameFile(before, d.info) {
		err = ErrReplaced
	}
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// checkDir refuses what must not be a spool directory, without following a link.
func checkDir(path string) (fs.FileInfo, error) {
	fi, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, err
	case fi.Mode()&fs.ModeSymlink != 0:
		return nil, ErrSymlink
	case !fi.IsDir():
		return nil, ErrNotDirectory
	}
	return fi, checkOwner(fi)
}

func (osFS) Rename(from Dir, name string, to Dir, toName string) error {
	if err := errors.Join(checkName(name), checkName(toName)); err != nil {
		return err
	}
	a, b := from.(*osDir), to.(*osDir)
	if a != b {
		if fi, err := a.root.Lstat(name); err != nil {
			return err
		} else if !fi.Mode().IsRegular() {
			return fmt.Errorf("%s: %w", quoted(name), ErrNotRegular)
		}
	}
	err := renameNoReplace(a, name, b, toName)
	if isCrossDevice(err) {
		return fmt.Errorf("%w (%w)", ErrOtherFileSystem, err)
	}
	return err
}

// renameInSteps is renameNoReplace where the system has no such call.
func renameInSteps(from *osDir, name string, to *osDir, toName string) error {
	if _, err := to.root.Lstat(toName); err == nil {
		return fmt.Errorf("%s: %w", quoted(toName), fs.ErrExist)
	} else if !missing(err) {
		return err
	}
	if from == to {
		return from.root.Rename(name, toName)
	}
	// There is no rename between two os.Roots, so it goes by path, after making sure that the paths still are the
	// directories that were opened and checked.
	if err := from.Verify(); err != nil {
		return err
	}
	if err := to.Verify(); err != nil {
		return err
	}
	return os.Rename(filepath.Join(from.path, name), filepath.Join(to.path, toName))
}

func (osFS) Replace(d Dir, name, toName string) error {
	if err := errors.Join(checkName(name), checkName(toName)); err != nil {
		return err
	}
	return d.(*osDir).root.Rename(name, toName)
}

type osDir struct {
	path  string
	root  *os.Root
	self  *os.File // for Sync and as the proof of identity
	info  fs.FileInfo
	kind  sync.Once
	known bool // the file system is one for syncTogether
	// For syncTogether, and its tests:
	dirty  func() (int64, error)
	syncfs func(fd int) error
	close  sync.Once
	err    error
}

func (d *osDir) Path() string { return d.path }

func (d *osDir) Verify() error {
	if d.unchanged() {
		return nil
	}
	fi, err := checkDir(d.path)
	if err != nil {
		return err
	}
	if !os.SameFile(fi, d.info) {
		return ErrReplaced
	}
	return nil
}

func (d *osDir) Create(name string) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f, err := d.openAt(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f, name: name}, nil
}

func (d *osDir) Open(name string) (File, error) { return d.openExisting(name, os.O_RDONLY) }

func (d *osDir) OpenAppend(name string) (File, error) {
	for range 16 {
		f, err := d.openExisting(name, os.O_RDWR|os.O_APPEND)
		if !missing(err) {
			return f, err
		}
		// O_CREATE without O_EXCL would follow a dangling link planted here.
		of, err := d.openAt(name, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return &osFile{File: of, name: name}, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: comes and goes: %w", quoted(name), fs.ErrExist)
}

// openExisting opens a regular file. The entry is looked at before, so that opening cannot block on a pipe, and after,
// so that a link put there in between is noticed.
func (d *osDir) openExisting(name string, flag int) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if err := d.regular(name); err != nil {
		return nil, err
	}
	of, err := d.openAt(name, flag|openNonblock, 0)
	if errors.Is(err, syscall.ELOOP) {
		err = fmt.Errorf("%s: %w", quoted(name), ErrSymlink)
	}
	if err != nil {
		return nil, err
	}
	if fi, err := of.Stat(); err != nil || !fi.Mode().IsRegular() { // put there since it was looked at
		_ = of.Close()
		return nil, fmt.Errorf("%s: %w", quoted(name), cmpErr(err, ErrNotRegular))
	}
	f := &osFile{File: of, name: name}
	if same, err := d.Same(name, f); err != nil || !same {
		_ = of.Close()
		if err == nil {
			// Removed or replaced meanwhile: look again and say what is there now.
			if err = d.regular(name); err == nil {
				err = fmt.Errorf("%s: %w", quoted(name), ErrReplaced)
			}
		}
		return nil, err
	}
	return f, nil
}

func (d *osDir) regular(name string) error {
	fi, err := d.root.Lstat(name)
	switch {
	case err != nil:
		return err
	case fi.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s: %w", quoted(name), ErrSymlink)
	case !fi.Mode().IsRegular():
		return fmt.Errorf("%s: %w", quoted(name), ErrNotRegular)
	}
	return nil
}

func (d *osDir) Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return d.root.Remove(name)
}

func (d *osDir) Lstat(name string) (fs.FileInfo, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return d.root.Lstat(name)
}

func (d *osDir) Same(name string, f File) (bool, error) {
	of, ok := f.(*osFile)
	if !ok {
		return false, fmt.Errorf("spool: %T is a file of another disk", f)
	}
	if err := checkName(name); err != nil {
		return false, err
	}
	same, err := d.same(name, of.File)
	if missing(err) {
		return false, nil
	}
	return same, err
}

// same reports whether name is the opened file.
func (d *osDir) same(name string, f *os.File) (bool, error) {
	li, err := d.root.Lstat(name)
	if err != nil {
		return false, err
	}
	fi, err := f.Stat()
	return err == nil && os.SameFile(li, fi), err
}

func (d *osDir) List() ([]fs.DirEntry, error) {
	f, err := d.openSelf()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

func (d *osDir) Sync() error { return syncDir(d.self) }

func (d *osDir) Close() error {
	d.close.Do(func() { d.err = errors.Join(d.self.Close(), d.root.Close()) })
	return d.err
}

type osFile struct {
	*os.File
	name string
}

func (f *osFile) Name() string { return f.name }

func (f *osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (f *osFile) Sync() error { return syncData(f.File) }

func (f *osFile) TryLock() (bool, error) { return tryLock(f.File) }

// checkName lets only base names pass: os.Root keeps names inside, but a name with a separator would still be a bug.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\\:\x00") || !filepath.IsLocal(name) {
		return fmt.Errorf("%s: %w", quoted(name), ErrName)
	}
	return nil
}
