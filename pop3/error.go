package pop3

import (
	"errors"
	"regexp"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// A ReplyError is a reply of -ERR. It is found in the errors of this package
// with errors.As.
type ReplyError struct {
	// Command is what was refused, "PASS" or "RETR 5", or "greeting". Names,
	// passwords and other arguments of a login are not in it.
	Command string
	// Code is the response code in upper case without brackets, such as
	// "IN-USE", "AUTH", "SYS/TEMP", "SYS/PERM" or "LOGIN-DELAY" (RFC 2449
	// section 8, RFC 3206); "" if the server gave none.
	Code string
	// Text is the rest of the line as the server sent it, shortened, and
	// without the secrets that the server may have repeated.
	Text string
}

func (e *ReplyError) Error() string {
	text := e.Command + ": -ERR"
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

var responseCode = regexp.MustCompile(`^\[([A-Za-z0-9][A-Za-z0-9/_-]{0,63})\][ \t]*`)

func newReplyError(command, text string) *ReplyError {
	e := &ReplyError{Command: command}
	text = strings.TrimLeft(text, " \t")
	if m := responseCode.FindStringSubmatch(text); m != nil {
		e.Code, text = strings.ToUpper(m[1]), text[len(m[0]):]
	}
	e.Text = text[:min(len(text), maxText)]
	return e
}

// lockText knows a busy maildrop by the words of servers that have no response
// codes; the first are those of RFC 1939 section 4.
var lockText = regexp.MustCompile(`(?i)(maildrop|mailbox).*(lock|busy|in use)|lock.*(maildrop|mailbox)`)

// kindOf tells what a refusal means: the response code decides, then the step.
func (e *ReplyError) kindOf() driver.Kind {
	switch e.Code {
	case "AUTH":
		return driver.KindAuth
	case "SYS/PERM":
		return driver.KindPermanent
	case "":
		switch e.Command {
		case "USER", "PASS", "APOP", "AUTH":
			if !lockText.MatchString(e.Text) {
				return driver.KindAuth
			}
		}
	}
	// Codes we do not know are no statement about the credentials either: by
	// RFC 3206 section 4 that is what [AUTH] is for.
	return driver.KindTemporary
}

// system reports whether the server blames itself (RFC 3206), so that the
// refusal says nothing about the mail or the command.
func (e *ReplyError) system() bool {
	return e.Code == "SYS" || strings.HasPrefix(e.Code, "SYS/") || e.Code == "IN-USE"
}

// isRefusal reports whether err is a reply of -ERR after which the session
// goes on.
func isRefusal(err error) (*ReplyError, bool) {
	re, ok := errors.AsType[*ReplyError](err)
	return re, ok
}
