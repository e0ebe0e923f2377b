package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/maildriver/maildriver/spool"
)

// A group of mails is made durable together and handed to the worker as one.
// Four can be in memory: one that the worker has, one waiting, one on its way to
// the disk, one being made.
const (
	groupMails = 32
	groupFiles = 56      // with those of one more mail below spool.MaxGroupFiles, as a rule
	groupBytes = 4 << 20 // of body text
)

// verdict says what the worker has to do with a prepared mail.
type verdict uint8

const (
	deliver verdict = iota // call the handler
	fail                   // to the failed directory
	crash                  // the parser panicked
	tooBig                 // refuse for now, as one that cannot be read
	gone                   // forget the record
)

// A prepared mail is durable in the incoming directory and ready to be handed
// over; or it has a verdict against it.
type prepared struct {
	*item
	verdict verdict
	err     error
	reason  string // long form for the reason file
	rec     spool.Record
	ev      *Event
	fresh   bool // its files are in no record yet
	outs    []*spool.Out
}

// work hands the batch over. The session's goroutine fetches and parses ahead,
// the worker's calls the handler and writes the records.
func (s *session) work(ctx context.Context, batch []*item) error {
	if len(batch) == 0 {
		return nil
	}
	if err := s.begin(); err != nil {
		return &noCommitError{err}
	}
	w := &worker{session: s, queue: make(chan []*prepared, 1), done: make(chan struct{})}
	go w.run(ctx)
	keep := time.NewTicker(keepAliveEvery)
	defer keep.Stop()
	f := &feeder{session: s, w: w, keep: keep, files: new(spool.Group)}
	feedErr := f.feed(ctx, batch)
	if errors.Is(feedErr, errWorkerEnded) {
		feedErr = nil
	}
	close(w.queue)
	for waiting := true; waiting; {
		select {
		case <-w.done:
			waiting = false
		case <-keep.C:
			f.keepAlive(ctx)
		}
	}
	w.leave()
	s.res.Gone += f.gone
	s.res.More = s.res.More || f.more
	if feedErr == nil && f.dead != nil {
		feedErr = &noCommitError{f.dead}
	}
	return s.sumUp(feedErr, w.err)
}

// sumUp makes one error of what the two halves ran into. What stopped the
// worker says more than what stopped the feeder, but a connection that is out
// of step must not be committed in any case.
func (s *session) sumUp(feedErr, workErr error) error {
	broken := errors.As(feedErr, new(*noCommitError))
	if errors.Is(feedErr, errDropped) {
		s.res.More = true
		feedErr = nil // the mail's own failure is in the result
	}
	err := workErr
	switch {
	case errors.Is(workErr, errStop):
		err = nil
	case workErr == nil:
		err = feedErr
	}
	if broken && !errors.As(err, new(*noCommitError)) {
		err = &noCommitError{err}
	}
	return err
}

// errDropped says that the connection had to be given up for a mail that is
// too big; what follows it comes with the next session.
var errDropped = errors.New("connection dropped")

// discard removes the files of a mail that was not handed over.
func (s *session) discard(p *prepared) {
	if !p.fresh {
		return
	}
	for _, out := range p.outs {
		_ = out.Abort()
	}
	for _, name := range append(p.rec.Files, p.rec.Raw) {
		if name != "" {
			_ = s.common.Spool.RemoveFile(spool.Incoming, name)
		}
	}
}

// A feeder runs on the session's goroutine: it owns the Mailbox.
type feeder struct {
	*session
	w     *worker
	keep  *time.Ticker
	dead  error // keep-alive failed
	gone  int
	more  bool
	group []*prepared
	bytes int
	files *spool.Group // those of the group
	later *landing     // the group before, on its way to the disk; nil if none

	copyBuf []byte
}

func (f *feeder) keepAlive(ctx context.Context) {
	k, ok := f.mb.(KeepAliver)
	if !ok || f.dead != nil || ctx.Err() != nil {
		return
	}
	if err := k.KeepAlive(ctx); err != nil {
		f.dead = f.wrap("keep-alive", err)
	}
}

func (f *feeder) feed(ctx context.Context, batch []*item) error {
	for len(batch) > 0 {
		n := window(batch)
		err := f.chunk(ctx, batch[:n])
		if ferr := f.flush(ctx); err == nil {
			err = ferr
		}
		if err != nil {
			_ = f.land(ctx) // what came before is good; its own failure shows again
			return err
		}
		batch = batch[n:]
	}
	return f.land(ctx)
}

// window counts the mails to fetch in one go.
func window(batch []*item) int {
	var sum int64
	for i, it := range batch {
		if i > 0 && (i == windowMails || sum+max(it.size, 0) > windowBytes) {
			return i
		}
		sum += max(it.size, 0)
	}
	return len(batch)
}

// fetched is what one RETR left behind.
type fetched struct {
	raw  *spool.Out
	hash string
	size int64 // of the raw mail
	no   uint64
	err  error // the mail is too big, or cannot be read
	lone bool  // the session goes on
}

func (f *feeder) chunk(ctx context.Context, items []*item) error {
	var ids []ID
	need := make(map[ID]bool)
	for _, it := range items {
		there, err := f.filesPresent(it)
		if err != nil {
			return err
		}
		if it.onDisk = there; it.onList && !there {
			ids = append(ids, it.id)
			need[it.id] = true
		}
	}
	got := make(map[ID]fetched)
	defer func() {
		for _, x := range got { // what was not prepared
			if x.raw != nil {
				_ = x.raw.Abort()
			}
		}
	}()
	var fetchErr error
	if len(ids) > 0 {
		if f.dead != nil {
			return &noCommitError{f.dead}
		}
		fetchErr = f.mb.Fetch(ctx, ids, func(id ID, r io.Reader) error {
			x, err := f.save(r)
			if err == nil || x.err != nil {
				got[id] = x
			}
			return err
		})
		if fetchErr != nil {
			fetchErr = &noCommitError{f.wrap("fetch", fetchErr)}
		}
	}
	for _, it := range items {
		x, ok := got[it.id]
		var p *prepared
		switch {
		case ok && x.err != nil:
			p = &prepared{item: it, verdict: tooBig, err: x.err, rec: spool.Record{EventID: f.eventID(it, "")}}
			if !x.lone {
				fetchErr = &noCommitError{errDropped}
			}
		case ok:
			delete(got, it.id)
			p = f.prepareNew(it, x)
		case need[it.id] && fetchErr != nil:
			return fetchErr // this one and what follows was not fetched
		case need[it.id], !it.onDisk:
			if !it.known {
				f.gone++
				continue
			}
			p = &prepared{item: it, verdict: gone}
		default:
			p = f.prepareAgain(it)
		}
		if p.err != nil && p.verdict == deliver {
			f.discard(p)
			return spoolError("parse", f.src.Protocol, p.err)
		}
		if err := f.add(ctx, p); err != nil {
			if fetchErr != nil {
				return fetchErr // the connection is out of step
			}
			return err
		}
	}
	return fetchErr
}

// save streams one mail into the incoming directory. Its bytes are on their
// way to the disk afterwards; flush waits for them.
//
// A reader with a method Size() int64 knows the size beforehand, so that a mail
// that is too big costs nothing.
func (f *feeder) save(r io.Reader) (fetched, error) {
	if sized, ok := r.(interface{ Size() int64 }); ok && sized.Size() > f.set.MaxMessageBytes {
		err := f.tooBig()
		return fetched{err: err}, err
	}
	f.msgNo++
	raw, err := f.common.Spool.CreateIncoming(f.svc, f.src.Protocol, f.msgNo)
	if err != nil {
		return fetched{}, spoolError("create", f.src.Protocol, err)
	}
	h := newHeaderHash()
	if f.copyBuf == nil {
		f.copyBuf = make([]byte, 32<<10)
	}
	n, err := io.CopyBuffer(raw, io.TeeReader(io.LimitReader(r, max(f.set.MaxMessageBytes, f.set.MaxMessageBytes+1)), h), f.copyBuf)
	if err == nil && n > f.set.MaxMessageBytes {
		_ = raw.Abort()
		err = f.tooBig()
		return fetched{err: err}, err
	}
	if err == nil {
		err = raw.Flush()
	}
	if unreadable, ok := errors.AsType[*UnreadableError](err); ok {
		_ = raw.Abort()
		return fetched{err: f.wrap("fetch", unreadable), lone: true}, nil
	}
	if err != nil {
		_ = raw.Abort()
		if _, ok := errors.AsType[*Error](err); !ok {
			err = f.wrapSave(err)
		}
		return fetched{}, err
	}
	return fetched{raw: raw, hash: h.sum(), size: n, no: f.msgNo}, nil
}

func (f *feeder) tooBig() error {
	return &Error{Op: "fetch", Driver: f.src.Protocol, Kind: KindPermanent, Err: fmt.Errorf("%w: the mail is longer than %d bytes", ErrLimit, f.set.MaxMessageBytes)}
}

// wrapSave tells an error of the disk from one of the connection.
func (f *feeder) wrapSave(err error) error {
	if _, ok := errors.AsType[*spool.FileError](err); ok {
		return spoolError("save", f.src.Protocol, err)
	}
	return f.wrap("fetch", err)
}
