package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// probePrefix starts the names of probe files. The numbers behind it begin with 1 for every probing, so that the next
// one comes across what a killed program left behind, in whichever directory.
const probePrefix = "Probe_"

// maxTries bounds every search for a free name.
const maxTries = 1000

// errProbeTaken: another program is probing with this name right now.
var errProbeTaken = errors.New("probe name in use")

// probe moves an empty file from incoming into every directory that takes files from there. Comparing device numbers
// would not do: two bind mounts of one file system refuse a rename as well.
func (s *Spool) probe() (err error) {
	for i := range maxTries {
		if err = s.probeAs(fmt.Sprintf("%s%x", probePrefix, i+1)); !errors.Is(err, errProbeTaken) {
			return err
		}
	}
	return err
}

func (s *Spool) probeAs(name string) error {
	at := s.dirs[Incoming]
	f, err := freeOf(at, name, func() (File, error) { return at.Create(name) })
	if err != nil {
		return probeError(Incoming, at, err)
	}
	defer f.Close() // the lock lives until here and tells others that this probe is alive
	if ok, err := lockedHere(at, name, f); err != nil || !ok {
		if err == nil {
			return errProbeTaken // another program thought it was left behind
		}
		_ = at.Remove(name)
		return probeError(Incoming, at, err)
	}
	for k := Processed; k < IDs; k++ {
		to := s.dirs[k]
		if to.Path() == at.Path() {
			continue
		}
		_, err := freeOf(to, name, func() (File, error) { return nil, s.fs.Rename(at, name, to, name) })
		if err != nil {
			_ = at.Remove(name)
			return probeError(k, to, err)
		}
		at = to
	}
	if err := at.Remove(name); err != nil && !missing(err) {
		return probeError(Queued, at, err)
	}
	return nil
}

// freeOf does something that needs name to be free in d, and once more after removing what a killed program left there.
func freeOf(d Dir, name string, do func() (File, error)) (File, error) {
	f, err := do()
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	removed, err := removeStale(d, name)
	if err != nil && !missing(err) {
		return nil, err
	}
	if !removed && !missing(err) {
		return nil, errProbeTaken
	}
	if f, err = do(); errors.Is(err, fs.ErrExist) {
		err = errProbeTaken
	}
	return f, err
}

func probeError(k Kind, d Dir, err error) error {
	if errors.Is(err, errProbeTaken) {
		return err
	}
	return &DirError{Kind: k, Path: d.Path(), Err: err}
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func isProbe(name string) bool { return strings.HasPrefix(name, probePrefix) }
