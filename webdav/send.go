package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
	"github.com/maildriver/maildriver/mime"
)

// Send gives a message to Exchange and returns once it took it, or refused, or
// the outcome is unknown: the message was sent whole and no answer came. The
// server takes or refuses all recipients together; what becomes of each
// afterwards comes back in notifications.
//
// A plain driver returns an error that is errors.ErrUnsupported, and so does a
// message that asks for what the protocol cannot say: RequireTLS, DeliverBy,
// Priority, Binary. Wishes for notifications are left out.
func (d *Driver) Send(ctx context.Context, m *driver.Message, opts ...driver.Option) (rec driver.Receipt, err error) {
	ctx, end, ok := d.life.Begin(ctx, driver.ErrClosed)
	if !ok {
		return conclude(m, nil, driver.DeliveryDeferred, errClosed("send"))
	}
	defer end()
	_, s, done, err := d.session(ctx, "send", opts)
	if err != nil {
		return conclude(m, nil, driver.DeliveryDeferred, err)
	}
	defer func() { done(err) }()
	if s.set.plain {
		return conclude(m, nil, driver.DeliveryRejected, s.wrap("send", driver.KindConfig, fmt.Errorf("%w by a plain WebDAV server", errors.ErrUnsupported)))
	}
	if err := checkEnvelope(m); err != nil {
		return conclude(m, nil, driver.DeliveryRejected, s.wrap("mail", driver.KindPermanent, err))
	}
	begin := time.Now()
	t := &transmission{s: s, m: m}
	delivery, err := t.run(ctx)
	t.close()
	rec, err = conclude(m, t, delivery, err)
	args := []any{
		"driver", driverName, "profile", s.common.Profile, "addr", s.addr, "outcome", rec.Delivery.String(),
		"code", rec.Code, "recipients", len(m.To), "message_id", m.MessageID, "took", time.Since(begin),
	}
	if err != nil {
		s.log.Warn("message not sent", append(args, "error", err.Error())...)
	} else {
		s.log.Info("message sent", args...)
	}
	return rec, err
}

// conclude makes the receipt. t is nil if no server was reached.
func conclude(m *driver.Message, t *transmission, delivery driver.Delivery, err error) (driver.Receipt, error) {
	rec := driver.Receipt{Delivery: delivery}
	if t != nil {
		rec.Code, rec.Text = t.code, t.text
		if t.reached {
			rec.Server = t.s.addr
		}
	}
	for _, r := range m.To {
		rec.Recipients = append(rec.Recipients, driver.RecipientReceipt{Address: r.Address, Delivery: delivery, Code: rec.Code, Text: rec.Text})
	}
	if err == nil {
		return rec, nil
	}
	out := driver.Error{Op: "send", Driver: driverName, Kind: driver.KindUnknown, Err: err}
	if de, ok := errors.AsType[*driver.Error](err); ok {
		out = *de
	}
	if delivery == driver.DeliveryUnknown {
		out.Kind = driver.KindAmbiguous
	}
	out.Err = &driver.DeliveryError{Delivery: delivery, Err: out.Err}
	return rec, &out
}

// A transmission is one Send.
type transmission struct {
	s       *session
	m       *driver.Message
	size    int64 // as it goes to the server
	cut     bool  // the header is longer than what was read of it
	code    int
	text    string
	reached bool

	mu   sync.Mutex
	open []func() error // closes what was opened of the message
}

func (t *transmission) run(ctx context.Context) (driver.Delivery, error) {
	header, err := t.measure(ctx)
	if err != nil {
		return deliveryOf(err), err
	}
	if err := t.s.begin(ctx); err != nil {
		t.reached = codeOf(err) != 0
		return deliveryOf(err), err
	}
	t.reached = true
	t.s.mu.Lock()
	to := t.s.props["sendmsg"]
	t.s.mu.Unlock()
	if to == "" {
		to = t.s.root.dir() + "%23%23DavMailSubmissionURI%23%23/"
	}
	to = davPath(strings.ReplaceAll(string(to), "#", "%23"))
	if t.s.set.saveSent {
		return t.viaDrafts(ctx, header, to.dir())
	}
	return t.direct(ctx, to.dir())
}

// deliveryOf is the outcome of an error met before the server could have
// accepted anything.
func deliveryOf(err error) driver.Delivery { return driver.DeliveryOf(err) }

// measure reads the message once, for its length and its header. A source that
// breaks is found before the server has heard of the message.
func (t *transmission) measure(ctx context.Context) (mime.Header, error) {
	src, err := t.m.Open()
	if err != nil {
		return mime.Header{}, t.s.wrap("source", driver.KindLocal, err)
	}
	o := newOutgoing(src)
	closing := sync.OnceFunc(func() { _ = o.Close() })
	defer closing()
	defer context.AfterFunc(ctx, closing)() // a source that blocks ends with the call
	var head headSink
	n, err := io.Copy(&head, o)
	switch {
	case ctx.Err() != nil:
		return mime.Header{}, t.s.wrap("source", kindOfCause(ctx), context.Cause(ctx))
	case err != nil:
		return mime.Header{}, t.s.wrap("source", driver.KindLocal, err)
	case n == 0:
		return mime.Header{}, t.s.wrap("source", driver.KindPermanent, errors.New("the message is empty"))
	}
	t.size = n
	header, cut := head.parse()
	t.cut = cut
	return header, nil
}

func kindOfCause(ctx context.Context) driver.Kind {
	if errors.Is(context.Cause(ctx), driver.ErrClosed) {
		return driver.KindClosed
	}
	return driver.KindTemporary
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

// close ends the reading of sources. The HTTP client leaves one that blocks
// alone when the call has ended.
func (t *transmission) close() {
	t.mu.Lock()
	open := t.open
	t.open = nil
	t.mu.Unlock()
	for _, f := range open {
		_ = f()
	}
}

// content gives what goes to the server, with a head before the message.
func (t *transmission) content(head string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		src, err := t.m.Open()
		if err != nil {
			return nil, t.s.wrap("source", driver.KindLocal, err)
		}
		o := newOutgoing(src)
		closing := sync.OnceValue(o.Close)
		t.mu.Lock()
		t.open = append(t.open, closing)
		t.mu.Unlock()
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(strings.NewReader(head), o), closerFunc(closing)}, nil
	}
}

// direct puts the envelope and the message to the submission URI. No copy is
// kept: it would show the envelope, blind copies included.
func (t *transmission) direct(ctx context.Context, to davPath) (driver.Delivery, error) {
	head := envelopeHead(t.m)
	resp, err := t.s.do(ctx, &call{
		method: http.MethodPut, path: to, content: t.content(head), size: int64(len(head)) + t.size,
		header: map[string]string{"Content-Type": "message/rfc821", "Saveinsent": "f"},
	})
	return t.verdict("put", resp, err)
}

// verdict tells what an answer, or its absence, means for the message.
func (t *transmission) verdict(op string, resp *http.Response, err error) (driver.Delivery, error) {
	if err != nil {
		if httpx.MaySent(err) && codeOf(err) == 0 {
			return driver.DeliveryUnknown, err
		}
		return deliveryOf(err), err
	}
	reply := t.s.replyOf(resp.Request.Method, resp)
	t.code, t.text = reply.Code, reply.Text
	refuse := func(k driver.Kind, d driver.Delivery, why error) (driver.Delivery, error) {
		httpx.Drain(resp)
		reply.Err = why
		return d, t.s.wrap(op, k, reply)
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
		httpx.Drain(resp)
		return driver.DeliveryAccepted, nil
	case http.StatusMultiStatus:
		if err = t.s.inside(op, resp); err != nil && codeOf(err) == 0 {
			return driver.DeliveryUnknown, err // cut, or not to be read
		}
		return deliveryOf(err), err
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		// A proxy in front of Exchange lost the answer (RFC 9110 section
		// 15.6): Exchange may have taken the message.
		return driver.DeliveryUnknown, t.s.refuse(op, resp)
	case http.StatusForbidden:
		return refuse(driver.KindPermanent, driver.DeliveryRejected, ErrSender)
	case http.StatusNotFound: // what Exchange says to who is not logged in here
		return refuse(driver.KindAuth, driver.DeliveryDeferred, errors.New("the connection is not authenticated for sending"))
	case http.StatusInsufficientStorage:
		return refuse(driver.KindPermanent, driver.DeliveryRejected, ErrQuota)
	}
	unheard := resp.StatusCode/100 == 2 // a success, of what the status does not say
	if err = t.s.refuse(op, resp); unheard {
		return driver.DeliveryUnknown, err
	}
	return deliveryOf(err), err
}
