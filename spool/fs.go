package spool

import (
	"io"
	"io/fs"
)

// FS is the seam to the disk. Everything this package does on disk goes through it, so that a test can fail the Nth
// operation, or cut the power at it and drop what was not synced. The zero configuration uses [OS].
//
// Implementations must be safe for concurrent use. Durability is that of a plain disk: the bytes of a file are on disk
// after File.Sync, a name (made, renamed or removed) is on disk after Dir.Sync of its directory, and anything not
// synced may be there or not after a power cut, in any combination, except that of a renamed file the old name does not go
// before the new one is there, as long as neither directory is synced.
type FS interface {
	// MkdirAll makes path and its missing parents with mode 0700, durably. Whatever is there already is left as it is, also if it
	// is no directory: OpenDir says so.
	MkdirAll(path string) error
	// OpenDir opens an existing directory after checking it: no symbolic link (ErrSymlink), a directory
	// (ErrNotDirectory), owned by this process' user (ErrNotOwner) and not writable by group or others (ErrNotPrivate).
	OpenDir(path string) (Dir, error)
	// Rename moves name from one directory to toName in another (or the same) one. It never replaces a file: an existing
	// target is fs.ErrExist; directories on different file systems are ErrOtherFileSystem. The test for the target and the
	// move may be two steps; they are safe here because a name exists once in the spool (it was made with O_EXCL).
	Rename(from Dir, name string, to Dir, toName string) error
	// Replace renames name to toName inside d in one step, replacing what is there: readers see the old or the new file.
	Replace(d Dir, name, toName string) error
}

// Dir is an opened directory. All names are base names; anything else is ErrName. Safe for concurrent use.
type Dir interface {
	// Path is the absolute path the directory was opened by.
	Path() string
	// Verify reports an error when Path no longer is this directory (removed, replaced, turned into a link) or has become
	// unsafe to use.
	Verify() error
	// Create makes a new file, mode 0600, for reading and writing; an existing name, even a dangling link, is fs.ErrExist.
	Create(name string) (File, error)
	// Open opens a regular file for reading. A symbolic link is ErrSymlink, any other kind of file ErrNotRegular.
	Open(name string) (File, error)
	// OpenAppend opens a regular file, made if missing, for reading and for writing at its end; links are refused as in Open.
	OpenAppend(name string) (File, error)
	// Remove removes a file; a missing one is fs.ErrNotExist.
	Remove(name string) error
	// Lstat describes name itself, never what a link points to.
	Lstat(name string) (fs.FileInfo, error)
	// Same reports whether name still is the opened file f; a missing name is (false, nil).
	Same(name string, f File) (bool, error)
	// List gives all entries in no particular order.
	List() ([]fs.DirEntry, error)
	// Sync makes the names of the directory durable.
	Sync() error
	// Close releases the handle; idempotent.
	Close() error
}

// File is an opened file of a Dir. One goroutine at a time, except that ReadAt may run beside anything but Close.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	// WriterAt writes anywhere in a file made by Create, past its end too (zeros fill a gap), and does not move where Write goes on.
	io.WriterAt
	io.Closer
	// Name is the base name the file was opened by; a later rename does not change it.
	Name() string
	// Size is the present length in bytes.
	Size() (int64, error)
	// Sync makes the bytes and the length durable, not the times. An error is final for the file.
	Sync() error
	// Truncate cuts the file to n bytes.
	Truncate(n int64) error
	// TryLock takes the exclusive advisory lock of the file without waiting. It excludes every other opening of the same
	// file, in this process and in others, until Close or the end of the process. False means that somebody else has it.
	TryLock() (bool, error)
}
