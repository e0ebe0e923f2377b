package spool

import "io/fs"

// SentFile is an outgoing mail, SMTP_A_B_C_D_E_F.tmp.part in sent, written whole before it is sent. It is locked while it
// lives, so that Sweep can tell it from the left-over of a killed program. It must be ended by Save or Discard; Discard
// after Save does nothing. It is never sent again from disk. One goroutine at a time; ReadAt may run beside reading.
type SentFile struct {
	o *Out
}

// CreateSent makes the file of an outgoing mail; msgNo is the number of mails sent by this service so far.
func (s *Spool) CreateSent(svc *Service, msgNo uint64) (*SentFile, error) {
	for range maxTries {
		o, err := s.create(Sent, svc, func(ms uint64) Name { return svc.name(sentPrefix, msgNo, 0, ms, ".tmp") })
		if err != nil {
			return nil, err
		}
		locked, err := o.file.TryLock()
		same := false
		if err == nil && locked {
			same, err = o.dir.Same(o.name+partSuffix, o.file)
		}
		if err != nil {
			err = o.fail("lock", err)
			_ = o.Abort()
			return nil, err
		}
		if locked && same {
			return &SentFile{o: o}, nil
		}
		// A sweep came between making and locking it and took it for a left-over.
		_ = o.file.Close()
	}
	return nil, &DirError{Kind: Sent, Path: s.paths[Sent], Err: ErrNameTaken}
}

// Name is the base name the mail has when it is saved.
func (m *SentFile) Name() string { return m.o.name }

// Path is the absolute path the mail has when it is saved.
func (m *SentFile) Path() string { return m.o.Path() }

// Size is the number of bytes written so far.
func (m *SentFile) Size() int64 { return m.o.size }

// Write appends p. After an error every further call returns it.
func (m *SentFile) Write(p []byte) (int, error) { return m.o.Write(p) }

// Open gives what was written so far anew, from its beginning; the caller closes it. Each server that is tried opens it.
func (m *SentFile) Open() (File, error) {
	if err := m.flush(); err != nil {
		return nil, err
	}
	f, err := m.o.dir.Open(m.o.name + partSuffix)
	if err != nil {
		return nil, m.o.fail("open", err)
	}
	return f, nil
}

// ReadAt reads what was written so far.
func (m *SentFile) ReadAt(p []byte, off int64) (int, error) {
	if err := m.flush(); err != nil {
		return 0, err
	}
	return m.o.file.ReadAt(p, off)
}

func (m *SentFile) flush() error {
	o := m.o
	if o.err == nil && o.done {
		return o.fail("read", fs.ErrClosed)
	}
	return o.Flush()
}

// Save keeps the mail for good: durable, under its final name. On an error the mail may or may not be there.
func (m *SentFile) Save() error {
	o := m.o
	if o.done {
		return o.err
	}
	err := o.flushSync()
	if err == nil {
		// Renamed while still locked: a sweep must not see it unlocked under its temporary name.
		if rerr := o.s.fs.Rename(o.dir, o.name+partSuffix, o.dir, o.name); rerr != nil {
			err = o.fail("rename", rerr)
		}
	}
	o.done, o.err = true, err
	if err != nil {
		_ = o.remove()
		_ = o.file.Close()
		return err
	}
	if err := o.file.Close(); err != nil {
		o.err = o.fail("close", err)
	} else if err := o.s.SyncDir(Sent); err != nil {
		o.err = err
	}
	return o.err
}

// Discard removes the mail. Idempotent.
func (m *SentFile) Discard() error {
	o := m.o
	if o.done {
		return nil
	}
	o.done = true
	o.free()
	err := o.remove() // before Close, which frees the lock
	_ = o.file.Close()
	return err
}
