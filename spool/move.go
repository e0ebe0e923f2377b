package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Move moves a file to another directory, durably in both. It keeps its name unless that is taken there; then the next
// free millisecond is used. The final name is returned. A missing file is fs.ErrNotExist.
func (s *Spool) Move(from Kind, name string, to Kind) (string, error) {
	final, err := s.Shift(from, name, to)
	if err != nil {
		return "", err
	}
	// The new name first: after a power cut the file may be in both places, never in none.
	if err := s.SyncDir(to); err != nil {
		return final, err
	}
	return final, s.SyncDir(from)
}

// Shift is Move without the two directory syncs, for a file whose delivery record is done: the record names it until
// Prune, which syncs both directories, and the next Lock finishes what a crash undid.
func (s *Spool) Shift(from Kind, name string, to Kind) (string, error) {
	src, err := s.dir(from)
	if err != nil {
		return "", err
	}
	dst, err := s.dir(to)
	if err != nil {
		return "", err
	}
	final := name
	for i := 0; ; i++ {
		err := s.rename(src, name, dst, final, to)
		if err == nil {
			return final, nil
		}
		if errors.Is(err, fs.ErrExist) && i == 0 {
			if both, serr := finishMove(src, name, dst, final); both || serr != nil {
				return final, serr
			}
		}
		n, ok := ParseName(final)
		if !errors.Is(err, fs.ErrExist) || !ok || i == maxTries {
			return "", fmt.Errorf("spool: move to %s: %w", to, fileError("rename", src, name, err))
		}
		n.Millis++
		final = n.String()
	}
}

// rename moves a file and notes that the new directory must be synced before the old one is.
func (s *Spool) rename(src Dir, name string, dst Dir, final string, to Kind) error {
	s.moves.Lock()
	defer s.moves.Unlock()
	s.shifted[to] = true
	return s.fs.Rename(src, name, dst, final)
}

// syncIncoming makes the new names of moved files durable before their old ones go for good. No file is moved meanwhile.
func (s *Spool) syncIncoming() error {
	s.moves.Lock()
	defer s.moves.Unlock()
	for k := range numKinds {
		if !s.shifted[k] {
			continue
		}
		if err := s.syncDir(k); err != nil {
			return err
		}
		s.shifted[k] = false
	}
	return s.syncDir(Incoming)
}

// finishMove removes the old name of a file that a power cut left under both: the new name must be on disk before that.
func finishMove(src Dir, name string, dst Dir, final string) (both bool, err error) {
	f, err := src.Open(name)
	if err != nil {
		return false, fileError("open", src, name, err)
	}
	defer f.Close()
	if both, err = dst.Same(final, f); !both || err != nil {
		return false, err
	}
	if err := dst.Sync(); err != nil {
		return true, fileError("sync", dst, final, err)
	}
	if err := src.Remove(name); err != nil && !missing(err) {
		return true, fileError("remove", src, name, err)
	}
	return true, nil
}

// RemoveFile removes a file; a missing one is fine. The removal is not synced: after a power cut the file may be back,
// and whoever removed it must be able to do so again.
func (s *Spool) RemoveFile(kind Kind, name string) error {
	d, err := s.dir(kind)
	if err != nil {
		return err
	}
	if err := d.Remove(name); err != nil && !missing(err) {
		return fileError("remove", d, name, err)
	}
	return nil
}

// OpenFile opens a file for reading; the caller closes it. Links are refused.
func (s *Spool) OpenFile(kind Kind, name string) (File, error) {
	d, err := s.dir(kind)
	if err != nil {
		return nil, err
	}
	f, err := d.Open(name)
	if err != nil {
		return nil, fileError("open", d, name, err)
	}
	return f, nil
}

// Path gives the absolute path of a file, without looking whether it is there.
func (s *Spool) Path(kind Kind, name string) string { return filepath.Join(s.Dir(kind), name) }

// maxReasonFile bounds a reason file, in bytes; a stack trace fits.
const maxReasonFile = 64 << 10

// WriteReason puts a text file named rawName.reason into a directory, durably; longer text is cut at 64 KiB. A reason
// that is there already is kept: the first one tells what happened.
func (s *Spool) WriteReason(kind Kind, rawName, text string) error {
	d, err := s.dir(kind)
	if err != nil {
		return err
	}
	name := rawName + reasonSuffix
	if _, err := d.Lstat(name); err == nil {
		return nil
	} else if !missing(err) {
		return fileError("create", d, name, err)
	}
	if len(text) > maxReasonFile {
		text = text[:maxReasonFile]
	}
	if text == "" || text[len(text)-1] != '\n' {
		text += "\n"
	}
	w, err := s.beginReplace(d, name)
	if err != nil {
		return err
	}
	defer w.abort()
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return w.commit()
}
