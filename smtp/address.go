package smtp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Longest parts of an address. RFC 5321 section 4.5.3.1.1 promises 64 octets
// for a local part, but VERP and SRS addresses are longer and most servers take
// them; the server may still refuse.
const (
	maxLocalPart = 255
	maxDomain    = 255
)

// A mailbox is an address, checked. Both forms can go into a command as they
// are.
type mailbox struct {
	text  string // as given
	ascii string // the same, or with the domain in its ASCII form; "" if the local part is beyond ASCII
}

// form gives the mailbox for a message that goes with SMTPUTF8 or without.
func (m mailbox) form(international bool) string {
	if international {
		return m.text
	}
	return m.ascii
}

// encodePath makes addr what stands between the angle brackets of MAIL and
// RCPT. It is the one door by which addresses enter a command: what it returns
// has no control character, no bare ">" and no bare space, so that no address
// can become a second command or parameter (A12, A13). A local part that RFC
// 5321 wants quoted, such as "a..b", is quoted (A15). A domain beyond ASCII has
// an ASCII form for servers without SMTPUTF8 (RFC 5891), a local part has none.
func encodePath(addr string) (mailbox, error) {
	if !utf8.ValidString(addr) {
		return mailbox{}, errors.New("not UTF-8")
	}
	for i, r := range addr {
		// Of what is no ASCII only what can be seen: no controls, line or
		// paragraph separators, marks that turn the direction, or spaces.
		if r < ' ' || r == 0x7f {
			return mailbox{}, fmt.Errorf("control character at byte %d", i)
		}
		if r >= 0x80 && (!unicode.IsGraphic(r) || unicode.IsSpace(r)) {
			return mailbox{}, fmt.Errorf("character %U at byte %d", r, i)
		}
	}
	at := strings.LastIndexByte(addr, '@')
	if at < 0 {
		return mailbox{}, errors.New("there is no @")
	}
	local, err := encodeLocal(addr[:at])
	if err != nil {
		return mailbox{}, err
	}
	domain := addr[at+1:]
	plain := domain
	if !isASCII(domain) {
		if plain, err = idna.Lookup.ToASCII(domain); err != nil {
			return mailbox{}, fmt.Errorf("not a domain name: %w", err)
		}
	}
	if err := checkDomain(plain); err != nil {
		return mailbox{}, err
	}
	m := mailbox{text: local + "@" + domain}
	if isASCII(local) {
		m.ascii = local + "@" + plain
	}
	return m, nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func encodeLocal(s string) (string, error) {
	switch {
	case s == "":
		return "", errors.New("nothing before the @")
	case len(s) > maxLocalPart:
		return "", fmt.Errorf("%d bytes before the @, limit %d", len(s), maxLocalPart)
	case s[0] == '"':
		return s, checkQuoted(s)
	}
	for i := range len(s) {
		if s[i] < 0x80 && s[i] != '.' && !isAtext(s[i]) {
			return "", fmt.Errorf("%q is not allowed before the @ without quotes", s[i])
		}
	}
	if s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return `"` + s + `"`, nil
	}
	return s, nil
}

func isAtext(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digit(c) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// checkQuoted checks a Quoted-string without control characters (RFC 5321
// section 4.1.2, RFC 6531 section 3.3).
func checkQuoted(s string) error {
	if len(s) < 2 || s[len(s)-1] != '"' {
		return errors.New("the quote before the @ is not closed")
	}
	inner := s[1 : len(s)-1]
	for i := 0; i < len(inner); i++ {
		switch inner[i] {
		case '"':
			return errors.New("a quote within quotes")
		case '\\':
			if i++; i == len(inner) {
				return errors.New("the quote before the @ is not closed")
			}
		}
	}
	return nil
}

// checkDomain accepts host names and address literals. An underscore is let
// pass in names, as the DNS does.
func checkDomain(s string) error {
	switch {
	case s == "":
		return errors.New("nothing after the @")
	case len(s) > maxDomain:
		return fmt.Errorf("%d bytes after the @, limit %d", len(s), maxDomain)
	case s[0] == '[':
		return checkLiteral(s)
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("not a domain name")
		}
		for i := range len(label) {
			c := label[i]
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digit(c) || c == '-' || c == '_') {
				return fmt.Errorf("%q is not allowed in a domain name", c)
			}
		}
	}
	return nil
}

// checkLiteral accepts [192.0.2.1] and [IPv6:2001:db8::1] (RFC 5321 section
// 4.1.3).
func checkLiteral(s string) error {
	inner, ok := strings.CutSuffix(s[1:], "]")
	if !ok {
		return errors.New("the address literal is not closed")
	}
	if six, ok := cutPrefixFold(inner, "IPv6:"); ok {
		if a, err := netip.ParseAddr(six); err == nil && a.Is6() && a.Zone() == "" {
			return nil
		}
	} else if a, err := netip.ParseAddr(inner); err == nil && a.Is4() {
		return nil
	}
	return errors.New("not an address literal")
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
