package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
)

// A session is what is known of a server: how to log in, where the mailbox and
// its folders are, and the cookies. Any number of goroutines may use it.
type session struct {
	set    *settings
	net    *driver.Network
	common *driver.Common
	origin *url.URL
	path   string // of the address
	addr   string
	log    *slog.Logger

	users int // calls that use it; guarded by the driver's mu

	anon   *httpx.Client // sends no credentials of its own; keeps the cookies of the form
	client *httpx.Client // what requests go through once the session has begun; guarded by mu

	turn chan struct{} // holds one item: who has it begins the session or logs in

	mu       sync.Mutex
	ready    bool
	forms    bool
	logins   int   // how often the form was filled in
	unproven bool  // no request has succeeded since
	refused  error // the answer to the form that named the credentials wrong
	root     davPath
	props    map[string]davPath // the folders' properties
	folders  map[string]davPath // found by path
}

func newSession(ctx context.Context, u *url.URL, o *options) (*session, error) {
	resolved, err := o.net.Resolved(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{
		set: &o.dav, net: resolved, common: &o.common, path: u.EscapedPath(), log: o.common.Logger,
		origin: &url.URL{Scheme: u.Scheme, Host: u.Host}, addr: u.Host,
		turn: make(chan struct{}, 1), props: map[string]davPath{}, folders: map[string]davPath{},
	}
	s.turn <- struct{}{}
	net := *resolved
	net.Mechanisms = nil
	for _, m := range o.net.Mechanisms {
		if m == mechDefault {
			net.Mechanisms = append(net.Mechanisms, "NEGOTIATE", "NTLM")
			continue
		}
		net.Mechanisms = append(net.Mechanisms, m)
	}
	opts := httpx.Options{Driver: driverName, URL: s.origin, Log: s.log, MaxConns: o.dav.conns, Cookies: true, Anonymous: true}
	if s.anon, err = httpx.New(&net, opts); err != nil {
		return nil, err
	}
	opts.Anonymous = false
	if o.form() {
		s.client = s.anon
	} else if s.client, err = httpx.New(&net, opts); err != nil {
		return nil, err
	}
	return s, nil
}

// idle drops the connections, and keeps all else.
func (s *session) idle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.anon.Idle()
	s.client.Idle()
}

// forget has the mailbox and its folders looked for anew: something is not
// where it was.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.folders = false, map[string]davPath{}
}

// isRefused tells that the session is of no use any more.
func (s *session) isRefused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused != nil
}

func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.anon.Close()
	_ = s.client.Close()
}

// take waits for the turn.
func (s *session) take(ctx context.Context) error {
	select {
	case <-s.turn:
		return nil
	case <-ctx.Done():
		return s.wrap("wait", driver.KindTemporary, context.Cause(ctx))
	}
}

func (s *session) give() { s.turn <- struct{}{} }

// A call is a request that can be sent again.
type call struct {
	method string
	path   davPath
	header map[string]string
	body   string
	// content replaces body where it is not small; size is its length.
	content func() (io.ReadCloser, error)
	size    int64
	// page tells that a page of HTML is what is asked for. Elsewhere an
	// Exchange that answers with one means that the session is over.
	page bool
	// anyway permits sending the request again when the connection was lost:
	// the second time changes no more than the first.
	anyway bool
}

func (s *session) request(ctx context.Context, c *call) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, s.origin.String(), nil)
	if err != nil {
		return nil, s.wrap("request", driver.KindConfig, err)
	}
	req.URL = c.path.url(s.origin)
	open := c.content
	size := c.size
	if open == nil && c.body != "" {
		open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(c.body)), nil }
		size = int64(len(c.body))
	}
	if open != nil {
		if req.Body, err = open(); err != nil {
			return nil, err
		}
		req.GetBody, req.ContentLength = open, size
	}
	if !c.page {
		req.Header.Set("Translate", "f")
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	if c.anyway {
		req.Header["Idempotency-Key"] = nil
	}
	return req, nil
}

// maxAgain bounds how often one request is sent: its session may have ended
// before others noticed.
const maxAgain = 4

// do sends a request. If the form's session is over it logs in, once for all
// requests that find that out, and sends it again (440, a redirect to the login
// page, or the page itself).
func (s *session) do(ctx context.Context, c *call) (*http.Response, error) {
	for range maxAgain {
		s.mu.Lock()
		logins, client := s.logins, s.client
		s.mu.Unlock()
		req, err := s.request(ctx, c)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, public(err)
		}
		over := false
		if !s.set.plain {
			if over, err = isOver(resp, c); err != nil {
				return nil, s.wrap(opOf(c.method), driver.KindAmbiguous, err)
			}
		}
		if !over {
			s.mu.Lock()
			if s.logins == logins && resp.StatusCode < 400 {
				s.unproven = false
			}
			s.mu.Unlock()
			return resp, nil
		}
		if err := s.again(ctx, c, resp, logins); err != nil {
			return nil, err
		}
	}
	return nil, s.wrap(opOf(c.method), driver.KindAuth, errors.New("the session ends again and again"))
}

// again logs in anew if nobody has since the request was sent.
func (s *session) again(ctx context.Context, c *call, resp *http.Response, logins int) error {
	reply := s.replyOf(c.method, resp)
	httpx.Drain(resp)
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	s.mu.Lock()
	forms, now, unproven := s.forms, s.logins, s.unproven
	s.mu.Unlock()
	switch {
	case !forms:
		reply.Err = ErrForms
		return s.wrap("auth", driver.KindAuth, reply)
	case now != logins:
		return nil
	case unproven:
		reply.Err = errors.New("the server took the form and does not accept the session: user name or password are wrong, or the account is not permitted")
		return s.wrap("auth", driver.KindAuth, reply)
	}
	return s.login(ctx)
}

// isOver tells that a request was answered with a wish to log in. What a GET of
// a mail gives is never HTML; a change may be confirmed with a page of it, and
// must not be done again for that, so the page is looked at.
func isOver(resp *http.Response, c *call) (bool, error) {
	switch resp.StatusCode {
	case 440:
		return true, nil
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect:
		return logonPage(resp.Header.Get("Location")) != notLogon, nil
	case http.StatusOK:
		if c.page || !isHTML(resp) {
			return false, nil
		}
		if c.method == http.MethodGet {
			return true, nil
		}
		p, err := readPage(resp)
		if err != nil {
			return false, err
		}
		return p.form() != nil || len(p.frames) > 0, nil
	}
	return false, nil
}

func isHTML(resp *http.Response) bool {
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "text/html")
}

// maxText is how much of a reason phrase a ReplyError keeps.
const maxText = 256

func (s *session) replyOf(command string, resp *http.Response) *ReplyError {
	_, text, _ := strings.Cut(resp.Status, " ")
	text = s.anon.Scrub(text)
	return &ReplyError{Command: command, Code: resp.StatusCode, Text: text[:min(len(text), maxText)]}
}

// opOf names the step of a method in errors.
func opOf(method string) string { return strings.ToLower(method) }

// refuse makes an error of an answer that cannot be used, and closes it.
func (s *session) refuse(op string, resp *http.Response) error {
	reply := s.replyOf(strings.ToUpper(op), resp)
	if resp.Request != nil {
		reply.Command = resp.Request.Method
	}
	kind := httpx.KindOf(resp.StatusCode)
	switch {
	case resp.StatusCode == http.StatusInsufficientStorage:
		reply.Err = ErrQuota
	case resp.StatusCode/100 == 3:
		kind = driver.KindPolicy
		reply.Err = fmt.Errorf("the server redirects to %s, which is not followed", quote(s.anon.Scrub(bareTarget(resp))))
	case resp.StatusCode/100 == 2:
		kind = driver.KindProtocol
		reply.Err = errors.New("the answer is not one to this request")
	case resp.StatusCode == http.StatusForbidden && s.origin.Scheme == "http" && mentionsSSL(resp):
		kind, reply.Err = driver.KindPolicy, ErrTLSNeeded
	}
	httpx.Drain(resp)
	return s.wrap(op, kind, reply)
}

// bareTarget is where a redirect leads, without the query.
func bareTarget(resp *http.Response) string {
	target, _, _ := strings.Cut(resp.Header.Get("Location"), "?")
	return target
}

// mentionsSSL reads a little of a page.
func mentionsSSL(resp *http.Response) bool {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
	return strings.Contains(string(b), "SSL")
}

// codeOf is the status that an error is about, 0 if it is about none.
func codeOf(err error) int {
	if re, ok := errors.AsType[*ReplyError](err); ok {
		return re.Code
	}
	return 0
}

// multi sends a request whose answer is a multistatus.
func (s *session) multi(ctx context.Context, c *call, each func(*response) error) (http.Header, error) {
	op := opOf(c.method)
	resp, err := s.do(ctx, c)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusMultiStatus {
		return resp.Header, s.refuse(op, resp)
	}
	return resp.Header, s.read(op, resp, each)
}

// read reads a multistatus and closes the answer. One that cannot be read is
// not waited for.
func (s *session) read(op string, resp *http.Response, each func(*response) error) error {
	err := readMultistatus(resp.Body, each)
	switch {
	case err == nil:
		httpx.Drain(resp)
		return nil
	case errors.Is(err, errXML):
		err = s.wrap(op, driver.KindProtocol, err)
	}
	_ = resp.Body.Close()
	return err
}

// propfind asks for properties of a resource, or of it and its members.
func (s *session) propfind(ctx context.Context, at davPath, depth string, props []prop, each func(*response) error) error {
	c := &call{method: "PROPFIND", path: at, body: propfindBody(props...), header: map[string]string{
		"Depth": depth, "Content-Type": "text/xml; charset=utf-8",
	}}
	if !s.set.plain {
		c.header["Brief"] = "t"
	}
	if depth == "0" {
		each = few(each)
	}
	_, err := s.multi(ctx, c, each)
	return err
}

// schemes names what an answer 401 offers.
func schemes(resp *http.Response) string {
	var list []string
	for _, v := range resp.Header.Values("WWW-Authenticate") {
		word, _, _ := strings.Cut(strings.TrimSpace(v), " ")
		if !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	return quote(strings.Join(list, ", "))
}
