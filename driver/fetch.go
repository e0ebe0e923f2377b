package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/maildriver/maildriver/spool"
)

// work hands the batch over in three stages, each on its own goroutine: the
// session's fetches, the preparer's takes apart and makes durable, the worker's
// calls the handler and writes the records.
func (s *session) work(ctx context.Context, batch []*item) error {
	if len(batch) == 0 {
		return nil
	}
	if err := s.begin(); err != nil {
		return &noCommitError{err}
	}
	w := &worker{session: s, queue: make(chan []*prepared, 1), done: make(chan struct{})}
	go w.run(ctx)
	p := newPreparer(s, w)
	go p.run(ctx)
	keep := time.NewTicker(keepAliveEvery)
	defer keep.Stop()
	f := &fetcher{session: s, prep: p, keep: keep}
	err := f.run(ctx, batch)
	close(p.jobs)
	f.await(ctx, p.done)
	close(w.queue)
	f.await(ctx, w.done)
	p.leave()
	w.leave()
	s.res.Gone += f.gone
	s.res.More = s.res.More || p.more
	switch {
	case p.err == nil, errors.Is(p.err, errWorkerEnded):
	case err == nil:
		err = p.err
	case errors.Is(err, errDropped): // which is told as a mail's failure
		s.res.More = true
		err = &noCommitError{p.err}
	default:
		s.log.Error("mails fetched before were not prepared", "error", p.err)
	}
	if f.dead != nil && !errors.As(err, new(*noCommitError)) {
		err = &noCommitError{cmp.Or(err, f.dead)}
	}
	return s.sumUp(err, w.err)
}

// sumUp makes one error of what the stages ran into. What stopped the worker
// says more than what stopped those before it, but a connection that is out of
// step must not be committed in any case.
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

// A fetcher runs on the session's goroutine: it owns the Mailbox. In the middle
// of a Fetch it never waits for the other stages: a handler may take longer than
// the server would wait.
type fetcher struct {
	*session
	prep    *preparer
	keep    *time.Ticker
	last    int   // jobs of the window before
	dead    error // the connection is out of step
	gone    int
	copyBuf []byte
}

// await waits for ch and keeps the connection alive meanwhile.
func (f *fetcher) await(ctx context.Context, ch <-chan struct{}) {
	for {
		select {
		case <-ch:
			return
		case <-f.keep.C:
			f.keepAlive(ctx)
		}
	}
}

func (f *fetcher) keepAlive(ctx context.Context) {
	k, ok := f.mb.(KeepAliver)
	if !ok || f.dead != nil || ctx.Err() != nil {
		return
	}
	if err := k.KeepAlive(ctx); err != nil {
		f.dead = f.wrap("keep-alive", err)
	}
}

// run fetches window by window: one while the one before it is prepared.
func (f *fetcher) run(ctx context.Context, batch []*item) error {
	for len(batch) > 0 && f.pace(ctx) {
		n := window(batch)
		if err := f.window(ctx, batch[:n]); err != nil {
			return err
		}
		batch = batch[n:]
	}
	return nil
}

// pace waits until no more than the last window is yet to be prepared; false
// once the session is to end, for which the preparer or the worker has a
// reason: a Fetch begun then would only break the connection.
func (f *fetcher) pace(ctx context.Context) bool {
	for {
		select {
		case <-f.prep.done:
			return false
		case <-f.prep.w.done:
			f.await(ctx, f.prep.done)
			return false
		case <-ctx.Done():
			f.await(ctx, f.prep.done)
			return false
		default:
		}
		if len(f.prep.jobs) <= f.last {
			return true
		}
		select {
		case <-f.prep.took:
		case <-f.prep.done:
		case <-ctx.Done():
		case <-f.keep.C:
			f.keepAlive(ctx)
		}
	}
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

// window fetches what is not there yet and gives all to the preparer, each mail
// as soon as those before it are there.
func (f *fetcher) window(ctx context.Context, items []*item) error {
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
	f.last = 0
	came := make(chan struct{})
	got := make(map[ID]fetched)
	give := func(j job) {
		j.came = came
		f.prep.jobs <- j // has room for two windows
		f.last++
	}
	rest := items
	ready := func() { // gives what is there, up to the first mail that is not
		for ; len(rest) > 0; rest = rest[1:] {
			it := rest[0]
			x, ok := got[it.id]
			switch {
			case ok:
				delete(got, it.id)
				give(job{item: it, fetched: x})
			case need[it.id]:
				return
			case it.onDisk:
				give(job{item: it, again: true})
			case it.known:
				give(job{item: it, gone: true})
			default:
				f.gone++
			}
		}
	}
	ready()
	var err error
	if len(ids) > 0 {
		err = f.fetch(ctx, ids, func(id ID, x fetched) {
			got[id] = x
			ready()
		})
	}
	if err == nil {
		need = nil // what did not come is gone
		ready()
	}
	close(came)
	for _, x := range got { // behind one that the fetch did not get to
		if x.raw != nil {
			_ = x.raw.Abort()
		}
	}
	return err
}

// fetch saves the mails. Its error says that the connection is out of step.
func (f *fetcher) fetch(ctx context.Context, ids []ID, put func(ID, fetched)) error {
	if f.dead != nil {
		return &noCommitError{f.dead}
	}
	dropped := false
	err := f.mb.Fetch(ctx, ids, func(id ID, r io.Reader) error {
		x, err := f.save(r)
		if err == nil || x.err != nil {
			dropped = dropped || x.err != nil && !x.lone
			put(id, x)
		}
		return err
	})
	switch {
	case dropped:
		f.dead = errDropped
	case err != nil:
		f.dead = f.wrap("fetch", err)
	default:
		return nil
	}
	return &noCommitError{f.dead}
}

// save streams one mail into the incoming directory.
//
// A reader with a method Size() int64 knows the size beforehand, so that a mail
// that is too big costs nothing.
func (f *fetcher) save(r io.Reader) (fetched, error) {
	if sized, ok := r.(interface{ Size() int64 }); ok && sized.Size() > f.set.MaxMessageBytes {
		err := f.tooBig()
		return fetched{err: err}, err
	}
	no := f.msgNo.Add(1)
	raw, err := f.common.Spool.CreateIncoming(f.svc, f.src.Protocol, no)
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
	return fetched{raw: raw, hash: h.sum(), size: n, no: no}, nil
}

func (f *fetcher) tooBig() error {
	return &Error{Op: "fetch", Driver: f.src.Protocol, Kind: KindPermanent, Err: fmt.Errorf("%w: the mail is longer than %d bytes", ErrLimit, f.set.MaxMessageBytes)}
}

// wrapSave tells an error of the disk from one of the connection.
func (f *fetcher) wrapSave(err error) error {
	if _, ok := errors.AsType[*spool.FileError](err); ok {
		return spoolError("save", f.src.Protocol, err)
	}
	return f.wrap("fetch", err)
}
