package mime

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
)

// A draftWriter is a draft with what its options came to.
type draftWriter struct {
	*Draft
	set *outCharset // nil for UTF-8
}

// An outCharset is a charset that mail is written in.
type outCharset struct {
	name string
	enc  encoding.Encoding
}

func (d *Draft) writer() (*draftWriter, error) {
	w := &draftWriter{Draft: d}
	name := strings.ToLower(strings.TrimSpace(d.Charset))
	if n := normCharset(name); n == "" || utf8Names[n] || guessNames[n] {
		return w, nil
	} else if !isMediaType("text/"+n) || strings.ContainsFunc(d.Charset, isControl) { // findCharset would look for a name in it
		return nil, &DraftError{"Charset", "not a name: " + quoteShort(d.Charset)}
	}
	// IANA's meaning of a name, not that of browsers, which take iso-8859-1 for
	// windows-1252: other readers may be stricter than we are.
	enc, err := ianaindex.MIME.Encoding(name)
	if err != nil || enc == nil {
		if enc, _, _ = findCharset(name); enc == nil {
			return nil, &DraftError{"Charset", "unknown: " + quoteShort(d.Charset)}
		}
		if known, err := htmlindex.Name(enc); err == nil {
			name = known
		}
	}
	// UTF-16 and UTF-7 are no charsets for text in mail (RFC 2045 6.7, RFC 2152),
	// and some are known for reading only.
	_, readOnly := enc.(iso2022)
	if probe, err := enc.NewEncoder().String("A=\n"); err != nil || probe != "A=\n" || enc == (utf7{}) || readOnly || !isMediaType("text/"+name) {
		return nil, &DraftError{"Charset", "can't be written: " + quoteShort(d.Charset)}
	}
	w.set = &outCharset{name, enc}
	return w, nil
}

// encode gives text in the draft's charset, or as it is if that lacks a
// character.
func (d *draftWriter) encode(text string) (out, charset string) {
	if d.set != nil {
		if out, ok := d.set.encode(text); ok {
			return out, d.set.name
		}
	}
	return text, "utf-8"
}

func (c *outCharset) encode(text string) (string, bool) {
	out, err := c.enc.NewEncoder().String(text)
	return out, err == nil
}

// word makes one encoded word of at most room characters from the start of s,
// all of which the charset has. Each word is complete in itself (RFC 2047 5),
// shift sequences included.
func (c *outCharset) word(s string, room int) (word, rest string) {
	room = (room - len("=??b??=") - len(c.name)) / 4 * 3
	n, best := 0, ""
	for n < len(s) {
		_, size := utf8.DecodeRuneInString(s[n:])
		out, _ := c.encode(s[:n+size])
		if len(out) > room && best != "" {
			break
		}
		best, n = out, n+size
	}
	return "=?" + c.name + "?b?" + base64.StdEncoding.EncodeToString([]byte(best)) + "?=", s[n:]
}

func (d *draftWriter) maxLine() int {
	if d.MaxLineLength == 0 {
		return maxLine
	}
	return d.MaxLineLength
}

func (d *draftWriter) folder() folder { return folder{set: d.set, utf8: d.UTF8Headers} }
