package mime

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// foldColumn is the line length that headers keep (RFC 2047 2: 76 for lines
	// with encoded words; RFC 5322 2.1.1 recommends 78).
	foldColumn = 76
	// maxEncodedWord is the length of one encoded word (RFC 2047 2).
	maxEncodedWord = 75
	// maxLine is what no line may exceed, without its end (RFC 5322 2.1.1).
	maxLine = 998
	// maxQuotedPhrase is how long a quoted name may get before it is written as
	// encoded words, which can be folded anywhere.
	maxQuotedPhrase = 60
)

// A folder writes one header field with folding white space (RFC 5322 2.2.3).
// It emits ASCII only, unless it is told otherwise.
type folder struct {
	b    []byte
	col  int
	set  *outCharset // of encoded words; nil for UTF-8
	utf8 bool        // UTF-8 as it is (RFC 6532)
}

// plain reports whether s can be written as it is.
func (f *folder) plain(s string) bool {
	if !f.utf8 {
		return plainText(s)
	}
	return !strings.Contains(s, "=?") && strings.IndexFunc(s, isControl) < 0 && utf8.ValidString(s)
}

// field begins a field.
func (f *folder) field(name string) {
	f.b = append(append(f.b, name...), ':')
	f.col = len(name) + 1
}

// token appends one unbreakable piece after a blank, on a new line if the
// current one is full.
func (f *folder) token(s string) {
	if f.col+1+len(s) > foldColumn && f.col > 1 {
		f.b = append(f.b, "\r\n"...)
		f.col = 0
	}
	f.b = append(append(f.b, ' '), s...)
	f.col += 1 + len(s)
}

// glue appends s to the last token.
func (f *folder) glue(s string) {
	f.b = append(f.b, s...)
	f.col += len(s)
}

func (f *folder) end() { f.b = append(f.b, "\r\n"...) }

// text writes an unstructured value, encoded where needed (RFC 2047). The plain
// words at its start stay as they are, so that everyone sees "Re: ".
func (f *folder) text(name, value string) {
	f.field(name)
	value = strings.TrimSpace(cleanText(value))
	chunks, ok := f.chunks(value)
	for _, c := range chunks { // a chunk brings its own blanks
		f.token(c)
		value = strings.TrimPrefix(value[len(c):], " ")
	}
	if !ok {
		f.words(value)
	}
	f.end()
}

// chunks cuts a value before its words: each chunk but the first has lost one
// blank, which token puts back. ok is false if something is left that must be
// encoded.
func (f *folder) chunks(s string) (chunks []string, ok bool) {
	all := f.plain(s)
	for s != "" {
		i := 0
		for i < len(s) && s[i] == ' ' {
			i++
		}
		lead := i
		for i < len(s) && s[i] != ' ' {
			i++
		}
		// Blanks next to an encoded word are not safe, but for one.
		if i > maxLine-foldColumn || !all && (lead > 0 || i == len(s) || !f.plain(s[:i]) || strings.HasPrefix(s[i:], "  ") || strings.Contains(s[:i], "=?")) {
			return chunks, false
		}
		chunks = append(chunks, s[:i])
		s = strings.TrimPrefix(s[i:], " ")
	}
	return chunks, true
}

// words writes text as encoded words, cut at characters, each as long as its
// line has room.
func (f *folder) words(s string) {
	set := f.set
	if set != nil {
		if _, ok := set.encode(s); !ok {
			set = nil
		}
	}
	for s != "" {
		room := min(maxEncodedWord, foldColumn-f.col-1)
		if room < 30 && f.col > 1 {
			room = maxEncodedWord
		}
		var w, rest string
		if set != nil {
			w, rest = set.word(s, max(room, 30+len(set.name)))
		} else {
			w, rest = encodeWord(s, max(room, 30))
		}
		f.token(w)
		s = rest
	}
}

// encodeWord makes one encoded word of at most room characters from the start
// of s.
func encodeWord(s string, room int) (word, rest string) {
	const overhead = len("=?utf-8?q??=")
	room -= overhead
	special := 0
	for i := 0; i < len(s); i++ {
		if !qSafe(s[i]) && s[i] != ' ' {
			special++
		}
	}
	if special*3 > len(s) { // base64 is shorter
		n := cutRunes(s, room/4*3)
		return "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(s[:n])) + "?=", s[n:]
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	n := 0
	for n < len(s) {
		_, size := utf8.DecodeRuneInString(s[n:])
		cost := 0
		for _, c := range []byte(s[n : n+size]) {
			if qSafe(c) || c == ' ' {
				cost++
			} else {
				cost += 3
			}
		}
		if b.Len()+cost > room {
			break
		}
		for _, c := range []byte(s[n : n+size]) {
			switch {
			case c == ' ':
				b.WriteByte('_')
			case qSafe(c):
				b.WriteByte(c)
			default:
				b.WriteByte('=')
				b.WriteByte(hex[c>>4])
				b.WriteByte(hex[c&15])
			}
		}
		n += size
	}
	return "=?utf-8?q?" + b.String() + "?=", s[n:]
}

// qSafe tells what may stand unencoded in a Q word anywhere, phrases included
// (RFC 2047 5 (3)).
func qSafe(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!*+-/", c) >= 0
}

// cutRunes is the length of the longest prefix of at most n bytes that ends at
// a character; at least one character.
func cutRunes(s string, n int) int {
	if n >= len(s) {
		return len(s)
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	if n == 0 {
		_, n = utf8.DecodeRuneInString(s)
	}
	return n
}

// phrase writes a display name (RFC 5322 3.2.5).
func (f *folder) phrase(name string) {
	name = strings.TrimSpace(cleanText(name))
	switch {
	case !f.plain(name):
		f.words(name)
	case isAtoms(name) && len(name) <= maxQuotedPhrase:
		f.token(name)
	default:
		if q := quoteString(name); len(q) <= maxQuotedPhrase {
			f.token(q)
		} else {
			f.words(name)
		}
	}
}

// encodePhrase is phrase on one line.
func encodePhrase(name string) string {
	f := folder{}
	f.phrase(name)
	return strings.ReplaceAll(strings.TrimPrefix(string(f.b), " "), "\r\n", "")
}

// isAtoms reports whether a name may stand without quotes.
func isAtoms(s string) bool {
	if s == "" || strings.Contains(s, "  ") {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != ' ' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) < 0 {
			return false
		}
	}
	return true
}

// addresses writes an address list.
func (f *folder) addresses(name string, list []Address) {
	if len(list) == 0 {
		return
	}
	f.field(name)
	for i, a := range list {
		if strings.TrimSpace(cleanText(a.Name)) != "" {
			f.phrase(a.Name)
			f.token("<" + a.Addr + ">")
		} else {
			f.token(a.Addr)
		}
		if i < len(list)-1 {
			f.glue(",")
		}
	}
	f.end()
}

// ids writes message ids.
func (f *folder) ids(name string, ids []string) {
	if len(ids) == 0 {
		return
	}
	f.field(name)
	for _, id := range ids {
		f.token("<" + id + ">")
	}
	f.end()
}

// param appends a parameter: as a quoted string if it is short ASCII, else in
// the pieces of RFC 2231 with a plain ASCII form after them for old readers.
func (f *folder) param(name, value string) {
	value = strings.TrimSpace(cleanText(value))
	f.glue(";")
	if plainText(value) && len(value) <= maxQuotedPhrase {
		f.token(name + "=" + quoteString(value))
		return
	}
	pieces := percentPieces(value, foldColumn-len(name)-len("*000*=utf-8'';")-1)
	if len(pieces) == 1 {
		f.token(name + "*=utf-8''" + pieces[0])
	} else {
		for i, p := range pieces {
			lead := name + "*" + strconv.Itoa(i) + "*="
			if i == 0 {
				lead += "utf-8''"
			} else {
				f.glue(";")
			}
			f.token(lead + p)
		}
	}
	f.glue(";")
	f.token(name + "=" + quoteString(asciiName(value)))
}

// percentPieces encodes value for RFC 2231 in pieces of at most room.
func percentPieces(value string, room int) []string {
	const hex = "0123456789ABCDEF"
	var pieces []string
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		c := value[i]
		if b.Len()+3 > room {
			pieces = append(pieces, b.String())
			b.Reset()
		}
		if qSafe(c) && c != '*' && c != '/' || strings.IndexByte("._~#$&^`{}|", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return append(pieces, b.String())
}

// asciiName is the ASCII shadow of a file name, its extension kept.
func asciiName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || r == '=' {
			return '_'
		}
		return r
	}, s)
	if len(s) > 40 {
		ext := ""
		if i := strings.LastIndexByte(s, '.'); i >= 0 && len(s)-i <= 10 {
			ext = s[i:]
		}
		s = s[:40-len(ext)] + ext
	}
	return s
}
