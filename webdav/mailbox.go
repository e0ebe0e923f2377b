package webdav

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/maildriver/maildriver/driver"
)

// A mailbox is one listing of a folder and what is done with it.
type mailbox struct {
	s      *session
	folder davPath

	items    map[driver.ID]*item
	moveTo   davPath
	failedTo davPath
	oddTags  atomic.Bool // tags of GET differ from those of the listing
}

// An item is one mail of a listing.
type item struct {
	id   driver.ID
	path davPath
	// lasting is a second address of Exchange's, "" if there is none. path may
	// come to mean another mail, this one cannot.
	lasting davPath
	uid     string // Exchange's repl-uid, "" if it gave none
	size    int64  // as the server states it, -1 if it does not
	read    bool
	etag    string // of a plain collection, without W/
	weak    bool   // the server marks the tag as weak
}

// bytes is what the server makes us keep for it.
func (it *item) bytes() int {
	return len(it.id) + len(it.path) + len(it.lasting) + len(it.uid) + len(it.etag)
}

// target is where to change the mail.
func (it *item) target() davPath {
	if it.lasting != "" {
		return it.lasting
	}
	return it.path
}

var (
	_ driver.Mailbox     = (*mailbox)(nil)
	_ driver.Keeper      = (*mailbox)(nil)
	_ driver.Quarantiner = (*mailbox)(nil)
)

// openMailbox logs in and finds the folders: what would fail after a mail was
// handed over is to fail before.
func (s *session) openMailbox(ctx context.Context, in *driver.InboundSettings) (driver.Mailbox, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	m := &mailbox{s: s, items: map[driver.ID]*item{}}
	var err error
	if m.folder, err = s.folder(ctx, s.set.folderPath()); err != nil {
		return nil, err
	}
	if in.LeaveOnServer {
		return m, nil
	}
	switch s.set.after {
	case afterMove:
		m.moveTo, err = s.folder(ctx, s.set.moveTo)
	case afterTrash:
		m.moveTo, err = s.folder(ctx, "DeletedItems")
	}
	if err == nil && s.set.failedFolder != "" {
		m.failedTo, err = s.folder(ctx, s.set.failedFolder)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// List implements [driver.Mailbox]. The whole listing is read before anything
// is yielded, because a page that fails must not leave half a listing behind.
func (m *mailbox) List(ctx context.Context) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		list, err := m.list(ctx)
		if err != nil {
			yield(driver.Entry{}, err)
			return
		}
		for _, it := range list {
			m.items[it.id] = it
			e := driver.Entry{ID: it.id, Size: it.size, Seen: it.read, Marked: it.read && m.s.set.marks(), Hold: it.read && m.s.set.unread}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (m *mailbox) list(ctx context.Context) ([]*item, error) {
	if m.s.set.plain {
		return m.s.listPlain(ctx, m.folder)
	}
	return m.s.search(ctx, m.folder)
}

// Fetch implements [driver.Mailbox]: the next mails are asked for while one is
// read.
func (m *mailbox) Fetch(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		c   *content
		err error
	}
	var waiting []chan answer
	defer func() { // what was asked for and is not wanted any more
		cancel()
		for _, ch := range waiting {
			if a := <-ch; a.c != nil {
				a.c.close()
			}
		}
	}()
	next := 0
	for i, id := range ids {
		for next < len(ids) && next < i+m.s.set.conns {
			ch := make(chan answer, 1)
			waiting = append(waiting, ch)
			it := m.items[ids[next]]
			go func() {
				c, err := m.get(ctx, it)
				ch <- answer{c, err}
			}()
			next++
		}
		a := <-waiting[0]
		waiting = waiting[1:]
		if a.err != nil {
			if !unreadable(a.err) {
				return a.err
			}
			if err := put(id, failing{&driver.UnreadableError{Err: a.err}}); err != nil {
				return err
			}
			continue
		}
		if a.c == nil {
			continue // gone
		}
		err := put(id, a.c)
		a.c.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// unreadable tells that an answer is about one mail, which others must not wait
// for: a file that the account may not read, one that Exchange cannot convert.
func unreadable(err error) bool {
	switch codeOf(err) {
	case http.StatusInternalServerError:
		return true
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusProxyAuthRequired:
		return false
	}
	return singular(err)
}

// failing is the body of a mail that the server does not give.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Keeps implements [driver.Keeper].
func (m *mailbox) Keeps() bool { return m.s.set.marks() }

// Commit implements [driver.Mailbox]: each Remove was confirmed by then.
func (m *mailbox) Commit(context.Context) error { return nil }

// Close implements [driver.Mailbox].
func (m *mailbox) Close() error { return nil }

// maxID bounds what a server may call a mail.
const maxID = 1 << 10

// idOf makes an id of what a server says.
func idOf(text string) (driver.ID, error) {
	if text == "" || len(text) > maxID {
		return "", fmt.Errorf("%w: an id of %d bytes", errXML, len(text))
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] == 0x7f {
			return "", fmt.Errorf("%w: an id with a control character", errXML)
		}
	}
	return driver.ID(strings.Clone(text)), nil // without the blanks around it that the server may have sent
}

var errTooMany = errors.New("more mails than the limit")

func (s *session) tooMany(op string) error {
	return s.wrap(op, driver.KindPermanent, fmt.Errorf("%w of %d (webdav.WithMaxListing): %w", errTooMany, s.set.maxListing, driver.ErrLimit))
}
