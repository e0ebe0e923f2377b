package mime

import (
	"strings"
	"unicode/utf8"
)

// DecodeText makes header text readable: encoded words are decoded (RFC 2047),
// in the broken forms too that real mail has; 8-bit bytes are healed to UTF-8
// and control characters become blanks. What can't be decoded stays as it is.
func DecodeText(s string) string { return decodeText(s, "") }

func decodeText(s, charset string) string {
	if plainText(s) {
		return s
	}
	return cleanText(decodeWords(s, charset))
}

// plainText reports whether s needs no work at all.
func plainText(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '=' && i+1 < len(s) && s[i+1] == '?' {
			return false
		}
	}
	return true
}

// cleanText replaces what must never come out of a header: control characters,
// line and paragraph separators, invalid UTF-8.
func cleanText(s string) string {
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r // an invalid byte arrives as U+FFFD and leaves as such
	}, s)
}

// isControl reports what may end a line or drive a terminal.
func isControl(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029
}

// An encodedWord is the inside of "=?charset?encoding?text?=".
type encodedWord struct {
	charset  string
	encoding byte // 'q' or 'b'
	text     string
}

// maxCharsetName bounds the charset of an encoded word; the longest registered
// name has 45 characters, a language tag (RFC 2231 5) may follow.
const maxCharsetName = 80

// cutWord reads the encoded word at the start of s ("=?" is there). It gives
// the length used, or 0 and how far s was looked at in vain.
func cutWord(s string) (w encodedWord, n, seen int) {
	i := strings.IndexByte(s[2:min(len(s), 2+maxCharsetName)], '?')
	if i <= 0 || 2+i+2 >= len(s) || s[2+i+2] != '?' {
		return w, 0, 2
	}
	w.charset = s[2 : 2+i]
	if strings.ContainsAny(w.charset, " \t=") {
		return w, 0, 2
	}
	if k := strings.IndexByte(w.charset, '*'); k >= 0 {
		w.charset = w.charset[:k]
	}
	w.encoding = s[2+i+1] | 0x20
	if w.encoding != 'q' && w.encoding != 'b' {
		return w, 0, 2
	}
	start := 2 + i + 3
	for k := start; ; {
		j := strings.IndexByte(s[k:], '?')
		if j < 0 {
			return w, 0, len(s) // no end anywhere: nobody else finds one either
		}
		k += j
		if k+1 < len(s) && s[k+1] == '=' {
			w.text = s[start:k]
			return w, k + 2, 0
		}
		if k > start && s[k-1] == '=' && k+1 < len(s) { // the next word begins: this one has no end
			return w, 0, k - 1
		}
		k++
	}
}

// decodeWords decodes the encoded words of s. Neighbouring words of one charset
// are joined before the charset is undone, because senders cut inside
// characters although RFC 2047 5 forbids it; blanks between words vanish
// (RFC 2047 6.2).
func decodeWords(s, charset string) string {
	if !strings.Contains(s, "=?") {
		return heal(s, charset)
	}
	var b strings.Builder
	b.Grow(len(s))
	var pending []byte // decoded bytes of words whose charset is still to undo
	pendingSet := ""
	flush := func() {
		if len(pending) > 0 {
			b.WriteString(decodeCharset(pending, pendingSet))
			pending = pending[:0]
		}
	}
	text := 0      // start of text not yet written
	after := false // a word stands before it
	for i := 0; i < len(s); {
		j := strings.Index(s[i:], "=?")
		if j < 0 {
			break
		}
		i += j
		w, n, seen := cutWord(s[i:])
		if n == 0 {
			i += max(seen, 2)
			continue
		}
		raw := w.bytes()
		if gap := s[text:i]; !after || strings.Trim(gap, " \t\r\n") != "" {
			flush()
			b.WriteString(heal(gap, charset))
		}
		if !strings.EqualFold(w.charset, pendingSet) {
			flush()
			pendingSet = w.charset
		}
		pending = append(pending, raw...)
		i += n
		text, after = i, true
	}
	flush()
	b.WriteString(heal(s[text:], charset))
	return b.String()
}

// bytes undoes the encoding. Base64 is taken without padding or with foreign
// characters, Q with blanks and broken escapes.
func (w encodedWord) bytes() []byte {
	if w.encoding == 'b' {
		d := base64Decoder{resume: true}
		buf := d.decode(make([]byte, 0, len(w.text)*3/4+3), []byte(w.text))
		return d.finish(buf)
	}
	out := make([]byte, 0, len(w.text))
	for i := 0; i < len(w.text); i++ {
		c := w.text[i]
		switch {
		case c == '_':
			c = ' '
		case c == '=' && i+2 < len(w.text):
			if hi, lo := unhex(w.text[i+1]), unhex(w.text[i+2]); hi < 16 && lo < 16 {
				c = hi<<4 | lo
				i += 2
			}
		}
		out = append(out, c)
	}
	return out
}

// heal makes UTF-8 of raw header bytes: UTF-8 if they are that, else the
// charset of the body, else windows-1252.
func heal(s, charset string) string {
	if utf8.ValidString(s) {
		return s
	}
	if charset == "" {
		charset = "windows-1252"
	}
	return decodeCharset([]byte(s), charset)
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
