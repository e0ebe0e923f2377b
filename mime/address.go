package mime

import (
	"errors"
	"strings"
)

// An Address is one mailbox. Addresses are plain values.
type Address struct {
	// Name is the display name in UTF-8, decoded, on one line; "" if none.
	Name string
	// Addr is the addr-spec, "local@domain", as the sender wrote it: it is never
	// decoded (so an encoded "@" stays harmless), its local part is quoted where
	// RFC 5322 3.4.1 demands that. It may lack the domain.
	Addr string
	// Group is the name of the group (RFC 5322 3.4) that the address stands in;
	// String does not write it.
	Group string
}

// ErrAddress is matched by the errors of ParseAddressList.
var ErrAddress = errors.New("mime: malformed address")

// String writes the address as RFC 5322 3.4 has it, in ASCII but for an
// addr-spec that is not: the name as words, quoted, or as encoded words.
func (a Address) String() string {
	spec := cleanSpec(a.Addr)
	name := cleanText(a.Name)
	if strings.TrimSpace(name) == "" {
		if spec == "" || strings.IndexByte(spec, '@') < 0 {
			return "<" + spec + ">"
		}
		return spec
	}
	return encodePhrase(name) + " <" + spec + ">"
}

// cleanSpec drops what could end an addr-spec or its line early.
func cleanSpec(s string) string {
	quoted, esc := false, false
	return strings.Map(func(r rune) rune {
		switch {
		case isControl(r):
			return -1
		case esc:
			esc = false
		case quoted && r == '\\':
			esc = true
		case r == '"':
			quoted = !quoted
		case !quoted && strings.ContainsRune("<>(),; ", r):
			return -1
		}
		return r
	}, s)
}

// SplitAddr cuts an addr-spec at the "@" that ends its local part; ok is false
// without one.
func SplitAddr(addr string) (local, domain string, ok bool) {
	i := strings.LastIndexByte(addr, '@')
	if j := strings.LastIndexByte(addr, '"'); i < j || i < 0 {
		return addr, "", false
	}
	return addr[:i], addr[i+1:], true
}
