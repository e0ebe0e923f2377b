package webdav

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/httpx"
	"github.com/maildriver/maildriver/mime"
)

// A headSink counts a message and keeps its header.
type headSink struct {
	head bytes.Buffer
	done bool
}

// maxHead bounds the header that is looked at.
const maxHead = 1 << 20

func (h *headSink) Write(p []byte) (int, error) {
	if !h.done {
		h.head.Write(p[:min(len(p), maxHead-h.head.Len())])
		h.done = h.head.Len() == maxHead || bytes.Contains(h.head.Bytes(), []byte("\r\n\r\n"))
	}
	return len(p), nil
}

// parse gives the header; cut tells that there may be more of it.
func (h *headSink) parse() (header mime.Header, cut bool) {
	b := h.head.Bytes()
	i := bytes.Index(b, []byte("\r\n\r\n"))
	if i >= 0 {
		b = b[:i+4]
	}
	return mime.ParseHeader(b), i < 0 && len(b) == maxHead
}

// viaDrafts puts the message into Drafts and moves it to the submission URI,
// so that Exchange keeps a copy in Sent Items. It takes the recipients from the
// header, so these must be those of the envelope: the ones that are not in To
// or Cc are set as blind copies.
func (t *transmission) viaDrafts(ctx context.Context, header mime.Header, to davPath) (driver.Delivery, error) {
	if t.cut { // recipients that are not seen here would get the message
		return driver.DeliveryRejected, t.s.wrap("mail", driver.KindPermanent, fmt.Errorf("the header is longer than %d bytes: %w", maxHead, driver.ErrLimit))
	}
	blind, err := t.blind(header)
	if err != nil {
		return driver.DeliveryRejected, t.s.wrap("mail", driver.KindPermanent, err)
	}
	drafts, err := t.s.folder(ctx, "Drafts")
	if err != nil {
		return deliveryOf(err), err
	}
	draft := drafts.child(strings.ToLower(rand.Text()) + ".EML")
	resp, err := t.s.do(ctx, &call{
		method: http.MethodPut, path: draft, content: t.content(""), size: t.size, anyway: true,
		header: map[string]string{"Content-Type": "message/rfc822"},
	})
	if err == nil && resp.StatusCode/100 != 2 {
		_, err = t.verdict("put", resp, nil)
	} else if err == nil {
		httpx.Drain(resp)
	}
	if err == nil && len(blind) > 0 {
		err = t.setBlind(ctx, draft, blind)
	}
	if err != nil {
		t.drop(ctx, draft)
		return deliveryOf(err), err
	}
	resp, err = t.s.do(ctx, &call{
		method: "MOVE", path: draft,
		header: map[string]string{"Destination": to.url(t.s.origin).String(), "Saveinsent": "t"},
	})
	delivery, err := t.verdict("move", resp, err)
	if err != nil && delivery != driver.DeliveryUnknown {
		t.drop(ctx, draft)
	}
	return delivery, err
}

// blind gives the recipients that To and Cc do not name: Exchange sends to these
// fields and to Bcc, not to those of a resent message. A header that names
// others would send to them.
func (t *transmission) blind(header mime.Header) ([]string, error) {
	named, shown := map[string]bool{}, map[string]bool{}
	for _, field := range []string{"To", "Cc", "Resent-To", "Resent-Cc"} {
		for _, a := range header.Addresses(field) {
			if a.Addr != "" {
				key := strings.ToLower(a.Addr)
				named[key] = true
				shown[key] = shown[key] || !strings.HasPrefix(field, "Resent-")
			}
		}
	}
	var blind []string
	for _, r := range t.m.To {
		key := strings.ToLower(r.Address)
		if !shown[key] {
			blind = append(blind, r.Address)
			shown[key] = true
		}
		delete(named, key)
	}
	if len(named) > 0 {
		return nil, fmt.Errorf("the header names %d recipients that the envelope does not, and webdav.WithSaveSent would send to them", len(named))
	}
	return blind, nil
}

func (t *transmission) setBlind(ctx context.Context, draft davPath, blind []string) error {
	resp, err := t.s.do(ctx, &call{
		method: "PROPPATCH", path: draft, body: proppatchBody(prop{nsMailHdr, "bcc"}, "", strings.Join(blind, ", ")), anyway: true,
		header: map[string]string{"Content-Type": "text/xml; charset=utf-8"},
	})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusMultiStatus {
		return t.s.refuse("proppatch", resp)
	}
	return t.s.inside("proppatch", resp)
}

// dropGrace bounds the removal of a draft that was not sent.
const dropGrace = 10 * time.Second

// drop removes a draft that was not sent, also when the call has ended.
func (t *transmission) drop(ctx context.Context, draft davPath) {
	if errors.Is(context.Cause(ctx), driver.ErrClosed) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropGrace)
	defer cancel()
	resp, err := t.s.do(ctx, &call{method: http.MethodDelete, path: draft, anyway: true})
	if err != nil {
		t.s.log.Warn("a draft that was not sent is left", "driver", driverName, "addr", t.s.addr, "error", err.Error())
		return
	}
	httpx.Drain(resp)
}
