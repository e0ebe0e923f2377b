package mime

import "io"

const (
	// maxAttribute is how much of one quoted attribute is kept: enough for any
	// link, too little for images written into the text.
	maxAttribute = 16 << 10
	// maxTextRun is how long text may go on without a tag.
	maxTextRun = 64 << 10
)

// An htmlFilter keeps the tokens of HTML short, since the tokenizer holds a
// token whole: it drops the tail of giant attributes, comments and scripts and
// puts an empty tag into giant texts.
type htmlFilter struct {
	r     io.Reader
	in    []byte
	out   []byte
	err   error
	state htmlState
	run   int    // length of the current text, attribute, comment or script
	tag   []byte // name of the current tag, its first letters
	named bool   // the name is complete
	last  byte   // last character in a tag that is no blank
	quote byte   // what ends an attribute, or what a declaration starts with
	tail  []byte // last characters of a comment or script
	raw   string // what ends the script
	buf   [8 << 10]byte
}

type htmlState byte

const (
	htmlText    htmlState = iota
	htmlOpen              // after "<"
	htmlTag               // in a tag
	htmlQuote             // in a quoted attribute
	htmlDecl              // after "<!"
	htmlComment           // after "<!--"
	htmlRaw               // in a script or style
)

func newHTMLFilter(r io.Reader) *htmlFilter { return &htmlFilter{r: r} }

func (f *htmlFilter) Read(p []byte) (int, error) {
	for empty := 0; len(f.out) == 0; empty++ {
		if f.err != nil {
			return 0, f.err
		}
		if empty > maxEmptyReads {
			return 0, io.ErrNoProgress
		}
		n, err := f.r.Read(f.buf[:])
		f.err = err
		if n > 0 {
			empty = 0
			f.filter(f.buf[:n])
		}
	}
	n := copy(p, f.out)
	f.out = f.out[n:]
	return n, nil
}

func (f *htmlFilter) filter(in []byte) {
	f.in = f.in[:0]
	for _, c := range in {
		f.step(c)
	}
	f.out = f.in
}

func (f *htmlFilter) step(c byte) {
	f.run++
	switch f.state {
	case htmlText:
		switch {
		case c == '<':
			f.to(htmlOpen)
		case f.run > maxTextRun && (c == ' ' || f.run > 2*maxTextRun && c < 0x80):
			f.in = append(f.in, "<wbr>"...)
			f.run = 0
		}
	case htmlOpen:
		switch {
		case c == '!' || c == '?':
			f.to(htmlDecl)
			f.quote = c
		case c == '/' || c|0x20 >= 'a' && c|0x20 <= 'z':
			f.to(htmlTag)
			f.tag, f.named, f.last = append(f.tag[:0], c|0x20), false, 0
		case c != '<':
			f.to(htmlText)
		}
	case htmlTag:
		f.inTag(c)
	case htmlQuote:
		if c == f.quote {
			f.to(htmlTag)
		} else if f.run > maxAttribute {
			return
		}
	case htmlDecl:
		f.tail = append(f.tail, c)
		switch {
		case c == '>':
			f.to(htmlText)
		case f.quote == '!' && string(f.tail) == "--":
			f.to(htmlComment)
		}
	case htmlComment, htmlRaw:
		f.hidden(c)
		return
	}
	f.in = append(f.in, c)
}

func (f *htmlFilter) to(s htmlState) {
	f.state, f.run, f.tail = s, 0, f.tail[:0]
}

func (f *htmlFilter) inTag(c byte) {
	switch {
	case c == '>':
		name := string(f.tag)
		f.to(htmlText)
		if f.last != '/' && (name == "script" || name == "style") {
			f.to(htmlRaw)
			f.raw = "</" + name
		}
	case (c == '"' || c == '\'') && f.last == '=':
		f.quote = c
		f.to(htmlQuote)
		f.last = c
	case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f':
		f.named = true
		return
	}
	if f.named = f.named || c == '/' || c == '>'; !f.named && len(f.tag) < 8 {
		f.tag = append(f.tag, c|0x20)
	}
	f.last = c
}

// hidden passes over what nobody sees: it keeps the start, and the end mark.
func (f *htmlFilter) hidden(c byte) {
	const keep = len("</script")
	f.tail = append(f.tail, c)
	if len(f.tail) > keep {
		f.tail = append(f.tail[:0], f.tail[len(f.tail)-keep:]...)
	}
	next, ended := htmlText, false
	if f.state == htmlRaw {
		next = htmlTag
		ended = hasSuffixFold(f.tail, f.raw)
	} else if c == '>' { // also "<!-->", "<!--->" and "--!>": HTML standard 13.2.5.43
		ended = f.run == 1 || f.run == 2 && f.tail[0] == '-' ||
			hasSuffixFold(f.tail, "-->") || f.run > 3 && hasSuffixFold(f.tail, "--!>")
	}
	kept := f.run <= maxTextRun
	if kept {
		f.in = append(f.in, c)
	}
	if !ended {
		return
	}
	switch {
	case kept:
	case f.state == htmlRaw:
		f.in = append(f.in, f.raw...)
	default:
		f.in = append(f.in, "-->"...)
	}
	f.to(next)
	f.tag, f.named, f.last = append(f.tag[:0], '/'), true, 0
}

func hasSuffixFold(b []byte, low string) bool {
	n := len(b) - len(low)
	return n >= 0 && equalFoldASCII(b[n:], low)
}

func equalFoldASCII(b []byte, low string) bool {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != low[i] {
			return false
		}
	}
	return true
}
