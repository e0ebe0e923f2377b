package mime

import (
	"bytes"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
)

// A TextDecoder writes the UTF-8 form of text in any charset. It never fails
// for the text's sake: an unknown charset is taken as UTF-8 where the bytes
// are that and as windows-1252 where they are not, and what a charset does not
// have becomes U+FFFD. Close must be called to write what is held back. A
// TextDecoder is used by one goroutine; its memory is bounded.
type TextDecoder struct {
	w       io.Writer
	declare string
	known   bool
	used    string
	conv    *converter // nil while the bytes are passed on as UTF-8
	guess   bool       // may still turn to windows-1252
	multi   bool       // a valid multi-byte sequence was seen
	hold    []byte     // the start of a UTF-8 sequence
	begun   bool
	lost    bool // U+FFFD was written
	err     error
}

// NewTextDecoder makes a decoder from the named charset; "" and unknown names
// are guessed.
func NewTextDecoder(w io.Writer, charset string) *TextDecoder {
	d := &TextDecoder{w: w, declare: charset}
	var enc encoding.Encoding
	enc, d.guess, d.known = findCharset(charset)
	d.used = "utf-8"
	if enc != nil {
		d.convert(enc)
		d.used = charsetName(enc, charset)
	}
	return d
}

func charsetName(enc encoding.Encoding, declared string) string {
	if n, err := htmlindex.Name(enc); err == nil && n != "replacement" {
		return n
	}
	return normCharset(declared)
}

func (d *TextDecoder) convert(enc encoding.Encoding) {
	d.conv = &converter{w: lostWatcher{d}, t: enc.NewDecoder()}
}

// lostWatcher sits behind a conversion and sees what it could not convert.
type lostWatcher struct{ d *TextDecoder }

var fffd = []byte("\uFFFD")

func (l lostWatcher) Write(p []byte) (int, error) {
	if !l.d.lost && bytes.Contains(p, fffd) {
		l.d.lost = true
	}
	return l.d.w.Write(p)
}

// Write takes the next bytes in the charset. Its error is the writer's.
func (d *TextDecoder) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if d.conv != nil {
		if d.err = d.conv.write(p, false); d.err != nil {
			return 0, d.err
		}
		return len(p), nil
	}
	if d.err = d.pass(p, false); d.err != nil {
		return 0, d.err
	}
	return len(p), nil
}

// pass writes p as UTF-8, or turns to windows-1252 at the first byte that
// can't be UTF-8 if the charset is only guessed and nothing spoke for UTF-8.
func (d *TextDecoder) pass(p []byte, last bool) error {
	if len(d.hold) > 0 {
		p = append(d.hold, p...)
		d.hold = nil
	}
	if !d.begun && len(p) > 0 { // a byte order mark is no text
		if len(p) < 3 && !last && bytes.HasPrefix(bom, p) {
			d.hold = append([]byte(nil), p...)
			return nil
		}
		d.begun = true
		p = bytes.TrimPrefix(p, bom)
	}
	for len(p) > 0 {
		n := validUTF8(p)
		if n > 0 {
			if d.guess && !d.multi {
				d.multi = !isASCII(p[:n])
			}
			if _, err := d.w.Write(p[:n]); err != nil {
				return err
			}
			p = p[n:]
			continue
		}
		if !last && !utf8.FullRune(p) {
			d.hold = append([]byte(nil), p...)
			return nil
		}
		if d.guess && !d.multi {
			d.used = "windows-1252"
			d.convert(charmap.Windows1252)
			return d.conv.write(p, last)
		}
		d.lost = true
		if _, err := d.w.Write(fffd); err != nil {
			return err
		}
		p = p[1:]
	}
	return nil
}

var bom = []byte("\uFEFF")

// validUTF8 is the length of the valid prefix of p.
func validUTF8(p []byte) int {
	if utf8.Valid(p) {
		return len(p)
	}
	n := 0
	for n < len(p) {
		if p[n] < utf8.RuneSelf {
			n++
			continue
		}
		r, size := utf8.DecodeRune(p[n:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		n += size
	}
	return n
}

func isASCII(p []byte) bool {
	for _, c := range p {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// Close writes what is held back. It does not close the writer.
func (d *TextDecoder) Close() error {
	if d.err != nil {
		return d.err
	}
	if d.conv == nil && len(d.hold) > 0 {
		d.err = d.pass(nil, true)
	}
	if d.conv != nil && d.err == nil {
		d.err = d.conv.write(nil, true)
	}
	return d.err
}

// Charset is the charset that was used in the end, by its WHATWG name where it
// has one.
func (d *TextDecoder) Charset() string { return d.used }

// Defects tells what was wrong: an unknown charset, undecodable bytes. Path
// is empty and Offset -1.
func (d *TextDecoder) Defects() []Defect {
	var all []Defect
	if !d.known {
		all = append(all, Defect{Code: DefectCharset, Offset: -1, Detail: quoteShort(d.declare)})
	}
	if d.lost || d.known && d.guess && d.used == "windows-1252" {
		all = append(all, Defect{Code: DefectUndecodable, Offset: -1, Detail: quoteShort(d.declare)})
	}
	return all
}
