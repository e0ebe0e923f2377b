package spool

import (
	"errors"
	"io/fs"
	"sync"
)

var (
	errKilled = errors.New("killed")
	errFault  = errors.New("injected fault")
)

// faultFS is the real disk on which the process can be killed before operation N, or one operation can fail. Reading
// and looking count too: every operation is a point where something can happen.
type faultFS struct {
	FS
	mu     sync.Mutex
	n      int
	killAt int                         // 0 never
	fail   func(op, name string) error // nil never
	count  map[string]int
	open   map[*faultFile]struct{}
	dead   bool
}

func newFaultFS() *faultFS {
	return &faultFS{FS: OS(), open: map[*faultFile]struct{}{}, count: map[string]int{}}
}

// step is called before every operation.
func (f *faultFS) step(op, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	f.count[op]++
	if f.killAt > 0 && f.n >= f.killAt && !f.dead {
		f.dead = true
		for file := range f.open { // the kernel closes all and so frees all locks
			_ = file.File.Close()
		}
	}
	if f.dead {
		return errKilled
	}
	if f.fail != nil {
		return f.fail(op, name)
	}
	return nil
}

func (f *faultFS) MkdirAll(path string) error {
	if err := f.step("mkdir", path); err != nil {
		return err
	}
	return f.FS.MkdirAll(path)
}

func (f *faultFS) OpenDir(path string) (Dir, error) {
	if err := f.step("opendir", path); err != nil {
		return nil, err
	}
	d, err := f.FS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &faultDir{Dir: d, f: f}, nil
}

func inner(d Dir) Dir { return d.(*faultDir).Dir }

func (f *faultFS) Rename(from Dir, name string, to Dir, toName string) error {
	if err := f.step("rename", toName); err != nil {
		return err
	}
	return f.FS.Rename(inner(from), name, inner(to), toName)
}

func (f *faultFS) Replace(d Dir, name, toName string) error {
	if err := f.step("replace", toName); err != nil {
		return err
	}
	return f.FS.Replace(inner(d), name, toName)
}

type faultDir struct {
	Dir
	f *faultFS
}

func (d *faultDir) wrap(file File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	ff := &faultFile{File: file, f: d.f}
	d.f.mu.Lock()
	d.f.open[ff] = struct{}{}
	d.f.mu.Unlock()
	return ff, nil
}

func (d *faultDir) Create(name string) (File, error) {
	if err := d.f.step("create", name); err != nil {
		return nil, err
	}
	return d.wrap(d.Dir.Create(name))
}

func (d *faultDir) Open(name string) (File, error) {
	if err := d.f.step("open", name); err != nil {
		return nil, err
	}
	return d.wrap(d.Dir.Open(name))
}

func (d *faultDir) OpenAppend(name string) (File, error) {
	if err := d.f.step("open", name); err != nil {
		return nil, err
	}
	return d.wrap(d.Dir.OpenAppend(name))
}

func (d *faultDir) Remove(name string) error {
	if err := d.f.step("remove", name); err != nil {
		return err
	}
	return d.Dir.Remove(name)
}

func (d *faultDir) Lstat(name string) (fs.FileInfo, error) {
	if err := d.f.step("lstat", name); err != nil {
		return nil, err
	}
	return d.Dir.Lstat(name)
}

func (d *faultDir) Same(name string, f File) (bool, error) {
	if err := d.f.step("same", name); err != nil {
		return false, err
	}
	return d.Dir.Same(name, f.(*faultFile).File)
}

func (d *faultDir) List() ([]fs.DirEntry, error) {
	if err := d.f.step("list", ""); err != nil {
		return nil, err
	}
	return d.Dir.List()
}

func (d *faultDir) Sync() error {
	if err := d.f.step("syncdir", d.Path()); err != nil {
		return err
	}
	return nil // these tests kill the process, not the power
}

type faultFile struct {
	File
	f *faultFS
}

func (f *faultFile) Write(p []byte) (int, error) {
	if err := f.f.step("write", f.Name()); err != nil {
		if errors.Is(err, errFault) { // a full disk takes a part
			n, _ := f.File.Write(p[:len(p)/2])
			return n, err
		}
		return 0, err
	}
	return f.File.Write(p)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.f.step("write", f.Name()); err != nil {
		if errors.Is(err, errFault) {
			n, _ := f.File.WriteAt(p[:len(p)/2], off)
			return n, err
		}
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *faultFile) Sync() error {
	if err := f.f.step("sync", f.Name()); err != nil {
		return err
	}
	return nil
}

func (f *faultFile) Close() error {
	f.f.mu.Lock()
	delete(f.f.open, f)
	f.f.mu.Unlock()
	if err := f.f.step("close", f.Name()); err != nil {
		_ = f.File.Close()
		return err
	}
	return f.File.Close()
}
