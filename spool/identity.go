package spool

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// MailboxID tells mailboxes apart. Two ids that differ after normalisation never share a file name or a lock.
type MailboxID struct {
	Protocol string // "POP3", "IMAP", "EWS", ...; letter case is ignored
	Server   string // host; letter case is ignored
	Account  string // exactly as used for logging in
	Folder   string // "" is INBOX
	Port     int    // 0 and the usual ports of the protocol (POP3 110 and 995, IMAP 143 and 993, others 80 and 443) are one
}

// String names the mailbox for people.
func (id MailboxID) String() string {
	id = id.normal()
	host := id.Server
	if id.Port != 0 {
		host += ":" + strconv.Itoa(id.Port)
	}
	s := fmt.Sprintf("mailbox %s of %s at %s", quoted(id.Account), id.Protocol, quoted(host))
	if id.Folder != inbox {
		s += " folder " + quoted(id.Folder)
	}
	return s
}

const inbox = "INBOX"

func (id MailboxID) normal() MailboxID {
	id.Protocol = strings.ToUpper(id.Protocol)
	id.Server = strings.ToLower(id.Server)
	if id.Folder == "" || strings.EqualFold(id.Folder, inbox) { // RFC 3501, section 5.1: INBOX in any case
		id.Folder = inbox
	}
	switch id.Protocol {
	case "POP3":
		id.Port = usual(id.Port, 110, 995)
	case "IMAP":
		id.Port = usual(id.Port, 143, 993)
	default:
		id.Port = usual(id.Port, 80, 443)
	}
	return id
}

func usual(port, clear, tls int) int {
	if port == clear || port == tls {
		return 0
	}
	return port
}

func (id MailboxID) validate() error {
	switch {
	case !validProto(id.Protocol):
		return fmt.Errorf("spool: mailbox protocol %s: up to %d letters and digits are needed", quoted(id.Protocol), maxProto)
	case id.Server == "" || len(id.Server) > maxIdentity:
		return fmt.Errorf("spool: mailbox server %s: 1 to %d bytes are needed", quoted(id.Server), maxIdentity)
	case len(id.Account) > maxIdentity || len(id.Folder) > maxIdentity:
		return fmt.Errorf("spool: mailbox account and folder: at most %d bytes each", maxIdentity)
	case id.Port < 0 || id.Port > 65535:
		return fmt.Errorf("spool: mailbox port %d is not between 0 and 65535", id.Port)
	}
	return nil
}

const maxIdentity = 4096 // bytes of each text of a MailboxID

// maxBase keeps "Previous_" + base + ".ids.corrupt-NN" and ".part" within 255 bytes.
const maxBase = 220

// base gives A_B of the .ids files' names. A is the server, B the account. What has no place in the documented form is
// appended behind "~", which escaping never yields: to A the protocol unless POP3 and an unusual port, to B a folder.
// Where the readable form could meet that of another mailbox (letter case on a case-insensitive file system, "_" in the
// server, over-long names) a hash of the full identity follows "~~".
func (id MailboxID) base() string {
	id = id.normal()
	a, b := escapeName(id.Server), escapeName(id.Account)
	if id.Protocol != "POP3" {
		a += "~" + strings.ToLower(id.Protocol)
	}
	if id.Port != 0 {
		a += "~" + strconv.Itoa(id.Port)
	}
	if id.Folder != inbox {
		b += "~" + escapeName(id.Folder)
	}
	hash := strings.Contains(a, "_") || hasUpper(id.Account) || (id.Folder != inbox && hasUpper(id.Folder))
	const tail = 2 + 16
	if len(a)+1+len(b) > maxBase-tail {
		hash = true
		a = a[:min(len(a), 80)]
		b = b[:min(len(b), maxBase-tail-1-len(a))]
	}
	if hash {
		sum := sha256.Sum256([]byte(id.header()))
		b += "~~" + hex.EncodeToString(sum[:8])
	}
	return a + "_" + b
}

func hasUpper(s string) bool { return s != strings.ToLower(s) }

// escapeName percent-encodes everything outside [A-Za-z0-9.@+_-] and a leading dot.
func escapeName(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		ok := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '@' || c == '+' || c == '_' || c == '-' || c == '.' && i > 0
		if ok {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
