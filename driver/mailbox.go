package driver

import (
	"context"
	"io"
	"iter"
)

// An ID names a mail in its mailbox for as long as the mail is there: the UIDL
// of POP3, UIDVALIDITY.UID of IMAP, an ItemId.
type ID string

// An Entry is a line of a mailbox's listing.
type Entry struct {
	ID ID
	// Size in bytes as the server states it, a hint that is never trusted; -1
	// when unknown.
	Size int64
	// Seen tells that the server marks the mail as read.
	Seen bool
}

// A Mailbox is one open session on one mailbox, used by one goroutine. It is
// all that a protocol has to give: with it the [Inbound] pipeline does the rest.
type Mailbox interface {
	// List yields the mails, oldest first. An error ends the listing and the
	// session; a listing cut short must not look complete.
	List(ctx context.Context) iter.Seq2[Entry, error]

	// Fetch gets the raw messages and calls put for each, one after the other,
	// in the order of ids. Several may be in flight on the wire.
	//   - The reader gives the message with the line ends of the server, lines
	//     unstuffed, and io.EOF only when it is complete.
	//   - An id for which put is never called is gone from the server; that is
	//     no error.
	//   - An error of put ends Fetch and is returned.
	Fetch(ctx context.Context, ids []ID, put func(id ID, r io.Reader) error) error

	// Remove deletes, moves or marks mails as configured; it may take effect
	// only at Commit. Ids that are gone are no error.
	Remove(ctx context.Context, ids []ID) error

	// Commit ends the session and makes every Remove final. It returns nil
	// only when the server confirmed that.
	Commit(ctx context.Context) error

	// Close frees the connection. Without a Commit before it, it aborts: the
	// server must not make any Remove final because of it.
	Close() error
}

// KeepAliver is a [Mailbox] whose server ends an idle session: KeepAlive says
// something harmless (NOOP) while a handler takes its time.
type KeepAliver interface {
	KeepAlive(ctx context.Context) error
}

// Fingerprinter is a [Mailbox] whose ids a server may use again for another
// mail (POP3). Header returns the header block of a mail, up to and including
// the empty line, so that the pipeline can tell whether a known id still means
// the known mail.
type Fingerprinter interface {
	Header(ctx context.Context, id ID) (io.Reader, error)
}
