package sasl

import (
	"errors"
	"fmt"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// maxDigest bounds a digest-challenge. RFC 2831 section 2.1.1 has 2048.
const maxDigest = 4096

// maxRealms bounds the realms that are remembered.
const maxRealms = 64

type digestChallenge struct {
	nonce  string
	realms []string
	utf8   bool
}

// parseDigestChallenge reads and checks a digest-challenge (RFC 2831 section
// 2.1.1).
func parseDigestChallenge(b []byte) (*digestChallenge, error) {
	list, err := parseDirectives(b)
	if err != nil {
		return nil, err
	}
	c := &digestChallenge{realms: list["realm"]}
	if len(c.realms) > maxRealms {
		return nil, fmt.Errorf("%d realms, the limit is %d: %w", len(c.realms), maxRealms, driver.ErrLimit)
	}
	if c.nonce, err = list.one("nonce"); err != nil {
		return nil, err
	}
	if c.nonce == "" {
		return nil, errors.New("the nonce is empty")
	}
	algorithm, err := list.one("algorithm")
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(algorithm, "md5-sess") {
		return nil, errors.New("the algorithm is not md5-sess")
	}
	if qop := list["qop"]; len(qop) > 0 && !hasWord(qop, "auth") {
		return nil, errors.New("the server demands a security layer (qop without auth); use TLS instead")
	}
	switch charset := list["charset"]; {
	case len(charset) > 1 || len(charset) == 1 && !strings.EqualFold(charset[0], "utf-8"):
		return nil, errors.New("a charset that is not utf-8")
	case len(charset) == 1:
		c.utf8 = true
	}
	return c, nil
}

func hasWord(lists []string, want string) bool {
	for _, list := range lists {
		for _, word := range strings.Split(list, ",") {
			if strings.EqualFold(strings.TrimSpace(word), want) {
				return true
			}
		}
	}
	return false
}

// directives are the values by lower-case name, in their order.
type directives map[string][]string

func (d directives) one(name string) (string, error) {
	if n := len(d[name]); n != 1 {
		return "", fmt.Errorf("%d times %s in the challenge, not once", n, name)
	}
	return d[name][0], nil
}

// parseDirectives reads name=value,name="value",... with the liberties of RFC
// 2831 section 7.1: white space and empty elements.
func parseDirectives(b []byte) (directives, error) {
	if len(b) > maxDigest {
		return nil, fmt.Errorf("a challenge of %d bytes, the limit is %d: %w", len(b), maxDigest, driver.ErrLimit)
	}
	out := directives{}
	rest := string(b)
	const blank = " \t\r\n"
	for {
		rest = strings.TrimLeft(rest, blank+",")
		if rest == "" {
			return out, nil
		}
		name, after, ok := strings.Cut(rest, "=")
		name = strings.ToLower(strings.TrimRight(name, blank))
		if !ok || name == "" || strings.ContainsFunc(name, notToken) {
			return nil, errors.New("the challenge is not a list of name=value")
		}
		after = strings.TrimLeft(after, blank)
		var value string
		if strings.HasPrefix(after, `"`) {
			if value, rest, ok = unquote(after[1:]); !ok {
				return nil, errors.New("a quoted string without end")
			}
		} else {
			end := strings.IndexAny(after, ","+blank)
			if end < 0 {
				end = len(after)
			}
			value, rest = after[:end], after[end:]
		}
		if rest = strings.TrimLeft(rest, blank); rest != "" && rest[0] != ',' {
			return nil, errors.New("the challenge is not a list of name=value")
		}
		if strings.ContainsAny(value, "\x00\r\n") {
			return nil, errors.New("a value with a control character")
		}
		out[name] = append(out[name], value)
	}
}

func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
}

// unquote reads the rest of a quoted string.
func unquote(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			if i++; i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
