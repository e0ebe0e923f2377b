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
		err := s.fs.Rename(src, name, dst, final)
		if err == nil {
			break
		}
		n, ok := ParseName(final)
		if !errors.Is(err, fs.ErrExist) || !ok || i == maxTries {
			return "", fmt.Errorf("spool: move to %s: %w", to, fileError("rename", src, name, err))
		}
		n.Millis++
		final = n.String()
	}
	// The new name first: after a power cut the file may be in both places, never in none.
	if err := s.SyncDir(to); err != nil {
		return final, err
	}
	return final, s.SyncDir(from)
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
