package driver

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/maildriver/maildriver/spool"
)

// errStop ends the worker because the handler said so.
var errStop = errors.New("stopped by the handler")

// ErrHandlerTimeout is the cause of the end of a handler's context at its
// time limit.
var ErrHandlerTimeout = errors.New("the handler's time limit is over")

// A worker takes prepared mails off the queue, one after the other: it writes
// the records and calls the handler.
//
// A mail costs one append and one sync: its "entered" goes out together with
// the "done" of the mail before it.
type worker struct {
	*session
	queue   chan []*prepared
	backlog atomic.Int64  // mails on their way to it, waiting included
	group   []*prepared   // the rest of the one in hand
	done    chan struct{} // closed when the worker has ended
	err     error         // why it ended early; valid once done is closed
	pending *prepared     // handled, but its "done" is not on disk yet
	inARow  int           // refusals
	side    *disposer     // nil before and after the run
}

func (w *worker) run(ctx context.Context) {
	defer close(w.done)
	w.side = dispose(w.session)
	w.err = w.loop(ctx)
	if w.stuck == nil && !errors.As(w.err, new(*noCommitError)) {
		if err := w.settle(); err != nil {
			w.err = err
		}
	}
	err := w.side.end()
	w.side = nil
	if err != nil && w.stuck == nil && !errors.As(w.err, new(*noCommitError)) {
		w.err = err
	}
}

func (w *worker) loop(ctx context.Context) error {
	for {
		p, err := w.next(ctx)
		if p == nil || err != nil {
			return err
		}
		if err := w.take(ctx, p); err != nil {
			return err
		}
	}
}

// next gives the next mail; before it waits for one it makes the last "done"
// durable.
func (w *worker) next(ctx context.Context) (*prepared, error) {
	if err := ctx.Err(); err != nil {
		return nil, &Error{Op: "poll", Driver: w.src.Protocol, Kind: KindOf(context.Cause(ctx)), Err: context.Cause(ctx)}
	}
	if len(w.group) == 0 {
		select {
		case w.group = <-w.queue: // nil when closed
		default:
			if err := w.settle(); err != nil {
				return nil, err
			}
			select {
			case w.group = <-w.queue:
			case <-ctx.Done():
				return nil, &Error{Op: "poll", Driver: w.src.Protocol, Kind: KindOf(context.Cause(ctx)), Err: context.Cause(ctx)}
			}
		}
	}
	if len(w.group) == 0 {
		return nil, nil
	}
	w.backlog.Add(-1)
	p := w.group[0]
	w.group = w.group[1:]
	return p, nil
}

// leave gives up what was prepared and not handed over. The worker has ended,
// the queue is closed.
func (w *worker) leave() {
	w.discardAll(w.group)
	w.res.More = w.res.More || len(w.group) > 0
	for group := range w.queue {
		w.discardAll(group)
		w.res.More = true
	}
}

// append writes changes after the pending "done", all with one sync, and then
// disposes of what that "done" was for.
func (w *worker) append(changes ...spool.Change) error {
	last := w.pending
	w.pending = nil
	if last != nil {
		changes = append([]spool.Change{spool.Done(last.key, spool.OutcomeDelivered, w.disposal(), "")}, changes...)
	}
	if len(changes) == 0 {
		return nil
	}
	if err := w.box.Append(changes...); err != nil {
		return &noCommitError{spoolError("record", w.src.Protocol, err)}
	}
	if last == nil {
		return nil
	}
	return w.delivered(last)
}

// settle makes the pending "done" durable.
func (w *worker) settle() error { return w.append() }

func (w *worker) disposal() spool.Disposal {
	if w.set.DeleteProcessed {
		return spool.DisposeDelete
	}
	return spool.DisposeProcessed
}

// delivered follows a durable "done": loopback state, raw file, and the mail
// may be removed from the server.
func (w *worker) delivered(p *prepared) error {
	if p.onList {
		w.handled = append(w.handled, p.item)
	}
	if w.set.LoopbackInterval > 0 && !w.exempt(p.ev) {
		w.common.Spool.Loopback().Commit(w.loopRule(), w.loopProfile(), p.ev.SenderAddress, p.ev.ID, time.Now())
	}
	if w.side == nil {
		return w.dispose(p.rec.Raw)
	}
	return w.side.take(p.rec.Raw)
}

// exempt reports whether loopback detection leaves the mail alone: one
// MAILER-DAEMON sends many unrelated notifications.
func (w *worker) exempt(ev *Event) bool {
	return ev.DSN != nil || ev.Report != nil && ev.Report.IsReport() || ev.SenderAddress == "" || isNullSender(ev.Message.Header)
}

func (w *worker) take(ctx context.Context, p *prepared) error {
	switch p.verdict {
	case gone:
		w.res.Gone++
		return w.append(spool.Gone(p.key))
	case tooBig:
		return w.refuse(p, p.err)
	case crash:
		return w.crashed(p, p.err, p.reason)
	case fail:
		return w.fail(p, p.err, p.reason)
	}
	if w.set.LoopbackInterval > 0 && !w.exempt(p.ev) {
		if err := w.settle(); err != nil { // the mail before may block this one's sender
			return err
		}
		blocked := w.common.Spool.Loopback().Check(w.loopRule(), w.loopProfile(), p.ev.SenderAddress, p.ev.ID, time.Now())
		if blocked && !w.set.ProcessLoopback {
			return w.divert(p)
		}
		p.ev.LoopbackCandidate = blocked
	}
	if err := w.append(spool.Entered(p.rec)); err != nil {
		return err // whether the record reached the disk is for the spool to find out
	}
	p.fresh = false
	r, stuck := w.call(ctx, p.ev)
	if stuck != nil {
		w.stuck = &stuckHandler{result: stuck, mail: p, worker: w}
		return &Error{Op: "handle", Driver: w.src.Protocol, Kind: KindTemporary, Err: ErrHandlerStuck}
	}
	return w.conclude(ctx, p, r)
}

// conclude acts on what the handler returned.
func (w *worker) conclude(ctx context.Context, p *prepared, r handled) error {
	var rej *rejection
	switch {
	case r.panicked:
		return w.crashed(p, r.err, r.stack)
	case errors.As(r.err, &rej):
		w.inARow = 0
		return w.fail(p, r.err, "")
	case r.err == nil, r.err == Stop: //nolint:errorlint // a wrapped Stop is an error about something
		w.inARow = 0
		w.pending = p
		w.res.Delivered++
		if p.ev.Redelivered {
			w.res.Redelivered++
		}
		if r.err != nil {
			w.res.Stopped = true
			return errStop
		}
		return nil
	case ctx.Err() != nil:
		// the session was ended, not the mail refused
		if err := w.append(spool.Interrupted(p.key)); err != nil {
			return err
		}
		w.res.Refused++
		return &Error{Op: "handle", Driver: w.src.Protocol, Kind: KindOf(context.Cause(ctx)), Err: context.Cause(ctx)}
	}
	if w.set.MaxErrors > 0 && p.item.rec.Errors+1 >= w.set.MaxErrors {
		w.inARow = 0
		return w.fail(p, fmt.Errorf("given up after %d errors of the handler: %w", p.item.rec.Errors+1, r.err), "")
	}
	if err := w.refuse(p, r.err); err != nil {
		return err
	}
	if w.inARow++; w.inARow >= consecutiveErrors {
		w.res.More = true
		return &Error{Op: "handle", Driver: w.src.Protocol, Kind: KindTemporary, Err: fmt.Errorf("%d mails in a row were refused: %w", w.inARow, r.err)}
	}
	return nil
}

// refuse leaves the mail where it is, to come again later.
func (w *worker) refuse(p *prepared, why error) error {
	at := time.Now().Add(backoff(w.set.RetryMin, w.set.RetryMax, p.item.rec.Errors+1))
	if err := w.append(spool.Refused(p.key, at)); err != nil {
		return err
	}
	w.res.Refused++
	w.wait(at)
	w.res.Waiting--
	w.report(p, why, "")
	return nil
}

// crashed counts a panic against the mail.
func (w *worker) crashed(p *prepared, why error, stack string) error {
	w.inARow = 0
	if p.item.rec.Attempts+1 >= w.set.MaxAttempts {
		return w.fail(p, why, stack)
	}
	at := time.Now().Add(backoff(w.set.RetryMin, w.set.RetryMax, p.item.rec.Attempts+1))
	if err := w.append(spool.Crashed(p.key, at)); err != nil {
		return err
	}
	if p.fresh {
		w.discard(p) // never handed over, so no repeat needs its files
	}
	w.log.Error("panic", "event", p.rec.EventID, "error", why, "stack", stack)
	w.res.Refused++
	w.wait(at)
	w.res.Waiting--
	w.report(p, why, "")
	return nil
}

// fail moves the raw mail to the failed directory. The record comes first: it
// is what finishes the move after a crash.
func (w *worker) fail(p *prepared, why error, reason string) error {
	if reason == "" {
		reason = why.Error()
	}
	file, err := w.putAside(p, spool.OutcomeFailed, spool.DisposeFailed, spool.Failed, why.Error(), reason)
	if err != nil {
		return err
	}
	w.res.Failed++
	w.report(p, why, file)
	return nil
}

// divert moves the raw mail to the loopback directory.
func (w *worker) divert(p *prepared) error {
	if _, err := w.putAside(p, spool.OutcomeLoopback, spool.DisposeLoopback, spool.Loopback, "", ""); err != nil {
		return err
	}
	w.res.Diverted++
	return nil
}

func (w *worker) putAside(p *prepared, out spool.Outcome, disp spool.Disposal, to spool.Kind, short, long string) (string, error) {
	files := p.rec.Files
	rec := p.rec
	rec.Files = nil
	if err := w.append(spool.DoneRecord(rec, out, disp, short)); err != nil {
		return "", err
	}
	p.fresh = false
	s := w.common.Spool
	if long != "" {
		if err := s.WriteReason(to, rec.Raw, long); err != nil {
			return "", &noCommitError{spoolError("reason", w.src.Protocol, err)}
		}
	}
	name, err := s.Move(spool.Incoming, rec.Raw, to)
	if err != nil {
		return "", &noCommitError{spoolError("move", w.src.Protocol, err)}
	}
	for _, f := range files {
		if err := s.RemoveFile(spool.Incoming, f); err != nil {
			w.log.Warn("file not removed", "file", f, "error", err)
		}
	}
	if p.onList {
		p.item.failed = out == spool.OutcomeFailed
		w.handled = append(w.handled, p.item)
	}
	return s.Path(to, name), nil
}

func (w *worker) report(p *prepared, err error, file string) {
	w.res.Failures = append(w.res.Failures, MailError{EventID: p.rec.EventID, ID: p.id, File: file, Err: err})
}

// handled is what came of a handler.
type handled struct {
	err      error
	panicked bool
	stack    string
}

// call runs the handler within its limits. When it does not return, the
// channel that its result will come on is given back.
func (w *worker) call(ctx context.Context, ev *Event) (handled, chan handled) {
	hctx, cancel := context.WithTimeoutCause(ctx, w.set.HandlerTimeout, ErrHandlerTimeout)
	defer cancel()
	result := make(chan handled, 1)
	go func() {
		returned := false
		defer func() {
			if returned {
				return
			}
			v := recover()
			if v == nil {
				v = "the handler's goroutine was ended"
			}
			result <- handled{fmt.Errorf("the handler panicked: %v", v), true, fmt.Sprintf("%v\n\n%s", v, debug.Stack())}
		}()
		err := w.handler.Handle(hctx, ev)
		returned = true
		result <- handled{err: err}
	}()
	select {
	case r := <-result:
		return r, nil
	case <-hctx.Done():
	}
	grace := time.NewTimer(w.set.HandlerGrace)
	defer grace.Stop()
	select {
	case r := <-result:
		return r, nil
	case <-grace.C:
		return handled{}, result
	}
}

// A stuckHandler is a handler that outlived its session.
type stuckHandler struct {
	result chan handled
	mail   *prepared
	worker *worker
}

// awaitStuck waits for the stuck handler, records what it returned, and only
// then gives the mailbox free.
func (s *session) awaitStuck() {
	defer func() {
		if err := s.box.Unlock(); err != nil {
			s.log.Error("unlock", "error", err)
		}
	}()
	r := <-s.stuck.result
	w := s.stuck.worker
	err := w.conclude(context.Background(), s.stuck.mail, r)
	if err == nil || errors.Is(err, errStop) {
		err = w.settle()
	}
	s.flushLoopback(context.Background())
	s.log.Warn("a stuck handler returned", "event", s.stuck.mail.rec.EventID, "error", err)
}
