package imap

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// A fetch takes the FETCH responses to one or more UID FETCH commands and
// streams the contents to put. The responses may come in any order, with items
// that nobody asked for (X-GM-MSGID, FLAGS of another mail), and with the UID
// behind the content.
type fetch struct {
	s       *session
	section string // "" for the whole mail, "HEADER"
	max     int64  // longest content that nobody asked for; put refuses others by their size
	want    map[uint32]bool
	alone   uint32 // the one mail that the command at hand is about; 0: several
	late    bool   // a content came before its UID, and could not be placed
	put     func(uid uint32, size int64, r io.Reader) error
	putErr  error // of put

	limit time.Time // for the next mail or end of a command; zero: not set
	idle  int       // responses since the last
}

// response reads one FETCH response (RFC 3501 section 7.4.2).
func (f *fetch) response(r *response) error {
	p := &itemParser{s: f.s, cur: r.rest}
	if !p.take('(') {
		return p.bad("a FETCH response is no list")
	}
	it := fetched{size: -1}
	delivered := false
	for first := true; ; first = false {
		if p.take(')') {
			break
		}
		if !first && !p.take(' ') {
			return p.bad("FETCH items are not apart")
		}
		name, err := p.itemName()
		if err != nil {
			return err
		}
		switch name {
		case "UID":
			uid, err := p.number()
			if err != nil {
				return err
			}
			if it.uid != 0 && uid != uint64(it.uid) || uid == 0 || uid > 1<<32-1 {
				return p.bad("two different UIDs of one mail")
			}
			it.uid = uint32(uid)
		case "RFC822.SIZE":
			// A hint; some servers state what no number can hold (F17).
			n, err := p.number()
			if err != nil || n > 1<<62 {
				if err := p.skipAtom(); err != nil {
					return err
				}
				break
			}
			it.size = int64(n)
		case "BODY[" + f.section + "]":
			if delivered {
				return p.bad("a mail has two contents")
			}
			if delivered, err = f.content(p, &it); err != nil {
				return err
			}
			if it.ended {
				return nil // the rest of the response was read already
			}
		default:
			if err := p.skipValue(); err != nil {
				return err
			}
		}
	}
	return p.end()
}

// fetched is what is known of a mail while its FETCH response is read.
type fetched struct {
	uid   uint32
	size  int64
	ended bool // the response was read to its end
}

// content reads the value of the content item. delivered is false if it went
// nowhere, because nobody wants it or nobody knows whose it is.
func (f *fetch) content(p *itemParser, it *fetched) (delivered bool, err error) {
	n, r, err := p.value()
	if err != nil || r == nil {
		return false, err // NIL: the server has no content; it counts as not received
	}
	uid := it.uid
	if uid == 0 {
		if uid = f.alone; uid == 0 {
			// Whose it is comes behind it, too late. Each mail is asked for
			// alone then.
			f.late = true
			return false, discard(r)
		}
	}
	asked := f.s.received(uid)
	if !f.want[uid] {
		if !asked && n > f.max {
			return false, p.bad(fmt.Sprintf("a mail of %d bytes that was not asked for", n))
		}
		return false, discard(r)
	}
	delete(f.want, uid)
	f.s.seenMails++
	b := &body{f: f, p: p, it: it, uid: uid, r: r, size: n}
	if f.section == "" {
		it.size = n
		f.s.seenBytes += n
	}
	if err := f.put(uid, it.size, b); err != nil {
		// The rest of the mail is not worth reading.
		f.putErr = err
		_ = f.s.fail(f.s.wrap("fetch", driver.KindClosed, errors.New("a mail was not read to its end")))
		return true, err
	}
	return true, b.finish()
}

func discard(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// A body is the content of one mail. It ends with io.EOF only when the whole
// response was read and found right, so that nobody takes half a mail, or
// another's, for this one.
type body struct {
	f    *fetch
	p    *itemParser
	it   *fetched
	uid  uint32
	r    io.Reader
	size int64
	err  error
}

// Size is the length that the server announced, to which it is held.
func (b *body) Size() int64 { return b.size }

func (b *body) Read(q []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(q)
	if errors.Is(err, io.EOF) {
		if err = b.rest(); err == nil {
			err = io.EOF
		}
	}
	if err != nil {
		b.err = err
		if !errors.Is(err, io.EOF) {
			b.err = b.f.s.broken("fetch", err)
		}
		err = b.err
	}
	return n, err
}

// finish reads what put left of the mail.
func (b *body) finish() error {
	if b.err == nil {
		_, _ = io.Copy(io.Discard, b)
	}
	if !errors.Is(b.err, io.EOF) {
		return b.err
	}
	return nil
}

// rest reads the items behind the content, among them perhaps the UID.
func (b *body) rest() error {
	b.it.ended = true
	for !b.p.take(')') {
		if !b.p.take(' ') {
			return b.p.bad("a mail is longer than announced")
		}
		name, err := b.p.itemName()
		if err != nil {
			return err
		}
		if name == "UID" {
			uid, err := b.p.number()
			if err != nil {
				return err
			}
			if uid != uint64(b.uid) {
				return b.p.bad("a mail came in place of another")
			}
			b.it.uid = b.uid
			continue
		}
		if err := b.p.skipValue(); err != nil {
			return err
		}
	}
	if b.it.uid == 0 {
		return b.p.bad("a mail without its UID")
	}
	return b.p.end()
}

// skipFetch passes over a FETCH response that nobody asked for.
func (s *session) skipFetch(r *response) error {
	f := &fetch{s: s, section: "HEADER", max: maxResponse}
	return f.response(r)
}
