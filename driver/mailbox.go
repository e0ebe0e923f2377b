package driver

import (
	"context"
	"fmt"
	"io"
	"iter"
)

// A RemoveError is returned by [Mailbox].Remove when the server refused to
// remove some mails and the session is good to go on: the others are removed at
// Commit, and those in IDs stay, known as done, to be tried again.
type RemoveError struct {
	IDs []ID
	Err error
}

func (e *RemoveError) Error() string {
	return fmt.Sprintf("%d mails not removed: %v", len(e.IDs), e.Err)
}
func (e *RemoveError) Unwrap() error { return e.Err }

// An UnreadableError is what the reader given to put of [Mailbox].Fetch returns
// when the server cannot give this one mail, or gives it damaged, and the
// session is good to go on: put then returns nil. The mail is reported in
// [PollResult].Failures, stays on the server and is tried again after a
// back-off.
type UnreadableError struct{ Err error }

func (e *UnreadableError) Error() string { return fmt.Sprintf("the mail cannot be read: %v", e.Err) }
func (e *UnreadableError) Unwrap() error { return e.Err }

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
	// Hold tells that the mail is not to be handed over now, because the
	// host's choice of mails leaves it out. It is listed all the same: what
	// is known of it must be remembered.
	Hold bool
	// Marked tells that the mail bears the mark that Remove gives, if Remove
	// marks ([Keeper]).
	Marked bool
}

// A Mailbox is one open session on one mailbox, used by one goroutine. It is
// all that a protocol has to give: with it the [Inbound] pipeline does the rest.
type Mailbox interface {
	// List yields the mails, oldest first. An error ends the listing and the
	// session; a listing cut short must not look complete. Ids are unique in
	// it. Header (see Fingerprinter) may be called while it is ranged over.
	List(ctx context.Context) iter.Seq2[Entry, error]

	// Fetch gets the raw messages and calls put for each, one after the other,
	// in the order of ids. Several may be in flight on the wire.
	//   - The reader gives the message with the line ends of the server, lines
	//     unstuffed, and io.EOF only when it is complete.
	//   - put may return before it has read all.
	//   - An id for which put is never called is gone from the server; that is
	//     no error.
	//   - An error of put ends Fetch and is returned.
	Fetch(ctx context.Context, ids []ID, put func(id ID, r io.Reader) error) error

	// Remove deletes, moves or marks mails as configured; it may take effect
	// only at Commit. Ids that are gone are no error; see [RemoveError] for
	// those that the server keeps.
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

// Keeper is a [Mailbox] whose Remove may leave mails on the server and mark
// them instead (IMAP: a flag). Keeps is asked after Remove; if it says true,
// the records of the mails are kept for as long as the server lists them, and
// those that are [Entry].Marked are not removed again.
type Keeper interface {
	Keeps() bool
}

// Quarantiner is a [Mailbox] that removes a mail which went to the failed
// directory in a way of its own, e.g. moves it to a folder for people to look
// at. The duties of Quarantine are those of Remove.
type Quarantiner interface {
	Quarantine(ctx context.Context, ids []ID) error
}

// Renumberer is a [Mailbox] whose server may give all its mails new ids, all
// at once (IMAP: UIDVALIDITY, RFC 3501 section 2.3.1.1). Mails that are known
// by old ids are then found again by size and header.
type Renumberer interface {
	// Epoch gives the part that all ids of one numbering share, "" if id is
	// none of this server's.
	Epoch(id ID) string
	// Headers is Fetch for the header blocks alone, each up to and including
	// the empty line. size is that of the whole mail, -1 if unknown.
	Headers(ctx context.Context, ids []ID, put func(id ID, size int64, header io.Reader) error) error
}

// Announcer is a [Mailbox] that can fetch ahead: Announce tells which mails
// Fetch will be asked for in this session, in their order.
type Announcer interface {
	Announce(ids []ID)
}
