package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Kind names one directory of a spool.
type Kind uint8

// The directories of a spool. The default path of each is its name under the root.
const (
	Incoming  Kind = iota // downloads, attachments, original texts
	Processed             // raw mails after success, when they are not deleted
	Failed                // raw mails that could not be handled, each with a reason file
	Loopback              // raw mails of blocked senders
	Sent                  // outgoing mails, while being sent and when saved
	Queued                // the durable event queue
	IDs                   // delivery records and locks; default the root itself
	Root                  // the root: the loopback state
	numKinds
)

var kindNames = [...]string{"incoming", "processed", "failed", "loopback", "sent", "queued", "ids", "root"}

func (k Kind) String() string { return wordOf(kindNames[:], uint8(k)) }

// Spool is one spool on disk. It is safe for concurrent use, and any number of Spools, in any number of processes, may
// share one root. It runs no goroutine. Close is optional: it gives the directory handles back at once.
type Spool struct {
	paths    [numKinds]string
	fs       FS
	now      func() time.Time
	pid      uint64
	elapsed  func() uint64 // milliseconds since program start
	idsLimit int64
	syncEach bool

	mu    sync.Mutex
	dirs  [numKinds]Dir // set when ready
	ready bool

	moves   sync.Mutex
	shifted [numKinds]bool // directories that files were moved to and that were not synced since

	loop loopState
}

// DefaultIDsLimit is the largest .ids file that is read, in bytes.
const DefaultIDsLimit = 256 << 20

// Option changes a Spool; see New.
type Option func(*Spool) error

// WithDir puts one directory elsewhere. A relative path is taken from the root. All directories must be on one file
// system. Root cannot be moved, it is the argument of New.
func WithDir(kind Kind, path string) Option {
	return func(s *Spool) error {
		if kind >= IDs {
			return fmt.Errorf("spool: WithDir: %s is not a directory that can be moved", kind)
		}
		if path == "" {
			return fmt.Errorf("spool: WithDir: empty path for %s", kind)
		}
		s.paths[kind] = path
		return nil
	}
}

// WithIDsDir puts the delivery records and locks elsewhere; the default is the root. Any file system will do.
func WithIDsDir(path string) Option {
	return func(s *Spool) error {
		if path == "" {
			return errors.New("spool: WithIDsDir: empty path")
		}
		s.paths[IDs] = path
		return nil
	}
}

// WithFS puts another disk behind the spool, for tests.
func WithFS(fsys FS) Option {
	return func(s *Spool) error {
		if fsys == nil {
			return errors.New("spool: WithFS: nil")
		}
		s.fs = fsys
		return nil
	}
}

// WithNow replaces time.Now, for tests.
func WithNow(now func() time.Time) Option {
	return func(s *Spool) error {
		if now == nil {
			return errors.New("spool: WithNow: nil")
		}
		s.now = now
		return nil
	}
}

// WithIDsLimit sets the largest .ids file that is read, in bytes (1 KiB to 256 MiB, default DefaultIDsLimit).
func WithIDsLimit(n int64) Option {
	return func(s *Spool) error {
		if n < 1<<10 || n > DefaultIDsLimit {
			return optionLimit("WithIDsLimit", n, 1<<10, DefaultIDsLimit)
		}
		s.idsLimit = n
		return nil
	}
}

// WithSyncEach makes the files of a [Group] durable one by one, everywhere. By default eight and more are made so together on
// ext4 and XFS (Linux 5.17 and later on amd64 and arm64), with a sync of the whole file system, unless more than 64 MiB wait
// to be written on the machine: that takes much less time, but has other programs' writes of the moment written, too, and a
// write error of theirs that nobody was told of fails the group.
func WithSyncEach() Option {
	return func(s *Spool) error {
		s.syncEach = true
		return nil
	}
}

func optionLimit[T int | int64](name string, n, from, to T) error {
	return fmt.Errorf("spool: %s: %d is not between %d and %d", name, n, from, to)
}

var programStart = time.Now()

// New describes a spool under root and does no I/O. The root is made absolute. The error names every bad option.
func New(root string, opts ...Option) (*Spool, error) {
	if root == "" {
		return nil, errors.New("spool: the root directory is not given")
	}
	s := &Spool{
		fs: OS(), now: time.Now, pid: uint64(os.Getpid()), idsLimit: DefaultIDsLimit,
		elapsed: func() uint64 { return uint64(time.Since(programStart).Milliseconds()) },
	}
	var errs []error
	for _, o := range opts {
		if err := o(s); err != nil {
			errs = append(errs, err)
		}
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		errs = append(errs, fmt.Errorf("spool: root %s: %w", quoted(root), err))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	s.paths[Root] = abs
	for k := range numKinds {
		switch p := s.paths[k]; {
		case k == Root:
		case p == "" && k == IDs:
			s.paths[k] = abs
		case p == "":
			s.paths[k] = filepath.Join(abs, k.String())
		case filepath.IsAbs(p):
			s.paths[k] = filepath.Clean(p)
		default:
			s.paths[k] = filepath.Join(abs, p)
		}
	}
	return s, nil
}

// Dir gives the absolute path of a directory, "" for an unknown kind.
func (s *Spool) Dir(kind Kind) string {
	if kind >= numKinds {
		return ""
	}
	return s.paths[kind]
}

// Prepare makes missing directories (0700) and checks all of them: real directories, ours, private, and reachable from
// incoming by rename, which is tried with a probe file. It is idempotent; after a success it is only repeated when a
// directory was replaced. The error is a *DirError.
func (s *Spool) Prepare() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready {
		for k := range numKinds {
			if s.dirs[k].Verify() != nil {
				s.drop()
				break
			}
		}
	}
	return s.prepareLocked()
}

func (s *Spool) prepareLocked() (err error) {
	if s.ready {
		return nil
	}
	defer func() {
		if err != nil {
			s.drop()
		}
	}()
	for k := range numKinds {
		kind := numKinds - 1 - k // root first
		path := s.paths[kind]
		if err := s.checkShared(kind); err != nil {
			return err
		}
		if err := s.fs.MkdirAll(path); err != nil {
			return &DirError{Kind: kind, Path: path, Err: err}
		}
		d, err := s.fs.OpenDir(path)
		if err != nil {
			return &DirError{Kind: kind, Path: path, Err: err}
		}
		s.dirs[kind] = d
	}
	if err := s.probe(); err != nil {
		return err
	}
	s.ready = true
	return nil
}

// checkShared refuses layouts in which one purpose would take another's files for its own.
func (s *Spool) checkShared(kind Kind) error {
	if kind != Incoming && kind != Sent && kind != Queued {
		return nil
	}
	for k := range numKinds {
		if k != kind && s.paths[k] == s.paths[kind] {
			return &DirError{Kind: kind, Path: s.paths[kind], Err: fmt.Errorf("%w (%s and %s)", ErrShared, kind, k)}
		}
	}
	return nil
}

// drop forgets the opened directories. Handles in use by other goroutines stay valid until they are collected.
func (s *Spool) drop() {
	s.dirs = [numKinds]Dir{}
	s.ready = false
}

// Close gives the directory handles back. Idempotent; the next use opens them again.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, d := range s.dirs {
		if d != nil {
			errs = append(errs, d.Close())
		}
	}
	s.drop()
	return errors.Join(errs...)
}

// dir gives the opened directory, checked to still be the one its path names.
func (s *Spool) dir(kind Kind) (Dir, error) {
	if kind >= numKinds {
		return nil, fmt.Errorf("spool: unknown directory kind %d", kind)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready {
		err := s.dirs[kind].Verify()
		if err == nil {
			return s.dirs[kind], nil
		}
		// Files made a moment ago may be in the directory that is gone, so this call must fail; the next one checks
		// everything anew, and a restored spool heals without a restart.
		s.drop()
		return nil, &DirError{Kind: kind, Path: s.paths[kind], Err: err}
	}
	if err := s.prepareLocked(); err != nil {
		return nil, err
	}
	return s.dirs[kind], nil
}

// SyncDir makes the names in a directory durable. One call serves all files committed before it. Files moved out of
// incoming get their new names made durable before their old ones go for good.
func (s *Spool) SyncDir(kind Kind) error {
	if kind == Incoming {
		return s.syncIncoming()
	}
	return s.syncDir(kind)
}

func (s *Spool) syncDir(kind Kind) error {
	d, err := s.dir(kind)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return &DirError{Kind: kind, Path: d.Path(), Err: fmt.Errorf("sync: %w", err)}
	}
	return nil
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
