package spool

import (
	"errors"
	"fmt"
	"strconv"
)

// Reasons for refusing a directory or a file; found with errors.Is.
var (
	// ErrNotPrivate: group or others may write to the directory.
	ErrNotPrivate = errors.New("writable by group or others")
	// ErrNotOwner: the directory belongs to another user.
	ErrNotOwner = errors.New("owned by another user")
	// ErrOtherFileSystem: a file cannot be renamed from the incoming directory into this one.
	ErrOtherFileSystem = errors.New("on another file system than the incoming directory")
	// ErrNotDirectory: the path is a file or a device.
	ErrNotDirectory = errors.New("not a directory")
	// ErrSymlink: the path or file name is a symbolic link.
	ErrSymlink = errors.New("is a symbolic link")
	// ErrReplaced: the path is no longer the directory that was opened.
	ErrReplaced = errors.New("was replaced while in use")
	// ErrShared: two kinds of files that must be apart have the same directory.
	ErrShared = errors.New("is used for two purposes")
	// ErrNotRegular: the name is not a regular file.
	ErrNotRegular = errors.New("not a regular file")
	// ErrName: a file name that is not a plain base name.
	ErrName = errors.New("not a plain file name")
)

// Reasons for refusing an operation; found with errors.Is.
var (
	// ErrBusy: somebody else holds the mailbox. The error is a *BusyError.
	ErrBusy = errors.New("mailbox is being polled by somebody else")
	// ErrUnlocked: the Mailbox was unlocked before.
	ErrUnlocked = errors.New("mailbox is not locked any more")
	// ErrPoisoned: an earlier write to the delivery record failed, so nothing more can be promised in this session.
	ErrPoisoned = errors.New("delivery record failed earlier in this session")
	// ErrNoSession: a file was to be made in incoming by a service whose session has not begun or has ended.
	ErrNoSession = errors.New("no session begun for this service")
	// ErrSessionUsed: Begin was called with a service that has had its session; make a new Service for each session.
	ErrSessionUsed = errors.New("service has had its session")
	// ErrNameTaken: no free name was found for a new file.
	ErrNameTaken = errors.New("no free file name")
)

// DirError says which directory of the spool cannot be used and why.
type DirError struct {
	Kind Kind
	Path string
	Err  error
}

func (e *DirError) Error() string {
	return fmt.Sprintf("spool: %s directory %s: %v", e.Kind, quoted(e.Path), e.Err)
}

func (e *DirError) Unwrap() error { return e.Err }

// FileError says which file of the spool an operation failed on.
type FileError struct {
	Op   string // "create", "write", "sync", "rename", ...
	Path string
	Err  error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("spool: %s %s: %v", e.Op, quoted(e.Path), e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// BusyError is the error of a second opener of a mailbox; errors.Is(err, ErrBusy).
type BusyError struct {
	ID   MailboxID
	Path string // of the lock file
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("spool: %s: %v (lock %s)", e.ID, ErrBusy, quoted(e.Path))
}

// Is makes errors.Is(err, ErrBusy) true.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// VersionError is the error for a delivery record written by a newer release, which must not be rewritten by this one.
type VersionError struct {
	Path    string
	Version string // as found, capped
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("spool: %s has format version %s, this release knows version %d", quoted(e.Path), quoted(e.Version), formatVersion)
}

// IdentityError is the error for a delivery record that belongs to another mailbox.
type IdentityError struct {
	Path      string
	Want, Got MailboxID
}

func (e *IdentityError) Error() string {
	return fmt.Sprintf("spool: %s belongs to %s, not to %s", quoted(e.Path), e.Got, e.Want)
}

// SizeError is the error for a state file larger than its limit (both in bytes).
type SizeError struct {
	Path        string
	Size, Limit int64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("spool: %s has %d bytes, limit %d", quoted(e.Path), e.Size, e.Limit)
}

const maxQuoted = 300 // bytes of foreign text in an error

// quoted escapes and caps text that may come from a profile, a server or a directory.
func quoted(s string) string {
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
