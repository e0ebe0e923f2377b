package ews

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
	"github.com/maildriver/maildriver/internal/netx"
)

// A session is one account at one server, from its first request to its last.
// One goroutine uses it.
type session struct {
	d       *Driver
	o       *options
	client  *httpx.Client
	url     *url.URL
	online  bool // Exchange Online, by its address
	cached  bool // url was found by Autodiscover in an earlier session
	hops    int  // redirections followed
	refused error
}

// connect finds the server. It does no input or output but for Autodiscover.
func (d *Driver) connect(ctx context.Context, o *options) (*session, error) {
	s := &session{d: d, o: o}
	if !o.ews.autodiscover {
		return s, s.aim(d.url)
	}
	u, cached, err := d.endpoint(ctx, o, false)
	if err != nil {
		return nil, err
	}
	s.cached = cached
	return s, s.aim(u)
}

// aim makes a client for a server.
func (s *session) aim(u *url.URL) error {
	n := s.o.at(u)
	c, err := httpx.New(&n, httpx.Options{Driver: driverName, URL: u, Log: s.o.common.Logger, MaxConns: 2, Cookies: true})
	if err != nil {
		return err
	}
	s.close()
	s.client, s.url = c, u
	host := strings.ToLower(u.Hostname())
	s.online = strings.HasSuffix(host, ".office365.com") || strings.HasSuffix(host, ".office.com") || strings.HasSuffix(host, ".outlook.com")
	return nil
}

func (s *session) close() {
	if s.client != nil {
		_ = s.client.Close()
	}
}

// addr names the server in errors.
func (s *session) addr() string { return s.url.Host }

func (s *session) wrap(op string, kind driver.Kind, err error) error {
	return wrap(op, s.addr(), kind, err)
}

// A request is one operation.
type request struct {
	op string
	// body makes the operation anew for each try, because the level of the
	// schema may have changed.
	body func(v Version) []byte
	// content is streamed into the body; nil for all operations but sending.
	content *content
	// single tells that there is one object in it, so that its failure is that
	// of the request.
	single bool
	// stream takes the response messages as they come, each to its end. The
	// request is not repeated once it was called. nil: they are collected.
	stream func(d *document, i int, start xml.StartElement) error
	// push tells that it belongs to notifications, which stay at one server.
	push bool
	// silence is how long the server may say nothing; 0 is the time-out.
	silence time.Duration

	id string // client-request-id of the latest try
}

// call sends a request with one object in it and gives what became of it.
func (s *session) call(ctx context.Context, op string, body func(Version) []byte) (*node, error) {
	list, err := s.do(ctx, &request{op: op, body: body, single: true})
	if err != nil {
		return nil, err
	}
	return list[0].node, nil
}

// do sends a request and gives its response messages, one at least, unless they
// are streamed.
//
// Everything is tried again here that a caller need not know of: a level that
// the server does not take, a busy server, an address that has moved, a
// connection that was lost, unless the request might have been carried out and
// must not be twice.
func (s *session) do(ctx context.Context, req *request) ([]reply, error) {
	op := strings.ToLower(req.op)
	lost, busy, budget := false, 0, busyBudget
	for {
		before := time.Now()
		left, err := s.d.mem.throttle.wait(ctx, budget)
		budget -= time.Since(before)
		if err != nil {
			return nil, s.wrap(op, kindOr(err, driver.KindTemporary), err)
		}
		if left > 0 {
			if s.refused != nil {
				return nil, s.refused
			}
			return nil, s.wrap(op, driver.KindTemporary, fmt.Errorf("the server wants to be left alone for %v", left.Round(time.Second)))
		}
		v := s.d.mem.levelFor(s.o.ews.version)
		t := s.try(ctx, req, v)
		if t.err == nil {
			s.d.mem.throttle.fine()
			return t.replies, nil
		}
		re, _ := errors.AsType[*ResponseError](t.err)
		if ctx.Err() != nil || t.consumed {
			return nil, s.outcome(req, t)
		}
		switch {
		case re != nil && refusesVersion(re.Code, re.Text) && s.d.mem.stepDown(v):
		case t.redirect != nil:
			if err := s.follow(t.redirect); err != nil {
				return nil, err
			}
		case re != nil && re.Code == "ErrorMailboxMoveInProgress" && s.rediscover(ctx):
		case re != nil && (re.busy() || busyCodes[t.inner]) && (req.content == nil || mayRepeatSend(re, t.inner)):
			s.refused = s.wrap(op, driver.KindTemporary, t.err)
			s.d.mem.throttle.delay(re.BackOff, s.o.ews.busyMin)
			if busy++; busy > busyTries {
				return nil, s.refused
			}
		case s.moved(t) && s.rediscover(ctx):
		case t.lost && !lost && (req.content == nil || !t.sent):
			lost = true
		default:
			return nil, s.outcome(req, t)
		}
	}
}

// kindOr gives the kind of err, or another where it has none.
func kindOr(err error, other driver.Kind) driver.Kind {
	if k := driver.KindOf(err); k != driver.KindUnknown {
		return k
	}
	return other
}

// outcome is the last word on a request.
func (s *session) outcome(req *request, t *attempt) error {
	op := strings.ToLower(req.op)
	if req.content != nil && t.sent && t.lost {
		return &driver.Error{Op: op, Driver: driverName, Addr: s.addr(), Kind: driver.KindAmbiguous, Err: t.err}
	}
	re, ok := errors.AsType[*ResponseError](t.err)
	if !ok {
		return s.wrap(op, kindOr(t.err, driver.KindTemporary), t.err)
	}
	if req.content != nil && (re.Code == "ErrorTimeoutExpired" || !t.faulted && noAnswer(re)) {
		return &driver.Error{Op: op, Driver: driverName, Addr: s.addr(), Kind: driver.KindAmbiguous, Err: t.err}
	}
	if s.online && re.Status == http.StatusForbidden {
		return s.wrap(op, driver.KindPermanent, fmt.Errorf("%w: %w", ErrTenantBlocked, t.err))
	}
	return s.wrap(op, re.kind(), t.err)
}

// moved reports an error that an address found earlier may be to blame for.
func (s *session) moved(t *attempt) bool {
	status := statusOf(t.err)
	return s.cached && (status == http.StatusUnauthorized || status == http.StatusNotFound || t.lost && !t.sent)
}

// rediscover looks for the server anew, once in a session.
func (s *session) rediscover(ctx context.Context) bool {
	if !s.cached {
		return false
	}
	s.cached = false
	u, _, err := s.d.endpoint(ctx, s.o, true)
	return err == nil && s.aim(u) == nil
}

// follow goes where a server has sent us, if that is permitted.
func (s *session) follow(target *url.URL) error {
	s.hops++
	if err := checkRedirect(s.url, target, s.o.ews.allowRedirection, s.hops); err != nil {
		return s.wrap("redirect", driver.KindPolicy, cleaned(err, s.client.Scrub))
	}
	return s.aim(target)
}

// An attempt is one request on the wire.
type attempt struct {
	replies  []reply
	err      error
	sent     bool   // the server may have all of it
	lost     bool   // no answer, or half of one
	consumed bool   // response messages were streamed
	inner    string // a code inside another
	faulted  bool   // it is a SOAP fault: the server has decided
	redirect *url.URL
}

// try sends a request once.
func (s *session) try(ctx context.Context, req *request, v Version) *attempt {
	t := &attempt{}
	id := newGUID()
	req.id = id
	hreq, err := s.httpRequest(ctx, req, v, id)
	if err != nil {
		t.err = err
		return t
	}
	resp, err := s.client.Do(hreq)
	if err != nil {
		t.err = err
		switch driver.KindOf(err) {
		case driver.KindTemporary, driver.KindProtocol, driver.KindClosed:
			t.lost, t.sent = true, httpx.MaySent(err)
		}
		if req.content != nil && !t.sent {
			if cerr := req.content.failure(); cerr != nil {
				t.err, t.lost, t.sent = cerr, false, false
			}
		}
		return t
	}
	defer httpx.Drain(resp)
	t.sent = true
	s.read(t, req, resp, id)
	return t
}

// read reads the answer of the server.
func (s *session) read(t *attempt, req *request, resp *http.Response, id string) {
	fail := &ResponseError{Operation: req.op, Status: resp.StatusCode, RequestID: id}
	t.err = fail
	defer func() { _ = cleaned(fail, s.client.Scrub) }()
	switch {
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusInternalServerError:
	case isRedirect(resp.StatusCode):
		if target, err := resp.Location(); err == nil && !strings.Contains(strings.ToLower(target.Path), "genericerrorpage") {
			t.redirect = target
		}
		return
	default:
		fail.BackOff = retryAfter(resp.Header)
		fail.Text = resp.Header.Get("X-CasErrorCode")
		return
	}
	d := newDocument(newSource(resp.Body, maxAnswer))
	a, err := readAnswer(d, func(i int, start xml.StartElement) error {
		if req.stream != nil {
			t.consumed = true
			return req.stream(d, i, start)
		}
		n, err := d.element(start)
		if err == nil {
			r := replyOf(n)
			r.request = id
			t.replies = append(t.replies, r)
		}
		return err
	})
	s.d.mem.heard(a.build)
	switch {
	case a.fault != nil:
		fail.Code, fail.Text, fail.BackOff = a.fault.code, a.fault.text, a.fault.wait
		t.inner, t.faulted = a.fault.inner, true
		if fail.BackOff == 0 {
			fail.BackOff = retryAfter(resp.Header)
		}
	case err != nil && resp.StatusCode != http.StatusOK:
		fail.BackOff = retryAfter(resp.Header)
		fail.Text = resp.Header.Get("X-CasErrorCode")
	case err != nil:
		t.err, t.lost = s.broken(err), true
	case a.count == 0:
		t.err, t.lost = s.wrap(strings.ToLower(req.op), driver.KindProtocol, errors.New("the answer holds no response message")), true
	case req.single && t.replies[0].failed():
		t.err, t.inner = s.replyError(req.op, &t.replies[0]), t.replies[0].inner
	default:
		t.err = nil
	}
}

// broken classifies what went wrong with an answer that had begun.
func (s *session) broken(err error) error {
	switch {
	case errors.As(err, new(*driver.Error)):
		return err // of the connection, or of what the messages were put into
	case errors.Is(err, io.ErrUnexpectedEOF):
		return s.wrap("answer", driver.KindTemporary, fmt.Errorf("the answer ends early: %w", err))
	case errors.As(err, new(*xml.SyntaxError)):
		return s.wrap("answer", driver.KindProtocol, fmt.Errorf("the answer is no XML: %s", netx.Quote(s.client.Scrub(err.Error()))))
	}
	return s.wrap("answer", driver.KindProtocol, cleaned(err, s.client.Scrub))
}

// replyError makes an error of a response message.
func (s *session) replyError(op string, r *reply) *ResponseError {
	return s.responseError(ResponseError{Operation: op, Code: r.code, Status: http.StatusOK, Text: r.text, RequestID: r.request, BackOff: r.wait})
}

// httpRequest makes the HTTP request of one try.
func (s *session) httpRequest(ctx context.Context, req *request, v Version, id string) (*http.Request, error) {
	if req.silence > 0 {
		ctx = httpx.WithSilence(ctx, req.silence)
	}
	head, body := envelopeStart(v, &s.o.ews), req.body(v)
	var hreq *http.Request
	var err error
	if req.content == nil {
		whole := bytes.Join([][]byte{head, body, []byte(envelopeEnd)}, nil)
		hreq, err = http.NewRequestWithContext(ctx, http.MethodPost, s.url.String(), bytes.NewReader(whole))
	} else {
		hreq, err = http.NewRequestWithContext(ctx, http.MethodPost, s.url.String(), nil)
		if err == nil {
			err = req.content.attach(hreq, head, body)
		}
	}
	if err != nil {
		return nil, s.wrap(strings.ToLower(req.op), kindOr(err, driver.KindLocal), err)
	}
	h := hreq.Header
	h.Set("Content-Type", "text/xml; charset=utf-8")
	h.Set("Accept", "text/xml")
	h.Set("Client-Request-Id", id)
	h.Set("Return-Client-Request-Id", "true")
	if a := s.o.anchor(); a != "" {
		h.Set("X-AnchorMailbox", a)
	}
	if req.push {
		h.Set("X-PreferServerAffinity", "true")
	}
	return hreq, nil
}
