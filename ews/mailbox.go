package ews

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// A mailbox is a session with a folder.
type mailbox struct {
	s    *session
	set  *settings
	sync *syncState // nil: FindItem

	keys  map[driver.ID]string // change keys of the listing
	sizes map[driver.ID]int64

	moveTo, failedTo string // paths; "" for none
	gone             []driver.ID
}

var (
	_ driver.Mailbox     = (*mailbox)(nil)
	_ driver.Keeper      = (*mailbox)(nil)
	_ driver.Quarantiner = (*mailbox)(nil)
)

// open finds the server and the folders that the session needs.
func (d *Driver) open(ctx context.Context, o *options) (driver.Mailbox, error) {
	s, err := d.connect(ctx, o)
	if err != nil {
		return nil, err
	}
	m := &mailbox{s: s, set: &o.ews, keys: map[driver.ID]string{}, sizes: map[driver.ID]int64{}}
	if err := m.begin(ctx); err != nil {
		s.close()
		return nil, err
	}
	return m, nil
}

// begin finds out early what would fail after the mail was handed over.
func (m *mailbox) begin(ctx context.Context) error {
	if _, err := m.s.folder(ctx, m.set.folder); err != nil {
		return err
	}
	if !m.s.o.inbound.LeaveOnServer {
		if m.set.after == afterMove {
			m.moveTo = m.set.moveTo
		}
		m.failedTo = m.set.failedFolder
		for _, path := range []string{m.moveTo, m.failedTo} {
			if path == "" {
				continue
			}
			if _, err := m.s.folder(ctx, path); err != nil {
				return err
			}
		}
	}
	if m.set.syncDir == "" {
		return nil
	}
	var err error
	m.sync, err = loadSyncState(m.set.syncDir, m.s.d.source(m.s.o))
	return err
}

// An item is a line of a listing.
type item struct {
	id       driver.ID
	key      string
	size     int64
	read     bool
	received time.Time
}

// maxItemID bounds an id; those of Exchange have less than 300 characters.
const maxItemID = 4096

// itemOf reads an item of whatever type. ok is false if it has no id.
func itemOf(n *node) (it item, ok bool) {
	id := n.kid("ItemId")
	it = item{id: driver.ID(id.attr("Id")), key: id.attr("ChangeKey"), size: -1, read: truth(n.kid("IsRead").value())}
	if size, err := strconv.ParseInt(n.kid("Size").value(), 10, 64); err == nil && size >= 0 {
		it.size = size
	}
	if at, err := time.Parse(time.RFC3339Nano, n.kid("DateTimeReceived").value()); err == nil {
		it.received = at
	}
	return it, it.id != "" && len(it.id) <= maxItemID && !strings.ContainsFunc(string(it.id), isControl)
}

// List yields the mails, oldest first. The whole folder is listed before the
// first is yielded: removing mails while paging would shift the pages.
func (m *mailbox) List(ctx context.Context) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		items, err := m.list(ctx)
		if err != nil {
			yield(driver.Entry{}, err)
			return
		}
		slices.SortStableFunc(items, func(a, b item) int { return a.received.Compare(b.received) })
		for _, it := range items {
			m.keys[it.id], m.sizes[it.id] = it.key, it.size
			e := driver.Entry{ID: it.id, Size: it.size, Seen: it.read, Hold: m.set.unread && it.read, Marked: m.set.after == afterRead && it.read}
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (m *mailbox) list(ctx context.Context) (items []item, err error) {
	m.s.d.push.listing()
	err = m.s.withFolder(ctx, m.set.folder, func(f folderRef) error {
		if m.sync != nil {
			items, err = m.sync.update(ctx, m.s, f, m.set.maxListing)
		} else {
			items, err = m.find(ctx, f)
		}
		return err
	})
	return items, err
}

// listTries is how often a folder is listed that others change meanwhile.
const listTries = 4

// find lists the folder with FindItem. Mails that somebody removes meanwhile
// make the pages shift, and others be left out, which must not look as if they
// were gone: then all is listed again.
func (m *mailbox) find(ctx context.Context, f folderRef) ([]item, error) {
	for range listTries {
		items, steady, err := m.findOnce(ctx, f)
		if err != nil || steady {
			return items, err
		}
	}
	return nil, m.s.wrap("finditem", driver.KindTemporary, fmt.Errorf("the folder changed during %d listings", listTries))
}

func (m *mailbox) findOnce(ctx context.Context, f folderRef) (items []item, steady bool, err error) {
	seen := map[driver.ID]bool{}
	total, empty := -1, 0
	steady = true
	for offset := 0; ; {
		n, err := m.s.call(ctx, "FindItem", findItem(f, offset, m.set.pageSize))
		if err != nil {
			return nil, false, err
		}
		p, err := pageOf(n, "Items")
		if err != nil {
			return nil, false, m.s.wrap("finditem", driver.KindProtocol, err)
		}
		for _, n := range p.items {
			it, ok := itemOf(n)
			switch {
			case !ok:
			case seen[it.id]:
				steady = false
			default:
				seen[it.id] = true
				items = append(items, it)
			}
		}
		if len(items) > m.set.maxListing {
			return nil, false, m.s.wrap("finditem", driver.KindPermanent, fmt.Errorf("%w: more than %d mails in the folder", driver.ErrLimit, m.set.maxListing))
		}
		if p.total >= 0 {
			if p.total < total {
				steady = false
			}
			total = p.total
		}
		offset += len(p.items)
		if int64(offset) > 2*int64(m.set.maxListing)+int64(m.set.pageSize) {
			// Pages of what has no id, or was there before, have no end either.
			return nil, false, m.s.wrap("finditem", driver.KindPermanent, fmt.Errorf("%w: the listing goes on after %d lines, for %d mails", driver.ErrLimit, offset, len(items)))
		}
		if p.last {
			return items, steady, nil
		}
		if len(p.items) == 0 {
			// One repeat: a server that is over its budget gives short pages.
			if empty++; empty > 1 {
				return nil, false, m.s.wrap("finditem", driver.KindProtocol, errors.New("the listing goes on, and nothing more comes"))
			}
			continue
		}
		empty = 0
	}
}

// Keeps implements [driver.Keeper].
func (m *mailbox) Keeps() bool { return m.set.after == afterRead }

// Commit implements [driver.Mailbox]. What Remove did was confirmed by then. The
// sync state is stored here and not before: what was listed with it was handed
// over, or is in the records.
func (m *mailbox) Commit(ctx context.Context) error {
	if m.sync == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return m.s.wrap("commit", driver.KindTemporary, context.Cause(ctx))
	}
	m.sync.drop(m.gone)
	return m.sync.save()
}

// Close implements [driver.Mailbox].
func (m *mailbox) Close() error {
	m.s.close()
	return nil
}
