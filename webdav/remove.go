package webdav

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
)

// Remove implements [driver.Mailbox]: it deletes, moves or marks, as
// configured, and returns when the server has confirmed it. Mails that the
// server refuses to touch are told in a [driver.RemoveError].
func (m *mailbox) Remove(ctx context.Context, ids []driver.ID) error {
	switch m.s.set.after {
	case afterMove, afterTrash:
		return m.each(ctx, ids, func(ctx context.Context, it *item) error { return m.move(ctx, it, m.moveTo) })
	case afterRead:
		return m.each(ctx, ids, m.markRead)
	}
	return m.each(ctx, ids, m.delete)
}

// Quarantine implements [driver.Quarantiner].
func (m *mailbox) Quarantine(ctx context.Context, ids []driver.ID) error {
	if m.failedTo == "" {
		return m.Remove(ctx, ids)
	}
	return m.each(ctx, ids, func(ctx context.Context, it *item) error { return m.move(ctx, it, m.failedTo) })
}

// each calls f for every mail, some at a time. An answer about one mail is
// about that mail; what ends the session ends all.
func (m *mailbox) each(ctx context.Context, ids []driver.ID, f func(context.Context, *item) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		mu      sync.Mutex
		refused driver.RemoveError
		fatal   error
		wg      sync.WaitGroup
	)
	work := make(chan *item)
	for range min(m.s.set.conns, len(ids)) {
		wg.Go(func() {
			for it := range work {
				err := f(ctx, it)
				if err == nil {
					continue
				}
				mu.Lock()
				if singular(err) {
					refused.IDs, refused.Err = append(refused.IDs, it.id), err
				} else if fatal == nil {
					fatal = err
					cancel()
				}
				mu.Unlock()
			}
		})
	}
feed:
	for _, id := range ids {
		it := m.items[id]
		if it == nil {
			continue // not listed: gone
		}
		select {
		case work <- it:
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	wg.Wait()
	switch {
	case fatal != nil:
		return fatal
	case ctx.Err() != nil:
		return m.s.wrap("remove", driver.KindTemporary, context.Cause(ctx))
	case len(refused.IDs) > 0:
		return &refused
	}
	return nil
}

// singular tells that an error is about one mail: the server answered, and
// neither the login nor the server as a whole is the matter.
func singular(err error) bool {
	re, ok := errors.AsType[*ReplyError](err)
	if !ok {
		return false
	}
	switch driver.KindOf(err) {
	case driver.KindAuth, driver.KindPolicy, driver.KindProtocol:
		return false
	default:
		return re.Code < 500 || re.Code == http.StatusInsufficientStorage
	}
}

// condition makes a change depend on the file being the one that was listed.
// gone tells that it is another one by now, which must not be touched. Not
// every server heeds If-Match outside of GET and PUT, so the file is looked at
// as well; If-Match closes the gap between the two.
func (m *mailbox) condition(ctx context.Context, it *item) (header map[string]string, gone bool, err error) {
	header = map[string]string{}
	if !m.s.set.plain {
		return header, false, nil
	}
	if it.etag != "" && !it.weak { // it never holds for a weak tag (RFC 9110 section 13.1.1)
		header["If-Match"] = it.etag
	}
	same, err := m.s.unchanged(ctx, it)
	return header, !same, err
}

// delete removes a mail for good. One that is gone is removed (404), and so is
// one that was written anew: the new one is another mail (412).
func (m *mailbox) delete(ctx context.Context, it *item) error {
	header, gone, err := m.condition(ctx, it)
	if err != nil || gone {
		return err
	}
	resp, err := m.s.do(ctx, &call{method: http.MethodDelete, path: it.target(), header: header, anyway: true})
	if err != nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent, http.StatusAccepted, http.StatusNotFound, http.StatusGone:
	case http.StatusPreconditionFailed:
		if header["If-Match"] == "" {
			return m.s.refuse("delete", resp)
		}
		return m.replaced(ctx, it, "delete", resp)
	case http.StatusMultiStatus:
		return m.s.inside("delete", resp)
	default:
		return m.s.refuse("delete", resp)
	}
	httpx.Drain(resp)
	return nil
}

// replaced deals with an If-Match that does not hold: it is no failure if the
// file really changed.
func (m *mailbox) replaced(ctx context.Context, it *item, op string, resp *http.Response) error {
	refused := m.s.refuse(op, resp)
	same, err := m.s.unchanged(ctx, it)
	if err != nil || same {
		return errors.Join(refused, err)
	}
	return nil
}

// inside reads a multistatus that answers a change: the part that failed tells
// (RFC 4918 section 9.6.1).
func (s *session) inside(op string, resp *http.Response) error {
	reply := s.replyOf(strings.ToUpper(op), resp)
	if resp.Request != nil {
		reply.Command = resp.Request.Method
	}
	parts := 0
	worst := http.StatusOK
	err := s.read(op, resp, few(func(r *response) error {
		parts++
		if st := r.worst(); st >= 300 && st != http.StatusNotFound && st != http.StatusFailedDependency || st >= 300 && worst < 300 {
			worst = st
		}
		return nil
	}))
	switch {
	case err != nil:
		return err
	case parts == 0:
		return s.wrap(op, driver.KindProtocol, errors.New("an empty multistatus"))
	case worst >= 300:
		reply.Code, reply.Text = worst, http.StatusText(worst)
		return s.wrap(op, httpx.KindOf(worst), reply)
	}
	return nil
}

// markRead sets urn:schemas:httpmail:read.
func (m *mailbox) markRead(ctx context.Context, it *item) error {
	c := &call{
		method: "PROPPATCH", path: it.target(), body: proppatchBody(prop{nsHTTPMail, "read"}, "boolean", "1"), anyway: true,
		header: map[string]string{"Content-Type": "text/xml; charset=utf-8"},
	}
	resp, err := m.s.do(ctx, c)
	if err != nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusMultiStatus:
		return m.s.inside("proppatch", resp)
	case http.StatusNotFound:
		httpx.Drain(resp)
		return nil
	}
	return m.s.refuse("proppatch", resp)
}

// move puts a mail into another folder. The name is kept; where it is taken,
// and the server does not find another one itself (Allow-Rename), a random one
// is used.
func (m *mailbox) move(ctx context.Context, it *item, to davPath) error {
	name := it.path.rawName()
	for again := false; ; again = true {
		header, gone, err := m.condition(ctx, it)
		if err != nil || gone {
			return err
		}
		header["Destination"] = (to.dir() + davPath(name)).url(m.s.origin).String()
		header["Overwrite"] = "F"
		if !m.s.set.plain {
			header["Allow-Rename"] = "t"
		}
		resp, err := m.s.do(ctx, &call{method: "MOVE", path: it.target(), header: header, anyway: true})
		if err != nil {
			return err
		}
		switch resp.StatusCode {
		case http.StatusCreated, http.StatusNoContent, http.StatusOK, http.StatusNotFound, http.StatusGone:
			httpx.Drain(resp)
			return nil
		case http.StatusMultiStatus:
			return m.s.inside("move", resp)
		}
		refused := m.s.refuse("move", resp)
		if codeOf(refused) != http.StatusPreconditionFailed || again {
			return refused
		}
		name = freeName(it.path.rawName()) // and condition tells if the file is another by now
	}
}

// freeName makes a name that nothing else has, with the same suffix.
func freeName(raw string) string {
	stem, suffix := raw, ""
	if i := strings.LastIndexByte(raw, '.'); i > 0 {
		stem, suffix = raw[:i], raw[i:]
	}
	return stem + "-" + strings.ToLower(rand.Text()[:12]) + suffix
}
