package driver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/maildriver/maildriver/mime"
)

// The original text file: the header with each field decoded and on one line,
// then for each plain text part that is neither embedded nor marked inline an
// empty line and the part's text, all in UTF-8 with LF line ends.

func (b *builder) beginOriginal(root *mime.Part) error {
	out, err := b.files.originalText()
	if err != nil {
		return err
	}
	b.orig = out
	b.all = append(b.all, out)
	var buf bytes.Buffer
	for f := range root.Header.Fields() {
		fmt.Fprintf(&buf, "%s: %s\n", f.Name, strings.TrimSpace(mime.DecodeText(f.Value)))
	}
	return b.writeOriginal(buf.Bytes())
}

func (b *builder) writeOriginal(p []byte) error {
	n, err := b.orig.Write(p)
	b.origSize += int64(n)
	return err
}

func (b *builder) finishOriginal() error {
	if err := b.orig.Commit(); err != nil {
		return err
	}
	b.ev.Files = append(b.ev.Files, File{
		Path: b.files.path(b.orig.Name()), Name: "OriginalMessageText.txt", Type: "text", Subtype: "plain",
		Charset: "utf-8", Supplemental: true, Generated: true, Size: b.origSize,
		whole: b.text != nil && b.text.over,
	})
	return nil
}

// openOriginalText opens the text in an original text file, without the header
// before it.
func openOriginalText(path string) (io.ReadCloser, error) {
	f, err := os.Open(path) //nolint:gosec // a file that the driver made
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(f)
	for start := true; ; {
		piece, err := r.ReadSlice('\n')
		if start && len(piece) == 1 && err == nil { // the empty line
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				break
			}
			_ = f.Close()
			return nil, err
		}
		start = err == nil
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

// originalSection writes one text part to the original text file.
type originalSection struct {
	b     *builder
	begun bool
	crlf  lineEnds
}

func (o *originalSection) Write(p []byte) (int, error) {
	if !o.begun {
		o.begun = true
		if err := o.b.writeOriginal([]byte("\n")); err != nil {
			return 0, err
		}
	}
	if err := o.b.writeOriginal(o.crlf.convert(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// lineEnds turns CRLF into LF across writes: a CR is held back until what
// follows it is known.
type lineEnds struct {
	cr  bool
	buf []byte
}

func (l *lineEnds) convert(p []byte) []byte {
	l.buf = slices.Grow(l.buf[:0], len(p)+1)
	for len(p) > 0 {
		if l.cr {
			if p[0] != '\n' {
				l.buf = append(l.buf, '\r')
			}
			l.cr = false
		}
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			l.buf = append(l.buf, p...)
			break
		}
		l.buf = append(l.buf, p[:i]...)
		l.cr = true
		p = p[i+1:]
	}
	return l.buf
}

// embeddedXML writes an embedded message as EmbeddedMsgX.xml:
//
//	<?xml version="1.0" encoding="UTF-8"?>
//	<EmbeddedMessage>
//	<Header>
//	<Field Name="Subject">decoded value</Field>
//	</Header>
//	<Text Part="2.1" Charset="utf-8">the text</Text>
//	</EmbeddedMessage>
type embeddedXML struct {
	w      io.Writer
	err    error
	inText bool
}

func newEmbeddedXML(w io.Writer) *embeddedXML {
	x := &embeddedXML{w: w}
	x.printf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<EmbeddedMessage>\n")
	return x
}

func (x *embeddedXML) printf(format string, args ...any) {
	if x.err == nil {
		_, x.err = fmt.Fprintf(x.w, format, args...)
	}
}

func (x *embeddedXML) header(h mime.Header) {
	x.endText()
	x.printf("<Header>\n")
	for f := range h.Fields() {
		x.printf("<Field Name=\"%s\">%s</Field>\n", xmlText(f.Name), xmlText(strings.TrimSpace(mime.DecodeText(f.Value))))
	}
	x.printf("</Header>\n")
}

func (x *embeddedXML) text(p *mime.Part) io.Writer {
	x.endText()
	x.printf("<Text Part=\"%s\" Charset=\"%s\">", xmlText(p.Path), xmlText(p.Charset))
	x.inText = true
	return &xmlWriter{x: x}
}

func (x *embeddedXML) endText() {
	if x.inText {
		x.printf("</Text>\n")
		x.inText = false
	}
}

func (x *embeddedXML) close() error {
	x.endText()
	x.printf("</EmbeddedMessage>\n")
	return x.err
}

func xmlText(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '"':
			b.WriteString("&quot;")
		case r == '\r':
			b.WriteString("&#13;")
		case r < ' ' && r != '\n' && r != '\t', r == 0xfffe, r == 0xffff:
			b.WriteRune(utf8.RuneError) // XML 1.0 section 2.2 has no such character
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// xmlWriter escapes text that may be cut anywhere, also inside a rune.
type xmlWriter struct {
	x    *embeddedXML
	crlf lineEnds
	part []byte
}

func (w *xmlWriter) Write(p []byte) (int, error) {
	data := append(w.part, w.crlf.convert(p)...)
	end := len(data)
	for back := 1; back < utf8.UTFMax && back <= len(data); back++ {
		if c := data[len(data)-back]; utf8.RuneStart(c) {
			if !utf8.FullRune(data[len(data)-back:]) {
				end = len(data) - back
			}
			break
		}
	}
	w.x.printf("%s", xmlText(string(data[:end])))
	w.part = append([]byte(nil), data[end:]...)
	return len(p), w.x.err
}

// bodyWriter keeps a body in memory up to a limit; what is longer goes, all of
// it, to the writer that spill opens, if any.
type bodyWriter struct {
	buf   []byte
	max   int64
	over  bool
	spill func() (io.Writer, error)
	to    io.Writer
}

func newBodyWriter(limit int64) *bodyWriter { return &bodyWriter{max: limit} }

func (w *bodyWriter) Write(p []byte) (int, error) {
	if room := w.max - int64(len(w.buf)); !w.over && int64(len(p)) > room {
		w.over = true
		if w.spill != nil {
			to, err := w.spill()
			if err != nil {
				return 0, err
			}
			w.to = to
			if _, err := to.Write(w.buf); err != nil {
				return 0, err
			}
		}
		w.buf = append(w.buf, p[:room]...)
	} else if !w.over {
		w.buf = append(w.buf, p...)
	}
	if w.to != nil {
		return w.to.Write(p)
	}
	return len(p), nil
}

// String returns the body, cut at a whole character.
func (w *bodyWriter) String() string {
	b := w.buf
	if w.over {
		for n := 0; n < utf8.UTFMax && len(b) > 0 && !utf8.Valid(b[max(0, len(b)-utf8.UTFMax):]) && !utf8.RuneStart(b[len(b)-1]); n++ {
			b = b[:len(b)-1]
		}
		if len(b) > 0 && !utf8.FullRune(b[len(b)-1:]) {
			b = b[:len(b)-1]
		}
	}
	return string(b)
}

// cappedBuffer keeps the first max bytes and swallows the rest.
type cappedBuffer struct {
	buf []byte
	max int
}

func (c *cappedBuffer) Write(p []byte) (int, error) {
	c.buf = append(c.buf, p[:min(len(p), c.max-len(c.buf))]...)
	return len(p), nil
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
