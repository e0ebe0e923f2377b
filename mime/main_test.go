package mime

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bodies is a sink that keeps what it gets by path.
type bodies map[string]string

func (b bodies) Begin(p *Part) (io.Writer, error) {
	if p.IsContainer() {
		return nil, nil
	}
	return bodyWriter{b, p.Path}, nil
}

func (b bodies) End(*Part) error { return nil }

type bodyWriter struct {
	b    bodies
	path string
}

func (w bodyWriter) Write(p []byte) (int, error) {
	w.b[w.path] += string(p)
	return len(p), nil
}

// parseString parses a message and keeps the content of its leaves.
func parseString(s string, opts ...Option) (*Part, bodies, error) {
	b := bodies{}
	p, err := Parse(strings.NewReader(s), b, opts...)
	return p, b, err
}

// outline writes a tree as "type(type,type)".
func outline(p *Part) string {
	if len(p.Children) == 0 {
		return p.Type
	}
	var kids []string
	for _, c := range p.Children {
		kids = append(kids, outline(c))
	}
	return fmt.Sprintf("%s(%s)", p.Type, strings.Join(kids, ","))
}

// codes gives the codes of all defects in a tree.
func codes(p *Part) []DefectCode {
	var all []DefectCode
	for q := range p.All() {
		for _, d := range q.Defects {
			all = append(all, d.Code)
		}
	}
	return all
}

// crlf writes a message given with LF line ends as mail has it.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
