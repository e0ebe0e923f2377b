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
	// maxHeaderScan is how far the header is looked at.
	maxHeaderScan = 64 << 10
)

var (
	blocks = sync.Pool{New: func() any { b := make([]byte, copyBlock); return &b }}
	memory = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

// A content is a message's bytes, whose facts are known.
type content struct {
	facts
	// emit writes the bytes from the start, each time the same. They are
	// canonical, unless they are binary.
	emit func(ctx context.Context, w io.Writer) error
	// asBinary says that the content goes with BODY=BINARYMIME.
	asBinary bool
	kept     *bytes.Buffer // nil if it is not in memory
}

// release gives back the memory of a content that is not used any more.
func (c *content) release() {
	if c != nil && c.kept != nil {
		memory.Put(c.kept)
		c.kept = nil
	}
}

// binary reports whether the content is declared as binary (RFC 3030).
func (c *content) binary() bool { return c.asBinary }

// needsBinary reports whether only BINARYMIME takes the content as it is.
func (c *content) needsBinary(maxLine int) bool {
	return c.nul || c.bare || maxLine > 0 && c.longest > maxLine
}

// A localError is a failure to read the message or to keep its file.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

var errChanged = errors.New("the message changed between two readings")

// scan reads the message once, to know its facts. The bytes that go out are
// written to file if that is not nil; a small message stays in memory.
func scan(ctx context.Context, m *driver.Message, file io.Writer) (*content, error) {
	var kept *bytes.Buffer
	w := file
	if file == nil {
		kept = memory.Get().(*bytes.Buffer)
		kept.Reset()
		w = &limitedBuffer{kept}
	}
	got, head, err := pass(ctx, m, w)
	if err != nil {
		return nil, err
	}
	got.utf8Header = head.utf8()
	out := &content{facts: got, kept: kept}
	switch {
	case file != nil: // the caller knows how to read it
	case got.size <= keepBytes:
		out.emit = func(_ context.Context, w io.Writer) error {
			_, err := w.Write(kept.Bytes())
			return err
		}
	default:
		out.emit = func(ctx context.Context, w io.Writer) error {
			again, _, err := pass(ctx, m, w)
			again.utf8Header = got.utf8Header
			if err == nil && again != got {
				err = &localError{errChanged}
			}
			return err
		}
	}
	return out, nil
}

// pass reads the message and writes what goes out to w.
func pass(ctx context.Context, m *driver.Message, w io.Writer) (facts, headerWatch, error) {
	var head headerWatch
	w = &watcher{w, &head}
	if m.Binary {
		raw := &measure{}
		err := copyFrom(ctx, io.MultiWriter(raw, w), m.Open)
		raw.bare = raw.bare || raw.line > 0 || raw.cr // the last line does not end
		return raw.facts, head, err
	}
	c := &canonicalizer{w: w}
	err := copyFrom(ctx, c, m.Open)
	if err == nil {
		err = c.Close()
	}
	return c.facts, head, err
}

type watcher struct {
	w    io.Writer
	head *headerWatch
}

func (x *watcher) Write(p []byte) (int, error) {
	if !x.head.done {
		x.head.see(p)
	}
	return x.w.Write(p)
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

var errEnough = errors.New("enough")

// headWriter keeps the first maxHeaderScan bytes and ends the emission.
type headWriter struct{ b []byte }

func (h *headWriter) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), maxHeaderScan-len(h.b))]...)
	if len(h.b) == maxHeaderScan || bytes.Contains(h.b, []byte("\r\n\r\n")) {
		return 0, errEnough
	}
	return len(p), nil
}

// messageID finds the Message-ID of the header, without angle brackets.
func (c *content) messageID(ctx context.Context) string {
	var h headWriter
	if err := c.emit(ctx, &h); err != nil && !errors.Is(err, errEnough) {
		return ""
	}
	value := ""
	for line := range strings.SplitSeq(string(h.b), "\r\n") {
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

// sourceFailure classifies an error of scan or emit that is not the
// connection's.
func sourceFailure(op string, err error) *failure {
	if _, ok := errors.AsType[*localError](err); ok {
		return &failure{op, driver.KindLocal, driver.DeliveryDeferred, err}
	}
	return failed(op, err)
}
