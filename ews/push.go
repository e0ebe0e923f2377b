package ews

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
)

const (
	// streamMinutes is how long one GetStreamingEvents lasts; 30 is the most.
	streamMinutes = 29
	// streamSlack is how long after its end the server may take to say so.
	streamSlack = time.Minute
	// maxEnvelope bounds one envelope of notifications.
	maxEnvelope = 1 << 20
	// goodbye bounds the cancelling of a subscription at Close.
	goodbye = 500 * time.Millisecond
)

// A pusher takes the notifications of the driver's folder. They only wake the
// poller; what is in them counts for nothing. Its goroutine begins with a Wait
// and ends with Close, with an error, or when a connection comes to its end that
// nobody waits for.
type pusher struct {
	mu           sync.Mutex
	running      bool
	subscription string
	waiting      int
	news         bool          // something came since the last listing
	told         chan struct{} // closed when news, or err, is set; nil: nobody waits
	err          error         // of the goroutine that has ended, nil if it just had nothing to do
	failing      bool          // the latest connection gave nothing
}

// listing notes that all mail that is there now is going to be seen.
func (p *pusher) listing() {
	p.mu.Lock()
	p.news = false
	p.mu.Unlock()
}

// tell wakes those who wait.
func (p *pusher) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.news = true
	p.wake()
}

func (p *pusher) wake() {
	if p.told != nil {
		close(p.told)
		p.told = nil
	}
}

// Wait returns nil when a poll is worth while: the server told of mail since the
// last listing, or may have while nobody listened. It uses streaming
// notifications, which Exchange has since 2010 SP1; older servers are
// errors.ErrUnsupported. See [driver.Waiter].
func (d *Driver) Wait(ctx context.Context) error {
	ctx, end, ok := d.life.Begin(ctx, driver.ErrClosed)
	if !ok {
		return errClosed("wait")
	}
	defer end()
	if d.set.ews.noPush {
		return wrap("wait", "", driver.KindConfig, fmt.Errorf("notifications are turned off: %w", errors.ErrUnsupported))
	}
	p := &d.push
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting++
	defer func() { p.waiting-- }()
	for first := true; ; first = false {
		switch {
		case p.news:
			return nil
		case !p.running && !first && p.err != nil:
			return p.err
		case !p.running:
			if err := d.listen(); err != nil {
				return err
			}
		}
		if p.told == nil {
			p.told = make(chan struct{})
		}
		told := p.told
		p.mu.Unlock()
		select {
		case <-told:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if err := context.Cause(ctx); err != nil {
			return wrap("wait", "", kindOr(err, driver.KindTemporary), err)
		}
	}
}

// listen starts the goroutine. p.mu is held.
func (d *Driver) listen() error {
	ctx, end, ok := d.life.Begin(context.Background(), driver.ErrClosed)
	if !ok {
		return errClosed("wait")
	}
	p := &d.push
	p.running, p.err = true, nil
	go func() {
		defer end()
		err := d.stream(ctx)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running, p.err = false, err
		p.failing = err != nil
		p.wake()
	}()
	return nil
}

// stream takes notifications until something goes wrong that a new subscription
// does not mend.
func (d *Driver) stream(ctx context.Context) error {
	o := d.set
	s, err := d.connect(ctx, &o)
	if err != nil {
		return err
	}
	defer func() { s.close() }()
	defer d.unsubscribe(ctx, s)
	if err := s.needs(ctx, Exchange2010SP1, "streaming notifications"); err != nil {
		return errors.Join(err, errors.ErrUnsupported)
	}
	p := &d.push
	unsure := false // something may have come that nobody told
	heard := func(news bool) {
		p.mu.Lock()
		p.failing = false
		p.mu.Unlock()
		if news || unsure {
			unsure = false
			p.tell()
		}
	}
	for failures := 0; ; {
		p.mu.Lock()
		subscription, wanted, failing := p.subscription, p.waiting > 0, p.failing
		p.mu.Unlock()
		if !wanted {
			return nil
		}
		if subscription == "" {
			if subscription, err = s.subscribe(ctx); err != nil {
				return err
			}
			p.mu.Lock()
			p.subscription = subscription
			p.mu.Unlock()
			// What came before is told by nobody. Where connections fail time
			// and again the next one must work first, or the poller would be
			// woken without end.
			if unsure = failing; !failing {
				p.tell()
			}
		}
		envelopes, err := s.events(ctx, subscription, heard)
		if envelopes > 0 {
			failures = 0
		}
		switch code := codeOf(err); {
		case ctx.Err() != nil:
			return s.wrap("wait", kindOr(context.Cause(ctx), driver.KindTemporary), context.Cause(ctx))
		case err == nil:
			continue
		case code == "ErrorSubscriptionNotFound", code == "ErrorInvalidSubscription", code == "ErrorMissedNotificationEvents", code == "ErrorSubscriptionUnsubscribed", code == "ErrorReadEventsFailed":
			p.mu.Lock()
			p.subscription = ""
			p.failing = p.failing || failures > 0
			p.mu.Unlock()
		default:
			// A connection that something on the way has cut: what came
			// meanwhile may be lost with it.
			unsure = true
		}
		if failures++; failures > 1 {
			return err
		}
	}
}

// subscribe asks for notifications of the folder.
func (s *session) subscribe(ctx context.Context) (id string, err error) {
	err = s.withFolder(ctx, s.o.ews.folder, func(f folderRef) error {
		list, err := s.do(ctx, &request{op: "Subscribe", body: subscribe(f), single: true, push: true})
		if err != nil {
			return err
		}
		if id = list[0].node.kid("SubscriptionId").value(); id == "" || len(id) > maxItemID {
			return s.wrap("subscribe", driver.KindProtocol, errors.New("the answer has no subscription"))
		}
		return nil
	})
	return id, err
}

// unsubscribe tells the server at Close that nobody listens any more; it would
// find out by itself.
func (d *Driver) unsubscribe(ctx context.Context, s *session) {
	p := &d.push
	p.mu.Lock()
	id := p.subscription
	closed := errors.Is(context.Cause(ctx), driver.ErrClosed)
	if closed {
		p.subscription = ""
	}
	p.mu.Unlock()
	if id == "" || !closed {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if t := s.try(ctx, &request{op: "Unsubscribe", body: unsubscribe(id), single: true, push: true}, d.mem.levelFor(s.o.ews.version)); t.err != nil {
		s.o.common.Logger.Debug("not unsubscribed", "driver", driverName, "error", t.err)
	}
}

// events reads one GetStreamingEvents, a long answer of many envelopes, and
// calls heard for each, with whether it tells of mail. It returns nil when the
// server has closed the connection as agreed.
func (s *session) events(ctx context.Context, subscription string, heard func(news bool)) (envelopes int, err error) {
	if left, err := s.d.mem.throttle.wait(ctx, busyBudget); err != nil || left > 0 {
		return 0, s.wrap("getstreamingevents", driver.KindTemporary, errors.Join(err, s.refused))
	}
	req := &request{op: "GetStreamingEvents", body: getStreamingEvents(subscription, streamMinutes), push: true, silence: streamMinutes*time.Minute + streamSlack}
	id := newGUID()
	hreq, err := s.httpRequest(ctx, req, s.d.mem.levelFor(s.o.ews.version), id)
	if err != nil {
		return 0, err
	}
	resp, err := s.client.Do(hreq)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		defer httpx.Drain(resp)
		t := &attempt{}
		s.read(t, req, resp, id)
		return 0, s.outcome(req, t)
	}
	defer func() { _ = resp.Body.Close() }()
	src := newSource(resp.Body, 0)
	for {
		more, err := src.skipBlank()
		if err != nil {
			return envelopes, s.broken(err)
		}
		if !more {
			return envelopes, s.wrap("getstreamingevents", driver.KindTemporary, errors.New("the notifications end without a word"))
		}
		news, closed, err := s.envelope(src, id)
		if err != nil {
			return envelopes, err
		}
		envelopes++
		if heard(news); closed {
			return envelopes, nil
		}
	}
}

// envelope reads one envelope of notifications.
func (s *session) envelope(src *source, id string) (news, closed bool, err error) {
	src.budget = maxEnvelope
	d := newDocument(src)
	var bad error
	a, err := readAnswer(d, func(_ int, start xml.StartElement) error {
		n, err := d.element(start)
		if err != nil {
			return err
		}
		r := replyOf(n)
		r.request = id
		if r.failed() && bad == nil {
			re := s.replyError("GetStreamingEvents", &r)
			if re.busy() {
				s.d.mem.throttle.delay(re.BackOff, s.o.ews.busyMin)
			}
			bad = s.wrap("getstreamingevents", re.kind(), re)
		}
		for _, note := range n.kid("Notifications").all() {
			for _, event := range note.kids {
				switch event.name.Local {
				case "NewMailEvent", "CreatedEvent", "MovedEvent", "CopiedEvent":
					news = true
				}
			}
		}
		closed = closed || n.kid("ConnectionStatus").value() == "Closed"
		return nil
	})
	s.d.mem.heard(a.build)
	switch {
	case err != nil:
		return false, false, s.broken(err)
	case a.fault != nil:
		re := s.responseError(ResponseError{Operation: "GetStreamingEvents", Code: a.fault.code, Status: http.StatusOK, Text: a.fault.text, RequestID: id, BackOff: a.fault.wait})
		return false, false, s.wrap("getstreamingevents", re.kind(), re)
	}
	return news, closed, bad
}

// skipBlank passes over blanks between documents; more is false at the end.
func (s *source) skipBlank() (more bool, err error) {
	for {
		b, err := s.r.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		case b != ' ' && b != '\t' && b != '\r' && b != '\n':
			return true, s.r.UnreadByte()
		}
	}
}
