package spool

import (
	"errors"
	"iter"
	"sync"
)

// Mailbox is one mailbox held under its exclusive lock, with the delivery records of its mails. It is safe for
// concurrent use; Append calls are written in the order they are made. It must be ended by Unlock.
type Mailbox struct {
	s    *Spool
	id   MailboxID
	base string
	dir  Dir // ids
	lock File

	mu       sync.Mutex
	closed   bool
	poison   error
	warnings []string

	done    doneSet            // done mails as they stand in Previous
	changed map[string]*Record // all others by stored key, done ones of this session included
	hidden  map[string]bool    // stored keys whose line in Previous no longer counts
	hosts   map[string]bool    // files of done mails whose key has been given to a new mail
	dropped map[string]bool    // files that records named and name no longer
	open    []string           // sessions named in the files, whose sweep may be due
	damaged bool               // records may be missing, so nothing may be swept
	prev    bool               // Previous exists
	current *currentFile       // nil until needed
	svc     *Service           // of the open session
}

// Lock takes the mailbox for this process. It replays the delivery records of a session that ended badly, finishes what
// it began to dispose of and sweeps its files that no record names. Damaged records never stop it: what can be read is
// used, the rest is kept aside, see Warnings. Errors: *BusyError, *VersionError, *IdentityError, *SizeError, *DirError,
// *FileError.
func (s *Spool) Lock(id MailboxID) (*Mailbox, error) {
	id = id.normal()
	if err := id.validate(); err != nil {
		return nil, err
	}
	m, err := s.acquire(id, id.base())
	if err != nil {
		return nil, err
	}
	if _, err := m.recover(); err != nil {
		return nil, errors.Join(err, m.release())
	}
	return m, nil
}

// acquire takes the lock file. The file is removed while it is held, so a holder of a removed file holds nothing: each
// taker looks whether the name still is the file it locked.
func (s *Spool) acquire(id MailboxID, base string) (*Mailbox, error) {
	d, err := s.dir(IDs)
	if err != nil {
		return nil, err
	}
	name := "Lock_" + base + ".lock"
	for range maxTries {
		f, err := d.OpenAppend(name)
		if errors.Is(err, ErrReplaced) || missing(err) {
			continue // released between our looking and opening
		}
		if err != nil {
			return nil, fileError("open", d, name, err)
		}
		locked, err := f.TryLock()
		if err == nil && !locked {
			err = &BusyError{ID: id, Path: s.Path(IDs, name)}
		} else if err != nil {
			err = fileError("lock", d, name, err)
		}
		same := false
		if err == nil {
			same, err = d.Same(name, f)
		}
		if err == nil && same {
			return &Mailbox{
				s: s, id: id, base: base, dir: d, lock: f,
				changed: map[string]*Record{}, hidden: map[string]bool{}, hosts: map[string]bool{}, dropped: map[string]bool{},
			}, nil
		}
		_ = f.Close()
		if err != nil {
			return nil, err
		}
	}
	return nil, &BusyError{ID: id, Path: s.Path(IDs, name)}
}

func (m *Mailbox) release() error {
	err := m.dir.Remove(m.lock.Name())
	if missing(err) {
		err = nil
	}
	if err != nil {
		err = fileError("remove", m.dir, m.lock.Name(), err)
	}
	return errors.Join(err, m.lock.Close())
}

// ID gives the identity, normalised: upper-case protocol, lower-case server, folder never empty, usual ports as 0.
func (m *Mailbox) ID() MailboxID { return m.id }

// Warnings tells, one line each, what was wrong with the records when the mailbox was locked and what was done about it.
func (m *Mailbox) Warnings() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.warnings...)
}

// Unlock ends the session and frees the mailbox. Files of the session that no record names are removed. Without a Prune
// before, the records stay and are replayed by the next Lock. Idempotent.
func (m *Mailbox) Unlock() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	err := m.abandon()
	if m.current != nil {
		err = errors.Join(err, m.current.f.Close())
		m.current = nil
	}
	return errors.Join(err, m.release())
}

// Lookup gives the record of a mail. The Key of the result is the key asked for.
func (m *Mailbox) Lookup(key string) (Record, bool) {
	stored := StoredKey(key)
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.changed[stored]; r != nil {
		rec := r.clone()
		rec.Key = key
		return rec, true
	}
	if len(m.hidden) > 0 && m.hidden[stored] {
		return Record{}, false
	}
	rec, ok := m.done.get(stored)
	rec.Key = key
	return rec, ok
}

func (r *Record) clone() Record {
	c := *r
	c.Files = append([]string(nil), r.Files...)
	return c
}

// Records gives all records as of the call, in no particular order. Keys are stored keys, see StoredKey. Done mails of
// earlier sessions are read from disk meanwhile; one that cannot be read is left out.
func (m *Mailbox) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		list, old := m.snapshot()
		defer old.close()
		for _, rec := range list {
			if !yield(rec) {
				return
			}
		}
		old.each(yield)
	}
}

// FilesPresent reports whether all files the record names are in incoming, so that the mail can be offered again
// without fetching it. A record without a raw file has nothing to offer. An error means that it could not be found out:
// then nothing may be fetched anew, because a repeat must bring the same files.
func (m *Mailbox) FilesPresent(rec Record) (bool, error) {
	if rec.Raw == "" {
		return false, nil
	}
	d, err := m.s.dir(Incoming)
	if err != nil {
		return false, err
	}
	for _, name := range append([]string{rec.Raw}, rec.Files...) {
		fi, err := d.Lstat(name)
		if missing(err) || err == nil && !fi.Mode().IsRegular() {
			return false, nil
		}
		if err != nil {
			return false, fileError("look at", d, name, err)
		}
	}
	return true, nil
}

func (m *Mailbox) usable() error {
	if m.closed {
		return ErrUnlocked
	}
	return m.poison
}
