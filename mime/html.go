package mime

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

const (
	// maxHTMLToken bounds what is held at a time: a script or comment longer
	// than this ends the conversion.
	maxHTMLToken = 4 << 20
	// maxHTMLNesting bounds quotes and lists that are told apart.
	maxHTMLNesting = 32
	// maxLinkText bounds the link text that is compared with its target.
	maxLinkText = 1024
	// maxTemplate bounds a template; what is longer is shown.
	maxTemplate = 64 << 10
)

// HTMLToText writes HTML, in UTF-8, as text for reading: paragraphs, lists,
// tables, quotes and links stay recognisable, scripts, styles and templates
// vanish, images become their alternative text, and what is there for readers
// without scripts or plug-ins is shown. Nothing is fetched. It reads as a stream and
// holds a bounded piece; the error is one of r or w, or a [LimitError] with the
// limit "HTMLToken", what came before being written.
func HTMLToText(r io.Reader, w io.Writer) error {
	t := &textWriter{w: bufio.NewWriter(w)}
	err := t.read(newHTMLFilter(r))
	t.showTemplate() // it was never closed
	t.endLink()
	t.finish()
	if ferr := t.w.Flush(); ferr != nil {
		return ferr
	}
	return err
}

// read lays out the tokens of r.
func (t *textWriter) read(r io.Reader) error {
	z := html.NewTokenizer(r)
	z.SetMaxBuf(maxHTMLToken)
	for {
		tok := z.Next()
		if tok == html.ErrorToken {
			err := z.Err()
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case errors.Is(err, html.ErrBufferExceeded):
				return &LimitError{Limit: "HTMLToken", Max: maxHTMLToken}
			}
			return fmt.Errorf("mime: reading HTML: %w", err)
		}
		if t.templates > 0 && !t.hold(z.Raw()) {
			t.showTemplate() // too long for one; this token is the first after it
		}
		switch tok {
		case html.TextToken:
			if t.skip == 0 && t.templates == 0 {
				t.text(string(z.Text()))
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, more := z.TagName()
			var attrs map[string]string
			for more {
				var k, v []byte
				k, v, more = z.TagAttr()
				switch string(k) {
				case "href", "alt", "start":
					if attrs == nil {
						attrs = make(map[string]string, 2)
					}
					attrs[string(k)] = string(v)
				}
			}
			a := atom.Lookup(name)
			switch a {
			case atom.Noscript, atom.Noframes, atom.Noembed: // ours to show, with the tags in it
				z.NextIsNotRawText()
			case atom.Title:
				if tok == html.SelfClosingTagToken { // XHTML
					z.NextIsNotRawText()
					continue
				}
			case atom.Template:
				if tok == html.StartTagToken && !t.noTemplates {
					t.templates++
				}
				continue
			}
			if t.templates == 0 {
				t.start(a, attrs)
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			a := atom.Lookup(name)
			if a == atom.Template {
				if t.templates = max(t.templates-1, 0); t.templates == 0 {
					t.held = t.held[:0]
				}
			} else if t.templates == 0 {
				t.end(a)
			}
		}
	}
}

// hold keeps a token of a template, which nobody sees, for the case that the
// template has no end and so was none. It is false if there is no room.
func (t *textWriter) hold(raw []byte) bool {
	if len(t.held)+len(raw) > maxTemplate {
		return false
	}
	t.held = append(t.held, raw...)
	return true
}

// showTemplate lays out what was held. From then on templates are text.
func (t *textWriter) showTemplate() {
	if t.templates == 0 {
		return
	}
	held := t.held
	t.held, t.templates, t.noTemplates = nil, 0, true
	_ = t.read(bytes.NewReader(held)) // it was read before
}

// A textWriter lays out text. Blank lines and blanks are owed and paid only
// when more text comes, so that they never pile up.
type textWriter struct {
	w      *bufio.Writer
	skip   int    // inside script, style or title
	pre    int    // inside pre
	quotes int    // inside blockquote
	was    int    // quotes around the last word
	lists  []int  // next number of each open list, -1 for bullets
	owed   int    // line ends owed
	blank  bool   // a blank is owed
	begun  bool   // something was written
	bullet string // to be written before the next text
	cell   bool   // a cell of this row was there
	href   string
	link   strings.Builder

	templates   int    // open templates
	held        []byte // tokens in them
	noTemplates bool   // they are text
	joint       joint  // what the last word ended with
}

// A joint tells what stands before the next character.
type joint byte

const (
	jointNone    joint = iota // nothing, a blank or invisible fill
	jointVisible              // a character
	jointZWNJ                 // a character, and U+200C that waits for the next
)

func (t *textWriter) text(s string) {
	if t.pre > 0 {
		for i, line := range strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n") {
			if i > 0 {
				t.breakLine(t.owed + 1)
			}
			if line != "" {
				t.put(line)
			}
		}
		return
	}
	for s != "" {
		i := strings.IndexAny(s, " \t\r\n\f")
		if i == 0 {
			t.blank = true
			s = s[1:]
			continue
		}
		if i < 0 {
			i = len(s)
		}
		t.put(s[:i])
		s = s[i:]
	}
}

// visible leaves out control characters and invisible fill. U+200C tells
// letters apart in Persian and other scripts: it stays between two characters
// and goes where it is fill, beside a blank or other fill.
func (t *textWriter) visible(s string) string {
	const zwnj = '\u200c'
	if t.blank || t.owed > 0 {
		t.joint = jointNone
	}
	if t.joint != jointZWNJ && s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		t.joint = jointVisible // most words
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + utf8.UTFMax)
	for _, r := range s {
		switch {
		case r == zwnj:
			if t.joint == jointVisible {
				t.joint = jointZWNJ
			} else {
				t.joint = jointNone
			}
			continue
		case r == '\u200b', r == '\u00ad', r == '\ufeff', r == '\u034f':
			t.joint = jointNone
			continue
		case r < ' ' && r != '\t', r == 0x7f:
			continue
		case r == '\u00a0', r == '\t':
			t.joint = jointNone
			if r == '\u00a0' {
				r = ' '
			}
			b.WriteRune(r)
			continue
		}
		if t.joint == jointZWNJ {
			b.WriteRune(zwnj)
		}
		t.joint = jointVisible
		b.WriteRune(r)
	}
	return b.String()
}

// put writes a word with what is owed before it.
func (t *textWriter) put(s string) {
	s = t.visible(s)
	if s == "" {
		return
	}
	if t.pre == 0 && strings.Trim(s, " ") == "" { // hard blanks that only make room
		t.blank = true
		return
	}
	newLine := t.owed > 0 || !t.begun
	if newLine {
		if t.begun {
			for range t.owed - 1 {
				_, _ = t.w.WriteString("\n" + strings.TrimRight(margin(min(t.was, t.quotes)), " "))
			}
			_, _ = t.w.WriteString("\n")
		}
		_, _ = t.w.WriteString(margin(t.quotes))
		indent := max(len(t.lists)-1, 0) * 2
		if t.bullet == "" && len(t.lists) > 0 {
			indent += 2
		}
		_, _ = t.w.WriteString(strings.Repeat(" ", indent) + t.bullet)
		t.bullet = ""
	} else if t.blank {
		_ = t.w.WriteByte(' ')
	}
	t.owed, t.blank, t.begun, t.was = 0, false, true, t.quotes
	_, _ = t.w.WriteString(s) // bufio keeps the error for Flush
	if t.href != "" && t.link.Len() < maxLinkText {
		t.link.WriteString(s)
	}
}

func margin(quotes int) string { return strings.Repeat("> ", min(quotes, maxHTMLNesting)) }

// breakLine owes n line ends, no more than two.
func (t *textWriter) breakLine(n int) {
	if n > t.owed {
		t.owed = min(n, 2)
	}
	t.blank = false
}

func (t *textWriter) finish() {
	if t.begun {
		_ = t.w.WriteByte('\n')
	}
}

func (t *textWriter) start(a atom.Atom, attrs map[string]string) {
	switch a {
	case atom.Script, atom.Style, atom.Title:
		t.skip++
		return
	}
	if t.skip > 0 {
		return
	}
	switch a {
	case atom.Br:
		t.breakLine(t.owed + 1)
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Table:
		t.breakLine(2)
	case atom.Div, atom.Section, atom.Article, atom.Header, atom.Footer, atom.Address, atom.Center, atom.Form, atom.Dl, atom.Dt, atom.Tr, atom.Caption, atom.Option:
		t.breakLine(1)
		t.cell = false
	case atom.Dd:
		t.breakLine(1)
		t.bullet = "   "
	case atom.Pre:
		t.breakLine(2)
		t.pre++
	case atom.Blockquote:
		t.breakLine(2)
		t.quotes++
	case atom.Ul, atom.Ol:
		t.breakLine(1)
		n := -1
		if a == atom.Ol {
			n = 1
			if s, err := strconv.Atoi(attrs["start"]); err == nil && s >= 0 {
				n = s
			}
		}
		if len(t.lists) < maxHTMLNesting {
			t.lists = append(t.lists, n)
		}
	case atom.Li:
		t.breakLine(1)
		t.bullet = "* "
		if k := len(t.lists) - 1; k >= 0 && t.lists[k] >= 0 {
			t.bullet = strconv.Itoa(t.lists[k]) + ". "
			t.lists[k]++
		}
	case atom.Td, atom.Th:
		if t.cell {
			t.put(" |")
			t.blank = true
		}
		t.cell = true
	case atom.Hr:
		t.breakLine(1)
		t.put("----------")
		t.breakLine(1)
	case atom.Img:
		if alt := strings.TrimSpace(attrs["alt"]); alt != "" {
			t.text("[" + alt + "]")
		}
	case atom.A:
		t.endLink()
		t.href = strings.TrimSpace(attrs["href"])
		t.link.Reset()
	}
}

func (t *textWriter) end(a atom.Atom) {
	switch a {
	case atom.Script, atom.Style, atom.Title:
		t.skip = max(t.skip-1, 0)
		return
	}
	if t.skip > 0 {
		return
	}
	switch a {
	case atom.P, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Table:
		t.breakLine(2)
	case atom.Div, atom.Section, atom.Article, atom.Header, atom.Footer, atom.Address, atom.Center, atom.Form, atom.Dl, atom.Dt, atom.Dd, atom.Tr, atom.Li, atom.Caption:
		t.breakLine(1)
		if a == atom.Tr {
			t.cell = false
		}
	case atom.Pre:
		t.pre = max(t.pre-1, 0)
		t.breakLine(2)
	case atom.Blockquote:
		t.breakLine(2)
		t.quotes = max(t.quotes-1, 0)
	case atom.Ul, atom.Ol:
		if len(t.lists) > 0 {
			t.lists = t.lists[:len(t.lists)-1]
		}
		t.breakLine(1)
	case atom.A:
		t.endLink()
	}
}

// endLink writes the target of a link after its text, unless the text says it
// already or there is none to see.
func (t *textWriter) endLink() {
	href, text := t.href, t.link.String()
	t.href = ""
	if href == "" || text == "" || strings.HasPrefix(href, "#") {
		return
	}
	low := strings.ToLower(href)
	switch {
	case strings.HasPrefix(low, "http:"), strings.HasPrefix(low, "https:"), strings.HasPrefix(low, "ftp:"), strings.HasPrefix(low, "tel:"):
	case strings.HasPrefix(low, "mailto:"):
		href, _, _ = strings.Cut(href[len("mailto:"):], "?")
	default:
		return
	}
	bare := strings.NewReplacer("https://", "", "http://", "", "mailto:", "", "tel:", "")
	if strings.TrimSuffix(bare.Replace(href), "/") != strings.TrimSuffix(bare.Replace(text), "/") {
		t.blank = true
		t.put("<" + strings.Join(strings.Fields(href), "%20") + ">")
	}
}
