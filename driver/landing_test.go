package driver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// fetchBox is a memBox whose Fetch a test takes over.
type fetchBox struct {
	*memBox
	fetch   func(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error
	commits int
}

func (w *fetchBox) Fetch(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	return w.fetch(ctx, ids, put)
}

func (w *fetchBox) Commit(ctx context.Context) error { w.commits++; return w.memBox.Commit(ctx) }

func (w *fetchBox) open(context.Context) (driver.Mailbox, error) { return w, nil }

func mailsWithAttachments(n int) []string {
	mails := make([]string, n)
	for i := range mails {
		mails[i] = withAttachment(fmt.Sprint(i))
	}
	return mails
}

// Attachments make groups end in the middle of a window: its other mails are still being taken apart while the group is
// made durable.
func TestGroupsThatEndInAWindow(t *testing.T) {
	const n = 96
	for range 5 {
		b := newBench(t, mailsWithAttachments(n)...)
		b.apply(driver.WithBatchSize(n))
		res, err := b.poll(nil)
		require.NoError(t, err)
		assert.Equal(t, n, res.Delivered)
		for _, stray := range []string{"POP3*", "*.part"} {
			left, err := filepath.Glob(filepath.Join(b.spool.Dir(spool.Incoming), stray))
			require.NoError(t, err)
			assert.Empty(t, left)
		}
	}
}

// A connection that broke in a fetch is out of step, also when the handler has said Stop meanwhile.
func TestBrokenFetchIsNotCommittedAfterAStop(t *testing.T) {
	const n = 160
	b := newBench(t, mailsWithAttachments(n)...)
	b.apply(driver.WithBatchSize(n))
	stopped := make(chan struct{})
	mb := &fetchBox{memBox: &memBox{s: b.srv}}
	calls := 0
	mb.fetch = func(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
		if calls++; calls == 1 {
			return mb.memBox.Fetch(ctx, ids, put)
		}
		if err := mb.memBox.Fetch(ctx, ids[:len(ids)-1], put); err != nil {
			return err
		}
		<-stopped
		return errors.New("out of step")
	}
	src := b.source()
	src.Open = mb.open
	_, err := b.in.Poll(t.Context(), src, b.common, b.set, driver.HandlerFunc(func(context.Context, *driver.Event) error {
		close(stopped)
		return driver.Stop
	}))
	require.NoError(t, err, "the Stop is what the host asked for")
	assert.Equal(t, 2, calls)
	assert.Zero(t, mb.commits)
}

// What is durable is handed over while the next mails are still on their way, however long that takes.
func TestHandOverDoesNotWaitForTheNextFetch(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", ""))
	for _, id := range b.srv.ids {
		b.srv.sizes[id] = 32 << 20 // a window each
	}
	handed := make(chan struct{})
	mb := &fetchBox{memBox: &memBox{s: b.srv}}
	calls := 0
	mb.fetch = func(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
		if calls++; calls == 1 {
			return mb.memBox.Fetch(ctx, ids, put)
		}
		select {
		case <-handed:
			return errors.New("the line went down")
		case <-time.After(10 * time.Second):
			return errors.New("nothing was handed over")
		}
	}
	src := b.source()
	src.Open = mb.open
	res, err := b.in.Poll(t.Context(), src, b.common, b.set, driver.HandlerFunc(func(context.Context, *driver.Event) error {
		close(handed)
		return nil
	}))
	require.ErrorContains(t, err, "the line went down")
	assert.Equal(t, 1, res.Delivered)
}

// A handler that ends the session does not cut off the Fetch that its mail came with, for then nothing could be removed.
func TestHandOverWaitsForItsOwnFetch(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", ""), mail("3", ""))
	mb := &fetchBox{memBox: &memBox{s: b.srv}}
	var ended atomic.Bool
	mb.fetch = func(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
		defer ended.Store(true)
		return mb.memBox.Fetch(ctx, ids, put)
	}
	src := b.source()
	src.Open = mb.open
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	res, err := b.in.Poll(ctx, src, b.common, b.set, driver.HandlerFunc(func(context.Context, *driver.Event) error {
		assert.True(t, ended.Load())
		cancel()
		return nil
	}))
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, res.Removed)
	assert.Equal(t, 1, mb.commits)
}

// A server does not wait in the middle of an answer for as long as a handler may take.
func TestFetchDoesNotWaitForTheHandler(t *testing.T) {
	const n = 64 // two windows
	b := newBench(t, mailsWithAttachments(n)...)
	b.apply(driver.WithBatchSize(n))
	fetched := make(chan struct{}, 2)
	mb := &fetchBox{memBox: &memBox{s: b.srv}}
	mb.fetch = func(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
		defer func() { fetched <- struct{}{} }()
		return mb.memBox.Fetch(ctx, ids, put)
	}
	src := b.source()
	src.Open = mb.open
	first := true
	res, err := b.in.Poll(t.Context(), src, b.common, b.set, driver.HandlerFunc(func(context.Context, *driver.Event) error {
		for i := 0; first && i < 2; i++ {
			select {
			case <-fetched:
			case <-time.After(10 * time.Second):
				return errors.New("the fetch waits")
			}
		}
		first = false
		return nil
	}))
	require.NoError(t, err)
	assert.Equal(t, n, res.Delivered)
}

// What was fetched ahead and not handed over leaves nothing behind and comes again as new.
func TestStopLeavesNothingOfWhatWasFetchedAhead(t *testing.T) {
	const n = 100
	b := newBench(t, mailsWithAttachments(n)...)
	b.apply(driver.WithBatchSize(n))
	res, err := b.poll(func(context.Context, *driver.Event) error { return driver.Stop })
	require.NoError(t, err)
	assert.Equal(t, 1, res.Delivered)
	assert.True(t, res.More)
	left, err := filepath.Glob(filepath.Join(b.spool.Dir(spool.Incoming), "*"))
	require.NoError(t, err)
	assert.Len(t, left, 2, "the attachment and the text of the mail that was delivered: %v", left)
	res, err = b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, n-1, res.Delivered)
	assert.Zero(t, res.Redelivered)
}

// failMoves cannot move raw files to the processed directory.
type failMoves struct {
	spool.FS
	wait   chan struct{}
	failed func()
}

func (s *failMoves) Rename(a spool.Dir, n string, b spool.Dir, m string) error {
	if filepath.Base(b.Path()) == "processed" && strings.HasPrefix(n, "POP3") {
		<-s.wait
		defer s.failed()
		return syscall.EIO
	}
	return s.FS.Rename(a, n, b, m)
}

func TestF43StuckHandlerIsReportedBesideAFailedDisposal(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", ""))
	failed, entered := make(chan struct{}), make(chan struct{})
	moves := &failMoves{FS: spool.OS(), wait: entered, failed: sync.OnceFunc(func() { close(failed) })}
	root := filepath.Join(t.TempDir(), "spool")
	sp, err := spool.New(root, spool.WithFS(moves))
	require.NoError(t, err)
	t.Cleanup(func() { _ = sp.Close() })
	b.spool, b.common.Spool = sp, sp
	b.set.DeleteProcessed = false
	b.set.HandlerTimeout, b.set.HandlerGrace = 20*time.Millisecond, 20*time.Millisecond
	free, returned := make(chan struct{}), make(chan struct{})
	_, err = b.poll(func(_ context.Context, ev *driver.Event) error {
		if ev.Subject == "2" {
			close(entered)
			<-failed
			<-free
			close(returned)
		}
		return nil
	})
	require.ErrorIs(t, err, driver.ErrHandlerStuck)
	close(free)
	<-returned
	sound, err := spool.New(root)
	require.NoError(t, err)
	t.Cleanup(func() { _ = sound.Close() })
	b.spool, b.common.Spool = sound, sound
	require.Eventually(t, func() bool { // once the session that is left over has ended
		_, err := b.poll(nil)
		return err == nil
	}, 10*time.Second, 5*time.Millisecond)
	assert.Len(t, b.events, 2)
	assert.Empty(t, b.srv.left())
}
