package httpx

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// A body is that of an answer. Its errors are [*driver.Error].
type body struct {
	rc   io.ReadCloser
	ctx  context.Context //nolint:containedctx // that of the request, which the body is a part of
	op   string
	c    *Client
	done func()
	err  error
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.rc.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		b.err = io.EOF
	default:
		b.err = b.c.classify(b.ctx, b.op, err)
	}
	return n, b.err
}

func (b *body) Close() error {
	err := b.rc.Close()
	b.done()
	return err
}

// maxDrain is how much of an answer is read to keep its connection.
const maxDrain = 64 << 10

// Drain reads the rest of a short body and closes it, so that the connection
// can be used again.
func Drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain+1)
	_ = resp.Body.Close()
}

// isProtocol tells what net/http found wrong with an answer from what the
// network did.
func isProtocol(err error) bool {
	text := err.Error()
	for _, s := range []string{"malformed", "net/http: HTTP/1.x transport", "server response headers exceeded", "bad status", "invalid header", "chunk", "too many transfer encodings", "unsupported transfer encoding", "HTTP/2"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// clean makes text of an error that may hold what a server said.
func clean(err error) string {
	text := err.Error()
	for _, r := range text {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return netx.Quote(text)
		}
	}
	if len(text) > netx.MaxQuoted {
		return netx.Quote(text)
	}
	return text
}

// A quoted is an error whose text is fit for a log.
type quoted struct{ err error }

func (q *quoted) Error() string { return clean(q.err) }
func (q *quoted) Unwrap() error { return q.err }

// Refuse makes an error of an answer that its caller cannot use, and closes
// its body. kind may be KindUnknown: then the status decides.
func (c *Client) Refuse(op string, kind driver.Kind, resp *http.Response) error {
	if kind == driver.KindUnknown {
		kind = KindOf(resp.StatusCode)
	}
	e := c.statusError(resp)
	Drain(resp)
	return c.wrap(op, kind, e)
}
