package pop3

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/maildriver/maildriver/driver"
)

// A mailbox is a session after login, which has the maildrop locked until it
// ends (RFC 1939 section 4).
type mailbox struct {
	s       *session
	mem     *memory
	account string
	maxMail int64 // one byte more than the pipeline takes, which refuses with grace
	maxList int

	numbers map[driver.ID]int // of the latest listing
	plan    []driver.ID       // what Fetch will be asked for, from the next mail on
	ahead   []retrieval       // RETR was sent for, oldest first
	large   map[int]bool      // not to be asked for ahead
	deleted map[int]bool      // marked by DELE in this session
	noTOP   bool              // TOP was refused for a mail that RETR gave
}

var (
	_ driver.Mailbox       = (*mailbox)(nil)
	_ driver.KeepAliver    = (*mailbox)(nil)
	_ driver.Fingerprinter = (*mailbox)(nil)
	_ driver.Announcer     = (*mailbox)(nil)
)

// open connects and logs in.
func (d *Driver) open(ctx context.Context, o *options) (driver.Mailbox, error) {
	port := d.port
	if port == 0 {
		port = defaultPort(o.net.Security)
	}
	s, err := connect(ctx, joinPort(d.host, port), o)
	if err != nil {
		return nil, err
	}
	defer s.watch(ctx)()
	seen := s.conn.Private()
	err = s.login(ctx)
	seen()
	if err != nil {
		return nil, s.fail(err)
	}
	return &mailbox{
		s: s, mem: &d.mem, account: o.net.User,
		maxMail: max(o.inbound.MaxMessageBytes, o.inbound.MaxMessageBytes+1), maxList: o.pop3.maxListing,
		numbers: map[driver.ID]int{}, deleted: map[int]bool{},
	}, nil
}

// List yields the mails in the order of their numbers, which is that of their
// arrival. Nothing is yielded before the whole listing has been read and found
// right.
func (m *mailbox) List(ctx context.Context) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		entries, err := m.list(ctx)
		if err != nil {
			yield(driver.Entry{}, err)
			return
		}
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// A retrieval is a mail that is wanted by its number.
type retrieval struct {
	id     driver.ID
	number int
}

// each sends a command for every mail in todo, ahead of the replies as far as
// the server permits, and calls put with the content of each reply. A refusal
// is passed to gone, if there is one; it ends nothing unless the server blames
// itself. An error of put ends the session, because the rest of its mail is
// not worth reading.
func (m *mailbox) each(verb string, todo []retrieval, gone func(retrieval), put func(retrieval, *body) error, more ...string) error {
	if err := m.settle(); err != nil {
		return err
	}
	sent, window := 0, m.s.pipelined()
	for i, r := range todo {
		for ; sent < min(len(todo), i+window); sent++ {
			if err := m.s.send(verb, append([]string{strconv.Itoa(todo[sent].number)}, more...)...); err != nil {
				return err
			}
		}
		if _, err := m.s.status(verb + " " + strconv.Itoa(r.number)); err != nil {
			re, refused := isRefusal(err)
			if !refused {
				return err
			}
			if re.system() {
				return m.s.fail(err)
			}
			if gone != nil {
				gone(r)
			}
			continue
		}
		b := m.s.newBody(opOf(verb), -1)
		if err := put(r, b); err != nil {
			_ = m.s.fail(err)
			return err
		}
		if err := b.drain(); err != nil {
			return err
		}
	}
	return nil
}

// shortReplies is how many times as many DELE as RETR may be in flight: what
// they and their replies take fits into any connection's buffers, so that
// neither side waits for the other to read (RFC 2449 section 6.6).
const shortReplies = 8

// Remove implements [driver.Mailbox] with DELE, which takes effect at Commit.
func (m *mailbox) Remove(ctx context.Context, ids []driver.ID) error {
	defer m.s.watch(ctx)()
	if err := m.settle(); err != nil {
		return err
	}
	var todo []int
	planned := make(map[int]bool, len(ids))
	for _, id := range ids {
		if n, ok := m.numbers[id]; ok && !m.deleted[n] && !planned[n] {
			todo, planned[n] = append(todo, n), true
		}
	}
	refused := make(map[int]error)
	sent, window := 0, m.s.pipelined()
	if window > 1 {
		window *= shortReplies
	}
	for i, n := range todo {
		for ; sent < min(len(todo), i+window); sent++ {
			if err := m.s.send("DELE", strconv.Itoa(todo[sent])); err != nil {
				return err
			}
		}
		_, err := m.s.status("DELE " + strconv.Itoa(n))
		switch _, isRefused := isRefusal(err); {
		case err == nil:
			m.deleted[n] = true
		case isRefused:
			refused[n] = err
		default:
			return err
		}
	}
	return m.judge(todo, refused, ids)
}

// judge tells mails that are gone, which DELE refuses rightly, from those that
// the server will not delete: it still lists the latter.
func (m *mailbox) judge(todo []int, refused map[int]error, ids []driver.ID) error {
	var errs []error
	kept := make(map[int]bool)
	for _, n := range todo {
		if refused[n] == nil {
			continue
		}
		_, err := m.s.command("LIST", strconv.Itoa(n))
		switch re, isRefused := isRefusal(err); {
		case err == nil, isRefused && re.system():
			errs = append(errs, refused[n])
			kept[n] = true
		case isRefused:
			m.deleted[n] = true
		default:
			return err
		}
	}
	if len(errs) == 0 {
		return nil
	}
	stay := &driver.RemoveError{Err: errors.Join(errs...)}
	for _, id := range ids {
		if kept[m.numbers[id]] {
			stay.IDs = append(stay.IDs, id)
		}
	}
	return stay
}

// Commit implements [driver.Mailbox] with QUIT: only its +OK says that the
// mails are gone (RFC 1939 section 6).
func (m *mailbox) Commit(ctx context.Context) error {
	defer m.s.watch(ctx)()
	if err := m.settle(); err != nil {
		return err
	}
	if _, err := m.s.command("QUIT"); err != nil {
		return m.s.fail(err)
	}
	// Nothing follows the reply to QUIT. If something does, what was read as
	// that reply was one of another command.
	if m.s.conn.Buffered() > 0 {
		return m.s.fail(m.s.wrap("quit", driver.KindProtocol, errUnasked))
	}
	_ = m.s.fail(m.s.wrap("quit", driver.KindClosed, errEnded))
	return nil
}

var (
	errEnded   = errors.New("the session has ended")
	errUnasked = errors.New("the server speaks without being asked")
)

// Close implements [driver.Mailbox]: it drops the connection without QUIT, so
// that the server undoes every DELE.
func (m *mailbox) Close() error {
	_ = m.s.fail(m.s.wrap("close", driver.KindClosed, errEnded))
	return nil
}

// KeepAlive implements [driver.KeepAliver] with NOOP. What was asked for ahead
// is given up for it: its replies come first.
func (m *mailbox) KeepAlive(ctx context.Context) error {
	defer m.s.watch(ctx)()
	if err := m.settle(); err != nil {
		return err
	}
	_, err := m.s.command("NOOP")
	if _, refused := isRefusal(err); refused {
		return nil // a server that answers is awake
	}
	return err
}

// gone is the error for a mail that the listing had and the server has not.
func (m *mailbox) gone(op string, id driver.ID) error {
	return m.s.wrap(op, driver.KindTemporary, fmt.Errorf("mail %q is not on the server any more", id))
}
