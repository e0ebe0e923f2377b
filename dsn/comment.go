package dsn

import "strings"

// eachOutside calls f with the places in s that stand in no comment (RFC 5322
// 3.2.2) until it returns false. Parentheses in a quoted string start none.
func eachOutside(s string, f func(i int, quoted bool) bool) {
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && (quoted || depth > 0) && i+1 < len(s): // a quoted pair
			if depth == 0 && (!f(i, true) || !f(i+1, true)) {
				return
			}
			i++
			continue
		case depth == 0 && c == '"':
			// A quote that nobody closes is a character like others.
			quoted = !quoted && strings.IndexByte(s[i+1:], '"') >= 0
		case quoted:
		case c == '(':
			depth++
			continue
		case c == ')' && depth > 0:
			depth--
			continue
		}
		if depth == 0 && !f(i, quoted) {
			return
		}
	}
}

// dropComments leaves out what stands in comments.
func dropComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b strings.Builder
	eachOutside(s, func(i int, _ bool) bool {
		b.WriteByte(s[i])
		return true
	})
	return b.String()
}

// skipComments finds the first c that stands in no comment and no quoted
// string; -1 if there is none.
func skipComments(s string, c byte) int {
	at := -1
	eachOutside(s, func(i int, quoted bool) bool {
		if s[i] == c && !quoted {
			at = i
		}
		return at < 0
	})
	return at
}
