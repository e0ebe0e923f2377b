package spool

import (
	"bufio"
	"errors"
)

// The tags of the lines that are written, see format.md.
const (
	tagsLive     = "eaxnshrfw" // entered, refused, crashed in full
	tagsDone     = "odshw"     // done and disposed of
	tagsDoneFull = "odshwerf"  // done, perhaps with a disposal or a sweep to come
	tagsEntered  = "eaxshrf"
	tagsStep     = "nax"      // refused, crashed: the rest is known
	tagsEnd      = "odw"      // done: the rest is known
	tagsDoneAll  = "odshwerF" // done, without regard to what is known
)

// writePrevious replaces Previous by everything that is known: its own lines streamed through, and what changed since.
// With keep only done mails it wants stay, and done mails lose their file names: the files are the host's then, and the
// sessions they came from are swept. With sessions, these are named for a sweep still to come.
func (m *Mailbox) writePrevious(keep func(stored string) bool, sessions []string) error {
	w, err := m.s.beginReplace(m.dir, m.previousName())
	if err != nil {
		return err
	}
	defer w.abort()
	out := previousWriter{w: bufio.NewWriterSize(w, 32<<10), final: keep != nil}
	if err := out.header(m.id); err != nil {
		return err
	}
	for _, p := range sessions {
		if err := out.line(out.c.session(nil, p)); err != nil {
			return err
		}
	}
	var kept doneSet
	err = m.eachOld(func(rec *Record) error {
		if keep != nil && !keep(rec.Key) {
			return nil
		}
		kept.add(rec)
		return out.record(rec)
	})
	if err != nil {
		return err
	}
	for _, rec := range m.changed {
		if keep != nil && rec.State == StateDone && !keep(rec.Key) && rec.Raw == "" {
			continue
		}
		if err := out.record(rec); err != nil {
			return err
		}
	}
	if err := out.w.Flush(); err != nil {
		return err
	}
	if err := w.commit(); err != nil {
		return err
	}
	kept.finish()
	m.done, m.prev = kept, true
	clear(m.hidden)
	return nil
}

// eachOld reads the done mails of Previous that still count, those held in memory as full records left out.
func (m *Mailbox) eachOld(fn func(*Record) error) error {
	if !m.prev || len(m.done.list) == 0 {
		return nil
	}
	f, err := m.openIDs(m.previousName())
	if f == nil {
		return err
	}
	defer f.Close()
	err = m.reader(m.previousName(), f).each(func(l line) error {
		if l.session != "" || l.state != StateDone || m.changed[l.rec.Key] != nil || m.hidden[l.rec.Key] {
			return nil
		}
		return fn(&l.rec)
	})
	if err != nil {
		return readError(m.dir, m.previousName(), err)
	}
	return nil
}

type previousWriter struct {
	w     *bufio.Writer
	c     codec
	final bool
	buf   []byte
}

func (p *previousWriter) header(id MailboxID) error {
	b, seed := headerLine(id)
	p.c.seed = seed
	return p.line(b)
}

func (p *previousWriter) line(b []byte) error {
	_, err := p.w.Write(b)
	return err
}

func (p *previousWriter) record(rec *Record) (err error) {
	tags := tagsLive
	if rec.State == StateDone {
		tags = tagsDoneFull
		if p.final && rec.Raw == "" {
			tags = tagsDone
		}
	}
	if p.buf, err = p.c.record(p.buf[:0], rec.State, rec, tags); err != nil {
		return err
	}
	return p.line(p.buf)
}

// snapshot gives the records held in memory, and a reader of those that are only in Previous.
func (m *Mailbox) snapshot() ([]Record, oldRecords) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]Record, 0, len(m.changed))
	old := oldRecords{known: make(map[string]bool, len(m.changed)+len(m.hidden))}
	for k, r := range m.changed {
		list = append(list, r.clone())
		old.known[k] = true
	}
	for k := range m.hidden {
		old.known[k] = true
	}
	if m.closed || !m.prev || len(m.done.list) == 0 {
		return list, old
	}
	if f, err := m.openIDs(m.previousName()); err == nil && f != nil {
		old.f, old.r = f, m.reader(m.previousName(), f)
	}
	return list, old
}

// oldRecords reads done mails from Previous while the mailbox goes on: the file stays as it was when it was opened.
type oldRecords struct {
	f     File
	r     *idsFile
	known map[string]bool // stored keys to leave out
}

var errStop = errors.New("stop")

func (o oldRecords) each(yield func(Record) bool) {
	if o.f == nil {
		return
	}
	_ = o.r.each(func(l line) error {
		if l.session == "" && l.state == StateDone && !o.known[l.rec.Key] && !yield(l.rec) {
			return errStop
		}
		return nil
	})
}

func (o oldRecords) close() {
	if o.f != nil {
		_ = o.f.Close()
	}
}
