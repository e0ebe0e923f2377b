package drivertest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// note checks an event against the mail it must be of, and against earlier
// hand-overs of that mail.
func (e *env) note(ev *driver.Event) *handover {
	h := &handover{subject: ev.Subject, id: ev.ID, redelivered: ev.Redelivered, attempt: ev.Attempt, raw: ev.RawFile}
	for _, f := range ev.Files {
		h.files = append(h.files, f.Path)
	}
	e.mu.Lock()
	before := make([]handover, len(e.seen))
	for i, o := range e.seen {
		before[i] = *o
	}
	e.seen = append(e.seen, h)
	i := slices.IndexFunc(e.mails, func(m *mail) bool { return m.subject == ev.Subject })
	var m *mail
	if i >= 0 {
		m = e.mails[i]
	}
	e.mu.Unlock()
	if m == nil {
		e.Errorf("a mail was handed over that nobody sent: %q", ev.Subject)
		return h
	}
	e.checkBytes(m, ev)
	for _, o := range before {
		switch {
		case o.subject != h.subject && o.id == h.id:
			e.Errorf("%s and %s have the same Event.ID %s", o.subject, h.subject, h.id)
		case o.subject != h.subject:
		case o.taken() && !e.repeats:
			e.Errorf("%s was handed over although the handler had taken it", h.subject)
		case o.id != h.id:
			e.Errorf("%s was handed over again as another event: %s, before %s", h.subject, h.id, o.id)
		case !h.redelivered:
			e.Errorf("%s was handed over again and not marked as redelivered", h.subject)
		case h.attempt < o.attempt: // one that the session's end interrupted does not count
			e.Errorf("%s: attempt %d after attempt %d", h.subject, h.attempt, o.attempt)
		case !slices.Equal(o.files, h.files) || o.raw != h.raw:
			e.Errorf("%s was handed over again with other files: %s, before %s", h.subject, base(h.files), base(o.files))
		}
	}
	return h
}

func (e *env) checkBytes(m *mail, ev *driver.Event) {
	raw, err := os.ReadFile(ev.RawFile)
	switch {
	case err != nil:
		e.Errorf("%s: the raw file: %v", m.subject, err)
	case !bytes.Equal(raw, m.raw):
		e.Errorf("%s: the raw file differs from the mail in byte %d (%d bytes, the mail has %d)", m.subject, differ(raw, m.raw), len(raw), len(m.raw))
	}
	found := false
	for _, f := range ev.Files {
		data, err := os.ReadFile(f.Path)
		switch {
		case err != nil:
			e.Errorf("%s: the file %s: %v", m.subject, f.Name, err)
		case int64(len(data)) != f.Size:
			e.Errorf("%s: the file %s has %d bytes, the event says %d", m.subject, f.Name, len(data), f.Size)
		case f.Name == "data.bin":
			found = true
			if !bytes.Equal(data, m.attachment) {
				e.Errorf("%s: the attachment differs in byte %d (%d bytes, want %d)", m.subject, differ(data, m.attachment), len(data), len(m.attachment))
			}
		}
	}
	if !found {
		e.Errorf("%s: there is no file of the attachment", m.subject)
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// verify says what must hold once everything has settled: each mail was taken
// exactly once, the mailbox is empty, the incoming directory holds the files
// of taken mails and nothing else, and no record outlives its mail.
func (e *env) verify() {
	e.Helper()
	e.wantLeft(0)
	e.verifyTaken(e.mails)
	e.verifyFiles()
	for _, f := range e.files(spool.IDs) {
		if name := filepath.Base(f); strings.HasSuffix(name, ".ids") || strings.HasSuffix(name, ".lock") {
			e.Errorf("the record %s outlives all mails it is about", name)
		}
	}
}

func (e *env) verifyTaken(mails []*mail) {
	e.Helper()
	for _, m := range mails {
		n := 0
		for _, h := range e.handovers(m) {
			if h.taken() {
				n++
			}
		}
		if n != 1 && !(n == 2 && e.repeats) {
			e.Errorf("%s was taken %d times, want once (handed over %d times)", m.subject, n, len(e.handovers(m)))
		}
	}
}

// verifyFiles looks for files that nobody owns, and for owned ones that are
// not there.
func (e *env) verifyFiles() {
	e.Helper()
	owned := map[string]bool{}
	e.mu.Lock()
	for _, h := range e.seen {
		for _, f := range h.files {
			if h.taken() {
				owned[f] = true
			}
		}
	}
	e.mu.Unlock()
	for _, f := range e.files(spool.Incoming) {
		if !owned[f] {
			e.Errorf("a stray file: %s", f)
		}
		delete(owned, f)
	}
	for f := range owned {
		if _, err := os.Lstat(f); errors.Is(err, fs.ErrNotExist) {
			e.Errorf("a file of a mail that the handler took is gone: %s", f)
		}
	}
}

// forget gives up the mails and hand-overs so far, with their files, for a
// loop that goes on with new ones.
func (e *env) forget() {
	e.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, h := range e.seen {
		for _, f := range h.files {
			if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
				e.Error(err)
			}
		}
	}
	e.mails, e.seen = nil, nil
}
