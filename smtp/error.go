package smtp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// The stages of a session, as [ReplyError.Stage] and the Op of errors name
// them. Dialing and TLS have the Ops "dial" and "tls".
const (
	StageGreeting = "greeting"
	StageEHLO     = "ehlo"
	StageHELO     = "helo"
	StageSTARTTLS = "starttls"
	StageAUTH     = "auth"
	StageMAIL     = "mail"
	StageRCPT     = "rcpt"
	StageDATA     = "data" // the command DATA or BDAT and the content, up to its end
	StageDot      = "dot"  // the final dot, or the last BDAT, and the reply to it
	StageIdle     = "idle" // a connection that was kept, before the next message
	StageQUIT     = "quit"
)

// A ReplyError is a reply by which the server refused something: find it with
// errors.As.
type ReplyError struct {
	Stage    string   // what was refused, one of the Stage constants
	Server   string   // host:port
	Code     int      // 400 to 599, or another code where it was out of place
	Enhanced string   // enhanced status code (RFC 3463), "" if the reply has none
	Lines    []string // the text, a string a line, without codes, as the server sent it
}

// Text returns the lines of the reply, joined by line feeds, unescaped.
func (e *ReplyError) Text() string { return strings.Join(e.Lines, "\n") }

// Temporary reports whether the server invites to try again (4yz, RFC 5321
// section 4.2.1).
func (e *ReplyError) Temporary() bool { return e.Code/100 == 4 }

// Error quotes and shortens what the server said.
func (e *ReplyError) Error() string {
	code := fmt.Sprint(e.Code)
	if e.Enhanced != "" {
		code += " " + e.Enhanced
	}
	if len(e.Lines) == 0 || (len(e.Lines) == 1 && e.Lines[0] == "") {
		return fmt.Sprintf("the server says %s to %s", code, e.Stage)
	}
	return fmt.Sprintf("the server says %s to %s: %s", code, e.Stage, netx.Quote(strings.Join(e.Lines, " / ")))
}

// A SizeError says that the message is larger than the server takes, which it
// told in its answer to EHLO (RFC 1870). Nothing of the message was sent.
type SizeError struct {
	Size  int64 // of the message, with CRLF line ends
	Limit int64 // of the server
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("the message has %d bytes, the server takes %d", e.Size, e.Limit)
}

// An ExtensionError says that the message needs an extension that the server
// does not offer, or that this package does not speak. It is
// errors.ErrUnsupported. Nothing of the message was sent.
type ExtensionError struct {
	Extension string // EHLO keyword: "8BITMIME", "SMTPUTF8"
	Why       string // what needs it
}

func (e *ExtensionError) Error() string {
	return fmt.Sprintf("%s needs the extension %s", e.Why, e.Extension)
}

// Is makes the error errors.ErrUnsupported.
func (e *ExtensionError) Is(target error) bool { return target == errors.ErrUnsupported }

// ErrUnverified says that a message with [driver.Message.RequireTLS] was not
// sent because the server's certificate was accepted without verification,
// which RFC 8689 section 4.2.1 forbids. Nothing of the message was sent.
var ErrUnverified = errors.New("the message may only go over verified TLS (REQUIRETLS), and the server's certificate was accepted without verification")

// A ContentError says that the message holds what may not be sent over SMTP:
// a NUL, or a line over the limit. Nothing of the message was sent.
type ContentError struct {
	Problem string
	Limit   int // the longest line allowed, in octets without CRLF; 0 for another problem
}

func (e *ContentError) Error() string { return "the message holds " + e.Problem }

// An ArgumentError says that a part of the envelope, or a setting, cannot be
// put into a command: it was refused before any byte was sent.
type ArgumentError struct {
	What  string // "sender", "recipient", "HELO name", "ENVID", "ORCPT", "NOTIFY", "RET"
	Value string // as given
	Err   error
}

func (e *ArgumentError) Error() string {
	return fmt.Sprintf("%s %s: %v", e.What, netx.Quote(e.Value), e.Err)
}
func (e *ArgumentError) Unwrap() error { return e.Err }

// A failure is what ended a send: the step, the kind, the cause and, where the
// failure and not a reply decides, the outcome for recipients that have none.
type failure struct {
	op       string
	kind     driver.Kind
	delivery driver.Delivery
	err      error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// failed makes a failure of err, met in op before the end of the message was
// sent. Connection errors carry their own step and kind, which are lifted so
// that the text names them once.
func failed(op string, err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	f := &failure{op, driver.KindUnknown, driver.DeliveryDeferred, err}
	if re, ok := errors.AsType[*ReplyError](err); ok {
		f.kind, f.delivery = verdict(re)
	}
	if de, ok := err.(*driver.Error); ok {
		f.kind, f.err = de.Kind, de.Err
		if de.Op == "dial" || de.Op == "proxy" || de.Op == "tls" || de.Op == "secret" {
			f.op = de.Op
		}
	}
	if f.kind == driver.KindUnknown {
		f.kind = driver.KindTemporary
	}
	return f
}

// verdict tells what a reply means for the message. A reply of neither class
// is out of place: the peer is out of step, and nothing was accepted by it.
func verdict(re *ReplyError) (driver.Kind, driver.Delivery) {
	switch re.Code / 100 {
	case 4:
		return driver.KindTemporary, driver.DeliveryDeferred
	case 5:
		return driver.KindPermanent, driver.DeliveryRejected
	}
	return driver.KindProtocol, driver.DeliveryDeferred
}
