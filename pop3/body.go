package pop3

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/maildriver/maildriver/driver"
)

// maxDrain bounds what is read and thrown away to keep a session in step; past
// it a new connection is cheaper.
const maxDrain = 64 << 20

// A body reads the lines of a multi-line reply, straight from the connection.
type body struct {
	s    *session
	op   string
	un   unstuffer
	max  int64 // content bytes that Read gives at most; < 0: no limit
	got  int64
	kind driver.Kind // of the error for content that is longer than max
	over error       // that error, once it was met
	err  error       // what Read ended with
}

func (s *session) newBody(op string, limit int64) *body {
	s.conn.StartBody()
	return &body{s: s, op: op, max: limit, kind: driver.KindProtocol}
}

// Read gives content. io.EOF means that the terminator was seen, and nothing
// else means that. An error of driver.ErrLimit leaves the rest to drain.
func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.err != nil:
		return 0, b.err
	case b.over != nil:
		return 0, b.over
	case len(p) == 0:
		return 0, nil
	}
	var probe [1]byte
	probing := false
	if b.max >= 0 {
		if left := b.max - b.got; left == 0 {
			p, probing = probe[:], true // the end may still be next
		} else if int64(len(p)) > left {
			p = p[:left]
		}
	}
	n, err := b.read(p)
	if probing && n > 0 {
		b.over = b.s.wrap(b.op, b.kind, fmt.Errorf("longer than %d bytes: %w", b.max, driver.ErrLimit))
		return 0, b.over
	}
	b.got += int64(n)
	return n, err
}

func (b *body) read(p []byte) (int, error) {
	for b.err == nil {
		src, err := b.s.conn.Peek()
		if err != nil {
			b.err = b.s.broken(b.op, err)
			break
		}
		wrote, took := b.un.next(p, src)
		b.s.conn.Discard(took)
		if b.un.at == atEnd {
			b.err = io.EOF
		}
		if wrote > 0 {
			return wrote, nil
		}
	}
	return 0, b.err
}

// drain reads to the terminator, so that the next reply can be read. A reply
// that is too long for that ends the session.
func (b *body) drain() error {
	var scratch [8 << 10]byte
	for left := maxDrain; b.err == nil; {
		if left <= 0 {
			b.err = b.s.fail(b.s.wrap(b.op, driver.KindProtocol, fmt.Errorf("more than %d bytes nobody wants: %w", maxDrain, driver.ErrLimit)))
			break
		}
		n, _ := b.read(scratch[:])
		left -= n
	}
	if errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.err
}

// lines calls each for every line of a reply, without its CRLF. A line longer
// than maxLine, more lines than maxLines, and whatever each refuses are errors
// of the protocol and end the session: the reply must be whole and right, or
// it is nothing.
func (b *body) lines(maxLine, maxLines int, each func(line []byte) error) error {
	r := bufio.NewReaderSize(b, maxLine+2)
	for n := 0; ; n++ {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			return b.refuse(fmt.Errorf("line longer than %d bytes: %w", maxLine, driver.ErrLimit))
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case n == maxLines:
			return b.refuse(fmt.Errorf("more than %d lines: %w", maxLines, driver.ErrLimit))
		}
		text, ok := bytes.CutSuffix(line, lineThenDot[:2])
		if !ok {
			return b.refuse(errors.New("a line ends in LF without CR"))
		}
		if err := each(text); err != nil {
			return b.refuse(err)
		}
	}
}

func (b *body) refuse(err error) error {
	return b.s.fail(b.s.wrap(b.op, driver.KindProtocol, err))
}
