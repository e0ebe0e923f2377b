package imap

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// Mails are asked for in commands of fetchChunk, of which fetchWindow may be on
// their way, so that the server never waits for us.
const (
	fetchChunk  = 16
	fetchWindow = 8
	// aheadBytes bounds what is asked for before anybody wants it: it must be
	// read even if nobody does.
	aheadBytes = 1 << 20
)

// A pending command asks for the contents of mails.
type pending struct {
	tag  string
	uids []uint32 // that have not come
}

// received notes that a content has come, and reports whether it was asked
// for.
func (s *session) received(uid uint32) bool {
	for i := range s.ahead {
		if k := slices.Index(s.ahead[i].uids, uid); k >= 0 {
			s.ahead[i].uids = slices.Delete(slices.Clone(s.ahead[i].uids), k, k+1)
			return true
		}
	}
	return false
}

// run gets the contents of mails and passes them to put, each once. UIDs that
// are not put in the end are gone; one that the server lists and does not give
// is put with a [driver.UnreadableError]. next are those that will be wanted
// after these.
func (f *fetch) run(uids, next []uint32) error {
	f.want = make(map[uint32]bool, len(uids))
	for _, uid := range uids {
		f.want[uid] = true
	}
	chunk := fetchChunk
	if f.s.uidLate {
		chunk, next = 1, nil
	}
	if err := f.stream(uids, next, chunk); err != nil {
		return err
	}
	missing := f.missing(uids)
	if len(missing) == 0 {
		return nil
	}
	if f.late && !f.s.uidLate {
		f.s.uidLate = true
	} else {
		// Not received means gone, unless the server still has them: then it
		// must give them when asked for each alone (F20, F25).
		still, err := f.s.search("UID " + uidSet(missing))
		if err != nil || len(still) == 0 {
			return err
		}
		missing = still
	}
	if err := f.stream(missing, nil, 1); err != nil {
		return err
	}
	return f.lament(f.missing(missing))
}

var errNotGiven = errors.New("the server lists the mail and does not give it")

// lament puts mails that the server lists and refuses or leaves out as such.
// They stay where they are, and hold up no other.
func (f *fetch) lament(uids []uint32) error {
	for _, uid := range uids {
		f.s.log.Warn("a mail cannot be had", "driver", driverName, "addr", f.s.conn.Addr(), "uid", uid, "error", errNotGiven)
		delete(f.want, uid)
		if err := f.put(uid, -1, withheld{f.s.wrap("fetch", driver.KindTemporary, errNotGiven)}); err != nil {
			return err
		}
	}
	return nil
}

// withheld is the content of a mail that cannot be had.
type withheld struct{ err error }

func (w withheld) Read([]byte) (int, error) { return 0, &driver.UnreadableError{Err: w.err} }

func (f *fetch) missing(uids []uint32) []uint32 {
	var list []uint32
	for _, uid := range uids {
		if f.want[uid] {
			list = append(list, uid)
		}
	}
	return list
}

// stream asks for uids in chunks, as far as they were not asked for before,
// and reads until all have come or the commands for them have ended. If there
// is room it asks for next too. Replies that say that a command has ended are
// not waited for: servers send the contents of the next commands first.
func (f *fetch) stream(uids, next []uint32, chunk int) error {
	s := f.s
	if f.section != s.aheadSection {
		if err := s.settle(); err != nil {
			return err
		}
		s.aheadSection = f.section
	}
	asked := make(map[uint32]bool)
	for _, p := range s.ahead {
		for _, uid := range p.uids {
			asked[uid] = true
		}
	}
	fresh := func(list []uint32) [][]uint32 {
		return slices.Collect(slices.Chunk(slices.DeleteFunc(slices.Clone(list), func(uid uint32) bool { return asked[uid] }), chunk))
	}
	todo, later := fresh(uids), fresh(next)
	window := fetchWindow
	if s.uidLate {
		// Whose content it is, only the command tells: one at a time, since
		// servers may answer them in any order.
		window = 1
	}
	s.fetching = f
	defer func() { s.fetching = nil }()
	for {
		for len(todo) > 0 && len(s.ahead) < window {
			if err := f.ask(todo[0]); err != nil {
				return err
			}
			todo = todo[1:]
		}
		for len(todo) == 0 && len(later) > 0 && len(s.ahead) < fetchWindow && f.roomAhead() {
			if err := f.ask(later[0]); err != nil {
				return err
			}
			later = later[1:]
		}
		if err := s.conn.Flush(); err != nil {
			return s.broken("fetch", err)
		}
		first := slices.IndexFunc(s.ahead, f.wantsOf)
		if first < 0 && len(todo) == 0 {
			return nil
		}
		f.alone = 0
		if first >= 0 && len(s.ahead[first].uids) == 1 {
			f.alone = s.ahead[first].uids[0]
		}
		if err := f.next(); err != nil {
			return err
		}
	}
}

// wantsOf reports whether the command asks for a mail that is still wanted.
func (f *fetch) wantsOf(p pending) bool {
	return slices.ContainsFunc(p.uids, func(uid uint32) bool { return f.want[uid] })
}

func (f *fetch) ask(uids []uint32) error {
	items := "(UID BODY.PEEK[" + f.section + "])"
	if f.section != "" {
		items = "(UID RFC822.SIZE BODY.PEEK[" + f.section + "])"
	}
	tag, err := f.s.queue("UID FETCH", raw(uidSet(uids)), raw(items))
	if err == nil {
		f.s.ahead = append(f.s.ahead, pending{tag, uids})
	}
	return err
}

// next reads one response to the commands on their way. f.limit bounds how long
// the server may go on without giving a mail or ending a command.
func (f *fetch) next() error {
	s := f.s
	now := time.Now()
	if f.limit.IsZero() {
		f.limit = now.Add(commandWaits * s.conn.Timeout())
	}
	deadline := now.Add(s.conn.Timeout())
	if deadline.After(f.limit) {
		deadline = f.limit
	}
	r, err := s.read(deadline)
	if err != nil {
		return s.broken("uid fetch", err)
	}
	if r.tag == "*" {
		mails := s.seenMails
		if err := s.untagged(r, nil); err != nil {
			if f.putErr != nil {
				return f.putErr
			}
			return s.broken("uid fetch", err)
		}
		if s.seenMails != mails {
			f.limit, f.idle = time.Time{}, 0
		}
		if f.idle++; f.idle > maxResponses {
			return s.broken("uid fetch", s.wrap("uid fetch", driver.KindProtocol, fmt.Errorf("too many responses: %w", driver.ErrLimit)))
		}
		return nil
	}
	i := slices.IndexFunc(s.ahead, func(p pending) bool { return p.tag == r.tag })
	if i < 0 {
		return s.broken("uid fetch", s.garbage("a reply to nothing that was asked", []byte(r.tag+" "+r.typ)))
	}
	s.ahead = slices.Delete(s.ahead, i, i+1)
	f.limit, f.idle = time.Time{}, 0
	_, err = s.finish("UID FETCH", r.status())
	if _, ok := isRefusal(err); ok {
		s.log.Warn("the server refuses mails", "driver", driverName, "addr", s.conn.Addr(), "error", err)
		return nil
	}
	return err
}

// roomAhead reports whether mails may be asked for before they are wanted:
// from the sizes seen so far, what is on its way is small.
func (f *fetch) roomAhead() bool {
	s := f.s
	if s.seenMails == 0 {
		return false
	}
	n := int64(fetchChunk)
	for _, p := range s.ahead {
		for _, uid := range p.uids {
			if !f.want[uid] {
				n++
			}
		}
	}
	return n*(s.seenBytes/s.seenMails) <= aheadBytes
}

// settle reads and drops what was asked for ahead and is not wanted any more,
// so that another command can be sent.
func (s *session) settle() error {
	if len(s.ahead) == 0 {
		return s.err
	}
	f := &fetch{s: s, section: s.aheadSection, max: 1<<63 - 1}
	s.fetching = f
	defer func() { s.fetching = nil }()
	for len(s.ahead) > 0 && s.err == nil {
		if err := f.next(); err != nil {
			return err
		}
	}
	return s.err
}
