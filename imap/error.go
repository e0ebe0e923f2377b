package imap

import (
	"regexp"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// A ReplyError is a refusal by the server: NO, BAD, or BYE. It is found in the
// errors of this package with errors.As.
type ReplyError struct {
	// Command is what was refused, "SELECT" or "UID MOVE", or "greeting".
	// Names, passwords and other arguments are not in it.
	Command string
	// Status is NO, BAD or BYE (RFC 3501 section 7.1).
	Status string
	// Code is the response code in upper case without brackets, such as
	// "AUTHENTICATIONFAILED", "INUSE" or "OVERQUOTA" (RFC 5530); "" if the
	// server gave none.
	Code string
	// Text is the rest of the line as the server sent it, shortened, and
	// without the secrets that the server may have repeated.
	Text string
}

func (e *ReplyError) Error() string {
	text := e.Command + ": " + e.Status
	if e.Code != "" {
		text += " [" + e.Code + "]"
	}
	if e.Text != "" {
		text += " " + netx.Quote(e.Text)
	}
	return text
}

// maxText is how much of a reply a ReplyError keeps.
const maxText = 512

// busyText knows, by their words, refusals of servers without response codes
// that say nothing about the credentials: too many connections, throttling,
// maintenance.
var busyText = regexp.MustCompile(`(?i)too many|simultaneous|throttl|try again|later|temporar|unavailable|bandwidth|\brate\b|server busy|in use|internal error|timed? ?out`)

// absentText knows a folder that is not there by the words of servers that
// have no code for it.
var absentText = regexp.MustCompile(`(?i)(does ?n.t|does not|not) exist|no such|nonexist|unknown (mailbox|folder)|not found`)

// kindOf tells what a refusal means: the response code decides, then the step.
func (e *ReplyError) kindOf() driver.Kind {
	switch e.Code {
	case "AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "WEBALERT":
		return driver.KindAuth
	case "PRIVACYREQUIRED":
		return driver.KindPolicy
	case "NOPERM", "NONEXISTENT", "CANNOT", "CORRUPTION", "CONTACTADMIN", "TRYCREATE", "BADCHARSET":
		return driver.KindPermanent
	case "UNAVAILABLE", "INUSE", "LIMIT", "OVERQUOTA", "SERVERBUG", "THROTTLED", "EXPUNGEISSUED":
		return driver.KindTemporary
	}
	switch {
	case e.Status == "NO" && (e.Command == "SELECT" || e.Command == "EXAMINE") && absentText.MatchString(e.Text):
		return driver.KindPermanent
	case e.Status == "BAD":
		return driver.KindProtocol
	case e.Status == "NO" && (e.Command == "LOGIN" || e.Command == "AUTHENTICATE") && !busyText.MatchString(e.Text):
		return driver.KindAuth
	}
	return driver.KindTemporary
}

// opOf names the step of a command in errors.
func opOf(command string) string { return strings.ToLower(command) }
