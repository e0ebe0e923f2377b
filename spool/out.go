package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// Out is a file being made: an io.Writer under a temporary name (".part") until Commit. Every Out must be ended by
// Commit or Abort; Abort after Commit does nothing, so it can be deferred. One goroutine at a time; different Outs may be
// written and committed side by side.
type Out struct {
	s    *Spool
	kind Kind
	dir  Dir
	file File
	buf  *bufio.Writer
	name string
	size int64
	svc  *Service // whose session the file belongs to, nil for sent
	err  error    // the first failure; final
	done bool

	before, after uint64 // the numbers of its opening, see made

	settled bool // synced, or failed at that, and closed
}

// Raw is the raw file of an inbound mail.
type Raw = Out

// made counts the beginnings and the ends of openings, so that it can be told which file was opened before all others.
var made atomic.Uint64

const outBuffer = 64 << 10 // bytes

var outBuffers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, outBuffer) }}

func newBuffer(w io.Writer) *bufio.Writer {
	b := outBuffers.Get().(*bufio.Writer)
	b.Reset(w)
	return b
}

func freeBuffer(b *bufio.Writer) {
	b.Reset(nil)
	outBuffers.Put(b)
}

// CreateIncoming makes the raw file of an inbound mail, e.g. POP3_A_B_C_D_E_F.tmp. The protocol is "POP3", "IMAP", "EWS",
// "WEBDAV" or that of a driver of the host's (letters and digits). The session must have begun (ErrNoSession).
func (s *Spool) CreateIncoming(svc *Service, proto string, msgNo uint64) (*Raw, error) {
	proto = strings.ToUpper(proto)
	if !validProto(proto) || proto == attachmentPrefix {
		return nil, fmt.Errorf("spool: protocol %s: up to %d letters and digits are allowed", quoted(proto), maxProto)
	}
	return s.create(Incoming, svc, func(ms uint64) Name { return svc.name(proto, msgNo, 0, ms, ".tmp") })
}

// CreateAttachment makes ATT_A_B_C_D_E_F_G.dat in incoming; attNo is the number of attachments found so far.
func (s *Spool) CreateAttachment(svc *Service, msgNo, attNo uint64) (*Out, error) {
	return s.create(Incoming, svc, func(ms uint64) Name { return svc.name(attachmentPrefix, msgNo, attNo, ms, ".dat") })
}

// CreateOriginalText makes OriginalMessageText_A_B_C_D_E_F_G.txt in incoming.
func (s *Spool) CreateOriginalText(svc *Service, msgNo, attNo uint64) (*Out, error) {
	return s.create(Incoming, svc, func(ms uint64) Name { return svc.name(originalTextPrefix, msgNo, attNo, ms, ".txt") })
}

func (s *Spool) create(kind Kind, svc *Service, at func(ms uint64) Name) (*Out, error) {
	d, err := s.dir(kind)
	if err != nil {
		return nil, err
	}
	first := s.elapsed()
	for i := range uint64(maxTries) {
		svc.mu.Lock()
		name := at(first + i).String()
		svc.mu.Unlock()
		before := made.Add(1)
		f, err := s.createFree(d, kind, svc, name)
		if errors.Is(err, fs.ErrExist) {
			continue // the next millisecond
		}
		if err != nil {
			return nil, err
		}
		o := &Out{s: s, kind: kind, dir: d, file: f, name: name, before: before, after: made.Add(1)}
		if kind == Incoming {
			o.svc = svc
		}
		return o, nil
	}
	return nil, &FileError{Op: "create", Path: filepath.Join(d.Path(), at(first).String()), Err: ErrNameTaken}
}

// createFree makes name.part if neither it nor name is there. The order matters: holding name.part keeps every other
// program from coming to name, so a free final name stays free.
func (s *Spool) createFree(d Dir, kind Kind, svc *Service, name string) (_ File, err error) {
	if kind == Incoming {
		if err := svc.reserve(name); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				svc.release(name)
			}
		}()
	}
	f, err := d.Create(name + partSuffix)
	if err != nil {
		return nil, fileError("create", d, name+partSuffix, err)
	}
	_, err = d.Lstat(name)
	if missing(err) {
		return f, nil
	}
	_ = f.Close()
	_ = d.Remove(name + partSuffix)
	if err == nil {
		err = fs.ErrExist
	}
	return nil, fileError("create", d, name, err)
}

// Name is the final base name.
func (o *Out) Name() string { return o.name }

// Path is the final absolute path; the file is there after Commit.
func (o *Out) Path() string { return filepath.Join(o.dir.Path(), o.name) }

// Size is the number of bytes written so far.
func (o *Out) Size() int64 { return o.size }

// Write appends p. After an error every further call returns it.
func (o *Out) Write(p []byte) (int, error) {
	if o.err == nil && o.done {
		o.err = o.fail("write", fs.ErrClosed)
	}
	if o.err != nil {
		return 0, o.err
	}
	if o.buf == nil {
		o.buf = newBuffer(o.file)
	}
	n, err := o.buf.Write(p)
	o.size += int64(n)
	if err != nil {
		o.err = o.fail("write", err)
	}
	return n, o.err
}

// Flush hands what was written to the operating system, without making it durable, and frees the buffer.
func (o *Out) Flush() error {
	if o.err == nil && o.buf != nil && o.buf.Buffered() > 0 {
		if err := o.buf.Flush(); err != nil {
			o.err = o.fail("write", err)
		}
	}
	o.free()
	return o.err
}

func (o *Out) free() {
	if o.buf != nil {
		freeBuffer(o.buf)
		o.buf = nil
	}
}

// Reader reads what was flushed, from its beginning, through the handle that the file was made with: it is good until the
// file is given to Commit, Abort or [Group].Commit. Closing it does nothing.
func (o *Out) Reader() (io.ReadCloser, error) {
	if o.settled || o.done {
		return nil, o.fail("read", fs.ErrClosed)
	}
	return io.NopCloser(io.NewSectionReader(o.file, 0, o.size)), nil
}

// Commit makes the bytes durable and gives the file its final name. The name itself is durable after SyncDir. On an
// error the file is gone.
func (o *Out) Commit() error {
	if o.done {
		return o.err
	}
	if !o.settled {
		o.settle()
	}
	return o.rename()
}

// settle makes the bytes durable and closes the file; what went wrong is in o.err.
func (o *Out) settle() {
	_ = o.flushSync()
	o.shut()
}

func (o *Out) flushSync() error {
	if o.Flush() != nil {
		return o.err
	}
	return o.synced(o.file.Sync())
}

// synced takes the result of a sync.
func (o *Out) synced(err error) error {
	if err != nil {
		o.err = o.fail("sync", err)
	}
	return o.err
}

// shut closes a file that is durable, or failed at that.
func (o *Out) shut() {
	o.settled = true
	if err := o.file.Close(); err != nil && o.err == nil {
		o.err = o.fail("close", err)
	}
}

func (o *Out) rename() error {
	err := o.err
	if err == nil {
		if rerr := o.s.fs.Rename(o.dir, o.name+partSuffix, o.dir, o.name); rerr != nil {
			err = o.fail("rename", rerr)
		}
	}
	if err != nil {
		_ = o.remove()
	} else if o.svc != nil {
		o.svc.named(o.name)
	}
	o.done, o.err = true, err
	return err
}

// Abort gives the file up and removes it. After Commit it does nothing. Idempotent.
func (o *Out) Abort() error {
	if o.done {
		return nil
	}
	o.done = true
	if !o.settled {
		o.free()
		_ = o.file.Close()
	}
	if o.err == nil {
		o.err = o.fail("write", fs.ErrClosed)
	}
	return o.remove()
}

func (o *Out) remove() error {
	err := o.dir.Remove(o.name + partSuffix)
	if err != nil && !missing(err) {
		return o.fail("remove", err) // stays reserved: the end of the session tries again
	}
	if o.svc != nil {
		o.svc.release(o.name)
	}
	return nil
}

func (o *Out) fail(op string, err error) error { return fileError(op, o.dir, o.name+partSuffix, err) }

func fileError(op string, d Dir, name string, err error) error {
	return &FileError{Op: op, Path: filepath.Join(d.Path(), name), Err: err}
}
