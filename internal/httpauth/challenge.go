package httpauth

import (
	"errors"
	"fmt"
	"strings"
)

// Limits of what a server may say in its challenges.
const (
	maxHeader     = 64 << 10 // bytes of all fields together
	maxChallenges = 32
	maxParams     = 64 // of one challenge
)

// A Challenge is one way to log in that a server offers.
type Challenge struct {
	// Scheme is as the server wrote it; compare with [Challenge.Is].
	Scheme string
	// Token is the one blob of schemes such as NTLM and Negotiate, "" if there
	// is none.
	Token string
	// Params have lower-case names and unquoted values.
	Params map[string]string
}

// Is compares the scheme without regard to case.
func (c Challenge) Is(scheme string) bool { return strings.EqualFold(c.Scheme, scheme) }

// Stale reports whether the server refused the nonce alone, and not the login
// (RFC 7616 section 3.3).
func (c Challenge) Stale() bool { return strings.EqualFold(c.Params["stale"], "true") }

// Find returns the first challenge of a scheme.
func Find(list []Challenge, scheme string) (Challenge, bool) {
	for _, c := range list {
		if c.Is(scheme) {
			return c, true
		}
	}
	return Challenge{}, false
}

// ErrChallenge says that a challenge does not follow its grammar.
var ErrChallenge = errors.New("malformed challenge")

// Parse reads the values of all WWW-Authenticate or Proxy-Authenticate fields
// of a response; each may hold several challenges (RFC 9110 section 11.6.1).
// Those that were read before an error are returned with it.
func Parse(fields []string) ([]Challenge, error) {
	var list []Challenge
	total := 0
	for _, f := range fields {
		if total += len(f); total > maxHeader {
			return list, fmt.Errorf("%w: longer than %d bytes", ErrChallenge, maxHeader)
		}
		p := parser{rest: f, list: list}
		err := p.run()
		list = p.list
		if err != nil {
			return list, err
		}
	}
	return list, nil
}

type parser struct {
	rest string
	list []Challenge
}

// run reads one field. An element of its list begins a challenge if its first
// token is not followed by "=": the comma between challenges is the comma
// between parameters.
func (p *parser) run() error {
	for {
		p.rest = strings.TrimLeft(p.rest, " \t,")
		if p.rest == "" {
			return nil
		}
		name := p.token()
		if name == "" {
			return fmt.Errorf("%w: a token is missing", ErrChallenge)
		}
		if after := strings.TrimLeft(p.rest, " \t"); strings.HasPrefix(after, "=") {
			p.rest = after
			if err := p.param(name); err != nil {
				return err
			}
			if err := p.end(); err != nil {
				return err
			}
			continue
		}
		if len(p.list) == maxChallenges {
			return fmt.Errorf("%w: more than %d", ErrChallenge, maxChallenges)
		}
		p.list = append(p.list, Challenge{Scheme: name, Params: map[string]string{}})
		if err := p.first(); err != nil {
			return err
		}
	}
}

// first reads what follows a scheme: nothing, a token68, or the first
// parameter, which run takes up.
func (p *parser) first() error {
	spaced := strings.HasPrefix(p.rest, " ") || strings.HasPrefix(p.rest, "\t")
	p.rest = strings.TrimLeft(p.rest, " \t")
	if p.rest == "" || p.rest[0] == ',' {
		return nil
	}
	if !spaced {
		return fmt.Errorf("%w: no space behind the scheme", ErrChallenge)
	}
	i := 0
	for i < len(p.rest) && isToken68(p.rest[i]) {
		i++
	}
	j := i
	for j < len(p.rest) && p.rest[j] == '=' {
		j++
	}
	if tail := strings.TrimLeft(p.rest[j:], " \t"); i > 0 && (tail == "" || tail[0] == ',') {
		p.list[len(p.list)-1].Token, p.rest = p.rest[:j], tail
	}
	return nil
}

// param reads "=value" behind a name.
func (p *parser) param(name string) error {
	if len(p.list) == 0 {
		return fmt.Errorf("%w: a parameter without a scheme", ErrChallenge)
	}
	c := &p.list[len(p.list)-1]
	p.rest = strings.TrimLeft(p.rest[1:], " \t")
	value, err := p.value()
	if err != nil {
		return err
	}
	name = strings.ToLower(name)
	if _, twice := c.Params[name]; twice {
		return fmt.Errorf("%w: a parameter given twice", ErrChallenge)
	}
	if len(c.Params) == maxParams {
		return fmt.Errorf("%w: more than %d parameters", ErrChallenge, maxParams)
	}
	c.Params[name] = value
	return nil
}

func (p *parser) value() (string, error) {
	if !strings.HasPrefix(p.rest, `"`) {
		v := p.token()
		if v == "" {
			return "", fmt.Errorf("%w: a value is missing", ErrChallenge)
		}
		return v, nil
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", fmt.Errorf("%w: a control character", ErrChallenge)
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("%w: a quoted string does not end", ErrChallenge)
}

// end makes sure that an element of the list is over.
func (p *parser) end() error {
	p.rest = strings.TrimLeft(p.rest, " \t")
	if p.rest != "" && p.rest[0] != ',' {
		return fmt.Errorf("%w: a comma is missing", ErrChallenge)
	}
	return nil
}

func (p *parser) token() string {
	i := 0
	for i < len(p.rest) && isToken(p.rest[i]) {
		i++
	}
	t := p.rest[:i]
	p.rest = p.rest[i:]
	return t
}

func isToken(c byte) bool { return isAlnum(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 }

func isToken68(c byte) bool { return isAlnum(c) || strings.IndexByte("-._~+/", c) >= 0 }

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
