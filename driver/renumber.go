package driver

import (
	"context"
	"io"

	"github.com/maildriver/maildriver/spool"
)

// A renumbering is what is known of mails by ids that the server has given up.
type renumbering struct {
	epoch string
	old   map[int64][]spool.Record // by size; 0 is unknown
}

// renumbered reports whether a mail that is not known by its id may be known
// by an older one: there are records of another numbering. They are looked
// for once, at the first unknown mail.
func (s *session) renumbered(id ID) bool {
	rn, ok := s.mb.(Renumberer)
	if !ok {
		return false
	}
	if s.epochs == nil {
		s.epochs = &renumbering{epoch: rn.Epoch(id), old: map[int64][]spool.Record{}}
		for rec := range s.box.Records() {
			if e := rn.Epoch(ID(rec.Key)); e != "" && e != s.epochs.epoch && rec.HeaderHash != "" {
				s.epochs.old[rec.Size] = append(s.epochs.old[rec.Size], rec)
			}
		}
	}
	return len(s.epochs.old) > 0
}

// reconcile finds the records of mails that the server gave new ids (F13). A
// done mail gets a record under its new id, durable before anything else
// happens; one that is still to be handed over keeps its record and with it
// its Event.ID and files.
func (s *session) reconcile(ctx context.Context, lost []*item) error {
	if len(lost) == 0 {
		return nil
	}
	s.log.Warn("the server gave all mails new ids; known ones are found by size and header", "mails", len(lost))
	byID := make(map[ID]*item, len(lost))
	ids := make([]ID, 0, len(lost))
	for _, it := range lost {
		byID[it.id] = it
		ids = append(ids, it.id)
	}
	var changes []spool.Change
	err := s.mb.(Renumberer).Headers(ctx, ids, func(id ID, size int64, header io.Reader) error {
		hash, err := hashHeader(header)
		if err != nil {
			return err
		}
		it := byID[id]
		rec, ok := s.epochs.take(size, hash)
		if it == nil || !ok {
			return nil
		}
		it.rec, it.known = rec, true
		if rec.State != spool.StateDone {
			it.key = rec.Key
			return nil
		}
		rec.Key, rec.Size, rec.HeaderHash, rec.Raw, rec.Files = it.key, max(size, 0), hash, "", nil
		changes = append(changes, spool.DoneRecord(rec, rec.Outcome, spool.DisposeKeep, rec.Reason))
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.box.Append(changes...); err != nil {
		return spoolError("record", s.src.Protocol, err)
	}
	return nil
}

// take finds the record of a mail, and gives it out once: of two equal mails
// that are new one is not known.
func (r *renumbering) take(size int64, hash string) (spool.Record, bool) {
	for _, n := range []int64{max(size, 0), 0} {
		list := r.old[n]
		for i, rec := range list {
			if rec.HashDiffers(hash) {
				continue
			}
			r.old[n] = append(list[:i:i], list[i+1:]...)
			return rec, true
		}
		if n == 0 {
			break
		}
	}
	return spool.Record{}, false
}
