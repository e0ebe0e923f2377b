package imap

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// Defaults of the options of this package.
const (
	// DefaultFolder is the folder that is polled.
	DefaultFolder = "INBOX"
	// DefaultMaxListing is how many mails a folder may hold.
	DefaultMaxListing = 1_000_000
	// DefaultIdleRenewal is how long one IDLE lasts: servers may log out a
	// client after 30 minutes (RFC 2177), and middle boxes forget sooner.
	DefaultIdleRenewal = 24 * time.Minute
	// MaxIdleRenewal is the longest that [WithIdleRenewal] takes.
	MaxIdleRenewal = 25 * time.Minute
)

// Ports that are used when the address has none.
const (
	DefaultPort    = 143 // with SecurityNone and SecurityExplicit (RFC 3501)
	DefaultTLSPort = 993 // with SecurityImplicit (RFC 8314)
)

// What becomes of a mail that was handed over.
type after uint8

const (
	afterDelete after = iota
	afterMove
	afterSeen
	afterKeyword
)

type settings struct {
	folder       string
	after        after
	moveTo       string
	keyword      string
	failedFolder string
	plainExpunge bool

	unseen   bool
	since    time.Time
	maxSize  int64 // 0: any
	criteria string

	maxListing  int
	idleRenewal time.Duration
	clientID    []string
}

func newSettings() settings {
	return settings{folder: DefaultFolder, maxListing: DefaultMaxListing, idleRenewal: DefaultIdleRenewal}
}

// marks reports whether mails stay on the server with a mark.
func (s *settings) marks() bool { return s.after == afterSeen || s.after == afterKeyword }

func option(name string, set func(*settings) error) driver.Option {
	return driver.NewOption("imap."+name, set)
}

// WithFolder chooses the folder, a path with "/" between its parts whatever the
// server uses; default [DefaultFolder]. A first part "Inbox" is INBOX in any
// letter case; well-known names such as "SentItems", "JunkEmail", "Archive" or
// "Drafts" find the folder that the server says has that role, if there is one.
func WithFolder(path string) driver.Option {
	return option("Folder", func(s *settings) error {
		s.folder = path
		return checkPath(path)
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

// WithDelete deletes mails that were handed over, the default. It undoes an
// earlier [WithMoveTo], [WithMarkSeen] or [WithKeyword].
func WithDelete() driver.Option {
	return option("Delete", func(s *settings) error { s.after = afterDelete; return nil })
}

// WithMarkSeen marks mails that were handed over as read and leaves them where
// they are. Each is handed over once, read or not, unless [WithUnseen] chooses
// the unread ones alone.
func WithMarkSeen() driver.Option {
	return option("MarkSeen", func(s *settings) error { s.after = afterSeen; return nil })
}

// WithKeyword sets a keyword, e.g. "$Processed", on mails that were handed
// over and leaves them where they are. Mails that bear it already are not
// taken.
func WithKeyword(keyword string) driver.Option {
	return option("Keyword", func(s *settings) error {
		if !isAtom(keyword) {
			return fmt.Errorf("%q is not a keyword: letters, digits and some signs are needed (RFC 3501 section 9, atom)", keyword)
		}
		s.after, s.keyword = afterKeyword, keyword
		return nil
	})
}

// WithFailedFolder moves mails that went to the failed directory to a folder
// of the server instead of removing them as the others, for people to look at.
// It must exist. "" is the default: no such folder.
func WithFailedFolder(path string) driver.Option {
	return option("FailedFolder", func(s *settings) error {
		s.failedFolder = path
		if path == "" {
			return nil
		}
		return checkPath(path)
	})
}

// WithPlainExpunge permits EXPUNGE on servers that cannot expunge single mails
// (no UIDPLUS), but only while the mails to be removed are the only ones marked
// as deleted. A client that marks another one in that moment loses it, so the
// default is to leave the mails there, marked.
func WithPlainExpunge() driver.Option {
	return option("PlainExpunge", func(s *settings) error { s.plainExpunge = true; return nil })
}

// WithUnseen takes only mails that nobody has read.
func WithUnseen(only bool) driver.Option {
	return option("Unseen", func(s *settings) error { s.unseen = only; return nil })
}

// WithSince takes only mails that arrived on the day of t or later, by the
// server's clock and zone. The zero time takes all.
func WithSince(t time.Time) driver.Option {
	return option("Since", func(s *settings) error { s.since = t; return nil })
}

// WithMaxSize takes only mails of at most n bytes; 0, the default, takes all.
// Unlike [driver.WithMaxMessageBytes] it leaves larger ones alone silently.
func WithMaxSize(n int64) driver.Option {
	return option("MaxSize", func(s *settings) error {
		if n < 0 {
			return fmt.Errorf("%d is less than 0", n)
		}
		s.maxSize = n
		return nil
	})
}

// WithSearch takes only mails that match a criterion in the words of SEARCH
// (RFC 3501 section 6.4.4), e.g. `FROM "ann@example.com" NOT KEYWORD $Junk`.
// Only ASCII can be written.
func WithSearch(criteria string) driver.Option {
	return option("Search", func(s *settings) error {
		s.criteria = strings.TrimSpace(criteria)
		return checkCriteria(s.criteria)
	})
}

// WithMaxListing bounds the mails in the folder; default [DefaultMaxListing].
// A server that lists more is an error, [driver.ErrLimit]: memory for a listing
// is what a hostile server could ask for.
func WithMaxListing(n int) driver.Option {
	return option("MaxListing", func(s *settings) error {
		if n < 1 {
			return fmt.Errorf("%d is less than 1", n)
		}
		s.maxListing = n
		return nil
	})
}

// WithIdleRenewal sets how long one IDLE lasts before it is renewed, up to
// [MaxIdleRenewal]; default [DefaultIdleRenewal].
func WithIdleRenewal(d time.Duration) driver.Option {
	return option("IdleRenewal", func(s *settings) error {
		if d <= 0 || d > MaxIdleRenewal {
			return fmt.Errorf("%v is not between 0 and %v", d, MaxIdleRenewal)
		}
		s.idleRenewal = d
		return nil
	})
}

// WithClientID tells the server the program's name and version (RFC 2971).
// Some servers refuse clients without. The default is to say nothing.
func WithClientID(name, version string) driver.Option {
	return option("ClientID", func(s *settings) error {
		if name == "" {
			return errors.New("the name is empty")
		}
		if !quotable(name) || !quotable(version) || len(name) > 1024 || len(version) > 1024 {
			return errors.New("name and version must be printable ASCII of at most 1024 bytes")
		}
		s.clientID = []string{name, version}
		return nil
	})
}

// Only bundles options for the IMAP half of a [driver.Pair]; the other half
// ignores them.
func Only(opts ...driver.Option) driver.Option {
	return driver.NewOnly[settings]("imap.Only", opts...)
}
