package mime

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// multipart reads the members of a multipart (RFC 2046 5.1).
func (p *parser) multipart(part *Part, depth int64) error {
	start := p.pos()
	boundary := strings.TrimRight(part.Params["boundary"], " \t")
	if e := part.Encoding; e != "" && e != "7bit" && e != "8bit" && e != "binary" {
		part.defect(DefectEncodedContainer, part.Offset, quoteShort(e))
	}
	if boundary == "" || len(boundary) > maxBoundary {
		part.defect(DefectNoBoundary, part.Offset, "")
		if boundary = p.guessBoundary(); boundary == "" {
			return p.lostPart(part, start, nil)
		}
	}
	for _, b := range p.bounds {
		if b == boundary {
			part.defect(DefectDuplicateBoundary, part.Offset, quoteShort(boundary))
			break
		}
	}
	level := len(p.bounds)
	p.bounds = append(p.bounds, boundary)
	err := p.members(part, depth, level, start)
	p.bounds = p.bounds[:level]
	if err != nil {
		return err
	}
	if p.hit.level == level { // closed: what follows up to the next delimiter is the epilogue
		p.begin()
		for p.chunk() != nil {
		}
	} else if p.hit.done {
		part.defect(DefectNoCloseBoundary, p.here(), quoteShort(boundary))
	}
	return nil
}

// guessBoundary finds the boundary of a multipart that does not name it: the
// first line at the start of the body that looks like a delimiter and has a
// part's header or an empty line after it.
func (p *parser) guessBoundary() string {
	for p.w-p.r < sniffSize && p.fill() {
	}
	data := p.buf[p.r:min(p.w, p.r+sniffSize)]
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		line = bytes.TrimRight(line, " \t\r")
		// RFC 2046 5.1.1: at most 70 characters.
		if len(line) < 3 || len(line) > 72 || line[0] != '-' || line[1] != '-' || bytes.ContainsAny(line, " \t") || len(bytes.Trim(line, "-")) == 0 {
			continue
		}
		if name, _ := fieldName(rest); len(rest) > 0 && (rest[0] == '\n' || rest[0] == '\r') || name > 8 && strings.EqualFold(string(rest[:8]), "Content-") {
			return string(line[2:])
		}
	}
	return ""
}

// members reads the parts up to the closing delimiter or whatever else ends
// the multipart.
func (p *parser) members(part *Part, depth int64, level int, start int64) error {
	var pre []byte
	for len(pre) <= maxPreamble {
		c := p.chunk()
		if c == nil {
			break
		}
		pre = append(pre, c...)
	}
	if !p.hit.done || p.hit.level != level {
		part.defect(DefectNoStartBoundary, part.BodyOffset, quoteShort(p.bounds[level]))
		if err := p.lostPart(part, start, pre); err != nil {
			return err
		}
	}
	defaultType := "text/plain"
	if part.Type == "multipart/digest" { // RFC 2046 5.1.5
		defaultType = "message/rfc822"
	}
	for {
		// A delimiter right after another makes no part: between two there must
		// be a line end that belongs to the second (RFC 2046 5.1.1).
		for p.hit.level == level && !p.hit.closing && p.delimiter() {
			part.defect(DefectRepeatedDelimiter, p.here(), quoteShort(p.bounds[level]))
		}
		if p.hit.level != level || p.hit.closing {
			return nil
		}
		if err := p.part(p.child(part), depth+1, defaultType); err != nil {
			return err
		}
	}
}

// lostPart makes a text/plain part of a multipart's body in which no delimiter
// is found, so that the text is not lost. The body starts at start; head is what
// was read of it.
func (p *parser) lostPart(part *Part, start int64, head []byte) error {
	for len(bytes.TrimSpace(head)) == 0 {
		c := p.chunk()
		if c == nil {
			return nil
		}
		head = append(head, c...)
		if len(head) > maxPreamble {
			break
		}
	}
	child := p.child(part)
	child.Type, child.Encoding = "text/plain", part.Encoding
	child.Offset, child.BodyOffset = part.BodyOffset, part.BodyOffset
	if p.parts++; p.parts > p.limits.Parts {
		return p.limit("Parts", p.limits.Parts, child)
	}
	w, err := p.beginPart(child)
	if err != nil {
		return err
	}
	if w == nil {
		w = io.Discard
	}
	if err := p.leaf(child, w, bytes.Clone(head)); err != nil {
		return err
	}
	child.RawSize = max(p.hit.off-start, 0)
	return p.endPart(child)
}

// child adds a member to a multipart.
func (p *parser) child(part *Part) *Part {
	n := strconv.Itoa(len(part.Children) + 1)
	prefix := part.Path
	// The members of a message inside part 2 are 2.1, 2.2 as in IMAP.
	if prefix == "0" {
		prefix = ""
	}
	prefix = strings.TrimSuffix(prefix, ".0")
	if prefix != "" {
		n = prefix + "." + n
	}
	c := &Part{Path: n, Parent: part}
	if part.Children == nil {
		part.Children = make([]*Part, 0, 2)
	}
	part.Children = append(part.Children, c)
	return c
}

// message reads the message inside a message/rfc822 part.
func (p *parser) message(part *Part, depth int64) error {
	child := &Part{Path: "0", Parent: part}
	if part.Path != "" {
		child.Path = part.Path + ".0"
	}
	part.Children = append(part.Children, child)
	dec := newDecoder(part.Encoding)
	if dec == nil || !p.reallyEncoded(part.Encoding) {
		return p.part(child, depth+1, "text/plain")
	}
	// RFC 2046 5.2.1 forbids it, mailers do it.
	part.defect(DefectEncodedContainer, part.Offset, quoteShort(part.Encoding))
	src := &decodingReader{p: p, dec: dec}
	in := &parser{run: p.run, blockReader: newBlockReader(src), inner: true}
	err := in.part(child, depth+1, "text/plain")
	in.release()
	for err == nil && p.chunk() != nil {
	}
	return err
}

// reallyEncoded looks into the body: many parts are declared as encoded and
// are not.
func (p *parser) reallyEncoded(encoding string) bool {
	for p.w-p.r < sniffSize && p.fill() {
	}
	data := bytes.TrimLeft(p.buf[p.r:p.w], "\r\n")
	data = data[:min(len(data), sniffSize)]
	name, _ := fieldName(data)
	if encoding != "quoted-printable" {
		return name == 0
	}
	head, _, _ := bytes.Cut(data, []byte("\n\r\n"))
	head, _, _ = bytes.Cut(head, []byte("\n\n"))
	return bytes.Contains(head, []byte("=3D")) || bytes.Contains(head, []byte("=\r\n")) ||
		bytes.Contains(head, []byte("=\n")) || bytes.Contains(head, []byte("=20")) || name == 0
}

// A decodingReader reads the decoded body of the current part.
type decodingReader struct {
	p    *parser
	dec  decoder
	buf  []byte
	out  []byte
	done bool
}

func (d *decodingReader) Read(b []byte) (int, error) {
	for len(d.out) == 0 {
		if d.done {
			if err := d.p.err; err != nil && !errors.Is(err, io.EOF) {
				return 0, err
			}
			return 0, io.EOF
		}
		c := d.p.chunk()
		switch {
		case d.dec == nil && c != nil:
			d.out = c
			continue
		case d.dec == nil:
			d.done = true
			continue
		case c != nil:
			d.buf = d.dec.decode(d.buf[:0], c)
		default:
			d.buf = d.dec.finish(d.buf[:0])
			d.done = true
		}
		d.out = d.buf
	}
	n := copy(b, d.out)
	d.out = d.out[n:]
	return n, nil
}
