package httpx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync/atomic"
	"time"
)

// A lane is one connection at a time, used by one request at a time, so that
// what authenticates a connection stays with it. It has a transport of its
// own, which dials anew when the connection was lost.
type lane struct {
	c  *Client
	tr *http.Transport

	conn   *conn  // the latest one
	authed uint64 // the connection that a login is good for, 0: none

	ctx context.Context //nolint:containedctx // of the request under way, which ends a dial too; guarded by c.mu
}

// idle drops the connection if no request uses it.
func (l *lane) idle() {
	l.tr.CloseIdleConnections()
	if l.conn != nil {
		_ = l.conn.Close()
	}
}

func (c *Client) newLane() *lane {
	l := &lane{c: c}
	dial := func(context.Context, string, string) (net.Conn, error) { return c.dial(l) }
	l.tr = &http.Transport{
		DialContext:    dial,
		DialTLSContext: dial,
		// An idle connection is dropped before its own deadline ends it, so
		// that no request meets that.
		IdleConnTimeout:        c.net.Timeout / 2,
		MaxConnsPerHost:        1,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: c.opts.MaxHeaderBytes,
		DisableCompression:     true,
		WriteBufferSize:        32 << 10,
		ReadBufferSize:         16 << 10,
	}
	return l
}

// loggedIn reports whether the next request goes out on a connection that a
// login is good for.
func (l *lane) loggedIn() bool {
	return l.authed != 0 && l.conn != nil && l.conn.id == l.authed && !l.conn.isClosed()
}

// A try is one request as it goes out.
type try struct {
	req  *http.Request
	conn *conn // the connection that was used, nil if none was
	// reused tells that the connection had served other requests, so that its
	// end may be that of a connection which was idle for too long.
	reused bool

	header atomic.Bool // the header was given to the connection
	body   atomic.Bool // and the whole body
	failed atomic.Bool // and not all of it was taken

	source atomic.Pointer[error] // why the body could not be read
}

// maySent reports whether the server may have got the whole request.
func (t *try) maySent() bool {
	whole := t.header.Load() && (t.req.Body == nil || t.req.Body == http.NoBody || t.body.Load())
	return whole && !t.failed.Load()
}

// A watchedBody notes when a body was read to its end. It keeps the last bytes
// back until it is sure that the body ends there: one that does not have the
// length that was announced must not become a request that the server takes for
// whole.
type watchedBody struct {
	io.ReadCloser
	length int64 // as announced, negative if it is not known
	read   int64
	t      *try
	closed atomic.Bool
}

func (w *watchedBody) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.read += int64(n)
	if w.length >= 0 && w.read >= w.length && err == nil {
		var more [1]byte
		for range maxEmptyReads {
			var m int
			m, err = w.ReadCloser.Read(more[:])
			if w.read += int64(m); m > 0 || err != nil {
				break
			}
		}
		if err == nil && w.read == w.length {
			err = io.ErrNoProgress
		}
	}
	switch end := errors.Is(err, io.EOF); {
	case w.length >= 0 && (w.read > w.length || end && w.read < w.length):
		return 0, w.broken(fmt.Errorf("the content is not of the %d bytes that it had before", w.length))
	case end:
		w.t.body.Store(true)
	case err != nil:
		return 0, w.broken(err)
	}
	return n, err
}

// maxEmptyReads is how often a reader may give nothing, as in package bufio.
const maxEmptyReads = 100

// broken notes that the body cannot be read, unless that is because nobody
// wants it any more.
func (w *watchedBody) broken(err error) error {
	if !w.closed.Load() {
		w.t.source.CompareAndSwap(nil, &err)
	}
	return err
}

func (w *watchedBody) Close() error {
	w.closed.Store(true)
	return w.ReadCloser.Close()
}

// roundTrip sends a request.
func (l *lane) roundTrip(ctx context.Context, t *try) (*http.Response, error) {
	silence := l.c.net.Timeout
	if d, ok := ctx.Value(silenceKey{}).(time.Duration); ok && d > 0 {
		silence = d
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			t.conn, _ = info.Conn.(*conn)
			t.reused = info.Reused
			if t.conn != nil {
				l.conn = t.conn
				t.conn.set(silence)
			}
			t.failed.Store(false) // net/http may try a second connection
		},
		WroteHeaders: func() { t.header.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err != nil {
				t.failed.Store(true)
			}
		},
	})
	if b := t.req.Body; b != nil && b != http.NoBody {
		length := t.req.ContentLength
		if length <= 0 {
			length = -1
		}
		t.req.Body = &watchedBody{ReadCloser: b, length: length, t: t}
		if again := t.req.GetBody; again != nil {
			t.req.GetBody = func() (io.ReadCloser, error) {
				b, err := again()
				if err != nil {
					return nil, err
				}
				return &watchedBody{ReadCloser: b, length: length, t: t}, nil
			}
		}
	}
	l.c.mu.Lock()
	l.ctx = ctx
	l.c.mu.Unlock()
	return l.tr.RoundTrip(t.req.WithContext(ctx))
}

// repeatable are the methods that change nothing (RFC 9110 section 9.2.1, RFC
// 4918, RFC 5323, RFC 3253), beside those that net/http knows.
var repeatable = []string{"PROPFIND", "SEARCH", "REPORT"}

// prepare makes the request of one try: same target, its header, and the body
// anew.
func (c *Client) prepare(req *http.Request, whole, empty bool) (*http.Request, error) {
	out := req.Clone(req.Context())
	out.Header.Del("Authorization")
	out.Header.Del("Cookie")
	if out.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", "maildriver")
	}
	if slices.Contains(repeatable, out.Method) {
		if _, ok := out.Header["Idempotency-Key"]; !ok {
			out.Header["Idempotency-Key"] = nil // counts, and is not sent
		}
	}
	c.jar.attach(out)
	switch {
	case req.Body == nil || req.Body == http.NoBody:
	case empty:
		out.Body, out.GetBody, out.ContentLength = http.NoBody, nil, 0
	case whole:
		// It is used as it is; GetBody stays for net/http.
	case req.GetBody == nil:
		return nil, errors.New("the request must be sent again and its body cannot be")
	default:
		b, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		out.Body = b
	}
	return out, nil
}
