package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
)

// A content is the body of one mail while it is read.
type content struct {
	s    *session
	resp *http.Response
	left int64 // what must still come; negative if the end shows itself
	err  error
}

// get asks for a mail; nil if it is gone.
func (m *mailbox) get(ctx context.Context, it *item) (*content, error) {
	resp, err := m.ask(ctx, it, it.path)
	if err == nil && resp == nil && it.lasting != "" && it.lasting != it.path {
		resp, err = m.ask(ctx, it, it.lasting)
	}
	if err != nil || resp == nil {
		return nil, err
	}
	c := &content{s: m.s, resp: resp, left: -1}
	if resp.ContentLength < 0 && len(resp.TransferEncoding) == 0 {
		// The end of such a body is the end of the connection, whoever caused
		// it (RFC 9112 section 8).
		if it.size < 0 || !m.s.set.plain {
			httpx.Drain(resp)
			return nil, m.s.wrap("get", driver.KindProtocol, errors.New("the server does not say where the message ends"))
		}
		c.left = it.size
	}
	return c, nil
}

// ask sends one GET; nil if there is nothing.
func (m *mailbox) ask(ctx context.Context, it *item, at davPath) (*http.Response, error) {
	resp, err := m.s.do(ctx, &call{method: http.MethodGet, path: at, anyway: true})
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone:
		httpx.Drain(resp)
		return nil, nil //nolint:nilnil // gone is no error
	default:
		return nil, m.s.refuse("get", resp)
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		_ = resp.Body.Close()
		return nil, m.s.wrap("get", driver.KindProtocol, fmt.Errorf("the message comes in the encoding %s, which was not asked for", quote(enc)))
	}
	if uid := strings.Trim(resp.Header.Get("Repl-UID"), "<> "); uid != "" && it.uid != "" && uid != it.uid && at == it.path {
		_ = resp.Body.Close() // the name means another mail by now
		return nil, nil       //nolint:nilnil // as above
	}
	if tag, _ := readETag(resp.Header.Get("ETag")); tag != "" && it.etag != "" && tag != it.etag && !m.oddTags.Load() {
		// Another file of that name by now, or a server whose tags here and in
		// the listing differ.
		_ = resp.Body.Close()
		same, err := m.s.unchanged(ctx, it)
		if err != nil || !same {
			return nil, err
		}
		m.oddTags.Store(true)
		return m.ask(ctx, it, at)
	}
	return resp, nil
}

func (c *content) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.resp.Body.Read(p)
	if c.left >= 0 {
		if int64(n) > c.left {
			n, err = int(c.left), nil
		}
		c.left -= int64(n)
	}
	if errors.Is(err, io.EOF) && c.left > 0 {
		err = c.s.wrap("get", driver.KindTemporary, fmt.Errorf("the message ends %d bytes early: %w", c.left, io.ErrUnexpectedEOF))
	}
	c.err = err
	return n, err
}

// close gives the connection back if the message was read to its end.
func (c *content) close() {
	if errors.Is(c.err, io.EOF) {
		httpx.Drain(c.resp)
		return
	}
	_ = c.resp.Body.Close()
}
