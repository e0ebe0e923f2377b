package drivertest

import (
	"bytes"
	"io/fs"
	"sync"

	"github.com/maildriver/maildriver/spool"
)

// A disk is the real file system, on which the Nth operation of some kinds
// can fail. It syncs nothing: these cases stop sessions, not the power, and
// would spend most of their time there.
type disk struct {
	spool.FS

	mu    sync.Mutex
	n     int      // operations of the kinds that count
	from  int      // the first that fails, from 1; 0: none
	count int      // how many fail from there on; negative: all
	kinds []diskOp // that count
	err   error
	fired bool

	poison []byte // reading a raw mail that holds it panics; nil: none does
}

// A diskOp is a kind of operation.
type diskOp string

const (
	opCreate diskOp = "create"
	opWrite  diskOp = "write"
	opSync   diskOp = "sync"
	opRename diskOp = "rename"
	opDir    diskOp = "syncdir"
	opRemove diskOp = "remove"
)

func newDisk() *disk { return &disk{FS: spool.OS()} }

// failAt makes count operations fail with err, beginning with the nth of these
// kinds counted from now.
func (d *disk) failAt(n, count int, err error, kinds ...diskOp) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n, d.from, d.count, d.err, d.kinds, d.fired = 0, n, count, err, kinds, false
}

// heal ends the trouble and tells whether there was any.
func (d *disk) heal() (fired bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.from = 0
	return d.fired
}

// ops counts the operations since failAt.
func (d *disk) ops() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return int64(d.n)
}

func (d *disk) step(op diskOp) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.from == 0 {
		return nil
	}
	counts := false
	for _, k := range d.kinds {
		counts = counts || k == op
	}
	if !counts {
		return nil
	}
	d.n++
	if d.n < d.from || (d.count >= 0 && d.n >= d.from+d.count) {
		return nil
	}
	d.fired = true
	return d.err
}

func plain(d spool.Dir) spool.Dir { return d.(*diskDir).Dir }

func (d *disk) OpenDir(path string) (spool.Dir, error) {
	dir, err := d.FS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	return &diskDir{dir, d}, nil
}

func (d *disk) Rename(from spool.Dir, name string, to spool.Dir, toName string) error {
	if err := d.step(opRename); err != nil {
		return err
	}
	return d.FS.Rename(plain(from), name, plain(to), toName)
}

func (d *disk) Replace(dir spool.Dir, name, toName string) error {
	if err := d.step(opRename); err != nil {
		return err
	}
	return d.FS.Replace(plain(dir), name, toName)
}

type diskDir struct {
	spool.Dir
	d *disk
}

func (d *diskDir) wrap(f spool.File, err error) (spool.File, error) {
	if err != nil {
		return nil, err
	}
	return &diskFile{f, d.d}, nil
}

func (d *diskDir) Create(name string) (spool.File, error) {
	if err := d.d.step(opCreate); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return d.wrap(d.Dir.Create(name))
}

func (d *diskDir) Open(name string) (spool.File, error) { return d.wrap(d.Dir.Open(name)) }

func (d *diskDir) OpenAppend(name string) (spool.File, error) { return d.wrap(d.Dir.OpenAppend(name)) }

func (d *diskDir) Same(name string, f spool.File) (bool, error) {
	return d.Dir.Same(name, f.(*diskFile).File)
}

func (d *diskDir) Remove(name string) error {
	if err := d.d.step(opRemove); err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	return d.Dir.Remove(name)
}

func (d *diskDir) Sync() error {
	if err := d.d.step(opDir); err != nil {
		return &fs.PathError{Op: "sync", Path: d.Path(), Err: err}
	}
	return nil
}

// poisons tells whether the file begins with a mail that must not be read.
func (d *disk) poisons(f spool.File) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.poison == nil {
		return false
	}
	var head [1 << 10]byte
	n, _ := f.ReadAt(head[:], 0)
	return bytes.Contains(head[:n], d.poison)
}

type diskFile struct {
	spool.File
	d *disk
}

// Read takes down who reads a poisoned file, as a mail does that hits a bug of
// the parser.
func (f *diskFile) Read(p []byte) (int, error) {
	if f.d.poisons(f.File) {
		panic("of the parser")
	}
	return f.File.Read(p)
}

// ReadAt panics like Read.
func (f *diskFile) ReadAt(p []byte, off int64) (int, error) {
	if f.d.poisons(f.File) {
		panic("of the parser")
	}
	return f.File.ReadAt(p, off)
}

// Write takes half of what it fails on, as a disk that becomes full does.
func (f *diskFile) Write(p []byte) (int, error) {
	if err := f.d.step(opWrite); err != nil {
		n, _ := f.File.Write(p[:len(p)/2])
		return n, &fs.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	return f.File.Write(p)
}

// WriteAt fails like Write.
func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.d.step(opWrite); err != nil {
		n, _ := f.File.WriteAt(p[:len(p)/2], off)
		return n, &fs.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	return f.File.WriteAt(p, off)
}

func (f *diskFile) Sync() error {
	if err := f.d.step(opSync); err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}
