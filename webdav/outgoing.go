package webdav

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// An outgoing reads a message as it goes to the server: CRLF line ends, and
// without the fields that name blind copies. Lines may be of any length.
type outgoing struct {
	src  io.Closer
	r    *bufio.Reader // of lines that end with CRLF
	out  bytes.Buffer  // of the next chunk
	body bool          // the header is over
	skip bool          // within a field that is left out
	part bool          // the last chunk did not end a line
	err  error
}

const outChunk = 32 << 10

func newOutgoing(src io.ReadCloser) *outgoing {
	return &outgoing{src: src, r: bufio.NewReaderSize(&lineEnds{r: src}, outChunk)}
}

func (o *outgoing) Close() error { return o.src.Close() }

func (o *outgoing) Read(p []byte) (int, error) {
	for o.out.Len() < outChunk && o.err == nil {
		o.fill()
	}
	if o.out.Len() == 0 {
		return 0, o.err
	}
	return o.out.Read(p)
}

// fill takes a line, or what the buffer holds of one, into out.
func (o *outgoing) fill() {
	chunk, err := o.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		o.err = err
	}
	if len(chunk) == 0 {
		return
	}
	if !o.body && !o.part {
		o.header(chunk)
	}
	if !o.skip {
		o.out.Write(chunk)
	}
	o.part = chunk[len(chunk)-1] != '\n'
}

// header looks at the beginning of a header line.
func (o *outgoing) header(line []byte) {
	switch {
	case len(line) == 2 && line[0] == '\r':
		o.body, o.skip = true, false
		return
	case line[0] == ' ' || line[0] == '\t':
		return // goes with the field before
	}
	name, _, found := strings.Cut(string(line[:min(len(line), 256)]), ":")
	name = strings.TrimRight(name, " \t")
	o.skip = found && (strings.EqualFold(name, "Bcc") || strings.EqualFold(name, "Resent-Bcc"))
}

// lineEnds makes every line end of a text CRLF: a bare CR or LF too, and there
// is one behind the last line.
type lineEnds struct {
	r    io.Reader
	buf  [outChunk / 2]byte
	out  bytes.Buffer
	cr   bool // the last byte was a CR
	open bool // the last line has no end
	err  error
}

func (l *lineEnds) Read(p []byte) (int, error) {
	for l.out.Len() == 0 {
		if l.err != nil {
			return 0, l.err
		}
		n, err := l.r.Read(l.buf[:])
		l.take(l.buf[:n])
		if l.err = err; errors.Is(err, io.EOF) && l.open {
			l.out.WriteString("\r\n")
		}
	}
	return l.out.Read(p)
}

func (l *lineEnds) take(b []byte) {
	for len(b) > 0 {
		i := bytes.IndexAny(b, "\r\n")
		if i < 0 {
			l.out.Write(b)
			l.cr, l.open = false, true
			return
		}
		l.out.Write(b[:i])
		if b[i] == '\r' || i > 0 || !l.cr { // the LF of a CRLF was counted with its CR
			l.out.WriteString("\r\n")
		}
		l.cr, l.open = b[i] == '\r', false
		b = b[i+1:]
	}
}
