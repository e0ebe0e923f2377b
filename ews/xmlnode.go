package ews

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The namespaces of EWS. Elements are known by namespace and local name alone:
// prefixes differ from server to server.
const (
	nsSOAP     = "http://schemas.xmlsoap.org/soap/envelope/"
	nsMessages = "http://schemas.microsoft.com/exchange/services/2006/messages"
	nsTypes    = "http://schemas.microsoft.com/exchange/services/2006/types"
)

// Limits of one answer, apart from the messages in it.
const (
	maxAnswer   = 64 << 20
	maxDepth    = 64
	maxElements = 320_000
)

// A node is an element with all that is in it. A nil *node is an element that
// is not there: every question has an empty answer.
type node struct {
	name  xml.Name
	attrs []xml.Attr
	text  string // character data of its own
	kids  []*node
}

// is reports whether it is the element of a namespace.
func (n *node) is(space, local string) bool {
	return n != nil && n.name.Local == local && n.name.Space == space
}

// kid gives the first child of that name, in whatever namespace: servers put
// MessageXml into two.
func (n *node) kid(path ...string) *node {
	for _, local := range path {
		if n == nil {
			return nil
		}
		var found *node
		for _, k := range n.kids {
			if k.name.Local == local {
				found = k
				break
			}
		}
		n = found
	}
	return n
}

// all gives the children, none of nil.
func (n *node) all() []*node {
	if n == nil {
		return nil
	}
	return n.kids
}

// find gives the first element of that name at any depth.
func (n *node) find(local string) *node {
	if n == nil || n.name.Local == local {
		return n
	}
	for _, k := range n.kids {
		if f := k.find(local); f != nil {
			return f
		}
	}
	return nil
}

// value is the text without the blanks around it.
func (n *node) value() string {
	if n == nil {
		return ""
	}
	return strings.TrimSpace(n.text)
}

func (n *node) attr(local string) string {
	if n == nil {
		return ""
	}
	for _, a := range n.attrs {
		if a.Name.Local == local && a.Name.Space == "" {
			return a.Value
		}
	}
	return ""
}

// truth reads an xs:boolean.
func truth(s string) bool { s = strings.TrimSpace(s); return s == "true" || s == "1" }

// A document reads one XML document off a source, token by token.
type document struct {
	src   *source
	dec   *xml.Decoder
	depth int
	kids  int
}

func newDocument(src *source) *document {
	d := &document{src: src, dec: xml.NewDecoder(src)}
	// The bytes were made fit by the source, whatever the declaration says;
	// servers write utf-8, some in capitals.
	d.dec.CharsetReader = func(label string, in io.Reader) (io.Reader, error) {
		if strings.EqualFold(label, "utf-8") || strings.EqualFold(label, "us-ascii") {
			return in, nil
		}
		return nil, fmt.Errorf("the answer is in %.40q, not in UTF-8", label)
	}
	return d
}

var errDoctype = errors.New("the answer holds a document type definition")

// token gives the next token that matters: a start, an end or text.
func (d *document) token() (xml.Token, error) {
	for {
		t, err := d.dec.Token()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if d.depth++; d.depth > maxDepth {
				return nil, fmt.Errorf("%w: elements in elements, more than %d deep", errTooLong, maxDepth)
			}
			return t, nil
		case xml.EndElement:
			d.depth--
			return t, nil
		case xml.CharData:
			return t, nil
		case xml.Directive:
			return nil, errDoctype
		}
	}
}

// start gives the next start tag within the element at hand; ok is false at
// the end of that element.
func (d *document) start() (s xml.StartElement, ok bool, err error) {
	for {
		t, err := d.token()
		if err != nil {
			return s, false, noEOF(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			return t, true, nil
		case xml.EndElement:
			return s, false, nil
		}
	}
}

// noEOF makes an end inside the document an error of its own.
func noEOF(err error) error {
	if se, ok := errors.AsType[*xml.SyntaxError](err); errors.Is(err, io.EOF) || ok && se.Msg == "unexpected EOF" {
		return io.ErrUnexpectedEOF
	}
	return err
}

// element reads the element whose start tag was just read.
func (d *document) element(s xml.StartElement) (*node, error) {
	b := d.build(s, "")
	_, err := b.run()
	return b.root, err
}

// A builder makes a node, and can stop at an element to have its text read in
// another way.
type builder struct {
	doc    *document
	stopAt string // local name in the namespace of types; "" for none
	root   *node
	open   []*node
	texts  [][]byte // of open
}

func (d *document) build(s xml.StartElement, stopAt string) *builder {
	b := &builder{doc: d, stopAt: stopAt}
	b.push(s)
	return b
}

func (b *builder) push(s xml.StartElement) {
	n := &node{name: s.Name, attrs: s.Copy().Attr}
	if len(b.open) > 0 {
		parent := b.open[len(b.open)-1]
		parent.kids = append(parent.kids, n)
	} else {
		b.root = n
	}
	b.open = append(b.open, n)
	b.texts = append(b.texts, nil)
}

// run reads until the element is complete, or until the start tag of stopAt
// was read, which it then gives. An element that has an end in its own tag is
// no place to stop.
func (b *builder) run() (stopped *node, err error) {
	for len(b.open) > 0 {
		t, err := b.doc.token()
		if err != nil {
			return nil, noEOF(err)
		}
		switch t := t.(type) {
		case xml.StartElement:
			if b.doc.kids++; b.doc.kids > maxElements {
				return nil, fmt.Errorf("%w: too many elements", errTooLong)
			}
			b.push(t)
			if top := b.open[len(b.open)-1]; b.stopAt != "" && top.is(nsTypes, b.stopAt) && !b.doc.src.closedItself() {
				return top, nil
			}
		case xml.EndElement:
			i := len(b.open) - 1
			b.open[i].text = string(b.texts[i])
			b.open, b.texts = b.open[:i], b.texts[:i]
		case xml.CharData:
			i := len(b.texts) - 1
			b.texts[i] = append(b.texts[i], t...)
		}
	}
	return nil, nil
}
