package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/maildriver/maildriver/driver"
)

func equalFold(a string) func(string) bool {
	return func(b string) bool { return strings.EqualFold(a, b) }
}

// Remove implements [driver.Mailbox]: it deletes, moves or marks, as
// configured, and returns when the server has confirmed it.
func (m *mailbox) Remove(ctx context.Context, ids []driver.ID) error {
	defer m.s.watch(ctx)()
	uids, err := m.current(ids)
	if err != nil || len(uids) == 0 {
		return err
	}
	switch m.set.after {
	case afterMove:
		return m.move(uids, m.moveTo)
	case afterSeen:
		return m.store(uids, imap.FlagSeen)
	case afterKeyword:
		return m.store(uids, imap.Flag(m.set.keyword))
	}
	return m.delete(uids)
}

// Quarantine implements [driver.Quarantiner].
func (m *mailbox) Quarantine(ctx context.Context, ids []driver.ID) error {
	if m.failedTo == "" {
		return m.Remove(ctx, ids)
	}
	defer m.s.watch(ctx)()
	uids, err := m.current(ids)
	if err != nil || len(uids) == 0 {
		return err
	}
	return m.move(uids, m.failedTo)
}

// Keeps implements [driver.Keeper].
func (m *mailbox) Keeps() bool { return m.keeps }

// current gives the UIDs of ids if they still mean what they meant when they
// were listed (F13).
func (m *mailbox) current(ids []driver.ID) ([]uint32, error) {
	if err := m.s.settle(); err != nil {
		return nil, err
	}
	if m.s.box.validity != m.validity {
		return nil, m.s.fail(m.s.wrap("remove", driver.KindTemporary, fmt.Errorf("the server gave all mails new ids meanwhile: UIDVALIDITY %d, before %d", m.s.box.validity, m.validity)))
	}
	return m.mine(ids), nil
}

// numSet makes the library's form of a set.
func numSet(uids []uint32) imap.UIDSet {
	var set imap.UIDSet
	for i := 0; i < len(uids); {
		j := i
		for j+1 < len(uids) && uids[j+1] == uids[j]+1 {
			j++
		}
		set = append(set, imap.UIDRange{Start: imap.UID(uids[i]), Stop: imap.UID(uids[j])})
		i = j + 1
	}
	return set
}

// store adds a flag.
func (m *mailbox) store(uids []uint32, flag imap.Flag) error {
	for chunk := range slices.Chunk(uids, maxSetUIDs) {
		err := m.s.library().do("UID STORE", nil, nil, func(c *imapclient.Client) func() error {
			return c.Store(numSet(chunk), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}, nil).Close
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// delete marks mails as deleted and expunges them, and them alone. Where the
// server cannot do that they stay, marked, and their records with them.
func (m *mailbox) delete(uids []uint32) error {
	if err := m.store(uids, imap.FlagDeleted); err != nil {
		return err
	}
	left, err := m.expunge(uids)
	if err != nil || len(left) == 0 {
		return err
	}
	kept := &driver.RemoveError{Err: m.s.wrap("uid expunge", driver.KindPermanent, errKept)}
	for _, uid := range left {
		kept.IDs = append(kept.IDs, formatID(m.validity, uid))
	}
	return kept
}

// expunge removes mails that are marked as deleted, and tells which of them the
// server keeps all the same.
func (m *mailbox) expunge(uids []uint32) (left []uint32, err error) {
	before := m.s.box.expunged
	if m.s.has("UIDPLUS") {
		for chunk := range slices.Chunk(uids, maxSetUIDs) {
			err := m.s.library().do("UID EXPUNGE", nil, nil, func(c *imapclient.Client) func() error {
				return c.UIDExpunge(numSet(chunk)).Close
			})
			if err != nil {
				return nil, err
			}
		}
		return m.left(uids, before)
	}
	if !m.set.plainExpunge {
		m.stay("the server has no UIDPLUS; see imap.WithPlainExpunge")
		return nil, nil
	}
	all, err := m.s.search("DELETED")
	if err != nil {
		return nil, err
	}
	for _, uid := range all {
		if _, ours := slices.BinarySearch(uids, uid); !ours {
			m.stay("others marked mails as deleted too, which EXPUNGE would remove as well")
			return nil, nil
		}
	}
	if len(all) > 0 { // else none of ours is to be removed, and others' must not be
		err = m.s.library().do("EXPUNGE", nil, nil, func(c *imapclient.Client) func() error {
			return c.Expunge().Close
		})
		if err != nil {
			return nil, err
		}
	}
	return m.left(uids, before)
}

var errKept = errors.New("the server agreed to remove mails and keeps them; the account may lack the right to delete here")

// left tells which mails are still there although the server agreed to remove
// them. Some do so in folders where the account may not delete, silently: mails
// believed to be gone would be handed over again with every session. Who was
// told of each one's end need not ask.
func (m *mailbox) left(uids []uint32, before int) (left []uint32, err error) {
	if m.s.box.expunged-before >= len(uids) {
		return nil, nil
	}
	for chunk := range slices.Chunk(uids, maxSetUIDs) {
		still, err := m.s.search("UID " + uidSet(chunk))
		if err != nil {
			return nil, err
		}
		for _, uid := range still {
			if _, ours := slices.BinarySearch(chunk, uid); ours {
				left = append(left, uid)
			}
		}
	}
	return left, nil
}

// moved is left for mails that were copied: if the server keeps them, each
// session would copy them once more, so that is an error which ends Run.
func (m *mailbox) moved(left []uint32, err error) error {
	if err == nil && len(left) > 0 {
		err = m.s.wrap("uid move", driver.KindPermanent, fmt.Errorf("%w: %d mails", errKept, len(left)))
	}
	return err
}

// stay notes that mails are left on the server, marked as deleted.
func (m *mailbox) stay(why string) {
	m.keeps = true
	m.s.log.Warn("mails stay on the server, marked as deleted", "driver", driverName, "addr", m.s.conn.Addr(), "why", why)
}

// move puts mails into another folder: MOVE where the server has it, else COPY
// and, once that is confirmed, deletion. The library's own substitute for MOVE
// waits for nothing and is never used. Nothing is deleted when the server
// refuses the copy (F11).
func (m *mailbox) move(uids []uint32, to string) error {
	if m.s.has("MOVE") {
		before := m.s.box.expunged
		if err := m.transfer("UID MOVE", uids, to, func([]uint32, status) error { return nil }); err != nil {
			return err
		}
		return m.moved(m.left(uids, before))
	}
	// What was marked as deleted in an earlier session had been copied then.
	var done, fresh []uint32
	for _, uid := range uids {
		if m.deleted[uid] {
			done = append(done, uid)
		} else {
			fresh = append(fresh, uid)
		}
	}
	err := m.transfer("UID COPY", fresh, to, func(chunk []uint32, st status) error {
		copied, err := m.copied(chunk, st)
		if err != nil {
			return err
		}
		done = append(done, copied...)
		return m.store(copied, imap.FlagDeleted)
	})
	if err != nil || len(done) == 0 {
		return err
	}
	slices.Sort(done)
	return m.moved(m.expunge(done))
}

// transfer runs COPY or MOVE, in commands that are not too long, and then
// after each.
func (m *mailbox) transfer(command string, uids []uint32, to string, then func([]uint32, status) error) error {
	for chunk := range slices.Chunk(uids, maxSetUIDs) {
		st, err := m.transferOne(command, chunk, to)
		if err != nil {
			return err
		}
		if err := then(chunk, st); err != nil {
			return err
		}
	}
	return nil
}

func (m *mailbox) transferOne(command string, uids []uint32, to string) (st status, err error) {
	if m.s.utf8Names() || len(to) > maxPath {
		// The library would write "&" of a UTF-8 name as "&-", and wait for
		// the server's consent to a long one in the middle of its command,
		// where nobody reads for it.
		return m.s.command(command, nil, raw(uidSet(uids)), m.s.folderArg(to))
	}
	err = m.s.library().do(command, nil, nil, func(c *imapclient.Client) func() error {
		if command == "UID MOVE" {
			cmd := c.Move(numSet(uids), to)
			return func() error { _, err := cmd.Wait(); return err }
		}
		cmd := c.Copy(numSet(uids), to)
		return func() error { _, err := cmd.Wait(); return err }
	})
	return m.s.last, err
}

// copied tells which mails a COPY really copied, if the server says so
// (COPYUID, RFC 4315): others have vanished meanwhile.
func (m *mailbox) copied(uids []uint32, st status) ([]uint32, error) {
	if st.code != "COPYUID" {
		return uids, nil
	}
	words := strings.Fields(st.args)
	if len(words) != 3 {
		return nil, m.s.wrap("uid copy", driver.KindProtocol, errors.New("COPYUID cannot be read"))
	}
	var list []uint32
	err := eachRange(words[1], func(low, high uint32) error {
		for _, uid := range uids {
			if low <= uid && uid <= high {
				list = append(list, uid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, m.s.wrap("uid copy", driver.KindProtocol, errors.New("COPYUID cannot be read"))
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}
