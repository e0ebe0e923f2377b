package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
)

// Begin starts a session: from now on files can be made in incoming under svc's names. It returns once disk knows the
// session, so that after a crash its files are found and swept. Each session needs a Service of its own.
func (m *Mailbox) Begin(svc *Service) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(); err != nil {
		return err
	}
	if m.svc != nil {
		return fmt.Errorf("spool: begin: %s: the session before was not ended", m.id)
	}
	svc.mu.Lock()
	defer svc.mu.Unlock()
	if svc.state != sessionNew {
		return fmt.Errorf("spool: begin: service %s: %w", svc.prefixLocked(), ErrSessionUsed)
	}
	if err := m.cleanClaims(); err != nil {
		return err
	}
	for range maxTries {
		ok, err := m.claim(svc.prefixLocked())
		if err != nil {
			m.poison = errors.Join(ErrPoisoned, err)
			return err
		}
		if ok {
			svc.state, svc.names = sessionOpen, map[string]bool{}
			m.svc = svc
			return nil
		}
		// Another program with the same process id and counters (two containers on one volume) was here in this second.
		svc.created++
	}
	return fmt.Errorf("spool: begin: %s: %w", m.id, ErrNameTaken)
}

func claimName(prefix string) string { return "Session_" + prefix + ".lock" }

func claimPrefix(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, "Session_"), ".lock")
}

// claim takes a service prefix for this mailbox. The order keeps every crash clean: the session line first, so that the
// claim is found again; the claim itself, which only one can make; then a look at incoming, because a session that has
// ended may have left files with this prefix to its host; at last the directory sync that covers all of it.
func (m *Mailbox) claim(prefix string) (bool, error) {
	name := claimName(prefix)
	if _, err := m.dir.Lstat(name); err == nil {
		return false, nil
	}
	cur, err := m.openCurrent()
	if err != nil {
		return false, err
	}
	c := cur.c
	if err := cur.write(c.session(nil, prefix)); err != nil {
		return false, err
	}
	cur.c = c
	f, err := m.dir.Create(name)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fileError("create", m.dir, name, err)
	}
	defer f.Close()
	if ok, err := lockedHere(m.dir, name, f); err != nil {
		return false, fileError("lock", m.dir, name, err)
	} else if !ok {
		return false, nil // a sweep came in between and took it for a left-over
	}
	if _, err := io.WriteString(f, m.base+"\n"); err != nil {
		return false, fileError("write", m.dir, name, err)
	}
	if err := f.Sync(); err != nil {
		return false, fileError("sync", m.dir, name, err)
	}
	if free, err := m.unusedPrefix(prefix); err != nil {
		return false, err
	} else if !free {
		return false, m.removeIDs(name)
	}
	if err := m.dir.Sync(); err != nil {
		return false, fileError("sync", m.dir, name, err)
	}
	return true, nil
}

// cleanClaims removes claims of this mailbox that no session line leads to: a power cut can keep a claim and forget the
// Current that was made a moment before. No file was made under such a claim.
func (m *Mailbox) cleanClaims() error {
	list, err := m.dir.List()
	if err != nil {
		return &DirError{Kind: IDs, Path: m.dir.Path(), Err: err}
	}
	for _, e := range list {
		if !isClaim(e.Name()) {
			continue
		}
		base, whole, err := readClaim(m.dir, e.Name())
		switch {
		case missing(err):
			continue // another session ended
		case err != nil:
			return err
		case whole && base == m.base:
			err = m.removeIDs(e.Name())
		case !whole:
			_, err = removeStale(m.dir, e.Name())
		}
		if err != nil && !missing(err) {
			return err
		}
	}
	return nil
}

func isClaim(name string) bool {
	return strings.HasPrefix(name, "Session_") && strings.HasSuffix(name, ".lock")
}

func (m *Mailbox) unusedPrefix(prefix string) (bool, error) {
	in, err := m.s.dir(Incoming)
	if err != nil {
		return false, err
	}
	list, err := in.List()
	if err != nil {
		return false, &DirError{Kind: Incoming, Path: in.Path(), Err: err}
	}
	for _, e := range list {
		if ServiceOf(e.Name()) == prefix {
			return false, nil
		}
	}
	return true, nil
}

// currentFile is Current, open for appending.
type currentFile struct {
	d    Dir
	f    File
	name string
	c    codec
	new  bool  // its name is not yet durable
	end  int64 // of the lines
	max  int64 // that a reader takes
	room int64 // length of the file; zeros from end on
}

// openCurrent makes Current when it is first needed, so that an idle mailbox has none.
func (m *Mailbox) openCurrent() (*currentFile, error) {
	if m.current != nil {
		return m.current, nil
	}
	name := m.currentName()
	f, err := m.dir.Create(name)
	if err != nil {
		return nil, fileError("create", m.dir, name, err)
	}
	cur := &currentFile{d: m.dir, f: f, name: name, new: true, max: m.s.idsLimit}
	b, seed := headerLine(m.id)
	cur.c.seed = seed
	if _, err := f.Write(b); err != nil {
		_ = f.Close()
		_ = m.dir.Remove(name)
		return nil, fileError("write", m.dir, name, err)
	}
	cur.end, cur.room = int64(len(b)), int64(len(b))
	m.current = cur
	return cur, nil
}

// write appends lines with one write and one sync.
func (c *currentFile) write(lines []byte) error {
	if err := c.d.Verify(); err != nil {
		return fileError("write", c.d, c.name, err)
	}
	if same, err := c.d.Same(c.name, c.f); err != nil || !same {
		return fileError("write", c.d, c.name, cmpErr(err, ErrReplaced))
	}
	c.place(int64(len(lines)))
	if n, err := c.f.WriteAt(lines, c.end); err != nil || n < len(lines) {
		return fileError("write", c.d, c.name, cmpErr(err, io.ErrShortWrite))
	}
	c.end += int64(len(lines))
	if err := c.f.Sync(); err != nil {
		return fileError("sync", c.d, c.name, err)
	}
	return nil
}

const (
	pageSize = 4 << 10 // bytes; what a disk writes in one piece, as a rule
	maxRoom  = 1 << 20
)

// place finds the place of the next n bytes of lines and keeps zeros behind it. On a journalling file system a sync that
// finds the length unchanged has only the bytes to write; one that makes the file longer waits for the journal, and so for
// what other files have in it. Lines that fit into one page do not lie on two, so that a power cut leaves the first of
// them or none.
func (c *currentFile) place(n int64) {
	if left := pageSize - c.end%pageSize; n > left && n <= pageSize {
		c.end += left
	}
	end := c.end + n
	if end <= c.room {
		return
	}
	room := (end + min(max(c.room, pageSize), maxRoom) + pageSize - 1) / pageSize * pageSize
	room = max(end, min(room, c.max))
	if _, err := c.f.WriteAt(make([]byte, room-end), end); err == nil {
		c.room = room
	} // else the lines may still fit: their own write tells
}

// Append records changes, all with one write and one sync, and returns once they are on disk. After an error nothing
// more can be recorded in this session (ErrPoisoned): what reached the disk is found out by the next Lock. A change
// that cannot be written at all (too long a record, a name with a separator) is refused without that.
func (m *Mailbox) Append(changes ...Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usable(); err != nil {
		return err
	}
	if len(changes) == 0 {
		return nil
	}
	var c codec
	if m.current != nil {
		c = m.current.c
	} else {
		_, c.seed = headerLine(m.id)
	}
	// Later changes of one call may concern the same mail, so each is tried on a copy of what it touches.
	var buf []byte
	saved := map[string]*Record{}
	wasHidden := map[string]bool{}
	undo := func() {
		for k, r := range saved {
			if r == nil {
				delete(m.changed, k)
			} else {
				m.changed[k] = r
			}
			if !wasHidden[k] {
				delete(m.hidden, k)
			}
		}
	}
	for _, ch := range changes {
		key := StoredKey(ch.rec.Key)
		if _, ok := saved[key]; !ok {
			saved[key], wasHidden[key] = m.changed[key], m.hidden[key]
		}
		rec, tags, err := m.next(key, ch)
		at := len(buf)
		if err == nil {
			buf, err = c.record(buf, ch.state, &rec, tags)
		}
		var l line
		if err == nil {
			l, err = c.parse(string(buf[at : len(buf)-1]))
		}
		if err != nil {
			undo()
			return fmt.Errorf("spool: append: %w", err)
		}
		m.apply(l)
	}
	err := m.commitLines(buf)
	if err != nil {
		undo()
		m.poison = errors.Join(ErrPoisoned, err)
	}
	return err
}

func (m *Mailbox) commitLines(buf []byte) error {
	cur, err := m.openCurrent()
	if err != nil {
		return err
	}
	if err := cur.write(buf); err != nil {
		return err
	}
	if cur.new && m.svc == nil {
		if err := m.dir.Sync(); err != nil {
			return fileError("sync", m.dir, cur.name, err)
		}
	}
	cur.new = false
	return nil
}

// next gives the record that a change leads to, and the tags its line needs: only what is new.
func (m *Mailbox) next(key string, ch Change) (Record, string, error) {
	old := m.changed[key]
	rec := ch.rec
	rec.Key = key
	names := rec.Files
	if rec.Raw != "" {
		names = append([]string{rec.Raw}, names...)
	}
	for _, name := range names {
		if err := checkName(name); err != nil {
			return rec, "", err
		}
	}
	if rec.Attempts < 0 || rec.Errors < 0 || rec.Size < 0 {
		return rec, "", fmt.Errorf("record of %s has a negative number", quoted(ch.rec.Key))
	}
	var before Record
	if old != nil && old.State != StateDone {
		before = *old
	}
	switch ch.state {
	case StateEntered:
		rec.Attempts = max(before.Attempts, rec.Attempts) + 1
		rec.Errors = max(before.Errors, rec.Errors)
		return rec, tagsEntered, nil
	case StateRefused:
		rec.Errors = before.Errors
		if !ch.uncounted {
			rec.Errors++
		}
		rec.Attempts = before.Attempts
		if before.State == StateEntered {
			rec.Attempts-- // it ended orderly
		}
		return rec, tagsStep, nil
	case StateCrashed:
		rec.Errors = before.Errors
		rec.Attempts = before.Attempts
		if before.State != StateEntered {
			rec.Attempts++ // the parser went down before any handler was entered
		}
		return rec, tagsStep, nil
	case StateDone:
		if ch.withFiles {
			return rec, tagsDoneAll, nil
		}
		return rec, tagsEnd, nil
	default:
		return rec, "", nil
	}
}

// abandon ends a session that was not pruned.
func (m *Mailbox) abandon() error {
	if m.svc == nil {
		return m.sweepOwn()
	}
	prefix := m.svc.Prefix()
	if err := m.sweepOwn(); err != nil {
		return err // the claim stays and the next Lock sweeps
	}
	if err := m.removeIDs(claimName(prefix)); err != nil {
		return err
	}
	if !m.empty() || m.poison != nil || len(m.hidden) > 0 {
		return nil
	}
	// The session came to nothing. The claim must not outlive the line that leads to it.
	if err := m.dir.Sync(); err != nil {
		return fileError("sync", m.dir, claimName(prefix), err)
	}
	return m.removeIDs(m.currentName())
}

// sweepOwn ends the service's session and removes what it made and no record names, and what records gave up.
func (m *Mailbox) sweepOwn() error {
	var names []string
	removed := false
	if m.svc != nil {
		names, removed = m.svc.end()
		m.svc = nil
	}
	for n := range m.dropped {
		names = append(names, n)
	}
	if m.poison != nil {
		// What the failed write said may be on disk and name these files; the next Lock knows.
		return m.poison
	}
	_, err := m.removeUnnamed(names)
	if err == nil && removed {
		err = m.s.SyncDir(Incoming)
	}
	return err
}

// removeUnnamed removes those of the names that no record names, and makes that durable.
func (m *Mailbox) removeUnnamed(names []string) (removed []string, err error) {
	in, err := m.s.dir(Incoming)
	if err != nil {
		return nil, err
	}
	named := m.named()
	rubbish := false
	for _, n := range names {
		if named[n] {
			continue
		}
		rubbish = true
		switch err := in.Remove(n); {
		case err == nil:
			removed = append(removed, filepath.Join(in.Path(), n))
		case !missing(err):
			return removed, fileError("remove", in, n, err)
		}
	}
	clear(m.dropped)
	if !rubbish {
		return nil, nil
	}
	// Also when all were gone: somebody removed them without a sync, and the session that leads to them is about to be
	// forgotten.
	return removed, m.s.SyncDir(Incoming)
}

// named gives all names in incoming that belong to a record, or to the host since its mail was done.
func (m *Mailbox) named() map[string]bool {
	set := maps.Clone(m.hosts)
	for _, r := range m.changed {
		if r.Raw != "" {
			set[r.Raw] = true
		}
		for _, f := range r.Files {
			set[f] = true
		}
	}
	return set
}
