package webdav

import (
	"errors"
	"fmt"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
	"github.com/maildriver/maildriver/internal/netx"
)

// Errors that hosts test with errors.Is. Each comes inside a [*driver.Error]
// that has the server and the step.
var (
	// ErrForms says that the server wants its login form to be filled in, and
	// another way to log in is configured.
	ErrForms = errors.New("the server wants the login form (mechanism FORM)")
	// ErrNoForms says that the form is configured and the server has none.
	ErrNoForms = errors.New("the server has no login form")
	// ErrNotAvailable says that the server is an Exchange without WebDAV (2010
	// and later, or switched off).
	ErrNotAvailable = errors.New("WebDAV is not available on this server: use the driver EWS")
	// ErrNotExchange says that the server is none.
	ErrNotExchange = errors.New("the server is no Exchange with WebDAV: webdav.WithPlain takes mail from other WebDAV servers")
	// ErrNoMailbox says that the server is an Exchange and the mailbox is not
	// there.
	ErrNoMailbox = errors.New("there is no such mailbox")
	// ErrFolder says that the folder is not there.
	ErrFolder = errors.New("there is no such folder")
	// ErrFolderNotAvailable says that a well-known folder cannot be reached
	// over WebDAV.
	ErrFolderNotAvailable = errors.New("the folder is not available over WebDAV")
	// ErrNeverOpened says that the mailbox must be opened in Outlook Web Access
	// once, to choose its language.
	ErrNeverOpened = errors.New("the mailbox was never opened in Outlook Web Access, which asks for its language first")
	// ErrSender says that the account may not send as that sender.
	ErrSender = errors.New("the account may not send as this sender")
	// ErrQuota says that the mailbox is full.
	ErrQuota = errors.New("the mailbox is full")
	// ErrTLSNeeded says that the server takes no requests without TLS.
	ErrTLSNeeded = errors.New("the server wants https")
)

// A ReplyError is an answer by which the server refused something. It is found
// in the errors of this package with errors.As.
type ReplyError struct {
	// Command is the method, "PROPFIND", or "LOGIN" for the form.
	Command string
	// Code is the status: of the answer, or of the part of a multistatus that
	// is about the mail in question.
	Code int
	// Text is the reason phrase as the server sent it, shortened.
	Text string
	// Err is what it means, or nil.
	Err error
}

func (e *ReplyError) Error() string {
	s := fmt.Sprintf("%s: status %d", e.Command, e.Code)
	if e.Text != "" {
		s += " " + netx.Quote(e.Text)
	}
	if e.Err != nil {
		s = e.Err.Error() + " (" + s + ")"
	}
	return s
}

func (e *ReplyError) Unwrap() error { return e.Err }

// wrap makes an error of this driver.
func (s *session) wrap(op string, k driver.Kind, err error) *driver.Error {
	return &driver.Error{Op: op, Driver: driverName, Addr: s.addr, Kind: k, Err: err}
}

// public turns the HTTP client's error about an answer into a [*ReplyError].
func public(err error) error {
	de, ok := errors.AsType[*driver.Error](err)
	if !ok {
		return err
	}
	se, ok := errors.AsType[*httpx.StatusError](err)
	if !ok {
		return err
	}
	if _, done := errors.AsType[*ReplyError](err); done {
		return err
	}
	out := *de
	out.Err = &ReplyError{Command: se.Method, Code: se.Status, Text: se.Text, Err: de.Err}
	if de.Err == error(se) {
		out.Err.(*ReplyError).Err = nil
	}
	return &out
}
