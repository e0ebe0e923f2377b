package webdav

import (
	"errors"
	"fmt"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// Defaults of the options of this package.
const (
	// DefaultFolder is the folder that is polled on an Exchange.
	DefaultFolder = "Inbox"
	// DefaultPageSize is how many mails one SEARCH lists.
	DefaultPageSize = 500
	// DefaultMaxListing is how many mails a folder may hold.
	DefaultMaxListing = 1_000_000
	// DefaultSuffix is what names of mails in a plain collection end with.
	DefaultSuffix = ".eml"
	// DefaultConns is how many requests are under way at a time.
	DefaultConns = 4
)

// What becomes of a mail that was handed over.
type after uint8

const (
	afterDelete after = iota
	afterMove
	afterTrash
	afterRead
)

type settings struct {
	plain        bool
	folder       string // "" until set: the default of the dialect
	after        after
	moveTo       string
	failedFolder string
	unread       bool
	saveSent     bool
	public       bool

	suffix     string
	pageSize   int
	maxListing int
	conns      int
}

func newSettings() settings {
	return settings{suffix: DefaultSuffix, pageSize: DefaultPageSize, maxListing: DefaultMaxListing, conns: DefaultConns}
}

// maxHeld bounds the names and addresses of a listing together: a hostile server
// makes each as long as it may be, and that a million times.
func (s *settings) maxHeld() int { return 1<<20 + s.maxListing<<10 }

// marks reports whether mails stay on the server with a mark.
func (s *settings) marks() bool { return s.after == afterRead }

// folderPath is the folder that is polled.
func (s *settings) folderPath() string {
	if s.folder == "" && !s.plain {
		return DefaultFolder
	}
	return s.folder
}

func option(name string, set func(*settings) error) driver.Option {
	return driver.NewOption("webdav."+name, set)
}

// WithPlain is for servers that are no Exchange: the address is that of a
// collection, whose files are mails if their names end with [DefaultSuffix].
// Such a driver cannot send, and the form login is Exchange's alone.
func WithPlain() driver.Option {
	return option("Plain", func(s *settings) error { s.plain = true; return nil })
}

// WithFolder chooses the folder, a path with "/" between its parts; a slash in
// a name is written "\/". On an Exchange the first part is a well-known name in
// any letter case: Inbox (the default), Calendar, Contacts, DeletedItems,
// Drafts, Journal, JunkEmail, MsgFolderRoot, Notes, Outbox, PublicFoldersRoot,
// Root, SearchFolders, SentItems, Tasks. Other folders are named from
// MsgFolderRoot: "MsgFolderRoot/Projects". The well-known folders that only
// later versions have are refused with [ErrFolderNotAvailable]. With
// [WithPlain] it is a path below the address, by default the address itself.
func WithFolder(path string) driver.Option {
	return option("Folder", func(s *settings) error {
		s.folder = path
		_, err := splitPath(path)
		return err
	})
}

// WithMoveTo moves mails that were handed over to a folder instead of deleting
// them. It must exist. Path as in [WithFolder].
func WithMoveTo(path string) driver.Option {
	return option("MoveTo", func(s *settings) error {
		s.after, s.moveTo = afterMove, path
		_, err := splitPath(path)
		return err
	})
}

// WithTrash moves mails that were handed over to Exchange's Deleted Items.
func WithTrash() driver.Option {
	return option("Trash", func(s *settings) error { s.after = afterTrash; return nil })
}

// WithDelete deletes mails that were handed over for good, the default. It
// undoes an earlier [WithMoveTo], [WithTrash] or [WithMarkRead].
func WithDelete() driver.Option {
	return option("Delete", func(s *settings) error { s.after = afterDelete; return nil })
}

// WithMarkRead marks mails that were handed over as read, on an Exchange, and
// leaves them where they are. Each is handed over once, read or not, unless
// [WithUnread] chooses the unread ones alone.
func WithMarkRead() driver.Option {
	return option("MarkRead", func(s *settings) error { s.after = afterRead; return nil })
}

// WithFailedFolder moves mails that went to the failed directory to a folder
// of the server instead of removing them as the others. It must exist. "" is
// the default: no such folder.
func WithFailedFolder(path string) driver.Option {
	return option("FailedFolder", func(s *settings) error {
		s.failedFolder = path
		if path == "" {
			return nil
		}
		_, err := splitPath(path)
		return err
	})
}

// WithUnread takes only mails that nobody has read, on an Exchange.
func WithUnread(only bool) driver.Option {
	return option("Unread", func(s *settings) error { s.unread = only; return nil })
}

// WithSaveSent has Exchange keep a copy of what is sent in Sent Items. The
// message is then put into Drafts and sent from there, which takes its
// recipients from its header fields: those of the envelope that are not in To
// or Cc become blind copies, and a message whose header names others is
// refused. The sender is that of the header too: the one of the envelope is not
// told to the server.
func WithSaveSent(save bool) driver.Option {
	return option("SaveSent", func(s *settings) error { s.saveSent = save; return nil })
}

// WithPublicComputer says in the login form that the computer is a public one,
// which gives a session of minutes instead of hours.
func WithPublicComputer() driver.Option {
	return option("PublicComputer", func(s *settings) error { s.public = true; return nil })
}

// WithSuffix sets what names of mails in a plain collection end with, in any
// letter case; "" takes all files.
func WithSuffix(suffix string) driver.Option {
	return option("Suffix", func(s *settings) error {
		if strings.Contains(suffix, "/") {
			return errors.New("a suffix holds no slash")
		}
		s.suffix = suffix
		return nil
	})
}

// WithPageSize sets how many mails one SEARCH lists, 1 to 10000; default
// [DefaultPageSize].
func WithPageSize(n int) driver.Option {
	return option("PageSize", func(s *settings) error { s.pageSize = n; return between(n, 1, 10_000) })
}

// WithMaxListing bounds the mails in the folder; default [DefaultMaxListing].
// A server that lists more, or names that take more than 1 KiB for each of so
// many mails, is an error, [driver.ErrLimit].
func WithMaxListing(n int) driver.Option {
	return option("MaxListing", func(s *settings) error { s.maxListing = n; return between(n, 1, 1<<30) })
}

// WithConnections sets how many requests may be under way at a time, 1 to 32;
// default [DefaultConns].
func WithConnections(n int) driver.Option {
	return option("Connections", func(s *settings) error { s.conns = n; return between(n, 1, 32) })
}

func between(n, low, high int) error {
	if n < low || n > high {
		return fmt.Errorf("%d is not between %d and %d", n, low, high)
	}
	return nil
}

// Only bundles options for a driver of this package in a list that others see
// too; they ignore them.
func Only(opts ...driver.Option) driver.Option {
	return driver.NewOnly[settings]("webdav.Only", opts...)
}
