package mime

import (
	"sort"
	"strings"
)

// maxParams bounds the parameters of one field; what comes after is left out.
const maxParams = 1000

// parseParams reads a field of the form "value; name=value; ...", as
// Content-Type and Content-Disposition have it (RFC 2045 5.1, RFC 2183), with
// the pieces and charsets of RFC 2231. The first of equal names rules. What is
// malformed is read as it was meant, and bad says what that was.
func parseParams(s, charset string) (value string, params map[string]string, bad string) {
	p := paramScanner{s: s}
	value = strings.ToLower(strings.TrimSpace(p.value()))
	type piece struct {
		index int // -1 for a plain parameter, 0 and up for a continuation
		ext   bool
		text  string
	}
	var order []string
	var pieces map[string][]piece
	count := 0
	for p.next() {
		if count++; count > maxParams {
			p.bad = "too many parameters"
			break
		}
		name := strings.ToLower(p.name)
		text := p.text
		base, rest, star := strings.Cut(name, "*")
		if !star {
			if _, dup := params[name]; dup {
				p.bad = "parameter " + quoteShort(name) + " stands twice"
				continue
			}
			if params == nil {
				params = make(map[string]string, 2)
			}
			params[name] = text
			continue
		}
		pc := piece{text: text}
		switch {
		case rest == "":
			pc.index, pc.ext = 0, true
		default:
			if strings.HasSuffix(rest, "*") {
				pc.ext, rest = true, rest[:len(rest)-1]
			}
			n, ok := smallNumber(rest)
			if !ok {
				p.bad = "parameter name " + quoteShort(name)
				continue
			}
			pc.index = n
		}
		if pieces == nil {
			pieces = make(map[string][]piece)
		}
		if pieces[base] == nil {
			order = append(order, base)
		}
		pieces[base] = append(pieces[base], pc)
	}
	for name, text := range params {
		// Encoded words have no place in parameters (RFC 2047 5), but many
		// senders put them there. A boundary is never text.
		if name != "boundary" && !plainText(text) {
			params[name] = decodeParamText(text, charset)
		}
	}
	for _, name := range order {
		list := pieces[name]
		sort.SliceStable(list, func(i, j int) bool { return list[i].index < list[j].index })
		var raw []byte
		set, anyExt, want := "", false, 0
		for i, pc := range list {
			if pc.index != want {
				if pc.index > want {
					p.bad = "pieces of " + quoteShort(name) + " are missing"
					if i > 0 {
						break
					}
				} else {
					p.bad = "pieces of " + quoteShort(name) + " stand twice"
					continue
				}
			}
			want = pc.index + 1
			text := pc.text
			if pc.ext && (i == 0 || !anyExt) {
				if cs, after, ok := strings.Cut(text, "'"); ok {
					if _, val, ok := strings.Cut(after, "'"); ok {
						set, text = cs, val
					}
				}
			}
			if pc.ext {
				anyExt = true
				raw = appendPercent(raw, text)
			} else {
				raw = append(raw, text...)
			}
		}
		if params == nil {
			params = make(map[string]string, 2)
		}
		// The extended form says more than a plain one beside it, which is there
		// for old readers (as RFC 6266 4.3 puts it for HTTP).
		if anyExt {
			if set == "" && charset != "" {
				set = charset
			}
			text := decodeCharset(raw, set)
			if strings.Contains(text, "=?") {
				text = decodeWords(text, charset)
			}
			params[name] = cleanParam(text)
		} else if _, dup := params[name]; !dup {
			params[name] = decodeParamText(string(raw), charset)
		}
	}
	return value, params, p.bad
}

// decodeParamText decodes a parameter's text. Line ends vanish; other control
// characters stay for SafeName to judge, except NUL, CR and LF.
func decodeParamText(s, charset string) string { return cleanParam(decodeWords(s, charset)) }

func cleanParam(s string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '\r', '\n', 0:
			return -1
		}
		return r
	}, s)
}

func smallNumber(s string) (int, bool) {
	if s == "" || len(s) > 5 {
		return 0, false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

// appendPercent undoes "%xx".
func appendPercent(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi < 16 && lo < 16 {
				dst = append(dst, hi<<4|lo)
				i += 2
				continue
			}
		}
		dst = append(dst, s[i])
	}
	return dst
}

// A paramScanner goes once over a field.
type paramScanner struct {
	s          string
	i          int
	name, text string
	bad        string
	noCloser   bool // a comment had no end
}

// value reads up to the first semicolon, comments left out.
func (p *paramScanner) value() string {
	var b strings.Builder
	start := p.i
	for p.i < len(p.s) && p.s[p.i] != ';' {
		if p.s[p.i] == '(' {
			b.WriteString(p.s[start:p.i])
			p.comment()
			start = p.i
			continue
		}
		p.i++
	}
	if start == 0 {
		return p.s[:p.i]
	}
	b.WriteString(p.s[start:p.i])
	return b.String()
}

// comment passes over a comment, nested ones included (RFC 5322 3.2.2). One
// without end is no comment: only its parenthesis is passed over.
func (p *paramScanner) comment() {
	if !p.noCloser {
		if n := commentLen(p.s[p.i:]); n > 0 {
			p.i += n
			return
		}
	}
	// Not looked for again, or many of them would take quadratic time; go to
	// the end of the piece.
	p.noCloser = true
	p.bad = "comment without end"
	if j := strings.IndexByte(p.s[p.i:], ';'); j >= 0 {
		p.i += j
	} else {
		p.i = len(p.s)
	}
}

// commentLen is the length of the comment that s starts with, 0 if it does not
// end.
func commentLen(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

// next reads the next parameter.
func (p *paramScanner) next() bool {
	for {
		for p.i < len(p.s) && strings.IndexByte("; \t\r\n,", p.s[p.i]) >= 0 {
			p.i++
		}
		if p.i == len(p.s) {
			return false
		}
		if p.s[p.i] == '(' {
			p.comment()
			continue
		}
		start := p.i
		for p.i < len(p.s) && p.s[p.i] != '=' && p.s[p.i] != ';' && p.s[p.i] != '"' {
			p.i++
		}
		p.name = strings.TrimSpace(p.s[start:p.i])
		if p.i == len(p.s) || p.s[p.i] != '=' || p.name == "" {
			if p.name != "" || p.i < len(p.s) && p.s[p.i] != ';' {
				p.bad = "parameter without value"
			}
			if p.i < len(p.s) {
				p.i++
			}
			continue
		}
		p.i++
		// "charset = utf-8": blanks around "=" are not allowed but usual.
		for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\t') {
			p.i++
		}
		if k := strings.LastIndexAny(p.name, " \t"); k >= 0 { // a semicolon was left out
			p.bad = "parameter without value"
			p.name = p.name[k+1:]
		}
		if p.i < len(p.s) && p.s[p.i] == '"' {
			p.quoted()
		} else {
			p.token()
		}
		return true
	}
}

// quoted reads a quoted string. Only \" and \\ are escapes: a backslash before
// anything else is part of a Windows path (RFC 822 said otherwise, senders
// don't know).
func (p *paramScanner) quoted() {
	p.i++
	start := p.i
	for p.i < len(p.s) && p.s[p.i] != '"' && p.s[p.i] != '\\' {
		p.i++
	}
	if p.i < len(p.s) && p.s[p.i] == '"' {
		p.text = p.s[start:p.i]
		p.i++
		return
	}
	var b strings.Builder
	b.WriteString(p.s[start:p.i])
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		if c == '"' {
			p.text = b.String()
			return
		}
		if c == '\\' && p.i < len(p.s) && (p.s[p.i] == '"' || p.s[p.i] == '\\') {
			c = p.s[p.i]
			p.i++
		}
		b.WriteByte(c)
	}
	p.bad = "quoted string without end"
	p.text = strings.TrimRight(b.String(), "; \t")
}

// token reads an unquoted value up to the semicolon: file names with blanks are
// often left unquoted. A comment after it is dropped.
func (p *paramScanner) token() {
	start := p.i
	for p.i < len(p.s) && p.s[p.i] != ';' {
		if p.s[p.i] == '(' && p.i > start && (p.s[p.i-1] == ' ' || p.s[p.i-1] == '\t') && strings.EqualFold(p.name, "charset") {
			break
		}
		p.i++
	}
	p.text = strings.TrimSpace(p.s[start:p.i])
	if p.i < len(p.s) && p.s[p.i] == '(' {
		p.comment()
	}
	if strings.ContainsAny(p.text, " \t") {
		p.bad = "value with blanks, not quoted"
	}
}
