package ews

import (
	"context"
	"fmt"
	"slices"

	"github.com/maildriver/maildriver/driver"
)

// Remove implements [driver.Mailbox]: it deletes, moves or marks, as configured,
// and returns when the server has confirmed it.
func (m *mailbox) Remove(ctx context.Context, ids []driver.ID) error {
	switch m.set.after {
	case afterMove:
		return m.move(ctx, ids, m.moveTo)
	case afterRead:
		return m.change(ctx, "UpdateItem", ids, markRead)
	case afterSoft:
		return m.delete(ctx, ids, "SoftDelete")
	case afterTrash:
		return m.delete(ctx, ids, "MoveToDeletedItems")
	}
	return m.delete(ctx, ids, "HardDelete")
}

// Quarantine implements [driver.Quarantiner].
func (m *mailbox) Quarantine(ctx context.Context, ids []driver.ID) error {
	if m.failedTo == "" {
		return m.Remove(ctx, ids)
	}
	return m.move(ctx, ids, m.failedTo)
}

func (m *mailbox) delete(ctx context.Context, ids []driver.ID, how string) error {
	return m.change(ctx, "DeleteItem", ids, deleteItems(how))
}

// move puts mails into another folder. Their old ids are dead then; the new ones
// are of no use.
func (m *mailbox) move(ctx context.Context, ids []driver.ID, to string) error {
	return m.s.withFolder(ctx, to, func(f folderRef) error {
		return m.change(ctx, "MoveItem", ids, moveItems(f))
	})
}

// changeRounds bounds how often the objects of one request are tried again that
// a busy server left out.
const changeRounds = 8

// change sends an operation for mails, so many at a time, and deals with what
// became of each.
func (m *mailbox) change(ctx context.Context, op string, ids []driver.ID, build func([]itemID) func(Version) []byte) error {
	c := &change{m: m, op: op, build: build}
	for chunk := range slices.Chunk(ids, m.set.requestSize) {
		if err := c.run(ctx, chunk); err != nil {
			return err
		}
	}
	if len(c.refused) > 0 {
		return &driver.RemoveError{IDs: c.refused, Err: c.err}
	}
	return nil
}

type change struct {
	m       *mailbox
	op      string
	build   func([]itemID) func(Version) []byte
	refused []driver.ID
	err     error // of the first that was refused
}

// run does it for the mails of one request.
func (c *change) run(ctx context.Context, ids []driver.ID) error {
	conflicted := map[driver.ID]bool{}
	for round := 0; len(ids) > 0; round++ {
		list := make([]itemID, len(ids))
		for i, id := range ids {
			list[i] = itemID{id: string(id)}
			if c.op == "UpdateItem" {
				list[i].key = c.m.keys[id]
			}
		}
		replies, err := c.m.s.do(ctx, &request{op: c.op, body: c.build(list)})
		if err != nil {
			return err
		}
		again, stale, err := c.sort(ids, replies, conflicted)
		if err != nil {
			return err
		}
		if len(stale) > 0 {
			if err := c.m.renew(ctx, stale); err != nil {
				return err
			}
		}
		if ids = append(again, stale...); len(ids) > 0 && round == changeRounds {
			return c.m.s.wrap(c.op, driver.KindTemporary, fmt.Errorf("%d mails were left out again and again", len(ids)))
		}
	}
	return nil
}

// sort tells what became of each mail: those to be tried again as they are, and
// those that need a new change key first. A mail that is gone needs no removing.
func (c *change) sort(ids []driver.ID, replies []reply, conflicted map[driver.ID]bool) (again, stale []driver.ID, err error) {
	s := c.m.s
	if len(replies) == 1 && len(ids) > 1 && replies[0].failed() {
		return nil, nil, s.wrap(c.op, driver.KindTemporary, s.replyError(c.op, &replies[0]))
	}
	if len(replies) != len(ids) {
		return nil, nil, s.wrap(c.op, driver.KindProtocol, fmt.Errorf("%d answers to %d objects", len(replies), len(ids)))
	}
	for i := range replies {
		r, id := &replies[i], ids[i]
		re := s.replyError(c.op, r)
		switch {
		case !r.failed(), r.code == "ErrorItemNotFound":
			if c.op != "UpdateItem" {
				c.m.gone = append(c.m.gone, id)
			}
		case r.code == "ErrorBatchProcessingStopped":
			again = append(again, id)
		case re.busy() || busyCodes[r.inner]:
			s.refused = s.wrap(c.op, driver.KindTemporary, re)
			s.d.mem.throttle.delay(re.BackOff, s.o.ews.busyMin)
			again = append(again, id)
		case conflict(r.code) && !conflicted[id]:
			conflicted[id] = true
			stale = append(stale, id)
		case r.code == "ErrorToFolderNotFound":
			return nil, nil, s.wrap(c.op, driver.KindPermanent, re)
		default:
			c.refused = append(c.refused, id)
			if c.err == nil {
				c.err = s.wrap(c.op, re.kind(), re)
			}
		}
	}
	return again, stale, nil
}

// renew asks for the change keys of mails that were changed since they were
// listed. One that is gone keeps its old key: the next try will tell.
func (m *mailbox) renew(ctx context.Context, ids []driver.ID) error {
	list := make([]itemID, len(ids))
	for i, id := range ids {
		list[i] = itemID{id: string(id)}
	}
	replies, err := m.s.do(ctx, &request{op: "GetItem", body: getIDs(list)})
	if err != nil {
		return err
	}
	if len(replies) != len(ids) {
		return m.s.wrap("getitem", driver.KindProtocol, fmt.Errorf("%d answers to %d objects", len(replies), len(ids)))
	}
	for i := range replies {
		if key := replies[i].node.find("ItemId").attr("ChangeKey"); key != "" {
			m.keys[ids[i]] = key
		}
	}
	return nil
}
