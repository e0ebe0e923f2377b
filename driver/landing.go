package driver

import (
	"context"
	"errors"

	"github.com/maildriver/maildriver/spool"
)

// A landing is a group whose files are being made durable while the next one is
// fetched and parsed.
type landing struct {
	group []*prepared
	done  chan struct{}
	err   error // valid once done is closed, as is taken
	taken bool  // by the worker
}

// add puts a mail into the group that is made durable together.
func (f *feeder) add(ctx context.Context, p *prepared) error {
	f.group = append(f.group, p)
	if p.ev != nil {
		f.bytes += len(p.ev.Text) + len(p.ev.HTML)
	}
	if len(f.group) >= groupMails || f.files.Len() >= groupFiles || f.bytes >= groupBytes {
		return f.flush(ctx)
	}
	return nil
}

// flush sends the group on its way to the disk, after the one before has arrived
// there and was handed to the worker.
func (f *feeder) flush(ctx context.Context) error {
	group, files := f.group, f.files
	f.group, f.bytes, f.files = nil, 0, new(spool.Group)
	if err := f.land(ctx); err != nil {
		_ = files.Wait()
		f.discardAll(group)
		return err
	}
	if len(group) == 0 {
		_ = files.Wait() // at most files of a mail that was given up
		return nil
	}
	l := &landing{group: group, done: make(chan struct{})}
	f.later = l
	go func() {
		defer close(l.done)
		// One sync of the directory makes all their names durable.
		if l.err = files.Wait(); l.err == nil {
			l.err = f.common.Spool.SyncDir(spool.Incoming)
		}
		if l.err == nil {
			l.taken = f.push(ctx, group)
		}
	}()
	return nil
}

// land waits until the group on its way is durable and hands it to the worker.
func (f *feeder) land(ctx context.Context) error {
	l := f.later
	if l == nil {
		return nil
	}
	f.later = nil
	for waiting := true; waiting; {
		select {
		case <-l.done:
			waiting = false
		case <-f.keep.C:
			f.keepAlive(ctx)
		}
	}
	if l.err != nil {
		f.discardAll(l.group)
		return spoolError("sync", f.src.Protocol, l.err)
	}
	if !l.taken {
		f.discardAll(l.group)
		return f.ended(ctx)
	}
	return nil
}

func (s *session) discardAll(group []*prepared) {
	for _, p := range group {
		s.discard(p)
	}
}

// errWorkerEnded stops the feeder; the worker says why.
var errWorkerEnded = errors.New("the worker has ended")

func (f *feeder) ended(ctx context.Context) error {
	f.more = true
	if err := ctx.Err(); err != nil {
		return &Error{Op: "poll", Driver: f.src.Protocol, Kind: KindOf(context.Cause(ctx)), Err: context.Cause(ctx)}
	}
	return errWorkerEnded
}

func (f *feeder) push(ctx context.Context, group []*prepared) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-f.w.done:
			return false
		default:
		}
		select {
		case f.w.queue <- group:
			return true
		case <-ctx.Done():
			return false
		case <-f.w.done:
			return false
		}
	}
}
