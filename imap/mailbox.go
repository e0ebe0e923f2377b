package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/maildriver/maildriver/driver"
)

// memory is what a driver knows from one session to the next.
type memory struct {
	mu       sync.Mutex
	listings int    // so far
	folder   string // of the latest listing
	validity uint32 // of the latest listing; 0: none
	next     uint64 // no mail below it is new
	noIdle   bool   // the server has no IDLE
}

// saw notes how far a listing went.
func (m *memory) saw(folder string, validity uint32, next uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.folder, m.validity, m.next = folder, validity, next
	m.listings++
}

// latest tells how far the latest listing went, 0 and 0 if it was not of that
// folder.
func (m *memory) latest(folder string) (listings int, validity uint32, next uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.folder != folder {
		return m.listings, 0, 0
	}
	return m.listings, m.validity, m.next
}

// polled is the folder of the latest listing, other if there was none.
func (m *memory) polled(other string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listings == 0 {
		return other
	}
	return m.folder
}

// A mailbox is a session with a folder selected.
type mailbox struct {
	s        *session
	set      *settings
	mem      *memory
	folder   string // its path
	maxMail  int64
	validity uint32 // of the listing

	uids     []uint32        // of the listing, ascending
	plan     []uint32        // what Fetch will be asked for
	deleted  map[uint32]bool // marked as deleted by whomever when listed
	keeps    bool            // Remove left mails on the server
	moveTo   string          // the server's name
	failedTo string
}

var (
	_ driver.Mailbox     = (*mailbox)(nil)
	_ driver.KeepAliver  = (*mailbox)(nil)
	_ driver.Keeper      = (*mailbox)(nil)
	_ driver.Quarantiner = (*mailbox)(nil)
	_ driver.Renumberer  = (*mailbox)(nil)
	_ driver.Announcer   = (*mailbox)(nil)
)

// open connects, logs in and selects the folder.
func (d *Driver) open(ctx context.Context, o *options) (driver.Mailbox, error) {
	s, err := connect(ctx, d.addr(o), o)
	if err != nil {
		return nil, err
	}
	defer s.watch(ctx)()
	m := &mailbox{
		s: s, set: &o.imap, mem: &d.mem, folder: canonicalPath(o.imap.folder),
		maxMail: max(o.inbound.MaxMessageBytes, o.inbound.MaxMessageBytes+1),
	}
	if err := m.begin(o.inbound.LeaveOnServer); err != nil {
		_ = s.fail(err)
		s.close("open")
		return nil, err
	}
	d.mem.mu.Lock()
	d.mem.noIdle = !s.has("IDLE")
	d.mem.mu.Unlock()
	return m, nil
}

// begin selects the folder, and finds out early what would fail after the mail
// was handed over.
func (m *mailbox) begin(leave bool) error {
	name, err := m.s.resolve(m.folder)
	if err != nil {
		return err
	}
	if m.set.after == afterMove && !leave {
		if m.moveTo, err = m.s.resolve(m.set.moveTo); err != nil {
			return err
		}
	}
	if m.set.failedFolder != "" && !leave {
		if m.failedTo, err = m.s.resolve(m.set.failedFolder); err != nil {
			return err
		}
	}
	// By two paths the same folder: mails moved to it would come again for
	// ever.
	if m.moveTo == name || m.failedTo == name {
		return m.s.wrap("folder", driver.KindConfig, fmt.Errorf("mails are to be moved from %q to the same folder", m.folder))
	}
	if err := m.s.selectFolder(name, leave); err != nil {
		return err
	}
	m.validity = m.s.box.validity
	if leave {
		return nil
	}
	m.keeps = m.set.marks() || m.cannotExpunge()
	if m.s.box.readOnly {
		return m.s.wrap("select", driver.KindPermanent, errors.New("the folder is read-only, so that mails could not be removed; see driver.WithLeaveOnServer"))
	}
	return m.checkFlags()
}

// cannotExpunge reports whether removed mails stay on the server, marked as
// deleted.
func (m *mailbox) cannotExpunge() bool {
	if m.s.has("UIDPLUS") || m.set.plainExpunge {
		return false
	}
	return m.set.after == afterDelete || m.set.after == afterMove && !m.s.has("MOVE")
}

// checkFlags refuses marks that the server would forget (RFC 3501 section
// 7.1, PERMANENTFLAGS). Without a word about it all are permanent.
func (m *mailbox) checkFlags() error {
	if !m.s.box.knowsPermanent {
		return nil
	}
	flag := m.set.keyword
	if m.set.after == afterSeen {
		flag = `\Seen`
	}
	if !m.set.marks() || slices.Contains(m.s.box.permanent, `\*`) {
		return nil
	}
	if !slices.ContainsFunc(m.s.box.permanent, equalFold(flag)) {
		return m.s.wrap("select", driver.KindPermanent, errors.New("the server keeps no flag "+flag+" in this folder"))
	}
	return nil
}

// List yields the mails in the order of their UIDs, which is that of their
// arrival. Mails that the host does not want, and those that are marked as
// deleted, are listed to be held: what is known of them must not be forgotten.
func (m *mailbox) List(ctx context.Context) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		defer m.s.watch(ctx)()
		wanted, marked, err := m.list()
		if err != nil {
			yield(driver.Entry{}, err)
			return
		}
		for _, uid := range m.uids {
			e := driver.Entry{ID: formatID(m.validity, uid), Size: -1}
			e.Marked = marked[uid] || m.keeps && !m.set.marks() && m.deleted[uid]
			e.Hold = m.deleted[uid] || wanted != nil && !wanted[uid]
			if !yield(e, nil) {
				return
			}
		}
	}
}

// list asks for all mails, for those marked as deleted, for those that the
// host wants (nil: all), and for those that bear our mark.
func (m *mailbox) list() (wanted, marked map[uint32]bool, err error) {
	questions := []string{"ALL", "DELETED"}
	want, mark := m.set.wanted(), ""
	switch m.set.after {
	case afterSeen:
		mark = "SEEN"
	case afterKeyword:
		mark = "KEYWORD " + m.set.keyword
	}
	for _, q := range []string{want, mark} {
		if q != "" {
			questions = append(questions, q)
		}
	}
	// The server may tell a later one behind its answer, for mail that the
	// answer does not hold.
	next := uint64(m.s.box.next)
	found, err := m.s.searches(questions...)
	if err != nil {
		return nil, nil, err
	}
	m.uids, m.deleted = found[0], setOf(found[1])
	rest := found[2:]
	if want != "" {
		wanted, rest = setOf(rest[0]), rest[1:]
	}
	if mark != "" {
		marked = setOf(rest[0])
	}
	if n := len(m.uids); n > 0 && uint64(m.uids[n-1]) >= next {
		next = uint64(m.uids[n-1]) + 1
	}
	m.mem.saw(m.folder, m.validity, next)
	return wanted, marked, nil
}

func setOf(uids []uint32) map[uint32]bool {
	set := make(map[uint32]bool, len(uids))
	for _, uid := range uids {
		set[uid] = true
	}
	return set
}

// mine gives the UIDs of ids, ascending. Ids of another numbering are left
// out: their UIDs mean other mails now (F13).
func (m *mailbox) mine(ids []driver.ID) []uint32 {
	uids := make([]uint32, 0, len(ids))
	for _, id := range ids {
		if v, uid, ok := parseID(id); ok && v == m.validity {
			uids = append(uids, uid)
		}
	}
	slices.Sort(uids)
	return slices.Compact(uids)
}

// Announce implements [driver.Announcer].
func (m *mailbox) Announce(ids []driver.ID) { m.plan = m.mine(ids) }

// Fetch implements [driver.Mailbox] with UID FETCH, many mails in flight.
func (m *mailbox) Fetch(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	defer m.s.watch(ctx)()
	f := &fetch{s: m.s, max: m.maxMail, put: func(uid uint32, _ int64, r io.Reader) error {
		return put(formatID(m.validity, uid), r)
	}}
	uids := m.mine(ids)
	return f.run(uids, m.after(uids))
}

// after gives what will be asked for after uids.
func (m *mailbox) after(uids []uint32) []uint32 {
	if len(uids) == 0 {
		return nil
	}
	i, found := slices.BinarySearch(m.plan, uids[len(uids)-1])
	if !found {
		return nil
	}
	return m.plan[i+1 : min(len(m.plan), i+1+fetchChunk*fetchWindow)]
}

// Headers implements [driver.Renumberer].
func (m *mailbox) Headers(ctx context.Context, ids []driver.ID, put func(driver.ID, int64, io.Reader) error) error {
	defer m.s.watch(ctx)()
	f := &fetch{s: m.s, section: "HEADER", max: m.maxMail, put: func(uid uint32, size int64, r io.Reader) error {
		if _, none := r.(withheld); none {
			return nil // that one mail is not found again; the others must not suffer
		}
		return put(formatID(m.validity, uid), size, r)
	}}
	return f.run(m.mine(ids), nil)
}

// Epoch implements [driver.Renumberer]: it is the UIDVALIDITY.
func (m *mailbox) Epoch(id driver.ID) string {
	v, _, ok := parseID(id)
	if !ok {
		return ""
	}
	epoch := formatID(v, 1)
	return string(epoch[:len(epoch)-2])
}

// Commit implements [driver.Mailbox]. What Remove did was confirmed by then,
// so that the good-bye cannot change it; CLOSE, which expunges, is never said.
func (m *mailbox) Commit(ctx context.Context) error {
	defer m.s.watch(ctx)()
	if m.s.err != nil {
		return m.s.err
	}
	m.s.logout()
	return nil
}

// Close implements [driver.Mailbox]: it drops the connection.
func (m *mailbox) Close() error {
	m.s.close("close")
	return nil
}

// KeepAlive implements [driver.KeepAliver] with NOOP. What was asked for ahead
// is given up for it: the server may be waiting for us to read it.
func (m *mailbox) KeepAlive(ctx context.Context) error {
	defer m.s.watch(ctx)()
	_, err := m.s.command("NOOP", nil)
	if _, refused := isRefusal(err); refused {
		return nil // a server that answers is awake
	}
	return err
}
