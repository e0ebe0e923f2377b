package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
)

// probePrefix starts the names of probe files; Sweep removes what a power cut left of them.
const probePrefix = "Probe_"

var probeCounter atomic.Uint64

// probe moves an empty file from incoming into every directory that takes files from there, and back. Comparing device
// numbers would not do: two bind mounts of one file system refuse a rename as well.
func (s *Spool) probe() (err error) {
	for range 3 {
		// A sweep of another process may take the probe in the moment before it is locked: then once more.
		if err = s.probeOnce(); !missing(err) {
			break
		}
	}
	return err
}

func (s *Spool) probeOnce() error {
	in := s.dirs[Incoming]
	var f File
	var name string
	for range maxTries {
		name = fmt.Sprintf("%s%x_%x_%x", probePrefix, s.pid, s.elapsed(), probeCounter.Add(1))
		var err error
		if f, err = in.Create(name); err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return &DirError{Kind: Incoming, Path: in.Path(), Err: err}
		}
	}
	if f == nil {
		return &DirError{Kind: Incoming, Path: in.Path(), Err: ErrNameTaken}
	}
	defer f.Close() // the lock lives until here, Sweep leaves a locked probe alone
	if ok, err := f.TryLock(); err != nil || !ok {
		_ = in.Remove(name)
		return &DirError{Kind: Incoming, Path: in.Path(), Err: fmt.Errorf("lock: %w", cmpErr(err, ErrBusy))}
	}
	at := in
	for k := Processed; k < IDs; k++ {
		if s.paths[k] == at.Path() {
			continue
		}
		if err := s.fs.Rename(at, name, s.dirs[k], name); err != nil {
			_ = at.Remove(name)
			return &DirError{Kind: k, Path: s.paths[k], Err: err}
		}
		at = s.dirs[k]
	}
	if err := at.Remove(name); err != nil && !missing(err) {
		return &DirError{Kind: Queued, Path: at.Path(), Err: err}
	}
	return nil
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func isProbe(name string) bool { return strings.HasPrefix(name, probePrefix) }

// maxTries bounds every search for a free name.
const maxTries = 1000
