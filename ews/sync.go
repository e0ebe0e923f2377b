package ews

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/maildriver/maildriver/driver"
)

// maxChanges is how many changes one SyncFolderItems may give.
const maxChanges = 512

// errStuck says that a server promises more changes and gives none.
var errStuck = errors.New("the changes go on, and nothing more comes")

// update asks for what has changed since the state, and gives all items of the
// folder.
func (st *syncState) update(ctx context.Context, s *session, f folderRef, most int) ([]item, error) {
	for anew := false; ; anew = true {
		err := st.changes(ctx, s, f, most)
		if codeOf(err) == "ErrorInvalidSyncStateData" && st.state != "" && !anew {
			// The server has forgotten: all is asked for. The records of the
			// pipeline know which mails were handed over.
			s.o.common.Logger.Warn("the sync state is no longer valid, the folder is listed anew", "driver", driverName, "addr", s.addr())
			st.reset()
			continue
		}
		if err != nil {
			return nil, err
		}
		items := make([]item, 0, len(st.items))
		for _, it := range st.items {
			items = append(items, it)
		}
		// Of mails that came at the same moment the order is always the same.
		slices.SortFunc(items, func(a, b item) int { return strings.Compare(string(a.id), string(b.id)) })
		return items, nil
	}
}

// changes applies the changes, batch by batch.
func (st *syncState) changes(ctx context.Context, s *session, f folderRef, most int) error {
	empty := 0
	// Each item has one change at most: those that are known may go, and others
	// come. Twice that is for what happens meanwhile.
	left := 2 * (int64(len(st.items)) + int64(most) + maxChanges)
	for {
		n, err := s.call(ctx, "SyncFolderItems", syncFolderItems(f, st.state, maxChanges))
		if err != nil {
			return err
		}
		state := n.kid("SyncState").value()
		if state == "" {
			return s.wrap("syncfolderitems", driver.KindProtocol, errors.New("the answer has no sync state"))
		}
		kids := n.kid("Changes").all()
		for _, c := range kids {
			st.apply(c)
		}
		if left -= int64(len(kids)); left < 0 {
			return s.wrap("syncfolderitems", driver.KindPermanent, fmt.Errorf("%w: the changes of the folder have no end", driver.ErrLimit))
		}
		if len(st.items) > most {
			return s.wrap("syncfolderitems", driver.KindPermanent, fmt.Errorf("%w: more than %d mails in the folder", driver.ErrLimit, most))
		}
		same := st.state == state
		st.state, st.dirty = state, st.dirty || !same
		if truth(n.kid("IncludesLastItemInRange").value()) {
			return nil
		}
		if len(kids) == 0 || same {
			if empty++; empty > 1 {
				return s.wrap("syncfolderitems", driver.KindProtocol, errStuck)
			}
			continue
		}
		empty = 0
	}
}

// apply applies one change. Items may be of any type: what has an id counts.
func (st *syncState) apply(c *node) {
	switch c.name.Local {
	case "Create", "Update":
		for _, n := range c.kids {
			if it, ok := itemOf(n); ok {
				st.items[it.id] = it
			}
		}
	case "Delete":
		delete(st.items, driver.ID(c.kid("ItemId").attr("Id")))
	case "ReadFlagChange":
		id := driver.ID(c.kid("ItemId").attr("Id"))
		if it, ok := st.items[id]; ok {
			it.read = truth(c.kid("IsRead").value())
			if key := c.kid("ItemId").attr("ChangeKey"); key != "" {
				it.key = key
			}
			st.items[id] = it
		}
	}
}
