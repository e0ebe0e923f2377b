package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/maildriver/maildriver/driver"
)

const (
	copyBlock = 64 << 10
	// keepBytes is the largest message that is held in memory instead of being
	// read twice.
	keepBytes = 64 << 10
	// maxHeaderScan is how far a Message-ID is looked for.
	maxHeaderScan = 64 << 10
)

var blocks = sync.Pool{New: func() any { b := make([]byte, copyBlock); return &b }}

// A content is a message's bytes, whose facts are known.
type content struct {
	facts
	// open gives canonical bytes from the start.
	open func() (io.ReadCloser, error)
	// streamed says that open reads the host's Message.Open again, whose bytes
	// are canonicalized on the way and may differ from those first read.
	streamed bool
}

// A localError is a failure to read the message or to keep its file.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

// scan reads the message once, to know its facts. Canonical bytes go to file
// if that is not nil; a small message stays in memory.
func scan(ctx context.Context, open func() (io.ReadCloser, error), file io.Writer) (*content, error) {
	var kept bytes.Buffer
	w := file
	if file == nil {
		w = &limitedBuffer{&kept}
	}
	c := &canonicalizer{w: w}
	if err := copyFrom(ctx, c, open); err != nil {
		return nil, err
	}
	if err := c.Close(); err != nil {
		return nil, &localError{err}
	}
	out := &content{facts: c.facts}
	switch {
	case file != nil: // the caller knows how to open it
	case c.size <= keepBytes:
		out.open = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(kept.Bytes())), nil }
	default:
		out.open, out.streamed = open, true
	}
	return out, nil
}

// limitedBuffer keeps the first keepBytes and forgets the rest.
type limitedBuffer struct{ b *bytes.Buffer }

func (l *limitedBuffer) Write(p []byte) (int, error) {
	if room := keepBytes - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// copyFrom copies what open gives into w, block by block, until ctx ends.
func copyFrom(ctx context.Context, w io.Writer, open func() (io.ReadCloser, error)) (err error) {
	r, err := open()
	if err != nil {
		return &localError{fmt.Errorf("opening the message: %w", err)}
	}
	defer func() {
		if cerr := r.Close(); err == nil && cerr != nil {
			err = &localError{fmt.Errorf("reading the message: %w", cerr)}
		}
	}()
	block := blocks.Get().(*[]byte)
	defer blocks.Put(block)
	for empty := 0; ; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, rerr := r.Read(*block)
		if n > 0 {
			empty = 0
			if _, err := w.Write((*block)[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(rerr, io.EOF):
			return nil
		case rerr != nil:
			return &localError{fmt.Errorf("reading the message: %w", rerr)}
		case n == 0:
			if empty++; empty > 100 {
				return &localError{fmt.Errorf("reading the message: %w", io.ErrNoProgress)}
			}
		}
	}
}

// check reports whether the content may be sent to a server with these
// extensions (A11). Content is never altered to fit.
func (c *content) check(x *extensions, maxLine int) error {
	switch {
	case c.nul:
		return &ContentError{Problem: "a NUL octet, which may not be sent (RFC 5322 section 2.2)"}
	case maxLine > 0 && c.longest > maxLine:
		return &ContentError{
			Problem: fmt.Sprintf("a line of %d octets, limit %d (RFC 5321 section 4.5.3.1.6)", c.longest, maxLine),
			Limit:   maxLine,
		}
	case c.eightBit && !x.has("8BITMIME"):
		return &ExtensionError{"8BITMIME", "the message holds 8-bit octets and"}
	case x.maxSize > 0 && c.size > x.maxSize:
		return &SizeError{c.size, x.maxSize}
	}
	return nil
}

var errChanged = errors.New("the message changed between two readings")

// transmit writes the content, dot-stuffed, to w.
func (c *content) transmit(ctx context.Context, w io.Writer) error {
	s := &stuffer{w: w}
	if !c.streamed {
		return copyFrom(ctx, s, c.open)
	}
	again := &canonicalizer{w: s}
	if err := copyFrom(ctx, again, c.open); err != nil {
		return err
	}
	if err := again.Close(); err != nil {
		return err
	}
	if again.facts != c.facts {
		return &localError{errChanged}
	}
	return nil
}

// messageID finds the Message-ID of the header, without angle brackets.
func (c *content) messageID() string {
	r, err := c.open()
	if err != nil {
		return ""
	}
	head, err := io.ReadAll(io.LimitReader(r, maxHeaderScan))
	_ = r.Close()
	if err != nil {
		return ""
	}
	head = bytes.ReplaceAll(head, crlf, []byte("\n"))
	value := ""
	for line := range strings.SplitSeq(string(head), "\n") {
		if line == "" {
			break
		}
		if value == "" && line[0] != ' ' && line[0] != '\t' {
			if v, ok := cutPrefixFold(line, "Message-ID:"); ok {
				value = " " + v
			}
			continue
		}
		if value != "" {
			if line[0] != ' ' && line[0] != '\t' {
				break
			}
			value += line
		}
	}
	_, value, _ = strings.Cut(value, "<")
	value, _, ok := strings.Cut(value, ">")
	if !ok {
		return ""
	}
	return strings.TrimSpace(value)
}

// sourceFailure classifies an error of scan or transmit that is not the
// connection's.
func sourceFailure(op string, err error) *failure {
	if _, ok := errors.AsType[*localError](err); ok {
		return &failure{op, driver.KindLocal, driver.DeliveryDeferred, err}
	}
	return failed(op, err)
}
