package mime

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
)

// WriteTo makes a node what the signing functions are given.
func (n *node) WriteTo(w io.Writer) (int64, error) {
	cw := &countWriter{w: w}
	b := bufio.NewWriterSize(cw, 32<<10)
	err := n.write(b)
	if ferr := b.Flush(); err == nil {
		err = ferr
	}
	return cw.n, err
}

// signed puts a body and its signature into a multipart/signed (RFC 1847 2.1).
func (d *draftWriter) signed(body *node) (*node, error) {
	sig, err := d.SignBody(body)
	if err != nil {
		return nil, fmt.Errorf("mime: signing the body: %w", err)
	}
	if sig == nil || len(sig.Data) == 0 {
		return nil, &DraftError{"SignBody", "gave no signature"}
	}
	typ := strings.ToLower(sig.Protocol)
	if !isMediaType(typ) || strings.HasPrefix(typ, "multipart/") || len(typ) > foldColumn-20 {
		return nil, &DraftError{"SignBody", "not a media type: " + quoteShort(sig.Protocol)}
	}
	if sig.MicAlg == "" || !isMediaType("x/"+sig.MicAlg) || len(sig.MicAlg) > maxQuotedPhrase {
		return nil, &DraftError{"SignBody", "not a digest: " + quoteShort(sig.MicAlg)}
	}
	var f folder
	f.field("Content-Type")
	f.token(typ)
	name := strings.TrimSpace(cleanText(sig.Name))
	if name != "" {
		f.param("name", asciiName(name))
	}
	f.end()
	f.field("Content-Disposition")
	f.token("attachment")
	if name != "" {
		f.param("filename", name)
	}
	f.end()
	f.field("Content-Transfer-Encoding")
	part := &node{}
	text := strings.ReplaceAll(string(sig.Data), "\r\n", "\n")
	if s := shapeOf(text, maxLine); s.high == 0 && !s.long && !s.control && !s.escapes && strings.IndexByte(text, '\r') < 0 { // ASCII armour
		f.token("7bit")
		part.body = []byte(strings.ReplaceAll(text, "\n", "\r\n"))
	} else {
		f.token("base64")
		part.body = base64Body(sig.Data)
	}
	f.end()
	part.header = f.b
	return container("multipart/signed", []*node{body, part}, "protocol", typ, "micalg", sig.MicAlg), nil
}

// sign puts what f returns before the header.
func (c *Composed) sign(f func(io.WriterTo) ([]byte, error)) error {
	fields, err := f(c)
	if err != nil {
		return fmt.Errorf("mime: signing the message: %w", err)
	}
	// What is no clean field would tear the header apart.
	if err := checkFields(fields); err != nil {
		return err
	}
	c.root.header = append(bytes.Clone(fields), c.root.header...)
	return nil
}

func checkFields(fields []byte) error {
	for rest := fields; len(rest) > 0; {
		line, after, ok := bytes.Cut(rest, []byte("\r\n"))
		name, _ := fieldName(line)
		blank := len(bytes.Trim(line, " \t")) == 0
		folded := len(line) > 0 && (line[0] == ' ' || line[0] == '\t') && len(rest) < len(fields)
		if !ok || blank || name == 0 && !folded || !isASCII(line) || len(line) > maxLine || bytes.ContainsAny(line, "\r\n\x00") {
			return &DraftError{"Sign", "gave no header field: " + quoteShort(string(line))}
		}
		rest = after
	}
	return nil
}
