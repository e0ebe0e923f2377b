package ews

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
	"github.com/maildriver/maildriver/mime"
)

// An EnvelopeError tells which receivers of the header are no recipients of the
// message. It is [ErrEnvelope].
type EnvelopeError struct{ Addresses []string }

func (e *EnvelopeError) Error() string {
	list := e.Addresses
	more := ""
	if len(list) > 3 {
		list, more = list[:3], fmt.Sprintf(" and %d more", len(e.Addresses)-3)
	}
	return fmt.Sprintf("%v: %s%s", ErrEnvelope, netx.Quote(strings.Join(list, ", ")), more)
}

// Is makes the error [ErrEnvelope].
func (e *EnvelopeError) Is(target error) bool { return target == ErrEnvelope }

// Send hands the message to Exchange (CreateItem with its MIME content), which
// sends it to everyone whom To and Cc of the header name, and to the recipients
// of m that they do not name, as Bcc. A header that names others than the
// recipients of m is refused with an [EnvelopeError]: they would get it, too. Bcc
// fields are left out. The sender is From of the header, which the account must
// be permitted to use; m.From has no effect, and none of what a notification is
// asked for by but SUCCESS, which asks for a delivery receipt.
//
// Exchange takes a message for all recipients or none. The error is a
// [*driver.Error] with a [*driver.DeliveryError] inside and, where the server
// decided, a [*ResponseError]. A message is sent at most once: when no answer
// came after its end was sent, the outcome is unknown.
func (d *Driver) Send(ctx context.Context, m *driver.Message, opts ...driver.Option) (driver.Receipt, error) {
	ctx, end, ok := d.life.Begin(ctx, driver.ErrClosed)
	if !ok {
		return conclude(m, "", errClosed("send"))
	}
	defer end()
	o := d.set
	if err := driver.Apply(opts, &o.ews, &o.net, &o.common, &o.inbound, &o.compose); err != nil {
		return conclude(m, "", err)
	}
	if err := o.check(d.url); err != nil {
		return conclude(m, "", &driver.Error{Op: "send", Driver: driverName, Kind: driver.KindConfig, Err: err})
	}
	server, err := d.send(ctx, &o, m)
	return conclude(m, server, err)
}

// Compose makes a message of a draft, see [driver.Composer]. What a draft leaves
// open is as the options of package driver for it say, e.g. [driver.WithFrom]
// and [driver.WithCharset].
func (d *Driver) Compose(draft *mime.Draft, opts ...driver.Option) (*driver.Message, error) {
	common, compose := d.set.common, d.set.compose
	if err := driver.Apply(opts, &common, &compose); err != nil {
		return nil, err
	}
	return compose.Compose(draft, common.From)
}

// A rejection is an error that decides that a message is refused for good.
type rejection struct{ error }

func (r *rejection) Unwrap() error { return r.error }

// reject refuses a message before anything was sent.
func reject(err error) error {
	return &driver.Error{Op: "send", Driver: driverName, Kind: driver.KindPermanent, Err: &rejection{err}}
}

// conclude makes the receipt and the error of an outcome.
func conclude(m *driver.Message, server string, err error) (driver.Receipt, error) {
	rec := driver.Receipt{Delivery: driver.DeliveryAccepted, Server: server, Recipients: make([]driver.RecipientReceipt, len(m.To))}
	re, decided := errors.AsType[*ResponseError](err)
	switch {
	case err == nil:
	case driver.KindOf(err) == driver.KindAmbiguous:
		rec.Delivery = driver.DeliveryUnknown
	case errors.As(err, new(*rejection)), decided && driver.KindOf(err) == driver.KindPermanent && ofMessage(re):
		rec.Delivery = driver.DeliveryRejected
	default:
		rec.Delivery = driver.DeliveryDeferred
	}
	if decided {
		rec.Text = strings.TrimSpace(re.Code + " " + re.Text)
	}
	for i, to := range m.To {
		rec.Recipients[i] = driver.RecipientReceipt{Address: to.Address, Delivery: rec.Delivery, Text: rec.Text}
	}
	if err == nil {
		return rec, nil
	}
	e := &driver.Error{Op: "send", Driver: driverName, Addr: server, Kind: kindOr(err, driver.KindTemporary)}
	cause := err
	if de, ok := err.(*driver.Error); ok { //nolint:errorlint // the outermost is lifted, so that it is not told twice
		e.Op, e.Addr, cause = de.Op, de.Addr, de.Err
	}
	e.Err = &driver.DeliveryError{Delivery: rec.Delivery, Err: cause}
	return rec, e
}

// ofMessage reports whether an error is about the message. A wrong URL, or a
// folder for copies that is missing, says nothing against it: once that is put
// right it can be sent.
func ofMessage(re *ResponseError) bool {
	return re.Operation == "CreateItem" && !absent(re) && (re.Code != "" || re.Status == http.StatusRequestEntityTooLarge)
}

// send sends the message once and gives the server that decided.
func (d *Driver) send(ctx context.Context, o *options, m *driver.Message) (server string, err error) {
	if err := checkMessage(m); err != nil {
		return "", reject(err)
	}
	c := &content{open: m.Open, binary: m.Binary}
	header, err := c.measure()
	if errors.Is(err, errHeader) {
		return "", reject(err)
	}
	if err != nil {
		return "", wrap("read message", "", kindOr(err, driver.KindLocal), err)
	}
	bcc, err := hidden(m, mime.ParseHeader(header))
	if err != nil {
		return "", reject(err)
	}
	s, err := d.connect(ctx, o)
	if err != nil {
		return "", err
	}
	defer func() { s.close() }()
	if !o.ews.saveCopy || o.ews.saveFolder == "" {
		err = s.create(ctx, c, m, bcc, nil)
	} else {
		err = s.withFolder(ctx, o.ews.saveFolder, func(f folderRef) error { return s.create(ctx, c, m, bcc, &f) })
	}
	return s.addr(), err
}

// create sends CreateItem. Whether it is repeated is for do to decide.
func (s *session) create(ctx context.Context, c *content, m *driver.Message, bcc []string, saveTo *folderRef) error {
	how := "SendOnly"
	if s.o.ews.saveCopy {
		how = "SendAndSaveCopy"
	}
	start := operation("CreateItem", "MessageDisposition", how)
	if saveTo != nil {
		start.raw("<m:SavedItemFolderId>")
		saveTo.write(start)
		start.raw("</m:SavedItemFolderId>")
	}
	start.raw("<m:Items><t:Message><t:MimeContent>")
	tail := new(markup)
	tail.raw("</t:MimeContent>")
	if len(bcc) > 0 {
		tail.raw("<t:BccRecipients>")
		for _, a := range bcc {
			tail.raw("<t:Mailbox>").element("t:EmailAddress", a).raw("</t:Mailbox>")
		}
		tail.raw("</t:BccRecipients>")
	}
	if slices.ContainsFunc(m.To, func(r driver.Recipient) bool { return slices.Contains(r.Notify, "SUCCESS") }) {
		tail.element("t:IsDeliveryReceiptRequested", "true")
	}
	c.tail = tail.raw("</t:Message></m:Items>").end("CreateItem")
	_, err := s.do(ctx, &request{op: "CreateItem", body: func(Version) []byte { return start.Bytes() }, content: c, single: true})
	return err
}

// checkMessage refuses what could not be sent as it is meant.
func checkMessage(m *driver.Message) error {
	switch {
	case len(m.To) == 0:
		return errors.New("there is no recipient")
	case m.Open == nil:
		return errors.New("the message has no content")
	case m.RequireTLS:
		return fmt.Errorf("RequireTLS: Exchange Web Services cannot ask for it: %w", errors.ErrUnsupported)
	case m.DeliverBy != nil:
		return fmt.Errorf("DeliverBy: Exchange Web Services cannot ask for it: %w", errors.ErrUnsupported)
	}
	if m.From != "" {
		if err := checkAddress(m.From); err != nil {
			return fmt.Errorf("sender: %w", err)
		}
	}
	for _, to := range m.To {
		if err := checkAddress(to.Address); err != nil {
			return fmt.Errorf("recipient: %w", err)
		}
	}
	return nil
}

// hidden gives the recipients that the header does not name, and refuses a
// header that names others.
func hidden(m *driver.Message, h mime.Header) (bcc []string, err error) {
	shown := map[string]bool{}
	for _, name := range []string{"To", "Cc"} {
		for _, a := range h.Addresses(name) {
			if a.Addr != "" {
				shown[strings.ToLower(a.Addr)] = true
			}
		}
	}
	for _, to := range m.To {
		key := strings.ToLower(to.Address)
		if was, ok := shown[key]; !ok {
			bcc = append(bcc, to.Address)
			shown[key] = false
		} else if was {
			shown[key] = false
		}
	}
	var extra []string
	for a, left := range shown {
		if left {
			extra = append(extra, a)
		}
	}
	if len(extra) > 0 {
		slices.Sort(extra)
		return nil, &EnvelopeError{extra}
	}
	return bcc, nil
}
