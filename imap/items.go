package imap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// An itemParser reads the items of a FETCH response, past any literals.
type itemParser struct {
	s        *session
	cur      []byte // the rest of the line, valid until a literal is read
	literals int
}

func (p *itemParser) bad(what string) error {
	return p.s.wrap("fetch", driver.KindProtocol, errors.New(what))
}

func (p *itemParser) take(c byte) bool {
	if len(p.cur) > 0 && p.cur[0] == c {
		p.cur = p.cur[1:]
		return true
	}
	return false
}

// end checks that nothing follows.
func (p *itemParser) end() error {
	if len(bytes.TrimRight(p.cur, " ")) > 0 {
		return p.bad("something follows a FETCH response")
	}
	return nil
}

// itemName reads the name of an item and its section, in upper case.
func (p *itemParser) itemName() (string, error) {
	depth := 0
	for i, c := range p.cur {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ' ' && depth == 0 && i > 0:
			name := strings.ToUpper(string(p.cur[:i]))
			p.cur = p.cur[i+1:]
			if at := strings.LastIndexByte(name, '<'); at > 0 && strings.HasSuffix(name, ">") {
				name = name[:at] + "<>" // a part of a content is none
			}
			return name, nil
		case c == ')' && depth == 0, c == '"' && depth == 0:
			return "", p.bad("a FETCH item without a value")
		}
	}
	return "", p.bad("a FETCH item without a value")
}

func (p *itemParser) number() (uint64, error) {
	i, n := 0, uint64(0)
	for ; i < len(p.cur) && p.cur[i] >= '0' && p.cur[i] <= '9' && i < 19; i++ {
		n = n*10 + uint64(p.cur[i]-'0')
	}
	if i == 0 || i < len(p.cur) && p.cur[i] != ' ' && p.cur[i] != ')' {
		return 0, p.bad("a number is none")
	}
	p.cur = p.cur[i:]
	return n, nil
}

// skipAtom passes over everything up to the next space or parenthesis.
func (p *itemParser) skipAtom() error {
	i := bytes.IndexAny(p.cur, " )")
	if i < 0 {
		return p.bad("a FETCH response ends early")
	}
	p.cur = p.cur[i:]
	return nil
}

// value reads a string in any writing; r is nil for NIL.
func (p *itemParser) value() (n int64, r io.Reader, err error) {
	if len(p.cur) > 0 && p.cur[0] == '"' {
		text, err := p.quoted()
		return int64(len(text)), bytes.NewReader(text), err
	}
	if rest, ok := bytes.CutPrefix(p.cur, []byte("~")); ok {
		p.cur = rest // literal8 (RFC 3516)
	}
	if len(p.cur) > 0 && p.cur[0] == '{' {
		return p.literal()
	}
	if len(p.cur) >= 3 && strings.EqualFold(string(p.cur[:3]), "NIL") {
		p.cur = p.cur[3:]
		return 0, nil, nil
	}
	return 0, nil, p.bad("a content is no string")
}

// quoted reads a quoted string (RFC 3501 section 4.3).
func (p *itemParser) quoted() ([]byte, error) {
	var text []byte
	for i := 1; i < len(p.cur); i++ {
		switch c := p.cur[i]; c {
		case '"':
			p.cur = p.cur[i+1:]
			return text, nil
		case '\\':
			if i++; i == len(p.cur) {
				return nil, p.bad("a string does not end")
			}
			text = append(text, p.cur[i])
		default:
			text = append(text, c)
		}
	}
	return nil, p.bad("a string does not end")
}

// literal begins to read a literal. The parser goes on when it was read whole.
func (p *itemParser) literal() (int64, io.Reader, error) {
	before, n, found, err := literalSize(p.cur)
	if err != nil {
		return 0, nil, p.bad(err.Error())
	}
	if !found || len(before) > 0 {
		return 0, nil, p.bad("a literal in an odd place")
	}
	if p.literals++; p.literals > maxLiterals {
		return 0, nil, p.s.wrap("fetch", driver.KindProtocol, fmt.Errorf("more than %d literals: %w", maxLiterals, driver.ErrLimit))
	}
	p.cur = nil
	p.s.conn.StartBody()
	return n, &literalReader{p: p, left: n}, nil
}

// A literalReader gives the bytes of a literal, and then reads the line behind
// them, on which the parser goes on.
type literalReader struct {
	p    *itemParser
	left int64
	done bool
}

func (l *literalReader) Read(q []byte) (int, error) {
	if l.left == 0 {
		if !l.done {
			line, err := l.p.s.conn.ReadLine(maxLine)
			if err != nil {
				return 0, err
			}
			l.p.cur, l.done = line, true
		}
		return 0, io.EOF
	}
	if int64(len(q)) > l.left {
		q = q[:l.left]
	}
	n, err := l.p.s.conn.Read(q)
	l.left -= int64(n)
	return n, err
}

// maxDepth bounds nested lists in values that nobody wants.
const maxDepth = 100

// skipValue passes over a value of any form: atom, number, NIL, string, list.
func (p *itemParser) skipValue() error {
	depth, size := 0, int64(0)
	for {
		switch {
		case len(p.cur) == 0:
			return p.bad("a FETCH response ends early")
		case p.cur[0] == '(':
			if depth++; depth > maxDepth {
				return p.bad("lists are nested too deep")
			}
			p.cur = p.cur[1:]
			continue
		case p.cur[0] == ')' && depth > 0:
			depth--
			p.cur = p.cur[1:]
		case p.cur[0] == ')':
			return p.bad("a FETCH item without a value")
		case p.cur[0] == '"', p.cur[0] == '{', p.cur[0] == '~' && bytes.HasPrefix(p.cur, []byte("~{")):
			n, r, err := p.value()
			if err == nil {
				if size += n; size > maxResponse {
					err = p.s.wrap("fetch", driver.KindProtocol, fmt.Errorf("an item longer than %d bytes: %w", maxResponse, driver.ErrLimit))
				} else if r != nil {
					err = discard(r)
				}
			}
			if err != nil {
				return err
			}
		case p.cur[0] == ' ' && depth > 0:
			p.cur = p.cur[1:]
			continue
		default:
			if err := p.skipAtom(); err != nil {
				return err
			}
		}
		if depth == 0 {
			return nil
		}
	}
}
