package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/maildriver/maildriver/mime"
)

// plan finds the edits that make a message fit: without 8-bit octets unless
// allow8, without NUL and bare line ends, without lines over maxLine (0: any).
//
// Only bodies of leaves are re-encoded, in quoted-printable or base64, and the
// encodings that headers name are corrected. Nothing inside a multipart/signed
// is touched, as the signature would break (RFC 1847 section 2.1), and no
// header is rewritten otherwise: a message that needs that is refused with a
// typed error. A DKIM signature of the whole message does not survive.
func plan(ctx context.Context, c *content, allow8 bool, maxLine int) ([]edit, error) {
	root, err := parse(ctx, c)
	if err != nil {
		return nil, err
	}
	regions := regionsOf(root)
	between, err := inspect(ctx, c, regions)
	if err != nil {
		return nil, err
	}
	unfit := func(r *region) error { return r.unfit(allow8, maxLine) }
	if err := unfit(between); err != nil {
		return nil, fmt.Errorf("between its parts: %w", err)
	}
	encodings := make(map[*mime.Part]string)
	changed := make(map[*mime.Part]bool)
	for i := range regions {
		r := &regions[i]
		err := unfit(r)
		if err == nil {
			continue
		}
		switch {
		case !r.body:
			return nil, headerProblem(err)
		case !separate(r.part):
			return nil, &ContentError{Problem: "a multipart whose parts cannot be told, so that it cannot be re-encoded: " + err.Error()}
		case r.part.Encoding == "base64" || r.part.Encoding == "quoted-printable":
			return nil, fmt.Errorf("a part that says it is in %s: %w", r.part.Encoding, err)
		case signed(r.part):
			return nil, fmt.Errorf("a signed part, which cannot be re-encoded: %w", err)
		}
		encodings[r.part] = r.encoding()
		for p := r.part; p != nil; p = p.Parent {
			changed[p] = true
		}
	}
	var edits []edit
	for i := range regions {
		r := &regions[i]
		enc := encodings[r.part]
		switch {
		case r.body && enc != "":
			edits = append(edits, edit{from: r.from, to: r.to, encoding: enc})
		case !r.body && (enc != "" || changed[r.part]):
			edits = append(edits, headerEdits(r, enc, allow8, regions)...)
		}
	}
	return edits, nil
}

// parse gives the tree of the message, with the places of its parts.
func parse(ctx context.Context, c *content) (*mime.Part, error) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.CloseWithError(c.emit(ctx, w))
	}()
	root, err := mime.Parse(r, nil)
	_ = r.CloseWithError(errEnough)
	<-done
	if _, ok := errors.AsType[*mime.LimitError](err); ok {
		return nil, &ContentError{Problem: "parts that cannot be re-encoded for this server: " + err.Error()}
	}
	return root, err
}

// headerEdits gives the header of r's part the encoding enc. A container gets
// the one that its content still needs.
func headerEdits(r *region, enc string, allow8 bool, regions []region) []edit {
	if enc == "" {
		switch r.part.Encoding {
		case "8bit", "binary":
		default:
			return nil
		}
		if allow8 {
			enc = "8bit"
		} else {
			enc = "7bit"
		}
	}
	raw := string(r.part.Header.Raw())
	var edits []edit
	at := r.from
	dropping, typed := false, false
	for line := range strings.Lines(raw) {
		if line[0] != ' ' && line[0] != '\t' {
			dropping = isField(line, "Content-Transfer-Encoding")
			typed = typed || isField(line, "Content-Type")
		}
		if dropping {
			edits = append(edits, edit{from: at, to: at + int64(len(line))})
		}
		at += int64(len(line))
	}
	text := "Content-Transfer-Encoding: " + enc + "\r\n"
	if r.part.Parent == nil && !r.part.Header.Has("MIME-Version") {
		text = "MIME-Version: 1.0\r\n" + text
	}
	if !typed && len(r.part.Children) == 0 {
		text += "Content-Type: text/plain; charset=" + charsetOf(r.part, regions) + "\r\n"
	}
	if len(edits) > 0 {
		// In place of the last field that it replaces: in a header with lines that
		// are no fields, one behind them may be what makes them part of it.
		edits[len(edits)-1].text = text
		return edits
	}
	if r.from == r.to { // there is no header, nor the line that ends one
		text += "\r\n"
	}
	return []edit{{from: r.from, to: r.from, text: text}}
}

// isField tells a field by its name, behind which there may be blanks (RFC 5322
// section 4.5).
func isField(line, name string) bool {
	rest, ok := cutPrefixFold(line, name)
	return ok && strings.HasPrefix(strings.TrimLeft(rest, " \t"), ":")
}

// charsetOf names the charset of 8-bit text that says none (RFC 1428).
func charsetOf(p *mime.Part, regions []region) string {
	for i := range regions {
		if regions[i].part == p && regions[i].body && !regions[i].notUTF8 {
			return "utf-8"
		}
	}
	return "unknown-8bit"
}

// separate reports whether p is a part that can have an encoding of its own. A
// multipart has none but 7bit, 8bit and binary (RFC 2045 section 6.4), and the
// text of one whose delimiters are lost has no header to name one.
func separate(p *mime.Part) bool {
	lost := p.Parent != nil && p.Parent.IsMultipart() && p.Header.Len() == 0 && p.Offset == p.BodyOffset
	return !p.IsMultipart() && !lost
}

func signed(p *mime.Part) bool {
	for p = p.Parent; p != nil; p = p.Parent {
		if p.Type == "multipart/signed" {
			return true
		}
	}
	return false
}

func headerProblem(err error) error {
	if _, ok := errors.AsType[*ExtensionError](err); ok {
		return &ExtensionError{"8BITMIME", "the header of the message, or of a part, holds 8-bit octets and"}
	}
	return fmt.Errorf("a header: %w", err)
}

// isContentError tells a message that cannot be sent from one that could not
// be read.
func isContentError(err error) bool {
	_, content := errors.AsType[*ContentError](err)
	_, extension := errors.AsType[*ExtensionError](err)
	return content || extension
}
