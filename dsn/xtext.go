package dsn

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// EncodeXText writes s as xtext (RFC 3461 4): printable ASCII as it is, "+",
// "=" and all else as "+" and two hexadecimal digits.
func EncodeXText(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c > ' ' && c < 0x7f && c != '+' && c != '=' {
			b.WriteByte(c)
		} else {
			b.WriteByte('+')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// DecodeXText undoes xtext (RFC 3461 4). A "+" that starts no pair of
// hexadecimal digits stays as it is and makes ok false.
func DecodeXText(s string) (text string, ok bool) {
	if strings.IndexByte(s, '+') < 0 {
		return s, true
	}
	ok = true
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '+' {
			if i+2 < len(s) {
				if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
					b.WriteByte(byte(n))
					i += 2
					continue
				}
			}
			ok = false
		}
		b.WriteByte(s[i])
	}
	return b.String(), ok
}

// decodeEnvelopeID undoes the xtext of an envelope id, whose text is printable
// (RFC 3461 4.4). Some servers, Postfix among them, write it decoded already: a
// "+17" of theirs is no control character but what the sender wrote.
func decodeEnvelopeID(s string) (id string, ok bool) {
	text, ok := DecodeXText(s)
	if !ok || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return s, false
	}
	return text, true
}

// decodeUTF8Address undoes the "\x{HEX}" of utf-8-addr-xtext (RFC 6533 3).
func decodeUTF8Address(s string) string {
	var b strings.Builder
	for s != "" {
		i := strings.Index(s, `\x{`)
		if i < 0 {
			break
		}
		b.WriteString(s[:i])
		s = s[i:]
		j := strings.IndexByte(s[:min(len(s), 10)], '}')
		if j > 3 {
			if n, err := strconv.ParseUint(s[3:j], 16, 32); err == nil && utf8.ValidRune(rune(n)) {
				b.WriteRune(rune(n))
				s = s[j+1:]
				continue
			}
		}
		b.WriteString(s[:3])
		s = s[3:]
	}
	b.WriteString(s)
	return oneLine(b.String())
}
