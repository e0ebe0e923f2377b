package httpx

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/sasl"
)

// Defaults of [Options].
const (
	DefaultMaxConns       = 4
	DefaultMaxHeaderBytes = 64 << 10
)

// Options say what a [Client] is for. Only Driver and URL are needed.
type Options struct {
	// Driver is the driver's name in errors and logs, "EWS".
	Driver string
	// URL gives the origin: scheme, host and port. The path does not count.
	// Requests for any other origin are refused before anything is sent.
	URL *url.URL
	// Log gets warnings, and a record of each exchange at the debug level; nil
	// means none.
	Log *slog.Logger
	// MaxConns bounds the connections, and with them the requests under way; 0
	// means [DefaultMaxConns].
	MaxConns int
	// MaxHeaderBytes bounds the header of an answer; 0 means
	// [DefaultMaxHeaderBytes].
	MaxHeaderBytes int64
	// Cookies keeps cookies for the life of the client, byte for byte as the
	// server set them. Without, cookies are ignored.
	Cookies bool
	// Anonymous sends no credentials, whatever the network options hold.
	Anonymous bool
	// WaitForChallenge sends no credentials before the server has asked for
	// them, not even where only one scheme is possible: for hosts that nobody
	// has named.
	WaitForChallenge bool
}

// A Client sends requests to one origin as one account. Any number of
// goroutines may use it. Between calls it has idle connections and the
// goroutines of net/http that watch these; Close ends both.
type Client struct {
	net     driver.Network
	opts    Options
	origin  *url.URL
	addr    string // host:port of the origin
	schemes []string
	jar     *jar // nil without

	life context.Context // ends at Close
	end  context.CancelCauseFunc
	room chan struct{} // a slot for each request under way

	dials sync.WaitGroup // net/http lets them outlive their requests

	mu       sync.Mutex
	closed   bool
	free     []*lane
	conns    map[*conn]struct{}
	dialed   uint64
	scheme   string // what the server wanted, "" until it is known
	digest   digestState
	tokens   []string // the latest ones that were sent, for Scrub
	lateCert lateCert
	shown    [2]string // the latest credentials that went out as they are
}

// New makes a client for the origin of o.URL. It connects to nothing. An error
// is of kind config.
func New(n *driver.Network, o Options) (*Client, error) {
	if o.MaxConns <= 0 {
		o.MaxConns = DefaultMaxConns
	}
	if o.MaxHeaderBytes <= 0 {
		o.MaxHeaderBytes = DefaultMaxHeaderBytes
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	resolving, cancel := context.WithTimeout(context.Background(), driver.DefaultTimeout)
	defer cancel()
	n, err := n.Resolved(resolving) // secrets are fetched once for each client
	if err != nil {
		return nil, err
	}
	c := &Client{net: *n, opts: o, conns: make(map[*conn]struct{}), room: make(chan struct{}, o.MaxConns)}
	if c.net.Timeout <= 0 {
		c.net.Timeout = driver.DefaultTimeout
	}
	if c.origin, c.addr, err = originOf(o.URL); err != nil {
		return nil, c.wrap("options", driver.KindConfig, err)
	}
	if c.schemes, err = c.allowed(); err != nil {
		return nil, c.wrap("options", driver.KindConfig, err)
	}
	if o.Cookies {
		c.jar = new(jar)
	}
	c.life, c.end = context.WithCancelCause(context.Background())
	return c, nil
}

// originOf checks a URL and gives its origin, with a port, in lower case.
func originOf(u *url.URL) (origin *url.URL, addr string, err error) {
	if u == nil || u.Hostname() == "" {
		return nil, "", errors.New("the URL names no host")
	}
	if u.User != nil {
		return nil, "", errors.New("the URL holds a user; credentials are options")
	}
	port := u.Port()
	switch strings.ToLower(u.Scheme) {
	case "http":
		if port == "" {
			port = "80"
		}
	case "https":
		if port == "" {
			port = "443"
		}
	default:
		return nil, "", errors.New("the URL is not of http or https")
	}
	host := strings.ToLower(u.Hostname())
	addr = net.JoinHostPort(host, port)
	return &url.URL{Scheme: strings.ToLower(u.Scheme), Host: addr}, addr, nil
}

// statusError makes an error of an answer.
func (c *Client) statusError(resp *http.Response) *StatusError {
	e := newStatusError(resp)
	e.Text, e.Path = c.Scrub(e.Text), c.Scrub(e.Path)
	for i := range e.Schemes {
		e.Schemes[i] = c.Scrub(e.Schemes[i])
	}
	return e
}

// Same reports whether u is of the client's origin.
func (c *Client) Same(u *url.URL) bool {
	o, _, err := originOf(u)
	return err == nil && *o == *c.origin
}

// Do sends a request and returns the answer, whatever its status, once its
// header is there. Authentication is dealt with inside: an answer 401 is
// returned only by a client without credentials, else it is an error of kind
// [driver.KindAuth].
//
// A request with a body needs GetBody (http.NewRequest sets it for readers of
// memory), unless it may fail where the body has to be sent again: a scheme
// that authenticates connections is negotiated without the body. A request
// that may be repeated after the connection was lost is one of GET, HEAD,
// OPTIONS, PROPFIND, SEARCH, REPORT, or has a key "Idempotency-Key" in its
// Header (with a nil value it is not sent).
//
// The body of the answer must be closed: it holds a connection. Each read of it
// waits for the silence limit at most; [Drain] keeps the connection.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	op := strings.ToLower(req.Method)
	if !c.Same(req.URL) {
		return nil, c.wrap(op, driver.KindPolicy, &OriginError{Origin: c.origin.String(), URL: bare(req.URL)})
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	stop := context.AfterFunc(c.life, func() { cancel(driver.ErrClosed) })
	end := func() { stop(); cancel(nil) }
	l, err := c.acquire(ctx)
	if err != nil {
		err = c.classify(ctx, op, err)
		end()
		return nil, err
	}
	begin := time.Now()
	resp, err := c.exchange(ctx, l, req)
	if err != nil {
		c.release(l)
		err = c.classify(ctx, op, err)
		end()
		c.opts.Log.Debug("request failed", "driver", c.opts.Driver, "method", req.Method, "path", req.URL.Path, "error", err.Error(), "took", time.Since(begin))
		return nil, err
	}
	c.opts.Log.Debug("request", "driver", c.opts.Driver, "method", req.Method, "path", req.URL.Path, "status", resp.StatusCode, "took", time.Since(begin))
	resp.Body = &body{rc: resp.Body, ctx: ctx, op: op, c: c, done: sync.OnceFunc(func() { c.release(l); end() })}
	return resp, nil
}

// acquire waits for a lane of its own.
func (c *Client) acquire(ctx context.Context) (*lane, error) {
	select {
	case c.room <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		<-c.room
		return nil, driver.ErrClosed
	}
	if n := len(c.free); n > 0 {
		l := c.free[n-1]
		c.free = c.free[:n-1]
		return l, nil
	}
	return c.newLane(), nil
}

func (c *Client) release(l *lane) {
	c.mu.Lock()
	closed := c.closed
	if !closed {
		c.free = append(c.free, l)
	}
	c.mu.Unlock()
	if closed {
		l.tr.CloseIdleConnections()
	}
	<-c.room
}

// Close ends running requests with [driver.ErrClosed], and drops all
// connections; none is left, and none is being made, when it returns. It is
// idempotent.
func (c *Client) Close() error {
	c.end(driver.ErrClosed)
	c.mu.Lock()
	c.closed = true
	free := c.free
	c.free = nil
	open := make([]*conn, 0, len(c.conns))
	for cn := range c.conns {
		open = append(open, cn)
	}
	c.mu.Unlock()
	for _, l := range free {
		l.tr.CloseIdleConnections()
	}
	for _, cn := range open {
		_ = cn.Close()
	}
	c.dials.Wait()
	return nil
}

// Idle drops the connections that no request uses. The client stays usable.
func (c *Client) Idle() {
	c.mu.Lock()
	free := c.free
	c.free = nil
	c.mu.Unlock()
	for _, l := range free {
		l.idle()
	}
}

// Scrub takes the account's secrets out of a text that the server sent: some
// repeat what they were told.
func (c *Client) Scrub(text string) string {
	c.mu.Lock()
	shown := c.shown
	c.mu.Unlock()
	text = sasl.Scrub(text, shown[:])
	var secrets []string
	if pass := c.net.Password.Reveal(); pass != "" {
		secrets = append(secrets, pass, url.QueryEscape(pass), url.PathEscape(pass),
			base64.StdEncoding.EncodeToString([]byte(c.net.User+":"+pass)), base64.StdEncoding.EncodeToString([]byte(pass)))
	}
	c.mu.Lock()
	for _, token := range c.tokens {
		secrets = append(secrets, token, url.QueryEscape(token))
	}
	c.mu.Unlock()
	if len(secrets) == 0 {
		return text
	}
	return sasl.Scrub(text, secrets)
}

// show remembers what Basic makes of domain, user and password, for
// [Client.Scrub].
func (c *Client) show(credentials string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shown[0] != credentials {
		c.shown[0], c.shown[1] = credentials, c.shown[0]
	}
}

// Host is the host of the origin, without the port.
func (c *Client) Host() string { return c.origin.Hostname() }

func (c *Client) wrap(op string, k driver.Kind, err error) *driver.Error {
	return &driver.Error{Op: op, Driver: c.opts.Driver, Addr: c.addr, Kind: k, Err: err}
}

// A sentError says that the server may have got the whole request.
type sentError struct{ err error }

func (e *sentError) Error() string { return e.err.Error() }
func (e *sentError) Unwrap() error { return e.err }

// MaySent reports whether err, of [Client.Do], leaves it open what the server
// did: it may have got the whole request, and no answer came. Where it reports
// false the server cannot have acted on it.
func MaySent(err error) bool {
	_, ok := errors.AsType[*sentError](err)
	return ok
}

// classify makes an error of err, met while ctx was that of the request.
func (c *Client) classify(ctx context.Context, op string, err error) error {
	if se, ok := errors.AsType[*sentError](err); ok {
		de := *c.failure(ctx, op, se.err)
		de.Err = &sentError{de.Err}
		return &de
	}
	return c.failure(ctx, op, err)
}

func (c *Client) failure(ctx context.Context, op string, err error) *driver.Error {
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, driver.ErrClosed) {
			return c.wrap(op, driver.KindClosed, cause)
		}
		return c.wrap(op, driver.KindTemporary, cause)
	}
	if de, ok := errors.AsType[*driver.Error](err); ok {
		return de
	}
	if errors.Is(err, driver.ErrClosed) {
		return c.wrap(op, driver.KindClosed, driver.ErrClosed)
	}
	if se, ok := errors.AsType[*silenceError](err); ok {
		return c.wrap(op, driver.KindTemporary, se)
	}
	if isProtocol(err) {
		return c.wrap(op, driver.KindProtocol, errors.New(clean(errors.New(c.Scrub(err.Error())))))
	}
	return c.wrap(op, driver.KindTemporary, fmt.Errorf("the connection was lost: %w", &quoted{err}))
}

// WithSilence sets how long the server may be silent, before the header and
// within the body of the answer, for requests with the context; by default it
// is the time-out of the network options. Long polls need more.
func WithSilence(ctx context.Context, d time.Duration) context.Context {
	return context.WithValue(ctx, silenceKey{}, d)
}

type silenceKey struct{}
