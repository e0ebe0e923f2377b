package mime

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// errNotSevenBit: an attachment's content is no longer what Compose saw.
var errNotSevenBit = errors.New("content changed after Compose: it is not 7-bit text any more")

// WriteTo writes the message, attachments streamed, and gives the number of
// bytes. The error is one of w or of an attachment, which it names.
func (c *Composed) WriteTo(w io.Writer) (int64, error) {
	return c.root.WriteTo(w)
}

type countWriter struct {
	w io.Writer
	n int64
}

func (c *countWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (n *node) write(w *bufio.Writer) error {
	if _, err := w.Write(n.header); err != nil {
		return err
	}
	if _, err := w.WriteString("\r\n"); err != nil {
		return err
	}
	switch {
	case n.open != nil:
		return n.copy(w)
	case n.boundary == "":
		_, err := w.Write(n.body)
		return err
	}
	for _, c := range n.children {
		if _, err := w.WriteString("--" + n.boundary + "\r\n"); err != nil {
			return err
		}
		if err := c.write(w); err != nil {
			return err
		}
		if _, err := w.WriteString("\r\n"); err != nil {
			return err
		}
	}
	_, err := w.WriteString("--" + n.boundary + "--\r\n")
	return err
}

// copy writes an attachment's content.
func (n *node) copy(w *bufio.Writer) (err error) {
	r, err := n.open()
	if err != nil {
		return fmt.Errorf("mime: %s: %w", n.name, err)
	}
	defer func() {
		if cerr := r.Close(); err == nil && cerr != nil {
			err = fmt.Errorf("mime: %s: %w", n.name, cerr)
		}
	}()
	var dst io.Writer
	var finish func() error
	if n.sevenBit {
		l := &lineWriter{w: w}
		dst, finish = l, l.finish
	} else {
		e := newBase64Writer(w)
		dst, finish = e, e.Close
	}
	buf := make([]byte, 48<<10)
	if _, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{r}, buf); err != nil {
		return fmt.Errorf("mime: %s: %w", n.name, err)
	}
	return finish()
}

// A lineWriter passes on 7-bit text with all line ends made CRLF, and refuses
// anything else.
type lineWriter struct {
	w   io.Writer
	cr  bool
	col int
	bad bool
	buf []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	out := l.buf[:0]
	for _, c := range p {
		if l.cr && c != '\n' {
			l.bad = true
		}
		switch {
		case c == '\n':
			out = append(out, '\r', '\n')
			l.col = 0
		case c == '\r':
		case c == 0 || c >= 0x80:
			l.bad = true
		default:
			out = append(out, c)
			if l.col++; l.col > maxLine {
				l.bad = true
			}
		}
		l.cr = c == '\r'
		if l.bad {
			return 0, errNotSevenBit
		}
	}
	l.buf = out
	if _, err := l.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// finish ends the text; a CR at the very end is refused too.
func (l *lineWriter) finish() error {
	if l.cr {
		l.bad = true
		return errNotSevenBit
	}
	return nil
}
