package driver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// hookFS has the test look at, delay and fail what is done in incoming.
type hookFS struct {
	spool.FS
	create  func(name string) error
	sync    func(name string) error
	dirSync func() error
}

func (h *hookFS) OpenDir(path string) (spool.Dir, error) {
	d, err := h.FS.OpenDir(path)
	if err != nil || filepath.Base(path) != "incoming" {
		return d, err
	}
	return &hookDir{d, h}, nil
}

func unhooked(d spool.Dir) spool.Dir {
	if h, ok := d.(*hookDir); ok {
		return h.Dir
	}
	return d
}

func (h *hookFS) Rename(a spool.Dir, n string, b spool.Dir, m string) error {
	return h.FS.Rename(unhooked(a), n, unhooked(b), m)
}

func (h *hookFS) Replace(a spool.Dir, n, m string) error { return h.FS.Replace(unhooked(a), n, m) }

type hookDir struct {
	spool.Dir
	h *hookFS
}

func (d *hookDir) Create(name string) (spool.File, error) {
	if d.h.create != nil {
		if err := d.h.create(name); err != nil {
			return nil, err
		}
	}
	f, err := d.Dir.Create(name)
	return &hookFile{f, d.h}, err
}

func (d *hookDir) Same(name string, f spool.File) (bool, error) {
	if h, ok := f.(*hookFile); ok {
		f = h.File
	}
	return d.Dir.Same(name, f)
}

func (d *hookDir) Sync() error {
	if d.h.dirSync != nil {
		if err := d.h.dirSync(); err != nil {
			return err
		}
	}
	return d.Dir.Sync()
}

type hookFile struct {
	spool.File
	h *hookFS
}

func (f *hookFile) Sync() error {
	if f.h.sync != nil {
		if err := f.h.sync(f.Name()); err != nil {
			return err
		}
	}
	return f.File.Sync()
}

func hookedBench(t *testing.T, h *hookFS, mails ...string) *bench {
	t.Helper()
	b := newBench(t, mails...)
	h.FS = spool.OS()
	sp, err := spool.New(filepath.Join(t.TempDir(), "spool"), spool.WithFS(h))
	require.NoError(t, err)
	t.Cleanup(func() { _ = sp.Close() })
	b.spool, b.common.Spool = sp, sp
	return b
}

// aWindowEach has every mail fetched by itself.
func (b *bench) aWindowEach() {
	for _, id := range b.srv.ids {
		b.srv.sizes[id] = 32 << 20
	}
}

func failing(prefix string, err error) func(string) error {
	return func(name string) error {
		if strings.HasPrefix(name, prefix) {
			return err
		}
		return nil
	}
}

// A mail that is too big ends the session without an error. What the disk says meanwhile is one, or Run would come back at
// once, again and again.
func TestDiskErrorCountsBesideAMailThatIsTooBig(t *testing.T) {
	for name, h := range map[string]*hookFS{
		"parse": {create: failing("ATT", syscall.ENOSPC)},
		"sync":  {sync: failing("POP3", syscall.EIO)},
	} {
		t.Run(name, func(t *testing.T) {
			b := hookedBench(t, h, withAttachment("1"), mail("2", strings.Repeat("x", 5000)))
			b.set.MaxMessageBytes = 2000
			res, err := b.poll(nil)
			require.Error(t, err)
			assert.True(t, res.More)
			assert.Zero(t, res.Delivered)
		})
	}
}

// The mails of a group that could not be made durable are skipped, so none behind them is handed over.
func TestNothingIsHandedOverBehindAGroupThatFailed(t *testing.T) {
	h := &hookFS{}
	b := hookedBench(t, h, mail("1", ""), mail("2", ""), mail("3", ""))
	b.aWindowEach()
	synctest.Test(t, func(t *testing.T) {
		fail := make(chan struct{})
		var n atomic.Int32
		h.dirSync = func() error {
			if n.Add(1) == 1 {
				<-fail
				return syscall.EIO
			}
			return nil
		}
		mb := &fetchBox{memBox: &memBox{s: b.srv}}
		calls := 0
		mb.fetch = func(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
			err := mb.memBox.Fetch(ctx, ids, put)
			if calls++; calls == 2 {
				synctest.Wait() // mail 2 is in the next group
				close(fail)
				synctest.Wait()
			}
			return err
		}
		src := b.source()
		src.Open = mb.open
		_, err := b.in.Poll(t.Context(), src, b.common, b.set, driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
			t.Errorf("mail %s was handed over", ev.Subject)
			return nil
		}))
		require.ErrorIs(t, err, syscall.EIO)
	})
}

// What is fetched ahead of the handler is bounded in bytes.
func TestFetchDoesNotRunFarAhead(t *testing.T) {
	const n = 100
	b := newBench(t, mailsWithAttachments(n)...)
	b.apply(driver.WithBatchSize(n))
	b.aWindowEach()
	synctest.Test(t, func(t *testing.T) {
		mb := &fetchBox{memBox: &memBox{s: b.srv}}
		var fetched atomic.Int32
		mb.fetch = func(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
			fetched.Add(int32(len(ids)))
			return mb.memBox.Fetch(ctx, ids, put)
		}
		src := b.source()
		src.Open = mb.open
		_, err := b.in.Poll(t.Context(), src, b.common, b.set, driver.HandlerFunc(func(context.Context, *driver.Event) error {
			synctest.Wait()
			return driver.Stop
		}))
		require.NoError(t, err)
		assert.LessOrEqual(t, fetched.Load(), int32(8), "windows of 32 MiB")
	})
}

type aliveBox struct {
	*fetchBox
	alive func() error
}

func (a *aliveBox) KeepAlive(context.Context) error { return a.alive() }

func TestConnectionThatDiedMeanwhileIsNotCommitted(t *testing.T) {
	b := hookedBench(t, &hookFS{create: failing("ATT", syscall.ENOSPC)}, mail("1", ""), withAttachment("2"))
	b.aWindowEach()
	synctest.Test(t, func(t *testing.T) {
		pings := 0
		mb := &aliveBox{fetchBox: &fetchBox{memBox: &memBox{s: b.srv}}, alive: func() error { pings++; return errors.New("out of step") }}
		mb.fetch = mb.memBox.Fetch
		src := b.source()
		src.Open = func(context.Context) (driver.Mailbox, error) { return mb, nil }
		_, err := b.in.Poll(t.Context(), src, b.common, b.set, driver.HandlerFunc(func(context.Context, *driver.Event) error {
			time.Sleep(40 * time.Second) // of the test's own clock
			return nil
		}))
		require.ErrorIs(t, err, syscall.ENOSPC)
		assert.Equal(t, 1, pings)
		assert.Zero(t, mb.commits)
	})
}

// A group may hold mails of two windows. Those of the first do not wait for the fetch of the second.
func TestTailOfAWindowDoesNotWaitForTheNextFetch(t *testing.T) {
	for name, sizes := range map[string][]int64{ // windows of two
		"large": {2 << 20, 2 << 20, 30 << 20, 1 << 20},
		"small": {32<<20 - 10, 10, 10, 32<<20 - 10},
	} {
		t.Run(name, func(t *testing.T) { tailOfAWindow(t, sizes) })
	}
}

func tailOfAWindow(t *testing.T, sizes []int64) {
	t.Helper()
	h := &hookFS{}
	b := hookedBench(t, h, mail("1", ""), mail("2", ""), mail("3", ""), mail("4", ""))
	for i, id := range b.srv.ids {
		b.srv.sizes[id] = sizes[i]
	}
	synctest.Test(t, func(t *testing.T) {
		slow, handed := make(chan struct{}), make(chan struct{})
		var n atomic.Int32
		h.dirSync = func() error {
			if n.Add(1) == 1 {
				<-slow
			}
			return nil
		}
		mb := &fetchBox{memBox: &memBox{s: b.srv}}
		calls := 0
		mb.fetch = func(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
			if calls++; calls != 2 {
				return mb.memBox.Fetch(ctx, ids, put)
			}
			if err := mb.memBox.Fetch(ctx, ids[:1], put); err != nil {
				return err
			}
			synctest.Wait() // mail 3 is in the group of mail 2
			close(slow)
			select {
			case <-handed:
			case <-time.After(time.Minute):
				t.Error("mail 2 waits for the next window")
			}
			return mb.memBox.Fetch(ctx, ids[1:], put)
		}
		src := b.source()
		src.Open = mb.open
		res, err := b.in.Poll(t.Context(), src, b.common, b.set, driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
			if ev.Subject == "2" {
				close(handed)
			}
			return nil
		}))
		require.NoError(t, err)
		assert.Equal(t, 4, res.Delivered)
	})
}

// The disk works while the next mails are taken apart, not in between.
func TestGroupsAreSyncedBesideTheParser(t *testing.T) {
	const n = 96
	var beside, between atomic.Int32
	h := &hookFS{sync: func(string) error {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		for _, g := range strings.Split(string(buf), "\n\n") {
			if strings.Contains(g, "(*Group).sync") && strings.Contains(g, "prepareNew") {
				between.Add(1)
				return nil
			}
		}
		beside.Add(1)
		return nil
	}}
	mails := make([]string, n)
	for i := range mails {
		mails[i] = mail(fmt.Sprint(i), "hello")
	}
	b := hookedBench(t, h, mails...)
	b.apply(driver.WithBatchSize(n))
	synctest.Test(t, func(t *testing.T) {
		first := true
		_, err := b.in.Poll(t.Context(), b.source(), b.common, b.set, driver.HandlerFunc(func(context.Context, *driver.Event) error {
			if first { // so that full groups come together
				first = false
				synctest.Wait()
			}
			return nil
		}))
		require.NoError(t, err)
	})
	assert.Zero(t, between.Load())
	assert.EqualValues(t, 2*n, beside.Load())
}

// A Fetch that begins once the session is to end could only break the connection.
func TestNoFetchBeginsOnceTheContextHasEnded(t *testing.T) {
	const n = 161
	h := &hookFS{}
	b := hookedBench(t, h, mailsWithAttachments(n)...)
	b.apply(driver.WithBatchSize(n))
	b.aWindowEach()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		slow, called, begun := make(chan struct{}), make(chan struct{}), make(chan struct{}, n)
		var made atomic.Int32
		h.create = func(name string) error {
			if strings.HasPrefix(name, "ATT") && made.Add(1) == 2 {
				<-slow // a mail that takes its time to be taken apart
			}
			return nil
		}
		mb := &fetchBox{memBox: &memBox{s: b.srv}}
		late, calls := 0, 0
		mb.fetch = func(ctx context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
			if calls++; calls == 2 {
				<-called
			}
			begun <- struct{}{}
			if ctx.Err() != nil {
				late++
			}
			return mb.memBox.Fetch(ctx, ids, put)
		}
		src := b.source()
		src.Open = mb.open
		res, err := b.in.Poll(ctx, src, b.common, b.set, driver.HandlerFunc(func(context.Context, *driver.Event) error {
			close(called)
			for range 4 {
				<-begun
			}
			synctest.Wait() // the fetcher waits for the preparer
			cancel()
			close(slow)
			synctest.Wait()
			return nil
		}))
		require.ErrorIs(t, err, context.Canceled)
		assert.Zero(t, late)
		assert.Equal(t, 1, mb.commits)
		assert.Equal(t, 1, res.Removed)
	})
}
