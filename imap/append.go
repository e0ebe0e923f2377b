package imap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// Append puts a mail of size bytes, with CRLF line ends, into a folder. It
// returns the mail's id in the form UIDVALIDITY.UID, "" where the server does
// not tell (no UIDPLUS). r is read once; if it does not have that many bytes,
// the session ends.
func (f *Folders) Append(ctx context.Context, path string, r io.Reader, size int64, opts ...AppendOption) (driver.ID, error) {
	var set appendSettings
	for _, o := range opts {
		o(&set)
	}
	defer f.s.watch(ctx)()
	name, err := f.s.resolve(path)
	if err != nil {
		return "", err
	}
	return f.s.append(name, r, size, set)
}

// AppendMessage puts a copy of a message that was sent into a folder, marked
// as read: [RoleSent]'s if path is "".
func (f *Folders) AppendMessage(ctx context.Context, path string, m *driver.Message) (driver.ID, error) {
	if path == "" {
		var err error
		if path, err = f.ByRole(ctx, RoleSent); err != nil {
			return "", err
		}
		if path == "" {
			path = "Sent"
		}
	}
	// A literal's length comes before it, and m.Open gives any line ends: the
	// first reading counts.
	local := func(err error) error { return f.s.wrap("append", driver.KindLocal, err) }
	var size int64
	var id driver.ID
	for _, read := range []func(io.Reader) error{
		func(r io.Reader) (err error) { size, err = io.Copy(io.Discard, r); return err },
		func(r io.Reader) (err error) {
			id, err = f.Append(ctx, path, r, size, AppendFlags(`\Seen`))
			return err
		},
	} {
		r, err := m.Open()
		if err != nil {
			return "", local(err)
		}
		err = read(&crlfReader{r: bufio.NewReader(r)})
		_ = r.Close()
		if de, ok := errors.AsType[*driver.Error](err); ok {
			return "", de
		}
		if err != nil {
			return "", local(err)
		}
	}
	return id, nil
}

// A crlfReader ends every line with CRLF.
type crlfReader struct {
	r    *bufio.Reader
	held bool // an LF is due
	last byte
}

func (c *crlfReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if c.held {
			p[n], c.held, c.last = '\n', false, '\n'
			n++
			continue
		}
		b, err := c.r.ReadByte()
		if err != nil {
			if n > 0 && errors.Is(err, io.EOF) {
				return n, nil
			}
			return n, err
		}
		if b == '\n' && c.last != '\r' {
			b, c.held = '\r', true
		}
		p[n], c.last = b, b
		n++
	}
	return n, nil
}

// append runs APPEND (RFC 3501 section 6.3.11), the content streamed.
func (s *session) append(name string, r io.Reader, size int64, set appendSettings) (driver.ID, error) {
	if size < 0 {
		return "", s.wrap("append", driver.KindConfig, fmt.Errorf("a mail of %d bytes", size))
	}
	args := []part{s.folderArg(name)}
	for _, flag := range set.flags {
		if !isAtom(strings.TrimPrefix(flag, `\`)) {
			return "", s.wrap("append", driver.KindConfig, fmt.Errorf("%q is not a flag", flag))
		}
	}
	if len(set.flags) > 0 {
		args = append(args, raw("("+strings.Join(set.flags, " ")+")"))
	}
	if !set.date.IsZero() {
		args = append(args, raw(quote(set.date.Format("_2-Jan-2006 15:04:05 -0700"))))
	}
	tag, err := s.start("APPEND", args, size)
	if err != nil {
		return "", err
	}
	n, err := io.Copy(writerOnly{s.conn}, io.LimitReader(r, size))
	if err == nil && n < size {
		err = fmt.Errorf("the mail has %d bytes, %d were announced", n, size)
	}
	if err != nil {
		if s.conn.Err() != nil {
			return "", s.broken("append", s.conn.Err())
		}
		return "", s.fail(s.wrap("append", driver.KindLocal, err))
	}
	if _, err := io.WriteString(s.conn, "\r\n"); err != nil {
		return "", s.broken("append", err)
	}
	if err := s.conn.Flush(); err != nil {
		return "", s.broken("append", err)
	}
	st, err := s.await("APPEND", tag, nil)
	if err != nil {
		return "", err
	}
	if v, uid, ok := strings.Cut(st.args, " "); ok && st.code == "APPENDUID" {
		validity, _, ok1 := parseNumber([]byte(v))
		number, _, ok2 := parseNumber([]byte(uid))
		if ok1 && ok2 {
			return formatID(validity, number), nil
		}
	}
	return "", nil
}

type writerOnly struct{ io.Writer }

// start writes a command whose last argument is a literal that the caller
// streams, and waits for the server's consent.
func (s *session) start(name string, args []part, size int64) (tag string, err error) {
	if s.err != nil {
		return "", s.err
	}
	if err := s.settle(); err != nil {
		return "", err
	}
	s.tags++
	tag = "A" + strconv.Itoa(s.tags)
	line := tag + " " + name
	for _, p := range args {
		if strings.ContainsAny(p.text, "\x00\r\n") {
			return "", s.wrap(opOf(name), driver.KindConfig, errors.New("an argument holds a line end or NUL"))
		}
		text := p.text
		if p.string {
			if !quotable(text) {
				if err := s.literal(opOf(name), line+" ", int64(len(text))); err != nil {
					return "", err
				}
				line = text
				continue
			}
			text = quote(text)
		}
		line += " " + text
	}
	return tag, s.literal(opOf(name), line+" ", size)
}
