package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Kind says what an error means for the caller.
type Kind uint8

// The kinds of errors. KindOf finds the kind of any error of this module.
const (
	KindUnknown   Kind = iota // not classified: treat as temporary, but look
	KindTemporary             // try again later: network, busy server, 4xx
	KindPermanent             // will fail again unless the message or mailbox changes
	KindAuth                  // credentials refused: do not hammer the server
	KindPolicy                // our own security rules refused, e.g. no STARTTLS where it is required
	KindProtocol              // the peer broke the protocol; the connection was dropped
	KindLocal                 // this machine: disk full, permission, spool
	KindBusy                  // another poller has the mailbox
	KindConfig                // options or parameters are wrong; will not heal by itself
	KindClosed                // the driver was closed
	KindAmbiguous             // a send whose outcome nobody knows
)

var kindNames = [...]string{
	"unknown", "temporary", "permanent", "auth", "policy", "protocol", "local", "busy", "config", "closed", "ambiguous",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Retryable reports whether the same call may succeed later without anybody
// changing anything. Ambiguous is not retryable: the mail may have been sent.
func (k Kind) Retryable() bool {
	switch k {
	case KindUnknown, KindTemporary, KindProtocol, KindLocal, KindBusy, KindAuth:
		return true
	}
	return false
}

// Errors that hosts test with errors.Is.
var (
	// ErrClosed is returned by calls on a closed driver, and by those that
	// Close ended.
	ErrClosed = errors.New("driver closed")
	// ErrMailboxBusy says that another poller, in this process or another,
	// holds the mailbox.
	ErrMailboxBusy = errors.New("mailbox is being polled by another poller")
	// ErrHandlerStuck says that a handler did not return after its time limit
	// and grace. The mailbox stays locked until it does.
	ErrHandlerStuck = errors.New("handler did not return within its time limit")
	// ErrTLSRequired says that TLS was asked for and the server offers none.
	ErrTLSRequired = errors.New("TLS is required and the server does not offer it")
	// ErrInsecureAuth says that credentials would have gone over the wire in
	// clear, which WithInsecureAuth alone permits.
	ErrInsecureAuth = errors.New("credentials are not sent without TLS")
	// ErrLimit says that the peer exceeded a limit.
	ErrLimit = errors.New("limit exceeded")
)

// Stop is returned by a [Handler] that has dealt with the mail and wants the
// session to end; Poll then returns no error.
//
//lint:ignore ST1012 it is a result, not a failure: handlers read `return driver.Stop`
var Stop = errors.New("stop polling")

// Reject wraps the reason why a handler will never take this mail. The raw
// mail goes to the failed directory with a reason file and never comes again.
// Reject(nil) is a rejection without a reason.
func Reject(err error) error {
	if err == nil {
		err = errors.New("rejected by the handler")
	}
	return &rejection{err}
}

type rejection struct{ err error }

func (r *rejection) Error() string { return r.err.Error() }
func (r *rejection) Unwrap() error { return r.err }

// An Error says what failed where. Protocol replies are found inside with
// errors.As (*smtp.ReplyError, *pop3.ReplyError...).
type Error struct {
	Op     string // the step: "dial", "tls", "greeting", "auth", "retr", "parse"...
	Driver string // "POP3", "SMTP"... or "" for an error of this package
	Addr   string // host:port of the peer, or ""
	Kind   Kind
	Err    error
}

func (e *Error) Error() string {
	var b strings.Builder
	for _, s := range []string{e.Driver, e.Addr, e.Op} {
		if s != "" {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(s)
		}
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	} else {
		b.WriteString(e.Kind.String())
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf classifies err by the outermost [*Error] that has a kind. An error of
// the context is temporary; nil and unclassified errors are KindUnknown.
func KindOf(err error) Kind {
	for e := err; e != nil; {
		de, ok := errors.AsType[*Error](e)
		if !ok {
			break
		}
		if de.Kind != KindUnknown {
			return de.Kind
		}
		e = de.Err
	}
	switch {
	case err == nil:
		return KindUnknown
	case errors.Is(err, ErrClosed):
		return KindClosed
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return KindTemporary
	}
	return KindUnknown
}
