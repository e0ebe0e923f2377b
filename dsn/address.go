package dsn

import (
	"strings"
	"unicode/utf8"
)

// maxAddress bounds an address in free text; RFC 5321 4.5.3.1 allows 64+1+255.
const maxAddress = 512

// scanAddress reads an address at the start of s, with or without angle
// brackets or quotes around it, and gives what follows. ok is false if there is
// none.
func scanAddress(s string) (addr, rest string, angle, ok bool) {
	open := byte(0)
	if s != "" && strings.IndexByte("<\"'([", s[0]) >= 0 {
		open = s[0]
	}
	if open == '"' {
		// `"a b"@c` is an address, `"a@b"` a quoted one.
		if a, r, found := scanPlain(s); found {
			return a, r, false, true
		}
	}
	if open != 0 {
		s = s[1:]
	}
	s = strings.TrimPrefix(s, "mailto:")
	s = strings.TrimPrefix(s, "SMTP:")
	addr, rest, ok = scanPlain(s)
	if !ok {
		return "", "", false, false
	}
	if open != 0 {
		closing := map[byte]byte{'<': '>', '(': ')', '[': ']'}[open]
		if closing == 0 {
			closing = open
		}
		rest = strings.TrimPrefix(rest, string(closing))
	}
	return addr, rest, open == '<', true
}

// scanPlain reads local@domain. The domain must have a dot, be a literal, or be
// the whole word.
func scanPlain(s string) (addr, rest string, ok bool) {
	i := 0
	if strings.HasPrefix(s, "\"") {
		for i = 1; i < len(s) && i < maxAddress && s[i] != '"'; i++ {
			if s[i] == '\\' {
				i++
			}
			if i < len(s) && (s[i] == '\n' || s[i] == '@' && !strings.Contains(s[i:min(len(s), i+maxAddress)], "\"@")) {
				return "", "", false
			}
		}
		i++
	} else {
		for i < len(s) && i < maxAddress && localByte(s[i]) {
			i++
		}
	}
	if i == 0 || i+1 >= len(s) || s[i] != '@' {
		return "", "", false
	}
	j := i + 1
	if s[j] == '[' {
		end := strings.IndexByte(s[j:min(len(s), j+64)], ']')
		if end < 0 {
			return "", "", false
		}
		j += end + 1
		return s[:j], s[j:], true
	}
	dot := false
	for j < len(s) && j < i+maxAddress && domainByte(s[j]) {
		dot = dot || s[j] == '.'
		j++
	}
	for j > i+1 && (s[j-1] == '.' || s[j-1] == '-') {
		j--
	}
	if j == i+1 || !strings.Contains(s[i+1:j], ".") && j < len(s) && dot {
		return "", "", false
	}
	if !utf8.ValidString(s[:j]) {
		return "", "", false
	}
	return s[:j], s[j:], true
}

func localByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digit(c) || c >= 0x80 || strings.IndexByte(".!#$%&'*+-/=?^_{|}~`", c) >= 0
}

func domainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digit(c) || c >= 0x80 || c == '-' || c == '.' || c == '_'
}

// findAddress finds the first address anywhere in s and gives what stands
// before and after it.
func findAddress(s string) (before, addr, after string, ok bool) {
	for off := 0; off < len(s); {
		at := strings.IndexByte(s[off:], '@')
		if at < 0 {
			return "", "", "", false
		}
		at += off
		start := at
		if start > 0 && s[start-1] == '"' { // a quoted local part
			if q := strings.LastIndexByte(s[max(0, start-1-maxAddress):start-1], '"'); q >= 0 {
				start = max(0, start-1-maxAddress) + q
			}
		} else {
			for start > off && at-start < maxAddress && localByte(s[start-1]) {
				start--
			}
		}
		for start < at && (s[start] >= 0x80 && !utf8.RuneStart(s[start]) || strings.IndexByte("'`*-/=.", s[start]) >= 0) {
			start++
		}
		if a, rest, found := scanPlain(s[start:]); found {
			return s[:start], a, rest, true
		}
		off = at + 1
	}
	return "", "", "", false
}

// isAddress reports whether the whole of s is an address.
func isAddress(s string) bool {
	_, rest, ok := scanPlain(s)
	return ok && rest == ""
}
