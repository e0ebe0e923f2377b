package ews

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// Defaults of the options of this package.
const (
	// DefaultFolder is the folder that is polled.
	DefaultFolder = "Inbox"
	// DefaultMaxListing is how many mails a folder may hold.
	DefaultMaxListing = 1_000_000
	// DefaultPageSize is how many mails one FindItem asks for; servers give
	// 1000 at most.
	DefaultPageSize = 1000
	// DefaultRequestSize is how many mails one request fetches, deletes or
	// moves: servers cut a request short after a minute.
	DefaultRequestSize = 10
)

// What becomes of a mail that was handed over.
type after uint8

const (
	afterDelete after = iota
	afterSoft
	afterTrash
	afterMove
	afterRead
)

// A DeleteType says how [WithDelete] deletes, in the words of EWS.
type DeleteType uint8

// The ways to delete.
const (
	// HardDelete removes a mail from the mailbox, as POP3 and IMAP do. An
	// administrator can get it back for as long as the server keeps removed
	// items.
	HardDelete DeleteType = iota
	// SoftDelete moves it to the dumpster, where its owner can recover it. It
	// is not recommended on Exchange 2007.
	SoftDelete
	// MoveToDeletedItems moves it to the folder Deleted Items.
	MoveToDeletedItems
)

type settings struct {
	folder       string
	mailbox      string // shared mailbox
	actFor       string
	actAs        Identity
	after        after
	moveTo       string
	failedFolder string
	version      Version
	syncDir      string // "": FindItem

	autodiscover     bool
	email            string // for Autodiscover
	allowRedirection bool
	lookupSRV        func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)

	saveCopy   bool
	saveFolder string

	unread      bool
	pageSize    int
	requestSize int
	maxListing  int
	noPush      bool

	busyMin time.Duration
}

func newSettings() settings {
	return settings{
		folder: DefaultFolder, version: Exchange2016, pageSize: DefaultPageSize, requestSize: DefaultRequestSize,
		maxListing: DefaultMaxListing, busyMin: busyMin, lookupSRV: net.DefaultResolver.LookupSRV,
	}
}

func option(name string, set func(*settings) error) driver.Option {
	return driver.NewOption("ews."+name, set)
}

// WithFolder chooses the folder; default [DefaultFolder]. The first part of the
// path is one of the well-known names, in any letter case, e.g. "Inbox",
// "JunkEmail" or "MsgFolderRoot"; the others are names of folders in it,
// compared as they are first and then without regard to case: "Inbox/Support".
// A "/" in a name is written `\/`, a "\" is written `\\`.
func WithFolder(path string) driver.Option {
	return option("Folder", func(s *settings) error {
		s.folder = path
		return checkPath(path)
	})
}

// WithMailbox opens a mailbox that is shared with the account, by its primary
// address. It is also what an account without a mailbox of its own needs. "" is
// the account's own, the default.
func WithMailbox(address string) driver.Option {
	return option("Mailbox", func(s *settings) error {
		s.mailbox = address
		if address == "" {
			return nil
		}
		return checkAddress(address)
	})
}

// WithImpersonation acts as another account, named by as: requests are then
// made with all its rights. The server must permit it.
func WithImpersonation(as Identity, value string) driver.Option {
	return option("Impersonation", func(s *settings) error {
		if as > SID {
			return fmt.Errorf("%d is not a way to name an account", as)
		}
		if value == "" || len(value) > 512 || strings.ContainsFunc(value, isControl) {
			return errors.New("the account is empty, too long or holds a control character")
		}
		s.actFor, s.actAs = value, as
		if as == PrimarySMTPAddress || as == SMTPAddress {
			return checkAddress(value)
		}
		return nil
	})
}

// WithDelete says how mails that were handed over are deleted; default
// [HardDelete]. It undoes an earlier [WithMoveTo] or [WithMarkRead].
func WithDelete(how DeleteType) driver.Option {
	return option("Delete", func(s *settings) error {
		if how > MoveToDeletedItems {
			return fmt.Errorf("%d is not a way to delete", how)
		}
		s.after = [...]after{afterDelete, afterSoft, afterTrash}[how]
		return nil
	})
}

// WithMoveTo moves mails that were handed over to a folder instead of deleting
// them. It must exist. Path as in [WithFolder].
func WithMoveTo(path string) driver.Option {
	return option("MoveTo", func(s *settings) error {
		s.after, s.moveTo = afterMove, path
		return checkPath(path)
	})
}

// WithMarkRead marks mails that were handed over as read and leaves them where
// they are. Each is handed over once, read or not, unless [WithUnread] chooses
// the unread ones alone. Servers before Exchange 2013 send the read receipts that
// a mail asks for when it is marked.
func WithMarkRead() driver.Option {
	return option("MarkRead", func(s *settings) error { s.after = afterRead; return nil })
}

// WithFailedFolder moves mails that went to the failed directory to a folder of
// the server instead of removing them as the others. It must exist. "" is the
// default: no such folder.
func WithFailedFolder(path string) driver.Option {
	return option("FailedFolder", func(s *settings) error {
		s.failedFolder = path
		if path == "" {
			return nil
		}
		return checkPath(path)
	})
}

// WithUnread takes only mails that nobody has read.
func WithUnread(only bool) driver.Option {
	return option("Unread", func(s *settings) error { s.unread = only; return nil })
}

// WithSyncState lists the folder with SyncFolderItems instead of FindItem: only
// what has changed since the last session is asked for, which is what large
// folders need whose mails are left there. What is known of the folder is kept
// in a file of dir, which is made if it is missing. Without the file, or when
// the server no longer knows its state, all is asked for again; no mail is
// handed over twice for that. "" is the default: FindItem.
func WithSyncState(dir string) driver.Option {
	return option("SyncState", func(s *settings) error { s.syncDir = dir; return nil })
}

// WithVersion is the newest level of the schema to use; default [Exchange2016].
// It is lowered by itself to what the server takes.
func WithVersion(v Version) driver.Option {
	return option("Version", func(s *settings) error {
		if v < Exchange2007 || v > Exchange2016 {
			return fmt.Errorf("%d is not a version", v)
		}
		s.version = v
		return nil
	})
}

// WithAutodiscover finds the server by the e-mail address of the mailbox, "" for
// that of the account: the user name of [driver.WithLogin], or what
// [WithImpersonation] names. What was found is remembered until it fails.
//
// No host gets credentials before it asks for them. With [driver.WithTokenSource]
// the hosts of the mail domain are asked without any, and the token goes to
// Exchange Online and to the host that was given to [New]; a service elsewhere is
// a [RedirectError], unless [WithAllowRedirection] permits it.
// [driver.WithInsecureSkipVerify] and [driver.WithServerName] hold for the host
// that was given to [New], and for none that was found.
func WithAutodiscover(address string) driver.Option {
	return option("Autodiscover", func(s *settings) error {
		s.autodiscover, s.email = true, address
		if address == "" {
			return nil
		}
		return checkAddress(address)
	})
}

// WithAllowRedirection follows servers, and Autodiscover, to other hosts and
// other mail domains, which then get the credentials. Only https is followed, to
// a valid certificate, and no more than 10 times. By default a redirection is
// refused with a [RedirectError] and nothing is sent to its target.
func WithAllowRedirection(allow bool) driver.Option {
	return option("AllowRedirection", func(s *settings) error { s.allowRedirection = allow; return nil })
}

// WithSaveCopy keeps a copy of what is sent on the server, in a folder, ""
// being Sent Items. By default none is kept.
func WithSaveCopy(path string) driver.Option {
	return option("SaveCopy", func(s *settings) error {
		s.saveCopy, s.saveFolder = true, path
		if path == "" {
			return nil
		}
		return checkPath(path)
	})
}

// WithoutCopy keeps no copy of what is sent, the default. It undoes an earlier
// [WithSaveCopy].
func WithoutCopy() driver.Option {
	return option("WithoutCopy", func(s *settings) error { s.saveCopy, s.saveFolder = false, ""; return nil })
}

// WithPageSize sets how many mails one FindItem asks for, 1 to 1000; default
// [DefaultPageSize]. Servers may give fewer.
func WithPageSize(n int) driver.Option {
	return option("PageSize", func(s *settings) error { s.pageSize = n; return between(n, 1, 1000) })
}

// WithRequestSize sets how many mails one request fetches, deletes, moves or
// marks, 1 to 200; default [DefaultRequestSize].
func WithRequestSize(n int) driver.Option {
	return option("RequestSize", func(s *settings) error { s.requestSize = n; return between(n, 1, 200) })
}

// WithMaxListing bounds the mails in the folder; default [DefaultMaxListing]. A
// server that lists more is an error, [driver.ErrLimit].
func WithMaxListing(n int) driver.Option {
	return option("MaxListing", func(s *settings) error { s.maxListing = n; return between(n, 1, 1<<31-1) })
}

// WithoutPush uses no notifications: [driver.Run] polls at its interval alone.
func WithoutPush() driver.Option {
	return option("WithoutPush", func(s *settings) error { s.noPush = true; return nil })
}

// Only bundles options for the EWS half of a [driver.Pair]; the other half
// ignores them.
func Only(opts ...driver.Option) driver.Option {
	return driver.NewOnly[settings]("ews.Only", opts...)
}

func between(n, low, high int) error {
	if n < low || n > high {
		return fmt.Errorf("%d is not between %d and %d", n, low, high)
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) }

// checkAddress refuses what could be no e-mail address, or more than one.
func checkAddress(a string) error {
	local, domain, ok := strings.Cut(a, "@")
	if i := strings.LastIndex(a, "@"); i >= 0 {
		local, domain = a[:i], a[i+1:]
	}
	if !ok || local == "" || domain == "" || len(a) > 320 || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || isControl(r) || strings.ContainsRune("<>,;\"", r) }) {
		return fmt.Errorf("%.60q is not an e-mail address", a)
	}
	return nil
}
