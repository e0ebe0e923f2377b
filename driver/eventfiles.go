package driver

import (
	"errors"
	"io/fs"

	"github.com/maildriver/maildriver/spool"
)

// newFiles makes the files of an event in the incoming directory, as part of
// the group.
type newFiles struct {
	p     *preparer
	m     *prepared
	msgNo uint64
	n     uint64
}

func (n *newFiles) attachment() (outFile, error) {
	n.n++
	return n.file(n.p.common.Spool.CreateAttachment(n.p.svc, n.msgNo, n.n))
}

func (n *newFiles) originalText() (outFile, error) {
	return n.file(n.p.common.Spool.CreateOriginalText(n.p.svc, n.msgNo, n.n))
}

func (n *newFiles) file(out *spool.Out, err error) (outFile, error) {
	if err != nil {
		return nil, err
	}
	n.m.outs = append(n.m.outs, out)
	return groupFile{out, n.p}, nil
}

func (n *newFiles) path(name string) string { return n.p.common.Spool.Path(spool.Incoming, name) }
func (n *newFiles) remove(name string)      { _ = n.p.common.Spool.RemoveFile(spool.Incoming, name) }

// A groupFile becomes durable with its group, not by itself.
type groupFile struct {
	*spool.Out
	p *preparer
}

// Commit begins to make the file durable.
func (g groupFile) Commit() error {
	if err := g.Flush(); err != nil {
		return err
	}
	g.p.files.Commit(g.Out)
	return nil
}

// oldFiles hands out the files that an earlier hand-over made, in their order,
// and writes nothing.
type oldFiles struct {
	s     *spool.Spool
	names []string
}

var errOtherFiles = errors.New("the mail has other files than before")

func (o *oldFiles) attachment() (outFile, error)   { return o.next() }
func (o *oldFiles) originalText() (outFile, error) { return o.next() }
func (o *oldFiles) path(name string) string        { return o.s.Path(spool.Incoming, name) }
func (o *oldFiles) remove(string)                  {} // they are in a record

func (o *oldFiles) next() (outFile, error) {
	if len(o.names) == 0 {
		return nil, errOtherFiles
	}
	name := o.names[0]
	o.names = o.names[1:]
	file, err := o.s.OpenFile(spool.Incoming, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errOtherFiles // the host deleted it
	}
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	return &oldFile{name: name, size: size}, nil
}

// An oldFile counts what would have been written: other bytes make another
// file.
type oldFile struct {
	name       string
	size, have int64
}

func (f *oldFile) Write(p []byte) (int, error) { f.have += int64(len(p)); return len(p), nil }
func (f *oldFile) Abort() error                { return nil }
func (f *oldFile) Name() string                { return f.name }

func (f *oldFile) Commit() error {
	if f.have != f.size {
		return errOtherFiles
	}
	return nil
}
