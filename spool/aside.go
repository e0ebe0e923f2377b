package spool

import (
	"errors"
	"fmt"
	"io/fs"
)

// maxAside bounds how many damaged pieces of one file are kept; beyond it the oldest are still the telling ones.
const maxAside = 99

// asideFile takes the damaged lines of an .ids or state file: NAME.corrupt-N.
type asideFile struct {
	d    Dir
	f    File
	name string
	err  error
}

func (m *Mailbox) openAside(name string) (*asideFile, error) { return openAside(m.dir, name) }

func openAside(d Dir, name string) (*asideFile, error) {
	for n := 1; n <= maxAside; n++ {
		a := &asideFile{d: d, name: fmt.Sprintf("%s.corrupt-%d", name, n)}
		var err error
		if a.f, err = d.Create(a.name); err == nil {
			return a, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fileError("create", d, a.name, err)
		}
	}
	return &asideFile{d: d, name: "nothing, there are too many"}, nil
}

func (a *asideFile) write(p []byte) error {
	if a.f == nil {
		return nil
	}
	if _, err := a.f.Write(p); err != nil {
		a.err = fileError("write", a.d, a.name, err)
	}
	return a.err
}

// close makes the piece durable, before the file it came from is rewritten without it.
func (a *asideFile) close() error {
	if a.f == nil {
		return nil
	}
	err := a.err
	if err == nil {
		if serr := a.f.Sync(); serr != nil {
			err = fileError("sync", a.d, a.name, serr)
		}
	}
	if cerr := a.f.Close(); err == nil && cerr != nil {
		err = fileError("close", a.d, a.name, cerr)
	}
	a.f = nil
	return err
}
