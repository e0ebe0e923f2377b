package simdisk

import (
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/maildriver/maildriver/spool"
)

// dir is an opened directory.
type dir struct {
	d   *Disk
	f   *folder
	gen int
}

func (h *dir) call(op Op, name string) Call { return Call{Op: op, Dir: h.f.path, Name: name} }

func (h *dir) Path() string { return h.f.path }

func (h *dir) Verify() error {
	return h.d.do(h.gen, h.call(OpVerify, ""), func() error { return nil })
}

func (h *dir) Create(name string) (spool.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	var n *node
	err := h.d.do(h.gen, h.call(OpCreate, name), func() (err error) {
		n, err = h.make(name)
		return err
	})
	return h.handle(name, n, true, false, err)
}

func (h *dir) make(name string) (*node, error) {
	if h.f.live[name] != nil || h.d.dirs[filepath.Join(h.f.path, name)] != nil {
		return nil, pathError("create", name, fs.ErrExist)
	}
	n := &node{mod: h.d.tick()}
	h.f.change(&change{name: name, n: n})
	return n, nil
}

func (h *dir) handle(name string, n *node, write, atEnd bool, err error) (spool.File, error) {
	if err != nil {
		return nil, err
	}
	if n == nil {
		n = &node{} // a lie: the file is nowhere
	}
	h.d.mu.Lock()
	h.d.open++
	h.d.mu.Unlock()
	return &file{d: h.d, n: n, dir: h.f.path, name: name, gen: h.gen, writable: write, atEnd: atEnd}, nil
}

func (h *dir) find(op, name string) (*node, error) {
	n := h.f.live[name]
	if n == nil {
		if h.d.dirs[filepath.Join(h.f.path, name)] != nil {
			return nil, pathError(op, name, spool.ErrNotRegular)
		}
		return nil, pathError(op, name, fs.ErrNotExist)
	}
	return n, nil
}

func (h *dir) Open(name string) (spool.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	var n *node
	err := h.d.do(h.gen, h.call(OpOpen, name), func() (err error) {
		n, err = h.find("open", name)
		return err
	})
	return h.handle(name, n, false, false, err)
}

func (h *dir) OpenAppend(name string) (spool.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	var n *node
	h.d.mu.Lock()
	op, get := OpOpen, func() (err error) { n, err = h.find("open", name); return err }
	if _, err := h.find("open", name); err != nil && h.d.dirs[filepath.Join(h.f.path, name)] == nil {
		op, get = OpCreate, func() (err error) { n, err = h.make(name); return err }
	}
	err, _ := h.d.run(h.gen, h.call(op, name), get, nil)
	h.d.mu.Unlock()
	return h.handle(name, n, true, true, err)
}

func (h *dir) Remove(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return h.d.do(h.gen, h.call(OpRemove, name), func() error {
		if _, err := h.find("remove", name); err != nil {
			return err
		}
		h.f.change(&change{name: name})
		return nil
	})
}

func (h *dir) Lstat(name string) (fs.FileInfo, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	var fi fs.FileInfo
	err, lied := h.d.run(h.gen, h.call(OpLstat, name), func() error {
		if h.d.dirs[filepath.Join(h.f.path, name)] != nil {
			fi = info{name: name, mode: fs.ModeDir | 0o700}
			return nil
		}
		n, err := h.find("lstat", name)
		if err == nil {
			fi = info{name, int64(len(n.data)), 0o600, n.mod}
		}
		return err
	}, nil)
	if lied {
		err = pathError("lstat", name, fs.ErrNotExist)
	}
	return fi, err
}

func (h *dir) Same(name string, f spool.File) (same bool, err error) {
	if err := checkName(name); err != nil {
		return false, err
	}
	err = h.d.do(h.gen, h.call(OpLstat, name), func() error {
		same = h.f.live[name] == f.(*file).n
		return nil
	})
	return same, err
}

func (h *dir) List() ([]fs.DirEntry, error) {
	var list []fs.DirEntry
	err := h.d.do(h.gen, h.call(OpList, ""), func() error {
		for _, name := range slices.Sorted(maps.Keys(h.f.live)) {
			n := h.f.live[name]
			list = append(list, fs.FileInfoToDirEntry(info{name, int64(len(n.data)), 0o600, n.mod}))
		}
		for p := range h.d.dirs {
			if rest, ok := strings.CutPrefix(p, h.f.path+string(filepath.Separator)); ok && !strings.ContainsRune(rest, filepath.Separator) {
				list = append(list, fs.FileInfoToDirEntry(info{name: rest, mode: fs.ModeDir | 0o700}))
			}
		}
		return nil
	})
	return list, err
}

func (h *dir) Sync() error {
	return h.d.do(h.gen, h.call(OpSyncDir, ""), func() error { h.f.sync(); return nil })
}

func (h *dir) Close() error { return nil }

// file is an opened file.
type file struct {
	d         *Disk
	n         *node
	dir, name string
	gen       int
	off       int
	writable  bool
	atEnd     bool
	closed    bool
}

func (f *file) Name() string { return f.name }

func (f *file) do(op Op, apply func() error, failed func()) (error, bool) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.closed {
		return pathError(string(op), f.name, fs.ErrClosed), false
	}
	return f.d.run(f.gen, Call{Op: op, Dir: f.dir, Name: f.name}, apply, failed)
}

func (f *file) Read(p []byte) (n int, err error) {
	err, _ = f.do(OpRead, func() error {
		n = copy(p, f.n.data[min(f.off, len(f.n.data)):])
		f.off += n
		if n == 0 && len(p) > 0 {
			return io.EOF
		}
		return nil
	}, nil)
	return n, err
}

func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	err, _ = f.do(OpRead, func() error {
		n = copy(p, f.n.data[min(int(off), len(f.n.data)):])
		if n < len(p) {
			return io.EOF
		}
		return nil
	}, nil)
	return n, err
}

func (f *file) Write(p []byte) (n int, err error) {
	if !f.writable {
		return 0, pathError("write", f.name, fs.ErrPermission)
	}
	err, lied := f.do(OpWrite, func() error {
		in := p
		if f.d.rewrite != nil {
			in = f.d.rewrite(Call{Op: OpWrite, Dir: f.dir, Name: f.name}, p)
		}
		f.put(in)
		n = len(p)
		return nil
	}, func() {
		n = len(p) / 2
		f.put(p[:n])
	})
	if lied {
		n = len(p)
	}
	return n, err
}

// WriteAt is refused on a file opened for appending, as by os.File.
func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	if !f.writable || f.atEnd {
		return 0, pathError("write", f.name, fs.ErrPermission)
	}
	err, lied := f.do(OpWrite, func() error {
		in := p
		if f.d.rewrite != nil {
			in = f.d.rewrite(Call{Op: OpWrite, Dir: f.dir, Name: f.name}, p)
		}
		f.putAt(in, int(off))
		n = len(p)
		return nil
	}, func() {
		n = len(p) / 2
		f.putAt(p[:n], int(off))
	})
	if lied {
		n = len(p)
	}
	return n, err
}

func (f *file) put(p []byte) {
	if f.atEnd {
		f.off = len(f.n.data)
	}
	f.putAt(p, f.off)
	f.off += len(p)
}

func (f *file) putAt(p []byte, off int) {
	if len(p) == 0 {
		return
	}
	end := off + len(p)
	from := min(off, len(f.n.data)) // a gap is zeros
	if end > len(f.n.data) {
		f.n.data = append(f.n.data, make([]byte, end-len(f.n.data))...)
	}
	copy(f.n.data[off:], p)
	f.n.dirty = append(f.n.dirty, span{from, end})
	f.n.mod = f.d.tick()
}

func (f *file) Size() (n int64, err error) {
	err, _ = f.do(OpSize, func() error { n = int64(len(f.n.data)); return nil }, nil)
	return n, err
}

func (f *file) Sync() error {
	err, _ := f.do(OpSync, func() error { f.n.sync(); return nil }, f.n.spoil)
	return err
}

func (f *file) Truncate(to int64) error {
	if !f.writable {
		return pathError("truncate", f.name, fs.ErrPermission)
	}
	err, _ := f.do(OpTruncate, func() error {
		switch {
		case int(to) < len(f.n.data):
			f.n.data = f.n.data[:to:to]
			f.n.size = true
		case int(to) > len(f.n.data):
			f.n.dirty = append(f.n.dirty, span{len(f.n.data), int(to)})
			f.n.data = append(f.n.data, make([]byte, int(to)-len(f.n.data))...)
		}
		return nil
	}, nil)
	return err
}

func (f *file) TryLock() (ok bool, err error) {
	err, lied := f.do(OpLock, func() error {
		ok = f.n.lock == nil || f.n.lock == f
		if ok {
			f.n.lock = f
		}
		return nil
	}, nil)
	return ok || lied, err
}

// Close frees the file and its lock even when it fails, as close(2) does.
func (f *file) Close() error {
	err, _ := f.do(OpClose, func() error { return nil }, nil)
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.closed {
		return err
	}
	f.closed = true
	if f.gen == f.d.gen {
		f.d.open--
		if f.n.lock == f && !f.d.down {
			f.n.lock = nil
		}
	}
	return err
}

type info struct {
	name string
	size int64
	mode fs.FileMode
	mod  time.Time
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.mod }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
