package mime

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxDefects bounds the defects kept per part.
	maxDefects = 64
	// maxPreamble is how long the text before the first delimiter may be and
	// still be thrown away. Longer text is no preamble but a part whose
	// delimiter was lost.
	maxPreamble = 64 << 10
)

// Parse reads a message from r to its end, gives the content of its parts to
// sink and returns the tree of parts. The tree is never nil. The error is a
// read error of r, an error of the sink, or a [LimitError]; the tree up to
// there is returned with it. A nil sink discards all content.
//
// Nothing in a message is an error: see [Part.Defects]. Memory is bounded by
// the limits on headers and parts, whatever the size of the message; the time
// is linear in it.
func Parse(r io.Reader, sink Sink, opts ...Option) (*Part, error) {
	var c config
	for _, o := range opts {
		o(&c)
	}
	p := &parser{run: &run{sink: sink, limits: c.limits.withDefaults()}, blockReader: newBlockReader(r)}
	defer p.release()
	root := &Part{}
	err := p.part(root, 0, "text/plain")
	if err == nil && p.err != nil && !errors.Is(p.err, io.EOF) {
		err = fmt.Errorf("mime: reading the message: %w", p.err)
	}
	return root, err
}

// run is what the parsers of one message share.
type run struct {
	sink    Sink
	limits  Limits
	parts   int64
	decoded int64
	out     []byte // decoded block, used again and again
	head    []byte // header block
}

// A parser walks one stream: the message, or a message inside of it that had
// to be decoded first.
type parser struct {
	*run
	*blockReader
	inner bool // offsets tell nothing
}

func (p *parser) limit(name string, max int64, part *Part) error {
	return &LimitError{Limit: name, Max: max, Path: part.Path}
}

func (part *Part) defect(code DefectCode, off int64, detail string) {
	if len(part.Defects) < maxDefects {
		part.Defects = append(part.Defects, Defect{code, part.Path, off, detail})
	}
}

// here is the offset of the next byte for use in the tree.
func (p *parser) here() int64 {
	if p.inner {
		return -1
	}
	return p.pos()
}

// part reads one part with everything below it. Afterwards p.hit tells what
// ended it.
func (p *parser) part(part *Part, depth int64, defaultType string) error {
	part.Offset = p.here()
	if p.parts++; p.parts > p.limits.Parts {
		return p.limit("Parts", p.limits.Parts, part)
	}
	if depth > p.limits.Depth {
		return p.limit("Depth", p.limits.Depth, part)
	}
	p.begin()
	err := p.header(part)
	start := p.pos()
	part.BodyOffset = p.here()
	p.describe(part, defaultType)
	if err != nil {
		return err
	}
	w, err := p.beginPart(part)
	if err != nil {
		return err
	}
	switch {
	case w != nil:
		err = p.leaf(part, w, nil)
	case part.IsMultipart():
		err = p.multipart(part, depth)
	case part.IsMessage():
		err = p.message(part, depth)
	default:
		err = p.leaf(part, io.Discard, nil)
	}
	part.RawSize = max(p.hit.off-start, 0)
	if !p.hit.done {
		part.RawSize = p.pos() - start
	}
	if err != nil {
		return err
	}
	return p.endPart(part)
}

func (p *parser) beginPart(part *Part) (io.Writer, error) {
	if p.sink == nil {
		return nil, nil
	}
	w, err := p.sink.Begin(part)
	if err != nil {
		return nil, fmt.Errorf("mime: part %q: %w", part.Path, err)
	}
	return w, nil
}

func (p *parser) endPart(part *Part) error {
	if p.sink == nil {
		return nil
	}
	if err := p.sink.End(part); err != nil {
		return fmt.Errorf("mime: part %q: %w", part.Path, err)
	}
	return nil
}

// header reads the header block with the empty line after it. If a delimiter
// ends it, p.hit is set.
func (p *parser) header(part *Part) error {
	p.head = p.head[:0]
	var err error
	nul := false
	fields := int64(0)
lines:
	for {
		if p.delimiter() {
			part.defect(DefectNoBlankLine, p.here(), "a delimiter ends the header")
			break
		}
		line, whole := p.line()
		if len(line) == 0 {
			break
		}
		if len(bytes.Trim(line[:min(len(line), 4)], "\r\n")) == 0 && whole {
			p.r += len(line)
			break
		}
		switch c := line[0]; {
		case c == ' ' || c == '\t':
		default:
			if name, _ := fieldName(line); name > 0 {
				if fields++; fields > p.limits.HeaderFields {
					err = p.limit("HeaderFields", p.limits.HeaderFields, part)
					break lines
				}
				break
			}
			junk := isMboxFrom(line) || p.junkLine(len(line), fields > 0)
			line = p.buf[p.r : p.r+len(line)] // looking ahead may have moved it
			if !junk {
				part.defect(DefectNoBlankLine, p.here(), quoteShort(string(line[:min(len(line), 2*maxQuoted)])))
				break lines
			}
		}
		size := int64(0)
		for {
			size += int64(len(line))
			if size > p.limits.LineBytes {
				err = p.limit("LineBytes", p.limits.LineBytes, part)
				break lines
			}
			if int64(len(p.head)+len(line)) > min(p.limits.HeaderBytes, 1<<31-1) {
				err = p.limit("HeaderBytes", p.limits.HeaderBytes, part)
				break lines
			}
			p.head = append(p.head, line...)
			nul = nul || bytes.IndexByte(line, 0) >= 0
			p.r += len(line)
			if whole {
				break
			}
			line, whole = p.line()
		}
	}
	if nul {
		part.defect(DefectNUL, part.Offset, "")
	}
	h := Header{raw: string(p.head)}
	h.fields = indexHeader(h.raw, p.limits.HeaderFields, func(code DefectCode, off int, line string) {
		at := part.Offset
		if at >= 0 {
			at += int64(off)
		}
		part.defect(code, at, quoteShort(line))
	})
	part.Header = h
	return err
}

// junkLine decides on a line in a header that is no field: true if fields go on
// after it, so it is to be passed over; false if the body begins here without
// the empty line.
func (p *parser) junkLine(n int, seen bool) bool {
	for p.w-p.r < n+maxBoundaryLine && p.fill() {
	}
	if n >= p.w-p.r {
		return false
	}
	next := p.buf[p.r+n : p.w]
	name, _ := fieldName(next)
	if name == 0 {
		return false
	}
	return likelyField(string(next[:min(name, 40)]), seen)
}

// likelyField reports whether a name is one that mail has; after a first field
// any name that looks like one will do.
func likelyField(name string, seen bool) bool {
	low := strings.ToLower(name)
	if strings.HasPrefix(low, "x-") || strings.HasPrefix(low, "content-") || strings.HasPrefix(low, "resent-") || strings.HasPrefix(low, "list-") {
		return true
	}
	switch low {
	case "received", "from", "to", "cc", "bcc", "subject", "date", "message-id", "return-path", "reply-to", "sender", "mime-version",
		"delivered-to", "in-reply-to", "references", "dkim-signature", "authentication-results", "status", "lines", "errors-to":
		return true
	}
	if !seen || strings.IndexByte(low, '-') <= 0 {
		return false
	}
	for i := 0; i < len(low); i++ {
		if c := low[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// describe fills in what the header says about the part.
func (p *parser) describe(part *Part, defaultType string) {
	h := &part.Header
	var ctype, cte, disp, cid string
	var types, ctes, froms int
	eightBit := false
	for i := range h.fields {
		f := &h.fields[i]
		name := h.raw[f.start:f.nameEnd]
		switch len(name) {
		case 4:
			if strings.EqualFold(name, "From") {
				froms++
			}
		case 10:
			if strings.EqualFold(name, "Content-ID") && cid == "" {
				cid = unfold(h.raw[f.value:f.end])
			}
		case 12:
			if strings.EqualFold(name, "Content-Type") {
				if types++; types == 1 {
					ctype = unfold(h.raw[f.value:f.end])
				}
			}
		case 19:
			if strings.EqualFold(name, "Content-Disposition") && disp == "" {
				disp = unfold(h.raw[f.value:f.end])
			}
		case 25:
			if strings.EqualFold(name, "Content-Transfer-Encoding") {
				if ctes++; ctes == 1 {
					cte = unfold(h.raw[f.value:f.end])
				}
			}
		}
	}
	if !utf8.ValidString(h.raw) {
		eightBit = true
		part.defect(DefectHeader8Bit, part.Offset, "")
	}
	if types > 1 || ctes > 1 {
		part.defect(DefectDuplicateField, part.Offset, "Content-Type or Content-Transfer-Encoding stands twice")
	}
	if len(h.fields) == 0 && part.Parent == nil {
		part.defect(DefectNoHeader, part.Offset, "")
	}
	if froms > 1 || froms == 1 && part.Parent == nil && strings.IndexByte(h.Get("From"), ',') >= 0 && !h.Has("Sender") && len(h.Addresses("From")) > 1 {
		part.defect(DefectMultipleFrom, part.Offset, "")
	}
	p.describeType(part, ctype, types > 0, defaultType)
	if eightBit {
		h.charset = part.Charset
	}
	part.Encoding = transferEncoding(cte)
	if !knownEncoding(part.Encoding) {
		part.defect(DefectEncoding, part.Offset, quoteShort(cte))
	}
	if disp != "" {
		var bad string
		part.Disposition, part.DispositionParams, bad = parseParams(disp, h.charset)
		if bad != "" {
			part.defect(DefectParameter, part.Offset, "Content-Disposition: "+bad)
		}
	}
	if cid != "" {
		if ids := appendMessageIDs(nil, cid); len(ids) > 0 {
			part.ContentID = ids[0]
		}
	}
	part.Name = part.DispositionParams["filename"]
	if part.Name == "" {
		part.Name = part.Params["name"]
	}
	if part.Name != "" && !isSafeName(part.Name) {
		part.defect(DefectUnsafeName, part.Offset, quoteShort(part.Name))
	}
}

// describeType reads the Content-Type. One that can't be read counts as
// text/plain (RFC 2045 5.2).
func (p *parser) describeType(part *Part, ctype string, given bool, defaultType string) {
	part.Type = defaultType
	if given {
		var bad string
		var t string
		t, part.Params, bad = parseParams(ctype, part.Header.charset)
		if bad != "" {
			part.defect(DefectParameter, part.Offset, "Content-Type: "+bad)
		}
		if isMediaType(t) {
			part.Type = t
		} else {
			part.Type = "text/plain"
			part.defect(DefectContentType, part.Offset, quoteShort(ctype))
		}
	}
	part.Charset = strings.ToLower(strings.TrimSpace(part.Params["charset"]))
}

// isMediaType reports whether t is "type/subtype" of tokens (RFC 2045 5.1).
func isMediaType(t string) bool {
	slash := strings.IndexByte(t, '/')
	if slash <= 0 || slash == len(t)-1 || strings.IndexByte(t[slash+1:], '/') >= 0 {
		return false
	}
	for i := 0; i < len(t); i++ {
		if c := t[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("()<>@,;:\\\"[]?=", c) >= 0 {
			return false
		}
	}
	return true
}

// transferEncoding reads a Content-Transfer-Encoding, with the comments,
// quotes and semicolons that senders add.
func transferEncoding(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ToLower(strings.Trim(dropComments(s), " \t\"';"))
	if i := strings.IndexAny(s, " \t;"); i >= 0 {
		s = s[:i]
	}
	return s
}

func knownEncoding(s string) bool {
	switch s {
	case "", "7bit", "8bit", "binary", "base64", "quoted-printable", "x-uuencode", "uuencode", "x-uue", "uue":
		return true
	}
	return false
}

// leaf gives the decoded body to w; head is what was read of it before.
func (p *parser) leaf(part *Part, w io.Writer, head []byte) error {
	var dec decoder
	if !part.IsMultipart() { // RFC 2045 6.4: a multipart is never encoded
		dec = newDecoder(part.Encoding)
	}
	raw := head
	for {
		if raw == nil {
			if raw = p.chunk(); raw == nil {
				break
			}
		}
		out := raw
		if dec != nil {
			p.out = dec.decode(p.out[:0], raw)
			out = p.out
		}
		raw = nil
		if err := p.write(part, w, out); err != nil {
			return err
		}
	}
	if dec == nil {
		return nil
	}
	p.out = dec.finish(p.out[:0])
	if err := p.write(part, w, p.out); err != nil {
		return err
	}
	if code, detail := dec.defect(); code != "" {
		part.defect(code, part.BodyOffset, detail)
	}
	return nil
}

func (p *parser) write(part *Part, w io.Writer, out []byte) error {
	if len(out) == 0 {
		return nil
	}
	if p.decoded += int64(len(out)); p.decoded > p.limits.DecodedBytes {
		return p.limit("DecodedBytes", p.limits.DecodedBytes, part)
	}
	part.Size += int64(len(out))
	if _, err := w.Write(out); err != nil {
		return fmt.Errorf("mime: part %q: %w", part.Path, err)
	}
	return nil
}

// multipart reads the members of a multipart (RFC 2046 5.1).
func (p *parser) multipart(part *Part, depth int64) error {
	boundary := strings.TrimRight(part.Params["boundary"], " \t")
	if e := part.Encoding; e != "" && e != "7bit" && e != "8bit" && e != "binary" {
		part.defect(DefectEncodedContainer, part.Offset, quoteShort(e))
	}
	if boundary == "" || len(boundary) > maxBoundary {
		part.defect(DefectNoBoundary, part.Offset, "")
		return p.lostPart(part, depth, nil)
	}
	for _, b := range p.bounds {
		if b == boundary {
			part.defect(DefectDuplicateBoundary, part.Offset, quoteShort(boundary))
			break
		}
	}
	level := len(p.bounds)
	p.bounds = append(p.bounds, boundary)
	err := p.members(part, depth, level)
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

// members reads the parts up to the closing delimiter or whatever else ends
// the multipart.
func (p *parser) members(part *Part, depth int64, level int) error {
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
		if err := p.lostPart(part, depth, pre); err != nil {
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
// is found, so that the text is not lost.
func (p *parser) lostPart(part *Part, depth int64, head []byte) error {
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
	start := p.pos() - int64(len(head))
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
		if c := d.p.chunk(); c != nil {
			d.buf = d.dec.decode(d.buf[:0], c)
		} else {
			d.buf = d.dec.finish(d.buf[:0])
			d.done = true
		}
		d.out = d.buf
	}
	n := copy(b, d.out)
	d.out = d.out[n:]
	return n, nil
}
