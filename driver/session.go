package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/maildriver/maildriver/spool"
)

// What is fetched in one go: a window of mails and bytes. Two of them may wait to
// be taken apart; what comes after that is in groups, see groupMails.
const (
	windowMails = 32
	windowBytes = 32 << 20
)

// commitGrace bounds the end of a session whose context ended: mails that were
// handed over are still removed and the session is committed.
const commitGrace = 10 * time.Second

// keepAliveEvery is how long a session may be silent while handlers run.
const keepAliveEvery = 30 * time.Second

// A session is one Poll. Its own goroutine owns the Mailbox, a preparer's takes
// the mails apart, a worker's owns the records and calls the handler.
type session struct {
	src     Source
	common  Common
	set     InboundSettings
	handler Handler
	box     *spool.Mailbox
	svc     *spool.Service
	mailbox []byte
	log     *slog.Logger

	mb    Mailbox
	msgNo atomic.Uint64
	begun bool

	// plan
	listed spool.KeySet // keys of all mails that the server listed
	reused spool.KeySet // ids that the server uses for a second mail
	known  []*item      // done earlier, to be removed
	fresh  int          // mails of the batch that nobody was offered yet
	epochs *renumbering // nil until an unknown mail is listed

	// The worker fills these; the session reads them once it has ended.
	res     PollResult
	handled []*item // to be removed
	stuck   *stuckHandler
}

// item is one mail of the batch.
type item struct {
	id     ID
	key    string // of its record; differs from id where the server used an id again
	size   int64
	onList bool // false: only the spool has it
	rec    spool.Record
	known  bool // rec is valid: offered before
	onDisk bool // the files of that hand-over are all there
	hold   bool // not to be handed over now
	failed bool // its raw file went to the failed directory
	marked bool // the server bears our mark on it
}

func (s *session) run(ctx context.Context) (err error) {
	mb, err := s.src.Open(ctx)
	if err != nil {
		return s.wrap("open", err)
	}
	s.mb = mb
	defer func() {
		if cerr := mb.Close(); cerr != nil {
			s.log.Debug("close", "error", cerr)
		}
	}()
	batch, err := s.plan(ctx)
	if err != nil {
		return s.wrap("list", err)
	}
	s.loadLoopback()
	workErr := s.work(ctx, batch)
	s.flushLoopback(ctx)
	if s.stuck != nil {
		return workErr
	}
	if abort, ok := errors.AsType[*noCommitError](workErr); ok {
		return abort.err
	}
	commitErr := s.commit(ctx)
	if workErr != nil {
		if commitErr != nil {
			s.log.Warn("session not committed", "error", commitErr)
		}
		return workErr
	}
	return commitErr
}

// noCommitError says that the session must be aborted: the connection is out
// of step, or it is not certain that records are durable. err, which Poll
// returns, may be nil.
type noCommitError struct{ err error }

func (e *noCommitError) Error() string { return fmt.Sprintf("aborted: %v", e.err) }
func (e *noCommitError) Unwrap() error { return e.err }

// commit removes what was handled, ends the session and forgets what the
// server confirmed to be gone.
func (s *session) commit(ctx context.Context) error {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), commitGrace)
		defer cancel()
	}
	removed, n, err := s.remove(ctx)
	if err != nil {
		return s.wrap("remove", err)
	}
	if err := s.mb.Commit(ctx); err != nil {
		return s.wrap("commit", err)
	}
	s.res.Removed = n
	if err := s.box.Prune(func(stored string) bool {
		return (s.listed.Has(stored) || s.reused.Has(stored)) && !removed.Has(stored)
	}); err != nil {
		return spoolError("prune", s.src.Protocol, err)
	}
	return nil
}

// remove has the mails removed that are done, and tells which records may be
// forgotten for it once the session is committed.
func (s *session) remove(ctx context.Context) (removed spool.KeySet, n int, err error) {
	if s.set.LeaveOnServer {
		return removed, 0, nil
	}
	done := slices.Concat(s.known, s.handled)
	var ids, failed []ID
	q, quarantines := s.mb.(Quarantiner)
	for _, it := range done {
		switch {
		case it.marked:
		case it.failed && quarantines:
			failed = append(failed, it.id)
		default:
			ids = append(ids, it.id)
		}
	}
	if len(failed) > 0 {
		if err := q.Quarantine(ctx, failed); err != nil {
			return removed, 0, err
		}
	}
	stay := map[ID]bool{}
	if len(ids) > 0 {
		err := s.mb.Remove(ctx, ids)
		refused, ok := errors.AsType[*RemoveError](err)
		if err != nil && !ok {
			return removed, 0, err
		}
		if ok {
			for _, id := range refused.IDs {
				stay[id] = true
				s.res.Failures = append(s.res.Failures, MailError{ID: id, Err: s.wrap("remove", refused)})
			}
			s.log.Warn("mails could not be removed", "mails", len(refused.IDs), "error", refused.Err)
		}
	}
	if k, ok := s.mb.(Keeper); ok && k.Keeps() {
		return removed, len(ids) + len(failed) - len(stay), nil
	}
	for _, it := range done {
		if !stay[it.id] {
			removed.Add(it.key)
			removed.Add(string(it.id)) // the record that said the id is used again
		}
	}
	return removed, len(done) - len(stay), nil
}

// plan lists the mailbox and decides what to do with each mail.
func (s *session) plan(ctx context.Context) ([]*item, error) {
	now := time.Now()
	var batch, lost []*item
	for e, err := range s.mb.List(ctx) {
		if err != nil {
			return nil, err
		}
		s.res.Listed++
		it, err := s.match(ctx, e)
		if err != nil {
			return nil, err
		}
		if s.listed.Has(spool.StoredKey(it.key)) {
			return nil, &Error{Op: "list", Kind: KindProtocol, Err: fmt.Errorf("id %q is listed twice", it.id)}
		}
		if !it.known && s.renumbered(it.id) {
			lost = append(lost, it)
			continue
		}
		batch = s.sortOut(batch, it, now)
	}
	if err := s.reconcile(ctx, lost); err != nil {
		return nil, err
	}
	for _, it := range lost {
		batch = s.sortOut(batch, it, now)
	}
	if a, ok := s.mb.(Announcer); ok {
		var ids []ID
		for _, it := range batch {
			if there, err := s.filesPresent(it); err != nil {
				return nil, err
			} else if !there {
				ids = append(ids, it.id)
			}
		}
		a.Announce(ids)
	}
	return append(s.offList(now), batch...), nil
}

// handedOver reports whether a handler ever had the mail.
func (it *item) handedOver() bool { return it.known && it.rec.Raw != "" }

// filesPresent reports whether the raw file of an earlier hand-over is there,
// from which the others can be made again. If that cannot be found out, nothing
// may be fetched anew: a repeat must bring the same files.
func (s *session) filesPresent(it *item) (bool, error) {
	if !it.known || it.rec.Raw == "" {
		return false, nil
	}
	raw := it.rec
	raw.Files = nil
	there, err := s.box.FilesPresent(raw)
	if err != nil {
		return false, spoolError("repeat", s.src.Protocol, err)
	}
	return there, nil
}

// sortOut decides what to do with a listed mail.
func (s *session) sortOut(batch []*item, it *item, now time.Time) []*item {
	s.listed.Add(it.key)
	switch {
	case it.known && it.rec.State == spool.StateDone:
		s.res.Known++
		it.failed = it.rec.Outcome == spool.OutcomeFailed
		if !s.set.LeaveOnServer {
			s.known = append(s.known, &item{id: it.id, key: it.key, failed: it.failed, marked: it.marked})
		}
	case it.hold:
	case it.known && it.rec.NotBefore.After(now):
		s.wait(it.rec.NotBefore)
	case it.known && it.handedOver():
		return append(batch, it) // takes no place in the batch
	case s.fresh >= s.set.BatchSize:
		s.res.More = true
	default:
		s.fresh++
		return append(batch, it)
	}
	return batch
}

// offList finds mails that were handed over without success and that the
// server no longer has: the spool is their only place, so they are offered
// from there.
func (s *session) offList(now time.Time) []*item {
	var items []*item
	for rec := range s.box.Unfinished() {
		if s.listed.Has(rec.Key) {
			continue
		}
		if rec.NotBefore.After(now) {
			s.wait(rec.NotBefore)
			continue
		}
		items = append(items, &item{key: rec.Key, size: rec.Size, rec: rec, known: true})
	}
	slices.SortFunc(items, func(a, b *item) int { return compareNames(a.rec.Raw, b.rec.Raw) })
	return items
}

// compareNames sorts raw files as their mails were fetched.
func compareNames(a, b string) int {
	x, _ := spool.ParseName(a)
	y, _ := spool.ParseName(b)
	return cmp.Or(cmp.Compare(x.Created, y.Created), cmp.Compare(x.Service, y.Service), cmp.Compare(x.Message, y.Message))
}

func (s *session) wait(until time.Time) {
	s.res.Waiting++
	if s.res.RetryAt.IsZero() || until.Before(s.res.RetryAt) {
		s.res.RetryAt = until
	}
}

// reusedMark separates a server's id from the fingerprint that tells a second
// mail under the same id from the first.
const reusedMark = "\x00"

// match finds the record of a listed mail. A known id whose size and header
// both differ from what was recorded is a new mail: POP3 servers do use ids
// again.
func (s *session) match(ctx context.Context, e Entry) (*item, error) {
	it := &item{id: e.ID, key: string(e.ID), size: e.Size, onList: true, hold: e.Hold, marked: e.Marked}
	rec, ok := s.box.Lookup(it.key)
	if !ok {
		return it, nil
	}
	it.rec, it.known = rec, true
	fp, can := s.mb.(Fingerprinter)
	if !can || !rec.SizeDiffers(e.Size) || rec.HeaderHash == "" {
		return it, nil
	}
	r, err := fp.Header(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	hash, err := hashHeader(r)
	if err != nil {
		return nil, err
	}
	if !rec.HashDiffers(hash) {
		return it, nil
	}
	s.log.Warn("the server used an id again for another mail", "id", string(e.ID))
	s.reused.Add(it.key) // keeps the first record, which says so
	again := &item{id: e.ID, key: it.key + reusedMark + hash, size: e.Size, onList: true}
	again.rec, again.known = s.box.Lookup(again.key)
	return again, nil
}

func (s *session) wrap(op string, err error) error {
	if de, ok := errors.AsType[*Error](err); ok && de.Driver != "" {
		return err
	}
	kind := KindOf(err)
	if kind == KindUnknown {
		kind = KindTemporary
	}
	return &Error{Op: op, Driver: s.src.Protocol, Addr: s.src.Server, Kind: kind, Err: err}
}

// begin makes the session's mark durable before its first file is made, so
// that files of a killed session can be told from the host's.
func (s *session) begin() error {
	if s.begun {
		return nil
	}
	if err := s.box.Begin(s.svc); err != nil {
		return spoolError("record", s.src.Protocol, err)
	}
	s.begun = true
	return nil
}
