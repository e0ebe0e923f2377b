package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
)

// replacer writes a file that replaces an older one in one step. Its temporary name is fixed and locked while written,
// so that what a killed program left behind is known for what it is and taken away.
type replacer struct {
	s    *Spool
	d    Dir
	f    File
	buf  *bufio.Writer
	name string
	err  error
	done bool
}

func (s *Spool) beginReplace(d Dir, name string) (*replacer, error) {
	part := name + partSuffix
	for range 16 {
		f, err := d.Create(part)
		if err == nil {
			ok, err := lockedHere(d, part, f)
			if err == nil && ok {
				return &replacer{s: s, d: d, f: f, name: name, buf: newBuffer(f)}, nil
			}
			_ = f.Close()
			if err != nil {
				_ = d.Remove(part)
				return nil, fileError("lock", d, part, err)
			}
			continue
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fileError("create", d, part, err)
		}
		if removed, err := removeStale(d, part); err != nil {
			return nil, err
		} else if !removed {
			return nil, fileError("create", d, part, fmt.Errorf("being written by somebody else: %w", fs.ErrExist))
		}
	}
	return nil, fileError("create", d, part, ErrNameTaken)
}

// lockedHere locks f and makes sure that name still is f.
func lockedHere(d Dir, name string, f File) (bool, error) {
	ok, err := f.TryLock()
	if err != nil || !ok {
		return false, err
	}
	return d.Same(name, f)
}

// removeStale removes a file whose maker is dead, which shows by its lock being free. False: the maker is alive.
func removeStale(d Dir, name string) (bool, error) {
	f, err := d.OpenAppend(name)
	if err != nil {
		return false, fileError("open", d, name, err)
	}
	defer f.Close()
	ok, err := lockedHere(d, name, f)
	if err != nil {
		return false, fileError("lock", d, name, err)
	}
	if !ok {
		same, err := d.Same(name, f)
		return !same && err == nil, err // gone meanwhile is as good
	}
	if err := d.Remove(name); err != nil && !missing(err) {
		return false, fileError("remove", d, name, err)
	}
	return true, nil
}

func (w *replacer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.buf.Write(p)
	if err != nil {
		w.err = fileError("write", w.d, w.name+partSuffix, err)
	}
	return n, w.err
}

// commit makes the new file durable, bytes and name.
func (w *replacer) commit() error {
	if w.err != nil {
		return w.err
	}
	if err := w.buf.Flush(); err != nil {
		return fileError("write", w.d, w.name+partSuffix, err)
	}
	if err := w.f.Sync(); err != nil {
		return fileError("sync", w.d, w.name+partSuffix, err)
	}
	if err := w.s.fs.Replace(w.d, w.name+partSuffix, w.name); err != nil {
		return fileError("rename", w.d, w.name+partSuffix, err)
	}
	w.done = true
	freeBuffer(w.buf)
	if err := w.f.Close(); err != nil {
		return fileError("close", w.d, w.name, err)
	}
	if err := w.d.Sync(); err != nil {
		return fileError("sync", w.d, w.name, err)
	}
	return nil
}

// abort removes the temporary file unless commit renamed it. Idempotent.
func (w *replacer) abort() {
	if w.done {
		return
	}
	w.done = true
	freeBuffer(w.buf)
	_ = w.d.Remove(w.name + partSuffix)
	_ = w.f.Close()
}
