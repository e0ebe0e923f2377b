package mime

import (
	"strings"
	"unicode/utf8"
)

// normalSpec brings an addr-spec into one form: no comments or blanks, the
// local part quoted only where needed.
func (p *addressParser) normalSpec(s string) string {
	if simpleSpec(s) { // nearly all are
		return s
	}
	s = strings.Trim(s, " \t\r\n")
	if !utf8.ValidString(s) {
		s = heal(s, p.charset)
	}
	i := strings.LastIndexByte(s, '@')
	local, domain := s, ""
	if i >= 0 {
		local, domain = strings.Trim(s[:i], " \t\r\n"), dropBlanks(dropComments(s[i+1:]))
	}
	if len(local) > 1 && local[0] == '"' && local[len(local)-1] == '"' {
		inner := cleanControl(unescape(local[1 : len(local)-1]))
		if isDotAtom(inner) {
			local = inner
		} else {
			local = quoteString(inner)
		}
	} else {
		local = dropBlanks(dropComments(local))
		if strings.ContainsAny(local, "@\"\\,;:<>()[]") {
			if local = unescape(strings.ReplaceAll(local, `"`, "")); !isDotAtom(local) {
				local = quoteString(local)
			}
		}
	}
	if i < 0 {
		return local
	}
	drop := "<>(),;:\"[]"
	if n := len(domain); n > 2 && domain[0] == '[' && strings.IndexAny(domain[1:], "[]") == n-2 {
		drop = "<>(),;\"" // an address literal (RFC 5322 3.4.1)
	}
	domain = strings.Map(func(r rune) rune {
		if strings.ContainsRune(drop, r) {
			return -1
		}
		return r
	}, domain)
	if domain == "[]" { // nothing was left in it
		domain = ""
	}
	return local + "@" + domain
}

// simpleSpec reports whether s is "local@domain" of plain characters, which has
// its one form already.
func simpleSpec(s string) bool {
	at := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '@':
			at++
		case (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' && c != '+' && c != '=':
			return false
		}
	}
	return at == 1 && s[0] != '@'
}

func dropComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '(')
		if i < 0 {
			break
		}
		b.WriteString(s[:i])
		n := commentLen(s[i:])
		if n == 0 { // no end: only the parentheses go
			s = strings.ReplaceAll(s[i:], "(", "")
			break
		}
		s = s[i+n:]
	}
	b.WriteString(s)
	return b.String()
}

func dropBlanks(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || isControl(r) {
			return -1
		}
		return r
	}, s)
}

func cleanControl(s string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return -1
		}
		return r
	}, s)
}

// isDotAtom reports whether s may stand as a local part without quotes
// (RFC 5322 3.2.3, with the UTF-8 of RFC 6532).
func isDotAtom(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || strings.IndexByte("()<>[]:;@\\,\"", c) >= 0 {
			return false
		}
	}
	return true
}

func quoteString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// unescape undoes quoted pairs (RFC 5322 3.2.1).
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// squeeze makes one blank of each run of blanks.
func squeeze(s string) string {
	if !strings.Contains(s, "  ") && !strings.ContainsAny(s, "\t") {
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}
