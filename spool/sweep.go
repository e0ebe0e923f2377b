package spool

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// finishDisposals does for done mails what was left undone with their raw files, and makes it durable. A failure is a
// warning: the record keeps the name and the next Lock tries again.
func (m *Mailbox) finishDisposals() {
	in, err := m.s.dir(Incoming)
	if err != nil {
		m.warn("disposal: %v", err)
		return
	}
	var finished []*Record
	targets := map[Kind]bool{}
	for _, r := range m.changed {
		if r.State != StateDone || r.Raw == "" {
			continue
		}
		if err := m.dispose(in, r); err != nil {
			m.warn("disposal of %s: %v", r.Raw, err)
			continue
		}
		finished = append(finished, r)
		if to, move := r.Disposal.target(); move {
			targets[to] = true
		}
	}
	if len(finished) == 0 {
		return
	}
	// Moves are not synced when they happen, and a killed process may have left some: the new names first, then the old.
	for to := range targets {
		if err := m.s.SyncDir(to); err != nil {
			m.warn("disposal: %v", err)
			return
		}
	}
	if err := m.s.SyncDir(Incoming); err != nil {
		m.warn("disposal: %v", err)
		return
	}
	for _, r := range finished {
		if r.Disposal == DisposeKeep {
			r.Files = append(r.Files, r.Raw) // the host's, like its other files
		}
		r.Raw = ""
	}
}

func (m *Mailbox) dispose(in Dir, r *Record) error {
	if r.Disposal == DisposeKeep {
		return nil
	}
	if _, err := in.Lstat(r.Raw); missing(err) {
		return nil
	} else if err != nil {
		return err
	}
	to, move := r.Disposal.target()
	if !move {
		return m.s.RemoveFile(Incoming, r.Raw)
	}
	if to == Failed {
		if err := m.s.WriteReason(Failed, r.Raw, r.Reason); err != nil {
			return err
		}
	}
	_, err := m.s.Shift(Incoming, r.Raw, to)
	return err
}

// sweepSessions removes the files of ended sessions that no record names. Only sessions whose claim is this mailbox's
// are looked at, and none when records may be missing: then their files cannot be told from the host's.
func (m *Mailbox) sweepSessions() ([]string, error) {
	ours, err := m.claims()
	if err != nil || len(ours) == 0 {
		return nil, err
	}
	var removed []string
	if m.damaged {
		m.warn("files of the sessions %s are left in incoming: a record that names them may be lost", strings.Join(ours, ", "))
	} else {
		in, err := m.s.dir(Incoming)
		if err != nil {
			return nil, err
		}
		list, err := m.unnamed(in, ours)
		if err != nil {
			return nil, err
		}
		for _, name := range list {
			if err := in.Remove(name); err != nil && !missing(err) {
				return removed, fileError("remove", in, name, err)
			}
			removed = append(removed, filepath.Join(in.Path(), name))
		}
		// Also without removals of our own: disposals before this were not synced.
		if err := m.s.SyncDir(Incoming); err != nil {
			return removed, err
		}
	}
	for _, p := range ours {
		if err := m.removeIDs(claimName(p)); err != nil {
			return removed, err
		}
	}
	m.open = nil
	if err := m.dir.Sync(); err != nil {
		return removed, fileError("sync", m.dir, "claims", err)
	}
	return removed, nil
}

// unnamed lists the files of these sessions in incoming that no record names.
func (m *Mailbox) unnamed(in Dir, sessions []string) ([]string, error) {
	list, err := in.List()
	if err != nil {
		return nil, &DirError{Kind: Incoming, Path: in.Path(), Err: err}
	}
	named := m.named()
	var names []string
	for _, e := range list {
		if p := ServiceOf(e.Name()); p != "" && slices.Contains(sessions, p) && !named[e.Name()] && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// claims gives those of the sessions named in the files that this mailbox has claimed. A claim that was never finished
// is removed: no file was made under it.
func (m *Mailbox) claims() ([]string, error) {
	var ours []string
	for _, p := range m.open {
		base, whole, err := readClaim(m.dir, claimName(p))
		switch {
		case missing(err):
		case err != nil:
			return nil, err
		case whole && base == m.base && !slices.Contains(ours, p):
			ours = append(ours, p)
		case !whole:
			if _, err := removeStale(m.dir, claimName(p)); err != nil && !missing(err) {
				return nil, err
			}
		}
	}
	return ours, nil
}

func readClaim(d Dir, name string) (base string, whole bool, err error) {
	f, err := d.Open(name)
	if err != nil {
		return "", false, fileError("open", d, name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 512))
	if err != nil {
		return "", false, fileError("read", d, name, err)
	}
	base, whole = strings.CutSuffix(string(b), "\n")
	return base, whole, nil
}

// Sweep does for all mailboxes that nobody holds what Lock does for one: it finishes interrupted disposals and removes
// the files of ended sessions that no record names. It also removes outgoing mails, probes, locks and temporary files
// left behind by killed programs; what a living program works on is locked and left alone. It returns the paths of what
// was removed, or with dryRun of what would be, and goes on after errors, which are joined.
func (s *Spool) Sweep(dryRun bool) ([]string, error) {
	ids, err := s.dir(IDs)
	if err != nil {
		return nil, err
	}
	list, err := ids.List()
	if err != nil {
		return nil, &DirError{Kind: IDs, Path: ids.Path(), Err: err}
	}
	var paths []string
	var errs []error
	note := func(p []string, err error) {
		paths = append(paths, p...)
		if err != nil && !errors.Is(err, ErrBusy) {
			errs = append(errs, err)
		}
	}
	bases := map[string]bool{}
	for _, e := range list {
		if base, ok := baseOfIDs(e.Name()); ok && !bases[base] {
			bases[base] = true
			note(s.sweepMailbox(ids, base, dryRun))
		}
	}
	for _, e := range list {
		if isClaim(e.Name()) {
			note(s.sweepClaim(ids, e.Name(), dryRun))
		}
	}
	for k := range numKinds {
		if k == Root && s.paths[Root] == s.paths[IDs] {
			continue
		}
		note(s.sweepStale(k, dryRun))
	}
	slices.Sort(paths)
	return slices.Compact(paths), errors.Join(errs...)
}

func baseOfIDs(name string) (string, bool) {
	name, ok := strings.CutSuffix(name, ".ids")
	if !ok {
		return "", false
	}
	if b, ok := strings.CutPrefix(name, "Current_"); ok {
		return b, true
	}
	return strings.CutPrefix(name, "Previous_")
}

func (s *Spool) sweepMailbox(ids Dir, base string, dryRun bool) ([]string, error) {
	id, err := s.identityOf(ids, base)
	if err != nil {
		return nil, err
	}
	m, err := s.acquire(id, base)
	if err != nil {
		return nil, err
	}
	if !dryRun {
		removed, err := m.recover()
		return removed, errors.Join(err, m.Unlock())
	}
	paths, err := m.plan()
	return paths, errors.Join(err, m.release())
}

// plan tells what recover would remove, changing nothing.
func (m *Mailbox) plan() ([]string, error) {
	var err error
	if m.prev, err = m.load(m.previousName(), true); err != nil {
		return nil, err
	}
	if _, err = m.load(m.currentName(), true); err != nil {
		return nil, err
	}
	in, err := m.s.dir(Incoming)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, r := range m.changed {
		if r.State != StateDone || r.Raw == "" || r.Disposal == DisposeKeep {
			continue
		}
		if _, err := in.Lstat(r.Raw); err == nil {
			names = append(names, r.Raw)
		}
	}
	if !m.damaged {
		var ours []string
		for _, p := range m.open {
			if base, whole, err := readClaim(m.dir, claimName(p)); err == nil && whole && base == m.base {
				ours = append(ours, p)
			}
		}
		unnamed, err := m.unnamed(in, ours)
		if err != nil {
			return nil, err
		}
		names = append(names, unnamed...)
	}
	for i, n := range names {
		names[i] = filepath.Join(in.Path(), n)
	}
	return names, nil
}

// identityOf reads the identity from the header of a mailbox's files.
func (s *Spool) identityOf(ids Dir, base string) (MailboxID, error) {
	var last error
	for _, name := range []string{"Previous_" + base + ".ids", "Current_" + base + ".ids"} {
		f, err := ids.Open(name)
		if err != nil {
			continue
		}
		buf := make([]byte, 32<<10) // longer than any header
		n, err := io.ReadFull(f, buf)
		_ = f.Close()
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
			last = fileError("read", ids, name, err)
			continue
		}
		first, _, whole := strings.Cut(string(buf[:n]), "\n")
		id, version, ok := parseHeader(first)
		switch {
		case version != "":
			last = &VersionError{Path: filepath.Join(ids.Path(), name), Version: version}
		case ok && whole && id.base() == base:
			return id.normal(), nil
		default:
			last = fileError("read", ids, name, fmt.Errorf("header: %w", errBadLine))
		}
	}
	return MailboxID{}, cmpErr(last, errNoIdentity)
}

// errNoIdentity: the mailbox has no files any more. Where one was seen a moment ago, its owner is at work.
var errNoIdentity = fmt.Errorf("no record: %w", ErrBusy)

// sweepClaim removes a claim that no session line leads to any more. With the mailbox's lock in hand nobody can be
// making one for it.
func (s *Spool) sweepClaim(ids Dir, name string, dryRun bool) ([]string, error) {
	path := filepath.Join(ids.Path(), name)
	base, whole, err := readClaim(ids, name)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !whole || checkName("Lock_"+base+".lock") != nil {
		return s.removeIfStale(ids, name, dryRun)
	}
	id, err := s.identityOf(ids, base)
	if err != nil && !errors.Is(err, errNoIdentity) {
		return nil, err
	}
	m, err := s.acquire(id, base)
	if err != nil {
		return nil, err
	}
	defer func() { _ = m.release() }()
	for _, n := range []string{m.previousName(), m.currentName()} {
		if _, err := m.load(n, true); err != nil {
			return nil, err
		}
	}
	if m.damaged || slices.Contains(m.open, claimPrefix(name)) {
		return nil, nil // its own Lock looks after it
	}
	if dryRun {
		return []string{path}, nil
	}
	if err := m.removeIDs(name); err != nil {
		return nil, err
	}
	return []string{path}, nil
}

// sweepStale removes temporary files whose makers are dead.
func (s *Spool) sweepStale(k Kind, dryRun bool) ([]string, error) {
	d, err := s.dir(k)
	if err != nil {
		return nil, err
	}
	list, err := d.List()
	if err != nil {
		return nil, &DirError{Kind: k, Path: d.Path(), Err: err}
	}
	var paths []string
	var errs []error
	for _, e := range list {
		if !e.Type().IsRegular() || !temporary(k, e.Name()) {
			continue
		}
		p, err := s.removeIfStale(d, e.Name(), dryRun)
		paths = append(paths, p...)
		errs = append(errs, err)
	}
	return paths, errors.Join(errs...)
}

// temporary reports whether a file in this directory is of a sort that its maker keeps locked and then renames or
// removes. Files in incoming are not: they go by their session.
func temporary(k Kind, name string) bool {
	n, ours := ParseName(name)
	switch {
	case isProbe(name):
		return true
	case k == Sent:
		return ours && n.Part
	case k == Failed:
		return strings.HasSuffix(name, reasonSuffix+partSuffix)
	case k == IDs || k == Root:
		return strings.HasPrefix(name, "Lock_") && strings.HasSuffix(name, ".lock") ||
			strings.HasSuffix(name, ".ids"+partSuffix) && (strings.HasPrefix(name, "Previous_") || strings.HasPrefix(name, "Current_")) ||
			strings.HasPrefix(name, loopbackFile) && (strings.HasSuffix(name, partSuffix) || strings.HasSuffix(name, ".lock"))
	}
	return false
}

func (s *Spool) removeIfStale(d Dir, name string, dryRun bool) ([]string, error) {
	path := filepath.Join(d.Path(), name)
	if dryRun {
		f, err := d.Open(name)
		if err != nil {
			return nil, nil // gone meanwhile, or not ours to judge
		}
		defer f.Close()
		if free, err := f.TryLock(); err != nil || !free {
			return nil, err
		}
		return []string{path}, nil
	}
	removed, err := removeStale(d, name)
	if err != nil || !removed {
		return nil, err
	}
	return []string{path}, nil
}
