package webdav

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// maxPath bounds a path that a server gives.
const maxPath = 8 << 10

// A davPath is the path of a resource on the configured server, as it goes
// into the request line: percent-encoded just as the server gave it.
type davPath string

// hrefPath takes the path out of what a server calls a resource: an absolute
// URL, whose host may be an internal one and does not count, or a path. Blanks
// around are dropped, and what may not stand in a request line is encoded; all
// else stays as it is, since servers compare it byte for byte.
func hrefPath(href string) (davPath, error) {
	href = strings.TrimSpace(href)
	if len(href) > maxPath {
		return "", fmt.Errorf("a URL longer than %d bytes", maxPath)
	}
	if i := strings.Index(href, "://"); i > 0 && !strings.Contains(href[:i], "/") {
		rest := href[i+3:]
		at := strings.IndexByte(rest, '/')
		if at < 0 {
			return "/", nil
		}
		href = rest[at:]
	}
	if !strings.HasPrefix(href, "/") {
		return "", errors.New("a URL that is neither absolute nor a path")
	}
	if href = encodeRest(href); len(href) > maxPath {
		return "", fmt.Errorf("a URL longer than %d bytes", maxPath)
	}
	return davPath(href), nil
}

// encodeRest percent-encodes the bytes that cannot stand in a path, and
// percent signs that encode nothing.
func encodeRest(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '%' && i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2]):
			b.WriteString(path[i : i+3])
			i += 2
		case isPathByte(c):
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// isPathByte is pchar and "/" of RFC 3986 section 3.3, without "%".
func isPathByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=:@/", c) >= 0
}

// encodeSegment encodes the name of a folder or file as one part of a path.
func encodeSegment(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; isPathByte(c) && c != '/' && c != '\'' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// decoded is the path as people read it, for comparing.
func (p davPath) decoded() string {
	s, err := url.PathUnescape(string(p))
	if err != nil {
		return string(p)
	}
	return s
}

// name is the last part, decoded.
func (p davPath) name() string {
	s := strings.TrimSuffix(string(p), "/")
	return davPath(s[strings.LastIndexByte(s, '/')+1:]).decoded()
}

// rawName is the last part as it is.
func (p davPath) rawName() string {
	s := strings.TrimSuffix(string(p), "/")
	return s[strings.LastIndexByte(s, '/')+1:]
}

// dir is the path with one slash at its end.
func (p davPath) dir() davPath { return davPath(strings.TrimSuffix(string(p), "/") + "/") }

// same compares without regard to encoding and a slash at the end.
func (p davPath) same(q davPath) bool { return p.dir().decoded() == q.dir().decoded() }

// child is the resource of that name in the folder.
func (p davPath) child(name string) davPath { return p.dir() + davPath(encodeSegment(name)) }

// url gives the URL of the resource on an origin, which sends the path as it
// is.
func (p davPath) url(origin *url.URL) *url.URL {
	path, query, _ := strings.Cut(string(p), "?")
	return &url.URL{Scheme: origin.Scheme, Host: origin.Host, Path: davPath(path).decoded(), RawPath: path, RawQuery: query}
}

// withQuery is an address with a query, for login pages alone.
func (p davPath) withQuery(query string) davPath {
	if query == "" {
		return p
	}
	return p + davPath("?"+query)
}

// splitPath takes a folder path apart. A backslash takes the sign after it as
// it is, so that "\/" is a slash in a name.
func splitPath(path string) ([]string, error) {
	var parts []string
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '\\':
			if i++; i == len(path) {
				return nil, fmt.Errorf("folder %q: a backslash at the end", path)
			}
			b.WriteByte(path[i])
		case c == '/':
			parts = append(parts, b.String())
			b.Reset()
		default:
			b.WriteByte(c)
		}
	}
	parts = append(parts, b.String())
	for _, p := range parts {
		switch {
		case p == "":
			return nil, fmt.Errorf("folder %q: a part is empty", path)
		case p == "." || p == "..":
			return nil, fmt.Errorf("folder %q: %q is no name of a folder", path, p)
		case strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\ufffd' }):
			return nil, fmt.Errorf("folder %q: a control character, or no UTF-8", path)
		}
	}
	return parts, nil
}
