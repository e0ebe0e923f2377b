package webdav

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// Limits of what a server may say in a multistatus (RFC 4918 section 13). The
// whole may be of any length, its parts may not.
const (
	maxResponse = 256 << 10 // bytes of one response element
	maxDepth    = 32
	maxTokens   = 4096    // of one response element
	maxParts    = 1024    // response elements about a single resource
	maxOthers   = 1 << 20 // members of a collection that are no mails
)

var errEndless = fmt.Errorf("%w: it does not end: %w", errXML, driver.ErrLimit)

// few bounds the parts of a multistatus that is about a single resource.
func few(each func(*response) error) func(*response) error {
	parts := 0
	return func(r *response) error {
		if parts++; parts > maxParts {
			return errEndless
		}
		return each(r)
	}
}

// The namespaces.
const (
	nsDAV      = "DAV:"
	nsHTTPMail = "urn:schemas:httpmail:"
	nsMailHdr  = "urn:schemas:mailheader:"
	nsRepl     = "http://schemas.microsoft.com/repl/"
	nsExchange = "http://schemas.microsoft.com/exchange/"
	nsTypes    = "urn:uuid:c2f41010-65b3-11d1-a29f-00aa00c14882/"
)

// A response is one part of a multistatus.
type response struct {
	href string
	// status is that of the whole part, 0 if its properties have their own.
	status int
	// props are the properties that are there (status 200), by namespace and
	// name together, as text.
	props map[string]string
	// failed has the status of each of the others.
	failed map[string]int
}

// get gives a property and whether it is there.
func (r *response) get(ns, name string) (string, bool) {
	v, ok := r.props[ns+name]
	return v, ok
}

// yes reads a boolean of Exchange's or anybody's writing.
func (r *response) yes(ns, name string) bool {
	v := strings.TrimSpace(r.props[ns+name])
	return v == "1" || strings.EqualFold(v, "true")
}

// worst is the status that tells most about a change: the first failure, else
// the status of the part, else 200.
func (r *response) worst() int {
	for _, st := range r.failed {
		if st >= 300 {
			return st
		}
	}
	if r.status != 0 {
		return r.status
	}
	return 200
}

// A budget ends reading when one response element is too large: the decoder
// keeps names, attributes and texts in memory.
type budget struct {
	r    io.Reader
	left int
}

var errTooLarge = fmt.Errorf("a part of the multistatus is larger than %d bytes: %w", maxResponse, driver.ErrLimit)

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// A multistatus is read as a stream, part by part.
type multistatus struct {
	d      *xml.Decoder
	b      *budget
	tokens int
	depth  int
}

// errXML says that an answer is no multistatus.
var errXML = errors.New("the multistatus cannot be read")

// readMultistatus calls each for every part. It returns nil only if the whole
// was read. A DTD, and with it entities of its own, is refused.
func readMultistatus(r io.Reader, each func(*response) error) error {
	m := &multistatus{b: &budget{r: r, left: maxResponse}}
	m.d = xml.NewDecoder(m.b)
	m.d.CharsetReader = func(charset string, in io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "us-ascii") {
			return in, nil
		}
		return nil, fmt.Errorf("%w: charset %q", errXML, charset)
	}
	root, err := m.next()
	for err == nil {
		if text, ok := root.(xml.CharData); !ok || len(bytes.TrimSpace(text)) > 0 {
			break
		}
		root, err = m.next()
	}
	if err != nil {
		return m.fail(err)
	}
	if start, ok := root.(xml.StartElement); !ok || start.Name.Space != nsDAV || start.Name.Local != "multistatus" {
		return fmt.Errorf("%w: it begins with something else", errXML)
	}
	for {
		tok, err := m.next()
		if err != nil {
			return m.fail(err)
		}
		switch t := tok.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			if t.Name.Space != nsDAV || t.Name.Local != "response" {
				if err := m.skip(); err != nil {
					return m.fail(err)
				}
				continue
			}
			resp, err := m.response()
			if err != nil {
				return m.fail(err)
			}
			if err := each(resp); err != nil {
				return err
			}
			m.b.left, m.tokens = maxResponse, 0
		}
	}
}

// fail tells what the network did from what the server wrote.
func (m *multistatus) fail(err error) error {
	if _, ok := errors.AsType[*driver.Error](err); ok || errors.Is(err, errXML) {
		return err
	}
	return fmt.Errorf("%w: %w", errXML, err)
}

// next gives the next element or text.
func (m *multistatus) next() (xml.Token, error) {
	for {
		tok, err := m.d.Token()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if m.tokens++; m.tokens > maxTokens {
			return nil, fmt.Errorf("%w: more than %d elements in one part: %w", errXML, maxTokens, driver.ErrLimit)
		}
		switch tok.(type) {
		case xml.Directive:
			return nil, fmt.Errorf("%w: it holds a DTD", errXML)
		case xml.StartElement:
			if m.depth++; m.depth > maxDepth {
				return nil, fmt.Errorf("%w: nested deeper than %d: %w", errXML, maxDepth, driver.ErrLimit)
			}
			return tok, nil
		case xml.EndElement:
			m.depth--
			return tok, nil
		case xml.CharData:
			return tok, nil
		}
	}
}

// skip passes over the rest of an element whose start was read.
func (m *multistatus) skip() error {
	return m.children(func(xml.StartElement) error { return m.skip() })
}

// children calls f for each child of the element whose start was read; f must
// read the child to its end.
func (m *multistatus) children(f func(xml.StartElement) error) error {
	for {
		tok, err := m.next()
		if err != nil {
			return err
		}
		switch t := tok.(type) {
		case xml.EndElement:
			return nil
		case xml.StartElement:
			if err := f(t); err != nil {
				return err
			}
		}
	}
}

// text reads an element's text. The names of children count as text too, as
// "collection" in resourcetype; those with text of their own (mv.string) are
// joined by line feeds.
func (m *multistatus) text() (string, error) {
	var b strings.Builder
	for level := 1; level > 0; {
		tok, err := m.next()
		if err != nil {
			return "", err
		}
		switch t := tok.(type) {
		case xml.CharData:
			b.Write(t)
		case xml.EndElement:
			level--
		case xml.StartElement:
			level++
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			if t.Name.Space == nsDAV {
				b.WriteString(t.Name.Local)
			}
		}
	}
	return b.String(), nil
}

func (m *multistatus) response() (*response, error) {
	r := &response{props: map[string]string{}, failed: map[string]int{}}
	hrefs := 0
	err := m.children(func(e xml.StartElement) error {
		if e.Name.Space != nsDAV {
			return m.skip()
		}
		switch e.Name.Local {
		case "href":
			text, err := m.text()
			if hrefs++; hrefs == 1 {
				r.href = text
			}
			return err
		case "status":
			text, err := m.text()
			if err != nil {
				return err
			}
			r.status, err = statusOf(text)
			return err
		case "propstat":
			return m.propstat(r)
		}
		return m.skip()
	})
	if err == nil && r.href == "" {
		err = fmt.Errorf("%w: a part without href", errXML)
	}
	return r, err
}

func (m *multistatus) propstat(r *response) error {
	found := map[string]string{}
	status := 0
	err := m.children(func(e xml.StartElement) error {
		switch {
		case e.Name.Space == nsDAV && e.Name.Local == "prop":
			return m.children(func(p xml.StartElement) error {
				text, err := m.text()
				found[p.Name.Space+p.Name.Local] = text
				return err
			})
		case e.Name.Space == nsDAV && e.Name.Local == "status":
			text, err := m.text()
			if err != nil {
				return err
			}
			status, err = statusOf(text)
			return err
		}
		return m.skip()
	})
	if err != nil {
		return err
	}
	if status == 0 {
		return fmt.Errorf("%w: properties without a status", errXML)
	}
	for name, text := range found {
		if status/100 == 2 {
			r.props[name] = text
		} else {
			r.failed[name] = status
		}
	}
	if len(found) == 0 && status >= 300 {
		r.failed[""] = status
	}
	return nil
}

// statusOf reads "HTTP/1.1 200 OK" (RFC 4918 section 14.28).
func statusOf(text string) (int, error) {
	words := strings.Fields(text)
	if len(words) >= 2 && strings.HasPrefix(words[0], "HTTP/") && len(words[1]) == 3 {
		if n, err := strconv.Atoi(words[1]); err == nil && n >= 100 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: a status line is none", errXML)
}
