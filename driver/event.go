package driver

import (
	"errors"
	"os"
	"time"

	"github.com/maildriver/maildriver/dsn"
	"github.com/maildriver/maildriver/mime"
)

// An Event is one mail, handed to a [Handler]. Its text fields are valid UTF-8,
// those read off the header without control characters. The handler's goroutine
// owns it.
type Event struct {
	// ID is the same each time this mail is handed over, on every machine, and
	// no other mail's: the key to recognise a repeat by.
	ID string
	// Redelivered tells that the mail was handed over before and was not
	// recorded as done: the handler returned an error, or it is not known how
	// far it came. The files are the same then.
	Redelivered bool
	// Attempt counts the times the mail was handed over, from 1.
	Attempt int

	// Profile is the host's name for the mailbox; Protocol, Server, Account
	// and Folder say which it is, MailID which mail in it.
	Profile, Protocol, Server, Account, Folder string
	MailID                                     ID

	// RawFile is the raw message while the handler runs. Afterwards it is at
	// ProcessedFile, or gone if that is "".
	RawFile, ProcessedFile string
	// Message is the tree of parts with all headers and defects.
	Message *mime.Part
	// Defects are those of the whole tree.
	Defects []mime.Defect

	Subject string
	// Prefix is "Re", "Fwd", "Fw" or "", read off the subject.
	Prefix string
	// Sender is the first address of From, else of Sender, else of
	// Return-Path, as written. SenderAddress is its address in lower case,
	// SenderName its display name, else SenderAddress.
	Sender                    mime.Address
	SenderAddress, SenderName string
	ReplyTo, To, Cc           []mime.Address
	// Receiver is the profile's own address, not the To field.
	Receiver mime.Address
	// MessageID is without angle brackets. A mail without one gets an id made
	// of ID; GeneratedMessageID is then true.
	MessageID          string
	GeneratedMessageID bool
	InReplyTo          []string
	References         []string
	// Priority is 1 (highest) to 5, default 3.
	Priority int
	// Sent is the Date field, zero when it can't be read; Received is when
	// the mail was retrieved.
	Sent, Received time.Time

	// Text is the plain text body, HTML the HTML body. TextTruncated and
	// HTMLTruncated tell that a body was longer than the limit
	// (WithMaxBodyBytes); the whole is in the original text file or in an
	// attachment file then.
	Text, TextCharset            string
	HTML, HTMLCharset            string
	TextTruncated, HTMLTruncated bool

	// Files are the attachments in the order of the message, followed by what
	// the driver made itself.
	Files []File

	// LoopbackCandidate tells that the sender was blocked by loopback
	// detection and that the host asked to see such mail.
	LoopbackCandidate bool
	// AutoSubmitted, Precedence and ListID are those fields' values, hints
	// that a program wrote the mail (RFC 3834, RFC 2919).
	AutoSubmitted, Precedence, ListID string

	// DSN is the delivery status notification that this mail is, or nil.
	// DSNContent is its message/delivery-status part as it was written.
	DSN        *dsn.Report
	DSNContent string
	// Report tells what sort of automatic message the mail is, if any: a
	// bounce in the standard form or any other, a receipt, a complaint, an
	// automatic reply, list mail; with what became of which recipient and the
	// hints of the header (RFC 3834). Anyone can forge one: see
	// [dsn.Result.Matches]. It is nil only in events that a host makes.
	Report *dsn.Result
}

// A File is one file of an [Event] in the incoming directory. Its own name
// never comes from the mail.
type File struct {
	// Path is absolute.
	Path string
	// Name is the name that the sender gave, or one made of the type. It is
	// data: see mime.SafeName before it becomes a file name.
	Name string
	// Type and Subtype are the media type in lower case.
	Type, Subtype string
	Charset       string
	// Inline is true if the part had no name. Disposition is what the mail
	// says (RFC 2183): "inline", "attachment" or "".
	Inline      bool
	Disposition string
	ContentID   string
	// Supplemental is true for a file that the driver made and the sender did
	// not send: the original text.
	Supplemental bool
	// Generated is true for files that must not go out with a reply or
	// forward: the original text, embedded messages as XML, text fragments.
	Generated bool
	// Part is the path of the part in the message, see mime.Part.
	Part string
	Size int64

	// whole: it has the body of which the event holds only the start.
	whole bool
}

// OriginalTextFile returns the path of the file with the header and the plain
// text, "" if there is none.
func (ev *Event) OriginalTextFile() string {
	for _, f := range ev.Files {
		if f.Supplemental {
			return f.Path
		}
	}
	return ""
}

// Attachments counts the files that came with the mail.
func (ev *Event) Attachments() int {
	n := 0
	for _, f := range ev.Files {
		if !f.Supplemental {
			n++
		}
	}
	return n
}

// DeleteTempFiles removes the event's files, once the host has no use for
// them. Files that are gone already are no error.
func (ev *Event) DeleteTempFiles() error {
	var errs []error
	for _, f := range ev.Files {
		if err := os.Remove(f.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
