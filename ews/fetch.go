package ews

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/maildriver/maildriver/driver"
)

// batchBytes bounds the mails of one GetItem, by the sizes of the listing, so
// that the server is not cut short in the middle of it.
const batchBytes = 4 << 20

// Fetch implements [driver.Mailbox] with GetItem, several mails a request where
// they are small.
func (m *mailbox) Fetch(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	for len(ids) > 0 {
		n := m.batch(ids)
		if err := m.fetch(ctx, ids[:n], put); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// batch counts the mails of the next request.
func (m *mailbox) batch(ids []driver.ID) int {
	var sum int64
	for i, id := range ids {
		size, ok := m.sizes[id]
		if !ok || size < 0 {
			size = batchBytes / 4
		}
		if i > 0 && (i == m.set.requestSize || sum+size > batchBytes) {
			return i
		}
		sum += size
	}
	return len(ids)
}

// fetch gets the mails of one request. Those that a busy server left out, or
// that a lost connection kept back, are asked for again.
func (m *mailbox) fetch(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	lost := false
	for round := 0; len(ids) > 0; round++ {
		list := make([]itemID, len(ids))
		for i, id := range ids {
			list[i] = itemID{id: string(id)}
		}
		f := &fetch{s: m.s, ids: ids, put: put}
		f.req = &request{op: "GetItem", body: getMIME(list), stream: f.message}
		_, err := m.s.do(ctx, f.req)
		switch {
		case f.err != nil:
			return f.err
		case err != nil && (lost || f.done == 0 || ctx.Err() != nil || driver.KindOf(err) != driver.KindTemporary):
			return err
		case err != nil:
			lost = true
		case f.done < len(ids):
			return m.s.wrap("getitem", driver.KindProtocol, fmt.Errorf("%d answers to %d objects", f.done, len(ids)))
		}
		if ids = append(f.again, ids[f.done:]...); len(ids) > 0 && round == changeRounds {
			return m.s.wrap("getitem", driver.KindTemporary, fmt.Errorf("%d mails were left out again and again", len(ids)))
		}
	}
	return nil
}

// A fetch takes the response messages of one GetItem.
type fetch struct {
	s     *session
	req   *request
	ids   []driver.ID
	put   func(driver.ID, io.Reader) error
	err   error       // of put
	done  int         // messages that were dealt with
	again []driver.ID // that must be asked for again
}

// message takes one response message: it is that of the id at the same place.
func (f *fetch) message(d *document, i int, start xml.StartElement) error {
	if i >= len(f.ids) {
		return errors.New("more answers than objects")
	}
	id := f.ids[i]
	b := d.build(start, "MimeContent")
	at, err := b.run()
	if err != nil {
		return err
	}
	if at == nil {
		if err := f.without(id, b.root); err != nil {
			return err
		}
		f.done++
		return nil
	}
	b.stopAt = ""
	if b.root.attr("ResponseClass") == "Error" {
		if err := d.src.skipText(); err != nil {
			return err
		}
		if _, err := b.run(); err != nil {
			return err
		}
		f.done++
		return f.without(id, b.root)
	}
	m := &message{f: f, id: id, b: b, src: d.src, text: newBase64Reader(d.src)}
	if f.err = f.put(id, m); f.err != nil {
		return f.err
	}
	if err := m.finish(); err != nil {
		return err
	}
	f.done++
	return nil
}

// without deals with a response message that holds no mail.
func (f *fetch) without(id driver.ID, n *node) error {
	r := replyOf(n)
	r.request = f.req.id
	re := f.s.replyError("GetItem", &r)
	switch {
	case r.code == "ErrorItemNotFound":
		return nil // gone since it was listed
	case r.code == "ErrorBatchProcessingStopped":
		f.again = append(f.again, id)
		return nil
	case r.failed() && (re.busy() || busyCodes[r.inner]):
		f.s.refused = f.s.wrap("getitem", driver.KindTemporary, re)
		f.s.d.mem.throttle.delay(re.BackOff, f.s.o.ews.busyMin)
		f.again = append(f.again, id)
		return nil
	case r.failed():
		return f.unreadable(id, f.s.wrap("getitem", re.kind(), re))
	}
	return f.unreadable(id, f.s.wrap("getitem", driver.KindPermanent, errors.New("the server gives no content for the mail")))
}

// unreadable reports one mail and lets the others go on.
func (f *fetch) unreadable(id driver.ID, err error) error {
	f.err = f.put(id, failing{&driver.UnreadableError{Err: err}})
	return f.err
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// A message is the content of one mail. It ends with io.EOF only when its whole
// response message was read and found right, so that nobody takes half a mail,
// or another's, for this one.
type message struct {
	f    *fetch
	id   driver.ID
	b    *builder
	src  *source
	text *base64Reader
	err  error
	over bool // the response message was read to its end
}

func (m *message) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.text.Read(p)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, errBase64):
		m.err = &driver.UnreadableError{Err: m.f.s.wrap("getitem", driver.KindPermanent, err)}
	case errors.Is(err, io.EOF):
		if m.err = m.rest(); m.err == nil {
			m.err = io.EOF
		}
	default:
		m.err = m.f.s.broken(err)
	}
	return n, m.err
}

// rest reads what comes behind the content.
func (m *message) rest() error {
	if m.over {
		return nil
	}
	m.over = true
	if _, err := m.b.run(); err != nil {
		return m.f.s.broken(err)
	}
	got := driver.ID(m.b.root.find("ItemId").attr("Id"))
	if got != m.id && slices.Contains(m.f.ids, got) {
		return m.f.s.wrap("getitem", driver.KindProtocol, errors.New("a mail came in place of another"))
	}
	return nil
}

// finish passes over what put left of the mail.
func (m *message) finish() error {
	if m.over {
		if m.err != nil && !errors.Is(m.err, io.EOF) {
			return m.err
		}
		return nil
	}
	if m.err != nil && !errors.As(m.err, new(*driver.UnreadableError)) {
		return m.err
	}
	if err := m.src.skipText(); err != nil {
		return m.f.s.broken(err)
	}
	return m.rest()
}
