package imap

import (
	"bytes"
	"fmt"
)

// traced is what a trace shows of a line. Strings in a FETCH response are
// content, and so may be what goes on behind a literal.
func traced(dir byte, line []byte) string {
	if dir == 'C' {
		return string(line)
	}
	word, rest := cutWord(line)
	if word == "*" {
		num, behind, ok := parseNumber(rest)
		if ok && num > 0 && len(behind) > 6 && bytes.EqualFold(behind[:7], []byte(" FETCH ")) {
			if i := bytes.IndexByte(line, '"'); i >= 0 {
				return fmt.Sprintf("%s[%d bytes]", line[:i], len(line)-i)
			}
		}
		return string(line)
	}
	if word == "+" || isOurTag(word) {
		return string(line)
	}
	return fmt.Sprintf("[%d bytes]", len(line))
}

// isOurTag tells the tags of [session.queue] and those of the library.
func isOurTag(word string) bool {
	if len(word) < 2 || word[0] != 'A' && word[0] != 'T' {
		return false
	}
	_, rest, ok := parseNumber([]byte(word[1:]))
	return ok && len(rest) == 0
}
