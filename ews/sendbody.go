package ews

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/maildriver/maildriver/driver"
)

// A content is a message on its way into a request: without its Bcc fields, with
// CRLF line ends, in base64, read anew for each try.
type content struct {
	open   func() (io.ReadCloser, error)
	binary bool  // the body's line ends stay as they are
	size   int64 // in base64
	tail   []byte

	mu  sync.Mutex
	err error // why a reader could not be read
}

// measure reads the message once, to know how long it is, and gives its header.
func (c *content) measure() (header []byte, err error) {
	r, err := c.open()
	if err != nil {
		return nil, err
	}
	var head headCatcher
	n, err := io.Copy(&head, newCanonical(r, c.binary))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	c.size = (n + 2) / 3 * 4
	return head.head, err
}

// failure is why the message could not be read, nil if it could.
func (c *content) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *content) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

// attach makes the message part of a request: between head with the start of
// the operation, and the rest of both.
func (c *content) attach(req *http.Request, head, operation []byte) error {
	start := append(bytes.Clone(head), operation...)
	end := append(bytes.Clone(c.tail), envelopeEnd...)
	get := func() (io.ReadCloser, error) {
		r, err := c.open()
		if err != nil {
			c.fail(err)
			return nil, err
		}
		enc := &base64Source{r: newCanonical(r, c.binary), left: c.size}
		return &contentReader{Reader: io.MultiReader(bytes.NewReader(start), enc, bytes.NewReader(end)), c: c, rc: r}, nil
	}
	body, err := get()
	if err != nil {
		return err
	}
	req.Body, req.GetBody = body, get
	req.ContentLength = int64(len(start)) + c.size + int64(len(end))
	return nil
}

type contentReader struct {
	io.Reader
	c      *content
	rc     io.Closer
	closed atomic.Bool
}

// Read notes why the message cannot be read. What comes after Close is none of
// its faults: net/http closes the body of a request that the server has cut
// short or answered early, while another goroutine may still read it.
func (r *contentReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !r.closed.Load() {
		r.c.fail(err)
	}
	return n, err
}

func (r *contentReader) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	return r.rc.Close()
}

// errChanged says that a message is not as long as when it was measured.
var errChanged = errors.New("the message changed while it was sent")

// base64Source encodes what it reads.
type base64Source struct {
	r    io.Reader
	left int64 // that must come yet
	raw  [24 << 10]byte
	text [32 << 10]byte
	out  []byte
	err  error
}

func (b *base64Source) Read(p []byte) (int, error) {
	for len(b.out) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		n, err := io.ReadFull(b.r, b.raw[:])
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		b.err = err
		m := base64.StdEncoding.EncodedLen(n)
		base64.StdEncoding.Encode(b.text[:], b.raw[:n])
		b.out = b.text[:m]
		b.left -= int64(m)
		if b.left < 0 || errors.Is(err, io.EOF) && b.left != 0 {
			b.err, b.out = errChanged, nil
		}
	}
	n := copy(p, b.out)
	b.out = b.out[n:]
	return n, nil
}

// A canonical gives a message with CRLF line ends and without its Bcc fields
// (RFC 5322 section 3.6.3), in bounded memory.
type canonical struct {
	r       *bufio.Reader
	inBody  bool
	start   bool   // at the start of a line of the header
	dropped bool   // in a Bcc field
	binary  bool   // the body is left as it is
	text    []byte // of the line at hand
	buf     []byte // what of it was not read yet
	err     error
}

func newCanonical(r io.Reader, binary bool) *canonical {
	return &canonical{r: bufio.NewReaderSize(r, 32<<10), start: true, binary: binary}
}

func (c *canonical) Read(p []byte) (int, error) {
	for len(c.buf) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.fill()
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	return n, nil
}

// fill gets the next line, or a part of it that fits into the buffer.
func (c *canonical) fill() {
	line, err := c.line()
	if err != nil {
		c.err = err
	}
	if len(line) == 0 {
		return
	}
	if c.inBody && c.binary {
		c.buf = line
		return
	}
	if !c.inBody && c.start {
		switch {
		case line[0] == '\n':
			c.inBody, c.dropped = true, false
		case line[0] == ' ', line[0] == '\t':
		default:
			name, _, _ := bytes.Cut(line, []byte(":"))
			name = bytes.TrimRight(name, " \t")
			c.dropped = strings.EqualFold(string(name), "bcc") || strings.EqualFold(string(name), "resent-bcc")
		}
	}
	ended := line[len(line)-1] == '\n'
	c.start = ended
	if c.dropped {
		return
	}
	if ended {
		c.text = append(line[:len(line)-1], "\r\n"...)
		line = c.text
	}
	c.buf = line
}

// maxFieldName is more than the name of any field that is looked for.
const maxFieldName = 64

// line gives text up to a line end, which it makes a single LF: CRLF, LF and a
// lone CR are line ends. A line that does not fit into the buffer comes in parts.
func (c *canonical) line() ([]byte, error) {
	if _, err := c.r.Peek(1); err != nil {
		return nil, err
	}
	if !c.inBody && c.start {
		_, _ = c.r.Peek(maxFieldName) // the name of a field is seen whole
	}
	buf, _ := c.r.Peek(c.r.Buffered())
	i := bytes.IndexAny(buf, "\r\n")
	if i < 0 || c.inBody && c.binary {
		c.text = append(c.text[:0], buf...)
		_, _ = c.r.Discard(len(buf))
		return c.text, nil
	}
	c.text = append(append(c.text[:0], buf[:i]...), '\n')
	cr := buf[i] == '\r'
	_, _ = c.r.Discard(i + 1)
	if cr {
		if next, _ := c.r.Peek(1); len(next) == 1 && next[0] == '\n' {
			_, _ = c.r.Discard(1)
		}
	}
	return c.text, nil
}

// maxHeader bounds the header of a message to send.
const maxHeader = 1 << 20

// errHeader says that the header of a message is too long to be looked at.
var errHeader = fmt.Errorf("%w: the header of the message is longer than %d bytes", driver.ErrLimit, maxHeader)

// A headCatcher keeps the header of what is written to it.
type headCatcher struct {
	head []byte
	over bool // the empty line was seen
}

func (h *headCatcher) Write(p []byte) (int, error) {
	if h.over {
		return len(p), nil
	}
	seen := max(len(h.head)-3, 0)
	h.head = append(h.head, p...)
	if bytes.HasPrefix(h.head, []byte("\r\n")) {
		h.head, h.over = nil, true
	} else if i := bytes.Index(h.head[seen:], []byte("\r\n\r\n")); i >= 0 {
		h.head, h.over = h.head[:seen+i+4], true
	} else if len(h.head) > maxHeader {
		return 0, errHeader
	}
	return len(p), nil
}
