package mime

import (
	"fmt"
	"strings"
)

// ParseAddressList reads the addresses of a field such as To: mailboxes,
// groups, comments, and the broken forms of real mail, in linear time. The
// error tells the first thing that is wrong and matches ErrAddress; what could
// be read is returned with it.
func ParseAddressList(s string) ([]Address, error) { return parseAddresses(s, "") }

func parseAddresses(s, charset string) ([]Address, error) {
	p := addressParser{s: s, charset: charset}
	p.words = p.buf[:0]
	if n := strings.Count(s, ",") + 1; n > 1 {
		p.out = make([]Address, 0, min(n, 64))
	}
	p.list()
	return p.out, p.err
}

// An addressParser goes once over a list. It gathers words until a separator
// tells what they were.
type addressParser struct {
	s       string
	charset string
	i       int
	out     []Address
	err     error

	group    string
	inGroup  bool
	words    []addrWord
	buf      [4]addrWord // for words, which are few mostly
	comment  string
	spec     string // from angle brackets
	hasSpec  bool
	noCloser bool // no comment after here has an end
}

type addrWord struct {
	text   string
	quoted bool
	glued  bool // no blank before it
}

func (p *addressParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s in %s", ErrAddress, fmt.Sprintf(format, args...), quoteShort(p.s))
	}
}

func (p *addressParser) list() {
	glued := false
	for p.i < len(p.s) {
		c := p.s[p.i]
		switch c {
		case ' ', '\t', '\r', '\n':
			p.i++
			glued = false
			continue
		case ',':
			p.i++
			p.finish()
		case ';':
			p.i++
			p.finish()
			if !p.inGroup && p.i < len(p.s) && strings.TrimSpace(p.s[p.i:]) != "" {
				p.fail("semicolon between addresses")
			}
			p.inGroup, p.group = false, ""
		case ':':
			p.i++
			p.beginGroup()
		case '(':
			p.readComment()
			continue
		case '<':
			p.angle()
		case '"':
			p.quoted(glued)
		case '>', ')':
			p.fail("stray %q", c)
			p.i++
		default:
			p.atom(glued)
		}
		glued = true
	}
	if p.inGroup {
		p.fail("group without end")
	}
	p.finish()
}

func (p *addressParser) beginGroup() {
	if p.hasSpec || p.inGroup || len(p.words) == 0 {
		p.fail("stray %q", ':')
		// "<a@x>:<b@y>": what stands before the colon is an address of its own.
		if p.hasSpec {
			p.finish()
		} else if p.inGroup {
			p.words = p.words[:0]
		}
		return
	}
	if p.words[0].text == "" && !p.words[0].quoted {
		p.fail("group without name")
	}
	p.group, p.inGroup = p.phrase(), true
	p.words = p.words[:0]
}

func (p *addressParser) readComment() {
	n := 0
	if !p.noCloser {
		n = commentLen(p.s[p.i:])
	}
	if n == 0 {
		p.fail("comment without end")
		p.noCloser = true
		p.i++
		return
	}
	if p.comment == "" {
		p.comment = unescape(p.s[p.i+1 : p.i+n-1])
	}
	p.i += n
}

// angle reads "<...>", with the obsolete route of RFC 5322 4.4.
func (p *addressParser) angle() {
	rest := p.s[p.i+1:]
	end := angleEnd(rest)
	spec := rest[:end]
	p.i += 1 + end
	if p.i < len(p.s) && p.s[p.i] == '>' {
		p.i++
	} else {
		p.fail("angle bracket without end")
	}
	spec = withoutRoute(spec)
	if p.hasSpec { // two in a row: a comma was left out
		p.fail("two addresses without a comma")
		p.finish()
	}
	p.spec, p.hasSpec = p.normalSpec(spec), true
}

// withoutRoute leaves out "@one,@two:" before an address. The domains may be literals, with colons of their own.
func withoutRoute(spec string) string {
	if !strings.HasPrefix(spec, "@") {
		return spec
	}
	for i := 0; i < len(spec); i++ {
		switch spec[i] {
		case '[':
			if k := strings.IndexAny(spec[i+1:], "[]"); k >= 0 && spec[i+1+k] == ']' {
				i += 1 + k
			}
		case ':':
			if strings.IndexByte(spec[i:], '@') < 0 {
				return spec
			}
			return spec[i+1:]
		}
	}
	return spec
}

// angleEnd finds where "<..." ends: at ">", or before what can't be inside.
func angleEnd(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '>', c == '<', c == ';':
			return i
		case c == ',' && !strings.HasPrefix(s, "@"):
			return i
		}
	}
	if quoted { // the quote has no end: count without it
		if i := strings.IndexAny(s, ">"); i >= 0 {
			return i
		}
	}
	return len(s)
}

func (p *addressParser) quoted(glued bool) {
	j := p.i + 1
	for j < len(p.s) && p.s[j] != '"' {
		if p.s[j] == '\\' {
			j++
		}
		j++
	}
	if j >= len(p.s) {
		p.fail("quoted string without end")
		// The quote is dropped, what follows is read as if it were not there.
		p.s = p.s[:p.i] + " " + strings.ReplaceAll(p.s[p.i+1:], `"`, " ")
		return
	}
	p.words = append(p.words, addrWord{p.s[p.i+1 : j], true, glued})
	p.i = j + 1
}

func (p *addressParser) atom(glued bool) {
	j := p.i
	if p.s[j] == '[' { // a domain literal
		if k := strings.IndexAny(p.s[j+1:], "[]<>,; \t"); k >= 0 && p.s[j+1+k] == ']' {
			j += k + 2
		} else {
			j++
		}
	}
	for j < len(p.s) && strings.IndexByte(" \t\r\n,;:(<>\")", p.s[j]) < 0 {
		if p.s[j] == '[' && j > p.i && p.s[j-1] == '@' {
			if k := strings.IndexAny(p.s[j+1:], "[]<>,; \t"); k >= 0 && p.s[j+1+k] == ']' {
				j += k + 2
				continue
			}
		}
		j++
	}
	if j == p.i {
		j++
	}
	p.words = append(p.words, addrWord{p.s[p.i:j], false, glued})
	p.i = j
}

// phrase makes the display name of the gathered words.
func (p *addressParser) phrase() string {
	if len(p.words) == 1 {
		w := p.words[0].text
		if p.words[0].quoted {
			w = unescape(w)
		}
		return strings.TrimSpace(squeeze(decodeText(w, p.charset)))
	}
	var b strings.Builder
	for i, w := range p.words {
		if i > 0 && !(w.glued && !w.quoted && !p.words[i-1].quoted) {
			b.WriteByte(' ')
		}
		if w.quoted {
			b.WriteString(unescape(w.text))
		} else {
			b.WriteString(w.text)
		}
	}
	return strings.TrimSpace(squeeze(decodeText(b.String(), p.charset)))
}

// finish ends one address.
func (p *addressParser) finish() {
	defer func() {
		p.words, p.comment, p.spec, p.hasSpec = p.words[:0], "", "", false
	}()
	a := Address{Group: p.group}
	switch {
	case p.hasSpec:
		a.Addr, a.Name = p.spec, p.phrase()
	case len(p.words) == 0:
		return
	default:
		p.bare(&a)
	}
	if a.Name == "" && p.comment != "" {
		a.Name = strings.TrimSpace(squeeze(decodeText(p.comment, p.charset)))
	}
	if a.Addr == "" && !p.hasSpec {
		return // words alone are nobody's address
	}
	p.out = append(p.out, a)
}

// bare reads an address without angle brackets: the word with the "@" is the
// addr-spec, the words before it are a name. Blanks around "." and "@" are the
// obsolete form of RFC 5322 4.4.
func (p *addressParser) bare(a *Address) {
	at := -1
	for i, w := range p.words {
		if !w.quoted && strings.IndexByte(w.text, '@') >= 0 {
			at = i
			break
		}
	}
	if at < 0 {
		p.fail("no address")
		if len(p.words) == 1 && !p.words[0].quoted {
			a.Addr = p.normalSpec(p.words[0].text)
			return
		}
		a.Name = p.phrase()
		return
	}
	first, last := at, at
	for first > 0 && joins(p.words[first-1], p.words[first]) {
		first--
	}
	for last+1 < len(p.words) && joins(p.words[last], p.words[last+1]) {
		last++
	}
	var b strings.Builder
	for _, w := range p.words[first : last+1] {
		if w.quoted {
			b.WriteString(`"` + w.text + `"`)
		} else {
			b.WriteString(w.text)
		}
	}
	a.Addr = p.normalSpec(b.String())
	rest := p.words[last+1:]
	if first > 0 || len(rest) > 0 {
		p.fail("words beside the address")
		p.words = append(p.words[:first:first], rest...)
		a.Name = p.phrase()
	}
}

// joins reports whether two words are parts of one addr-spec.
func joins(a, b addrWord) bool {
	if !a.quoted && strings.HasSuffix(a.text, "@") || !b.quoted && strings.HasPrefix(b.text, "@") {
		return true
	}
	if !a.quoted && a.text == "." || !b.quoted && b.text == "." {
		return true
	}
	return b.glued && (!a.quoted && strings.HasSuffix(a.text, ".") || !b.quoted && strings.HasPrefix(b.text, "."))
}
