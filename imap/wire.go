package imap

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// isAtom reports whether s may stand bare in a command (RFC 3501 section 9).
func isAtom(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r)
	})
}

// quotable reports whether s can be sent as a quoted string.
func quotable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r >= 0x7f })
}

// quote writes a quoted string (RFC 3501 section 4.3).
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// maxCriteria bounds a host's own search criterion.
const maxCriteria = 4 << 10

// checkCriteria refuses what would not stay within one SEARCH: line ends,
// literals, open quotes and parentheses (A16).
func checkCriteria(s string) error {
	if len(s) > maxCriteria {
		return fmt.Errorf("the criterion is longer than %d bytes", maxCriteria)
	}
	if !quotable(s) {
		return errors.New("the criterion holds other than printable ASCII")
	}
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			return errors.New("the criterion holds a literal")
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth < 0 {
				return errors.New("the criterion closes a parenthesis too many")
			}
		}
	}
	if quoted || depth > 0 {
		return errors.New("the criterion ends within a string or parenthesis")
	}
	return nil
}

// maxLiteral is beyond any mail, and far from where sums of sizes overflow.
const maxLiteral = 1 << 48

// literalSize finds the announcement of a literal, {n}, {n+} or ~{n}, at the
// end of a line. found is false if the line announces none.
func literalSize(line []byte) (text []byte, n int64, found bool, err error) {
	if len(line) == 0 || line[len(line)-1] != '}' {
		return line, 0, false, nil
	}
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return line, 0, false, nil
	}
	digits := strings.TrimSuffix(string(line[open+1:len(line)-1]), "+")
	n, perr := strconv.ParseInt(digits, 10, 64)
	if perr != nil || n < 0 || n > maxLiteral || digits[0] == '+' {
		return line, 0, false, fmt.Errorf("literal of size %q", digits[:min(len(digits), 32)])
	}
	return bytes.TrimSuffix(line[:open], []byte("~")), n, true, nil
}

// parseNumber reads a number of at most 32 bits at the start of b.
func parseNumber(b []byte) (n uint32, rest []byte, ok bool) {
	i, v := 0, uint64(0)
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		if v = v*10 + uint64(b[i]-'0'); v > 1<<32-1 {
			return 0, b, false
		}
	}
	return uint32(v), b[i:], i > 0
}

// cutWord takes the first word off a line.
func cutWord(b []byte) (word string, rest []byte) {
	w, rest, _ := bytes.Cut(b, []byte(" "))
	return string(w), rest
}

// A uidSet writes UIDs, which must be ascending, as a sequence set.
func uidSet(uids []uint32) string {
	var b strings.Builder
	for i := 0; i < len(uids); {
		j := i
		for j+1 < len(uids) && uids[j+1] == uids[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatUint(uint64(uids[i]), 10))
		if j > i {
			b.WriteByte(':')
			b.WriteString(strconv.FormatUint(uint64(uids[j]), 10))
		}
		i = j + 1
	}
	return b.String()
}

// maxSetUIDs is how many UIDs go into one command: commands should stay below
// 8192 bytes (RFC 7162 section 4), and a UID takes 11 at most.
const maxSetUIDs = 500

// formatID makes a mail's id.
func formatID(validity, uid uint32) driver.ID {
	return driver.ID(strconv.FormatUint(uint64(validity), 10) + "." + strconv.FormatUint(uint64(uid), 10))
}

// parseID reads what formatID made.
func parseID(id driver.ID) (validity, uid uint32, ok bool) {
	v, rest, ok := parseNumber([]byte(id))
	if !ok || len(rest) == 0 || rest[0] != '.' {
		return 0, 0, false
	}
	u, rest, ok := parseNumber(rest[1:])
	return v, u, ok && len(rest) == 0 && u > 0
}
