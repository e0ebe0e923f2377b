package mime

import (
	"bufio"
	"bytes"
	"io"
	"strconv"
	"unicode/utf8"
)

const (
	// rtfSniff is how much of RTF is looked at for where it comes from; the
	// mark stands among its first ten tokens (MS-OXRTFEX 2.2.3.1).
	rtfSniff = 1024
	// maxRTFGroups bounds the groups whose state is kept; deeper ones share it.
	maxRTFGroups = 256
	// maxRTFFonts bounds the fonts whose charset is kept.
	maxRTFFonts = 4096
	rtfOutput   = 4096
)

// An rtfReader turns RTF into text, or into the HTML that it was made from.
type rtfReader struct {
	*rtfExpander
	in    *bufio.Reader
	html  bool
	group rtfGroup
	stack []rtfGroup
	over  int // groups beyond maxRTFGroups

	ansi  string         // the document's charset
	fonts map[int]string // charsets of fonts
	last  int            // the font that the table is defining
	skip  int            // characters after \u to be passed over
	high  rune           // a high surrogate
	raw   []byte         // bytes in set, to be decoded
	set   string
	out   []byte
	write func([]byte) error
	err   error
}

// An rtfGroup is the state that a group keeps to itself.
type rtfGroup struct {
	hidden  bool   // a destination that is no text
	tag     bool   // inside \htmltag
	rtfOnly bool   // between \htmlrtf and \htmlrtf0
	fonts   bool   // the font table
	star    bool   // after \*
	uc      int    // characters that stand for one \u
	charset string // of the font
}

func newRTFReader(r io.Reader) *rtfReader {
	x := &rtfExpander{r: bufio.NewReader(r)}
	z := &rtfReader{rtfExpander: x, ansi: "windows-1252"}
	z.in = bufio.NewReaderSize(byteReader{x}, rtfSniff)
	z.group.uc = 1
	return z
}

// A byteReader makes a reader of an rtfExpander.
type byteReader struct{ x *rtfExpander }

func (b byteReader) Read(p []byte) (int, error) {
	for i := range p {
		c, err := b.x.ReadByte()
		if err != nil {
			return i, err
		}
		p[i] = c
	}
	return len(p), nil
}

// fromHTML reports whether the RTF was made from HTML.
func (z *rtfReader) fromHTML() bool {
	head, _ := z.in.Peek(rtfSniff)
	z.html = bytes.Contains(head, []byte(`\fromhtml`))
	return z.html
}

// convert writes the HTML or the text as UTF-8.
func (z *rtfReader) convert(write func([]byte) error) error {
	z.write = write
	for z.err == nil {
		c, err := z.in.ReadByte()
		if err != nil {
			break
		}
		switch c {
		case '{':
			z.open()
		case '}':
			z.close()
		case '\\':
			z.control()
		case '\r', '\n':
		default:
			z.char(c)
		}
	}
	z.flushRaw()
	z.flush()
	return z.err
}

func (z *rtfReader) open() {
	z.skip = 0
	z.group.star = false
	if len(z.stack) >= maxRTFGroups {
		z.over++
		return
	}
	z.stack = append(z.stack, z.group)
}

func (z *rtfReader) close() {
	z.skip = 0
	switch {
	case z.over > 0:
		z.over--
	case len(z.stack) > 0:
		z.group = z.stack[len(z.stack)-1]
		z.stack = z.stack[:len(z.stack)-1]
	}
}

// control reads what follows a backslash.
func (z *rtfReader) control() {
	c, err := z.in.ReadByte()
	if err != nil {
		return
	}
	if c|0x20 < 'a' || c|0x20 > 'z' {
		z.symbol(c)
		return
	}
	var buf [32]byte
	word := append(buf[:0], c)
	for {
		if c, err = z.in.ReadByte(); err != nil || c|0x20 < 'a' || c|0x20 > 'z' {
			break
		}
		if len(word) < cap(buf) {
			word = append(word, c)
		}
	}
	var digits [12]byte
	num := digits[:0]
	for err == nil && (c >= '0' && c <= '9' || c == '-' && len(num) == 0) {
		if len(num) < cap(digits) {
			num = append(num, c)
		}
		c, err = z.in.ReadByte()
	}
	if err == nil && c != ' ' {
		_ = z.in.UnreadByte() // a byte was read just now
	}
	n, nerr := strconv.Atoi(string(num))
	z.word(string(word), n, nerr == nil)
}

// symbol is a backslash with a character that is no letter.
func (z *rtfReader) symbol(c byte) {
	switch c {
	case '\'':
		hi, err := z.in.ReadByte()
		lo, err2 := z.in.ReadByte()
		if err == nil && err2 == nil && unhex(hi) < 16 && unhex(lo) < 16 {
			z.char(unhex(hi)<<4 | unhex(lo))
		}
	case '*':
		z.group.star = true
	case '~':
		z.text("\u00a0")
	case '_':
		z.text("-")
	case '\r', '\n':
		z.text("\n")
	case '{', '}', '\\':
		z.char(c)
	}
}

// word acts on a control word.
func (z *rtfReader) word(w string, n int, given bool) {
	star := z.group.star
	z.group.star = false
	switch w {
	case "htmltag":
		z.group.tag, z.group.hidden = true, !z.html
		return
	case "htmlrtf":
		z.flushRaw()
		z.group.rtfOnly = !given || n != 0
		return
	case "fonttbl":
		z.group.fonts, z.group.hidden = true, true
		return
	case "mhtmltag", "colortbl", "stylesheet", "info", "pntext", "pict", "object", "header", "footer", "headerl", "headerr", "headerf",
		"footerl", "footerr", "footerf", "footnote", "fldinst", "themedata", "colorschememapping", "datastore", "generator", "listtable", "listoverridetable", "revtbl", "rsidtbl":
		z.group.hidden = true
		return
	case "uc":
		z.group.uc = max(n, 0)
		return
	case "ansicpg":
		z.ansi = codePage(uint32(max(n, 0)))
		return
	case "f":
		if z.group.fonts {
			z.last = n
			return
		}
		z.flushRaw()
		z.group.charset = z.fonts[n]
		return
	case "fcharset":
		if cs := fontCharset(n); z.group.fonts && cs != "" && len(z.fonts) < maxRTFFonts {
			if z.fonts == nil {
				z.fonts = map[int]string{}
			}
			z.fonts[z.last] = cs
		}
		return
	case "u":
		z.unicode(n)
		return
	}
	if star { // a destination that old readers are to pass over, as we do
		z.group.hidden = true
		return
	}
	z.text(rtfText[w])
}

// rtfText is what control words say as text.
var rtfText = map[string]string{
	"par": "\n", "line": "\n", "sect": "\n", "page": "\n", "row": "\n", "tab": "\t", "cell": "\t", "lquote": "\u2018", "rquote": "\u2019",
	"ldblquote": "\u201c", "rdblquote": "\u201d", "bullet": "\u2022", "endash": "\u2013", "emdash": "\u2014", "enspace": "\u2002", "emspace": "\u2003",
	"zwnj": "\u200c", "zwj": "\u200d",
}

// fontCharset gives the charset of \fcharset.
func fontCharset(n int) string {
	switch n {
	case 0:
		return "windows-1252"
	case 77:
		return "macintosh"
	case 128:
		return "cp932"
	case 129:
		return "cp949"
	case 134:
		return "gb18030"
	case 136:
		return "big5"
	case 161:
		return "windows-1253"
	case 162:
		return "windows-1254"
	case 163:
		return "windows-1258"
	case 177:
		return "windows-1255"
	case 178:
		return "windows-1256"
	case 186:
		return "windows-1257"
	case 204:
		return "windows-1251"
	case 222:
		return "windows-874"
	case 238:
		return "windows-1250"
	}
	return ""
}

// silent reports whether text here is not for the reader.
func (z *rtfReader) silent() bool { return z.group.hidden || z.html && z.group.rtfOnly }

// char takes a byte in the charset of the font.
func (z *rtfReader) char(c byte) {
	if z.skip > 0 {
		z.skip--
		return
	}
	if z.silent() {
		return
	}
	set := z.group.charset
	if set == "" || z.group.tag {
		set = z.ansi
	}
	if set != z.set {
		z.flushRaw()
		z.set = set
	}
	// Not between the two bytes of a character, of which the second may be
	// anything above '0'.
	if z.raw = append(z.raw, c); len(z.raw) >= rtfOutput && c < '0' || len(z.raw) >= 16*rtfOutput {
		z.flushRaw()
	}
}

// unicode takes \uN, with the surrogates that it is written in.
func (z *rtfReader) unicode(n int) {
	z.skip = z.group.uc
	if z.silent() {
		return
	}
	r := rune(uint16(n))
	switch {
	case r >= 0xd800 && r < 0xdc00:
		z.high = r
		return
	case r >= 0xdc00 && r < 0xe000 && z.high != 0:
		r = (z.high-0xd800)<<10 | (r - 0xdc00) + 0x10000
	}
	z.high = 0
	z.text(string(r))
}

// text takes what is UTF-8 already.
func (z *rtfReader) text(s string) {
	if s == "" || z.silent() {
		return
	}
	z.flushRaw()
	if s == "\n" {
		s = "\r\n"
	}
	if z.out = append(z.out, s...); len(z.out) >= rtfOutput {
		z.flush()
	}
}

// flushRaw decodes the bytes held.
func (z *rtfReader) flushRaw() {
	if len(z.raw) == 0 {
		return
	}
	if utf8.Valid(z.raw) && isASCII(z.raw) {
		z.out = append(z.out, z.raw...)
	} else {
		z.out = append(z.out, decodeCharset(z.raw, z.set)...)
	}
	z.raw = z.raw[:0]
	if len(z.out) >= rtfOutput {
		z.flush()
	}
}

func (z *rtfReader) flush() {
	if len(z.out) > 0 && z.err == nil {
		z.err = z.write(z.out)
		z.out = z.out[:0]
	}
}
