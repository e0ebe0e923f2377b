package spool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

func (m *Mailbox) previousName() string { return "Previous_" + m.base + ".ids" }
func (m *Mailbox) currentName() string  { return "Current_" + m.base + ".ids" }

func (m *Mailbox) warn(format string, args ...any) {
	m.warnings = append(m.warnings, fmt.Sprintf(format, args...))
}

// idsFile reads the lines of one .ids file.
type idsFile struct {
	path string
	id   MailboxID // as expected
	c    codec
	br   *bufio.Reader
	// bad gets every line that is not intact, newline included; nil drops them.
	bad func(raw []byte) error
	// good gets every intact line, newline and the header included; may be nil.
	good func(raw []byte) error
	// damaged: an intact line follows a bad one, so this is not merely a write that was cut short.
	bads    int
	room    bool // Current: zeros may follow the lines
	damaged bool
}

// each calls fn for every intact line behind the header.
func (r *idsFile) each(fn func(line) error) error {
	r.c.seed = headerSeed(r.id.header())
	for first := true; ; {
		raw, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		// Zeros are room that no line has taken, or one whose line never reached the disk.
		if r.room {
			if raw = bytes.Trim(raw, "\x00"); len(raw) == 0 {
				continue
			}
		}
		text, whole := strings.CutSuffix(string(raw), "\n")
		if first {
			first = false
			got, version, ok := parseHeader(text)
			switch {
			case version != "" && whole:
				return &VersionError{Path: r.path, Version: version}
			case ok && whole && got.normal() != r.id:
				return &IdentityError{Path: r.path, Want: r.id, Got: got.normal()}
			case ok && whole:
				if err := r.isGood(raw); err != nil {
					return err
				}
				continue
			}
			if err := r.isBad(raw); err != nil {
				return err
			}
			continue
		}
		l, err := r.c.parse(text)
		if !whole || errors.Is(err, errBadLine) {
			if err := r.isBad(raw); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return &VersionError{Path: r.path, Version: fmt.Sprintf("%d with %s", formatVersion, text[:min(len(text), 80)])}
		}
		if r.bads > 0 {
			r.damaged = true
		}
		if err := r.isGood(raw); err != nil {
			return err
		}
		if err := fn(l); err != nil {
			return err
		}
	}
}

func (r *idsFile) isGood(raw []byte) error {
	if r.good == nil {
		return nil
	}
	return r.good(raw)
}

func (r *idsFile) isBad(raw []byte) error {
	r.bads++
	if r.bad == nil {
		return nil
	}
	return r.bad(raw)
}

// next reads one line with its newline, in pieces of at most maxLine bytes: a longer one cannot be intact.
func (r *idsFile) next() ([]byte, error) {
	raw, err := r.br.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		if err == io.EOF && len(raw) > 0 {
			err = nil
		}
		return raw, err
	}
	long := append([]byte(nil), raw...)
	for len(long) < maxLine {
		raw, err = r.br.ReadSlice('\n')
		long = append(long, raw...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
	}
	if err != nil && err != io.EOF && !errors.Is(err, bufio.ErrBufferFull) {
		return nil, err
	}
	return long, nil
}

// openIDs opens an .ids file after looking at its size; a missing one gives nil.
func (m *Mailbox) openIDs(name string) (File, error) {
	f, err := m.dir.Open(name)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fileError("open", m.dir, name, err)
	}
	n, err := f.Size()
	if err == nil && n > m.s.idsLimit {
		err = &SizeError{Path: filepath.Join(m.dir.Path(), name), Size: n, Limit: m.s.idsLimit}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (m *Mailbox) reader(name string, f File) *idsFile {
	return &idsFile{path: filepath.Join(m.dir.Path(), name), id: m.id, room: name == m.currentName(), br: bufio.NewReaderSize(f, 64<<10)}
}

// load reads one file into memory. Bad lines are kept aside unless readOnly. It tells whether the file was there.
func (m *Mailbox) load(name string, readOnly bool) (found bool, err error) {
	f, err := m.openIDs(name)
	if f == nil {
		return false, err
	}
	defer f.Close()
	r := m.reader(name, f)
	var aside *asideFile
	if !readOnly {
		r.bad = func(raw []byte) error {
			if aside == nil {
				if aside, err = m.openAside(name); err != nil {
					return err
				}
			}
			return aside.write(raw)
		}
	}
	isPrevious := name == m.previousName()
	err = r.each(func(l line) error {
		if l.session != "" {
			m.open = append(m.open, l.session)
			return nil
		}
		// A million done mails must not become a million records.
		if isPrevious && l.state == StateDone && l.rec.Raw == "" && len(l.rec.Files) == 0 && m.changed[l.rec.Key] == nil {
			m.done.add(&l.rec)
			return nil
		}
		m.apply(l)
		return nil
	})
	if aside != nil {
		err = errors.Join(err, aside.close())
	}
	if err != nil {
		return true, readError(m.dir, name, err)
	}
	if r.bads > 0 {
		// Previous is written in one piece, so nothing in it can be a write that was cut short.
		torn := !r.damaged && !isPrevious
		m.damaged = m.damaged || !torn
		m.tell(name, r.bads, torn, aside)
	}
	return true, nil
}

func (m *Mailbox) tell(name string, bads int, torn bool, aside *asideFile) {
	what := "damaged"
	if torn {
		what = "cut short by a crash"
	}
	kept := ""
	if aside != nil {
		kept = ", kept as " + aside.name
	}
	m.warn("%s: %d lines %s%s", name, bads, what, kept)
}

func readError(d Dir, name string, err error) error {
	var v *VersionError
	var i *IdentityError
	var f *FileError
	if errors.As(err, &v) || errors.As(err, &i) || errors.As(err, &f) {
		return err
	}
	return fileError("read", d, name, err)
}

// apply takes one line into memory. It is the only place where a record changes, when replaying and when appending.
func (m *Mailbox) apply(l line) {
	key := l.rec.Key
	old := m.changed[key]
	if l.state == 0 {
		delete(m.changed, key)
		m.hidden[key] = true
		m.giveUp(old, nil)
		return
	}
	rec := l.rec
	switch {
	case old == nil && l.state == StateDone:
		// Keep the fingerprint of a mail that was done before (done twice: a second import).
		if before, ok := m.done.get(key); ok && rec.Size == 0 && rec.HeaderHash == "" {
			rec.Size, rec.HeaderHash = before.Size, before.HeaderHash
		}
	case old == nil || l.state == StateEntered:
	case old.State == StateDone && l.state != StateDone:
		// The server gave the id to a new mail.
	default:
		rec = old.with(l)
	}
	m.giveUp(old, &rec)
	m.changed[key] = &rec
}

// giveUp notes what becomes of names that a record no longer holds: those of a done mail are the host's and must outlive
// the record, all others are rubbish.
func (m *Mailbox) giveUp(old, now *Record) {
	if old == nil {
		return
	}
	for _, f := range append([]string{old.Raw}, old.Files...) {
		switch {
		case f == "" || now != nil && (now.Raw == f || slices.Contains(now.Files, f)):
		case old.State == StateDone && f != old.Raw:
			m.hosts[f] = true
		default:
			m.dropped[f] = true
		}
	}
}

// with gives r changed by a line that states only what is new.
func (r *Record) with(l line) Record {
	n := *r
	n.State = l.state
	for _, c := range []struct {
		tag byte
		set func()
	}{
		{'e', func() { n.EventID = l.rec.EventID }},
		{'a', func() { n.Attempts = l.rec.Attempts }},
		{'x', func() { n.Errors = l.rec.Errors }},
		{'s', func() { n.Size = l.rec.Size }},
		{'h', func() { n.HeaderHash = l.rec.HeaderHash }},
		{'r', func() { n.Raw = l.rec.Raw }},
		{'f', func() { n.Files = l.rec.Files }},
	} {
		if l.has[c.tag] {
			c.set()
		}
	}
	n.NotBefore, n.Outcome, n.Disposal, n.Reason = l.rec.NotBefore, l.rec.Outcome, l.rec.Disposal, l.rec.Reason
	return n
}

// recover brings the files of an ended session in order: replay, merge, finish disposals, sweep. Each step can be cut
// off anywhere and done again.
//
// It gives the paths of the files it removed from incoming.
func (m *Mailbox) recover() (removed []string, err error) {
	if m.prev, err = m.load(m.previousName(), false); err != nil {
		return nil, err
	}
	current, err := m.load(m.currentName(), false)
	if err != nil {
		return nil, err
	}
	m.done.finish()
	damaged := len(m.warnings) > 0
	// What was read from Current may never have reached the disk, and only a new file can be synced with certainty. Without
	// this a power cut could leave less of Current than was merged, and its last lines would then undo what Previous says.
	if current {
		if err := m.fixCurrent(); err != nil {
			return nil, err
		}
	}
	// Current is merged last: it knows best which files and sessions are still to be seen to, and a crash on the way must
	// find all of that again.
	m.finishDisposals()
	if removed, err = m.sweepSessions(); err != nil {
		return removed, err
	}
	if len(m.dropped) > 0 {
		more, err := m.removeUnnamed(slices.Collect(maps.Keys(m.dropped)))
		removed = append(removed, more...)
		if err != nil {
			return removed, err
		}
	}
	if m.empty() && m.prev {
		if err := m.removeIDs(m.previousName()); err != nil {
			return removed, err
		}
		m.prev = false
	} else if !m.empty() && (current || damaged) {
		if err := m.writePrevious(nil, m.open); err != nil {
			return removed, err
		}
	}
	if current {
		if err := m.removeIDs(m.currentName()); err != nil {
			return removed, err
		}
	}
	m.compact()
	return removed, nil
}

// fixCurrent replaces Current by a copy of its intact lines that is certainly on disk.
func (m *Mailbox) fixCurrent() error {
	name := m.currentName()
	f, err := m.openIDs(name)
	if f == nil {
		return err
	}
	defer f.Close()
	w, err := m.s.beginReplace(m.dir, name)
	if err != nil {
		return err
	}
	defer w.abort()
	r := m.reader(name, f)
	r.good = func(raw []byte) error {
		_, err := w.Write(raw)
		return err
	}
	if err := r.each(func(line) error { return nil }); err != nil {
		return readError(m.dir, name, err)
	}
	return w.commit()
}

func (m *Mailbox) empty() bool { return len(m.changed) == 0 && len(m.done.list) == 0 }

func (m *Mailbox) removeIDs(name string) error {
	if err := m.dir.Remove(name); err != nil && !missing(err) {
		return fileError("remove", m.dir, name, err)
	}
	return nil
}

// compact moves done mails with nothing left to do into the small set.
func (m *Mailbox) compact() {
	added := false
	for k, r := range m.changed {
		if r.State == StateDone && r.Raw == "" {
			m.done.add(r)
			delete(m.changed, k)
			added = true
		}
	}
	if added {
		m.done.finish()
	}
}
