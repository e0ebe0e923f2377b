package mime

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// A node is one part of a message to be written: a container with children, a
// body that is ready, or an attachment that is read while it is written.
type node struct {
	header   []byte // fields, each with its CRLF
	boundary string
	children []*node
	body     []byte
	open     func() (io.ReadCloser, error)
	sevenBit bool // the attachment is copied with CRLF line ends, not base64
	name     string
}

// body builds the tree below the message header.
func (d *draftWriter) body() (*node, error) {
	var inline, files []*node
	for i, a := range d.Attachments {
		n, err := d.attachmentNode(fmt.Sprintf("Attachments[%d]", i), a)
		if err != nil {
			return nil, err
		}
		if a.Inline && d.HTML != "" {
			inline = append(inline, n)
		} else {
			files = append(files, n)
		}
	}
	text := d.Text
	if text == "" && d.HTML != "" && d.TextFromHTML {
		var b strings.Builder
		if err := HTMLToText(strings.NewReader(d.HTML), &b); err != nil {
			return nil, &DraftError{"HTML", err.Error()}
		}
		text = b.String()
	}
	var root *node
	if d.HTML != "" {
		root = d.textNode("text/html", d.HTML)
		if len(inline) > 0 { // RFC 2387: the root's type is a required parameter
			root = container("multipart/related", append([]*node{root}, inline...), "type", "text/html")
		}
	}
	if text != "" || root == nil {
		plain := d.textNode("text/plain", text)
		if root == nil {
			root = plain
		} else {
			root = container("multipart/alternative", []*node{plain, root})
		}
	}
	if len(files) > 0 {
		root = container("multipart/mixed", append([]*node{root}, files...))
	}
	return root, nil
}

// container makes a multipart. Its boundary can't be guessed, so no content
// can be made to hold it; "=_" can't occur in base64 or quoted-printable.
func container(typ string, children []*node, params ...string) *node {
	n := &node{boundary: "=_" + rand.Text(), children: children}
	var f folder
	f.field("Content-Type")
	f.token(typ)
	for i := 0; i+1 < len(params); i += 2 {
		f.param(params[i], params[i+1])
	}
	f.glue(";")
	f.token(`boundary="` + n.boundary + `"`)
	f.end()
	n.header = f.b
	return n
}

// textNode makes a body of text: as it is if it is short-lined ASCII, else
// quoted-printable, or base64 where that is shorter by far.
func (d *draftWriter) textNode(typ, text string) *node {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	flowed := d.Flowed && typ == "text/plain"
	if flowed {
		text = encodeFlowed(text)
	}
	charset := "us-ascii"
	if !isASCII([]byte(text)) {
		text, charset = d.encode(text)
	}
	var f folder
	f.field("Content-Type")
	f.token(typ)
	f.glue("; charset=" + charset)
	if flowed {
		f.glue("; format=flowed")
	}
	f.end()
	f.field("Content-Transfer-Encoding")
	n := &node{}
	s := shapeOf(text, d.maxLine())
	if !strings.HasPrefix(charset, "iso-2022-") {
		s.control, s.escapes = s.control || s.escapes, false
	}
	switch {
	case s.high == 0 && !s.long && !s.control && (!s.blanks || flowed):
		f.token("7bit")
		n.body = []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	case s.high > len(text)/3 || s.escapes:
		f.token("base64")
		n.body = base64Body([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	default:
		f.token("quoted-printable")
		n.body = encodeQP(text)
	}
	f.end()
	n.header = f.b
	return n
}

func base64Body(data []byte) []byte {
	var b bytes.Buffer
	w := newBase64Writer(&b)
	_, _ = w.Write(data) // a Buffer does not fail
	_ = w.Close()
	return b.Bytes()
}

// A textShape tells what about a text decides on its encoding.
type textShape struct {
	high    int  // bytes above 127
	long    bool // a line is over the limit
	blanks  bool // a line ends in a blank, which gets lost on the way
	escapes bool // there is an ESC, as in ISO-2022-JP
	control bool // characters that 7bit can't carry or that transports change
}

func shapeOf(text string, limit int) (s textShape) {
	line := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\n':
			s.blanks = s.blanks || line > 0 && (text[i-1] == ' ' || text[i-1] == '\t')
			line = 0
			continue
		case c >= 0x80:
			s.high++
		case c == 0x1b:
			s.escapes = true
		case c < ' ' && c != '\t' || c == 0x7f:
			s.control = true
		case line == 0 && c == 'F' && strings.HasPrefix(text[i:], "From "):
			s.control = true // mbox stores would put a ">" before it
		}
		if line++; line > limit {
			s.long = true
		}
	}
	return s
}

func (d *draftWriter) attachmentNode(field string, a Attachment) (*node, error) {
	if a.Open == nil {
		return nil, &DraftError{field + ".Open", "is nil"}
	}
	n := &node{open: a.Open, name: field}
	typ, params := "application/octet-stream", map[string]string(nil)
	if a.Type != "" {
		var t string
		t, params, _ = parseParams(unfold(a.Type), "")
		if !isMediaType(t) || len(t) > foldColumn-20 || strings.HasPrefix(t, "multipart/") {
			return nil, &DraftError{field + ".Type", "not the media type of a file: " + quoteShort(a.Type)}
		}
		typ = t
	}
	if strings.HasPrefix(typ, "message/") {
		// RFC 2046 5.2: such parts must not be encoded. What is not 7-bit goes
		// as a plain file.
		ok, err := isSevenBit(a.Open)
		if err != nil {
			return nil, fmt.Errorf("mime: %s: %w", field, err)
		}
		if ok {
			n.sevenBit = true
		} else {
			typ = "application/octet-stream"
		}
	}
	var f folder
	f.field("Content-Type")
	f.token(typ)
	for _, k := range []string{"charset", "method", "format", "delsp", "type"} {
		if v := params[k]; v != "" && plainText(v) {
			f.param(k, v)
		}
	}
	name := strings.TrimSpace(cleanText(a.Name))
	if name != "" {
		short := name
		if !plainText(name) || len(name) > maxQuotedPhrase {
			short = asciiName(name)
		}
		f.param("name", short)
	}
	f.end()
	f.field("Content-Disposition")
	if a.Inline {
		f.token("inline")
	} else {
		f.token("attachment")
	}
	if name != "" {
		f.param("filename", name)
	}
	f.end()
	if id := cleanID(a.ContentID); id != "" {
		if !validID(id, false) {
			return nil, &DraftError{field + ".ContentID", "not a content id: " + quoteShort(a.ContentID)}
		}
		f.ids("Content-ID", []string{id})
	}
	f.field("Content-Transfer-Encoding")
	if n.sevenBit {
		f.token("7bit")
	} else {
		f.token("base64")
	}
	f.end()
	n.header = f.b
	return n, nil
}

// isSevenBit looks through a file: ASCII without NUL, lines of bearable length,
// no CR but before LF.
func isSevenBit(open func() (io.ReadCloser, error)) (bool, error) {
	r, err := open()
	if err != nil {
		return false, err
	}
	w := &lineWriter{w: io.Discard}
	_, err = io.Copy(w, r)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = w.finish()
	}
	if w.bad {
		return false, nil
	}
	return err == nil, err
}

// base64Lines is the length of a line of base64 (RFC 2045 6.8).
const base64Lines = 76

// newBase64Writer encodes to lines of 76 characters with CRLF ends.
func newBase64Writer(w io.Writer) io.WriteCloser {
	b := &breaker{w: w}
	return &base64Writer{WriteCloser: base64.NewEncoder(base64.StdEncoding, b), b: b}
}

type base64Writer struct {
	io.WriteCloser
	b *breaker
}

func (b *base64Writer) Close() error {
	if err := b.WriteCloser.Close(); err != nil {
		return err
	}
	if b.b.col > 0 {
		_, err := io.WriteString(b.b.w, "\r\n")
		return err
	}
	return nil
}

// A breaker puts a line end after every base64Lines bytes.
type breaker struct {
	w   io.Writer
	col int
	buf []byte
}

func (b *breaker) Write(p []byte) (int, error) {
	out := b.buf[:0]
	for rest := p; len(rest) > 0; {
		n := min(base64Lines-b.col, len(rest))
		out = append(out, rest[:n]...)
		rest = rest[n:]
		if b.col += n; b.col == base64Lines {
			out = append(out, "\r\n"...)
			b.col = 0
		}
	}
	b.buf = out
	if _, err := b.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
