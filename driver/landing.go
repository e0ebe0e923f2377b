package driver

import (
	"context"
	"errors"

	"github.com/maildriver/maildriver/spool"
)

// A group of mails is made durable together and handed to the worker as one.
// Four can be ahead of the handler: one that the worker has, one waiting, one on
// its way to the disk, one being made.
const (
	groupMails = 32
	groupFiles = 64      // with those of one more mail below spool.MaxGroupFiles, as a rule
	groupBytes = 4 << 20 // of body text
	// A group that is smaller takes in what waits, rather than to leave early.
	earlyMails = 8
	earlyBytes = 1 << 20 // of raw mail: so much is made durable while the fetch goes on
)

// A landing is a group whose files are being made durable while the next one is
// fetched and parsed.
type landing struct {
	group []*prepared
	done  chan struct{}
	err   error // valid once done is closed, as is taken
	taken bool  // by the worker
}

// add puts a mail into the group that is made durable together. A full group
// waits for the one before.
func (p *preparer) add(ctx context.Context, m *prepared) error {
	p.group = append(p.group, m)
	if len(m.outs) > 0 {
		p.size += max(m.rec.Size, m.outs[0].Size())
	}
	if m.ev != nil {
		p.bytes += len(m.ev.Text) + len(m.ev.HTML)
	}
	if len(p.group) >= groupMails || p.files.Len() >= groupFiles || p.bytes >= groupBytes || p.size >= windowBytes {
		return p.flush(ctx)
	}
	return nil
}

// early sends a group that is not full on its way when none is, unless more
// mails are waiting to join it and it is small, or the worker has more to do
// than it holds. So the first mails come soon, and the groups grow with what
// the worker can take.
func (p *preparer) early(ctx context.Context) error {
	small := len(p.group) < earlyMails && p.size < earlyBytes
	switch {
	case p.later != nil, len(p.group) == 0:
		return nil
	case len(p.jobs) > 0 && (small || int(p.w.backlog.Load()) > len(p.group)):
		return nil
	case p.size < earlyBytes && p.arrives() != nil:
		return nil // it could not be handed over yet
	}
	return p.flush(ctx)
}

// arrives is closed when the fetch of the first mail of the group has ended; nil
// if it has, or if there is none.
func (p *preparer) arrives() <-chan struct{} {
	if len(p.group) == 0 || isOver(p.group[0].came) {
		return nil
	}
	return p.group[0].came
}

// flush sends the group on its way to the disk, after the one before has arrived
// there and was handed to the worker.
func (p *preparer) flush(ctx context.Context) error {
	group, files := p.group, p.files
	p.group, p.bytes, p.size, p.files = nil, 0, 0, new(spool.Group)
	if err := p.land(ctx); err != nil {
		_ = files.Wait()
		p.discardAll(group)
		return err
	}
	if len(group) == 0 {
		_ = files.Wait() // at most files of a mail that was given up
		return nil
	}
	l := &landing{group: group, done: make(chan struct{})}
	p.later = l
	go func() {
		defer close(l.done)
		// One sync of the directory makes all their names durable.
		if l.err = files.Wait(); l.err == nil {
			l.err = p.common.Spool.SyncDir(spool.Incoming)
		}
		if l.err == nil {
			l.taken = p.push(ctx, l)
		}
	}()
	return nil
}

// giveUp removes what was to be the next group.
func (p *preparer) giveUp() {
	group, files := p.group, p.files
	p.group, p.bytes, p.size, p.files = nil, 0, 0, new(spool.Group)
	p.discardAll(group)
	_ = files.Wait()
}

// landed is closed when the group on its way has arrived; nil if there is none.
func (p *preparer) landed() <-chan struct{} {
	if p.later == nil {
		return nil
	}
	return p.later.done
}

// land waits until the group on its way is durable and in the worker's hands.
func (p *preparer) land(ctx context.Context) error {
	l := p.later
	if l == nil {
		return nil
	}
	<-l.done
	p.later = nil
	if l.err != nil {
		p.discardAll(l.group)
		return spoolError("sync", p.src.Protocol, l.err)
	}
	if !l.taken {
		p.discardAll(l.group)
		return p.ended(ctx)
	}
	return nil
}

// errWorkerEnded stops the preparer; the worker says why.
var errWorkerEnded = errors.New("the worker has ended")

func (p *preparer) ended(ctx context.Context) error {
	p.more = true
	if err := ctx.Err(); err != nil {
		return &Error{Op: "poll", Driver: p.src.Protocol, Kind: KindOf(context.Cause(ctx)), Err: context.Cause(ctx)}
	}
	return errWorkerEnded
}

// push hands the group to the worker; at the border of two fetches in parts, so
// that what one fetch brought does not wait for the next.
func (p *preparer) push(ctx context.Context, l *landing) bool {
	for len(l.group) > 0 {
		select {
		case <-l.group[0].came:
		case <-p.w.done:
		}
		select {
		case <-ctx.Done():
			return false
		case <-p.w.done:
			return false
		default:
		}
		n := 1
		for n < len(l.group) && isOver(l.group[n].came) {
			n++
		}
		p.w.backlog.Add(int64(n))
		select {
		case p.w.queue <- l.group[:n]:
			l.group = l.group[n:]
		case <-ctx.Done():
			return false
		case <-p.w.done:
			return false
		}
	}
	return true
}

func isOver(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
