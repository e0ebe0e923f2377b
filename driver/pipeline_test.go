package driver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/spool"
)

// memServer is a mailbox in memory that remembers what it promised. Removal
// takes effect at Commit, as with POP3.
type memServer struct {
	mu         sync.Mutex
	ids        []driver.ID
	mails      map[driver.ID]string
	sizes      map[driver.ID]int64 // what List claims, if not the truth
	removed    []driver.ID
	commits    int
	closed     int
	loseCommit bool // the removal happens but the confirmation is lost
	failCommit bool // neither
	cut        map[driver.ID]int
	fetched    []driver.ID
	hide       map[driver.ID]bool // listed but gone
	keep       driver.ID          // not to be removed
}

func newMemServer(mails ...string) *memServer {
	s := &memServer{mails: map[driver.ID]string{}, sizes: map[driver.ID]int64{}, cut: map[driver.ID]int{}, hide: map[driver.ID]bool{}}
	for i, m := range mails {
		s.add(fmt.Sprintf("uid-%d", i+1), m)
	}
	return s
}

func (s *memServer) add(id, mail string) {
	s.ids = append(s.ids, driver.ID(id))
	s.mails[driver.ID(id)] = mail
}

func (s *memServer) left() []driver.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ids)
}

type memBox struct {
	s    *memServer
	gone []driver.ID
}

func (b *memBox) List(context.Context) iter.Seq2[driver.Entry, error] {
	return func(yield func(driver.Entry, error) bool) {
		for _, id := range b.s.left() {
			size := int64(len(b.s.mails[id]))
			if claimed, ok := b.s.sizes[id]; ok {
				size = claimed
			}
			if !yield(driver.Entry{ID: id, Size: size}, nil) {
				return
			}
		}
	}
}

func (b *memBox) Fetch(_ context.Context, ids []driver.ID, put func(driver.ID, io.Reader) error) error {
	for _, id := range ids {
		if b.s.hide[id] {
			continue
		}
		b.s.fetched = append(b.s.fetched, id)
		var r io.Reader = strings.NewReader(b.s.mails[id])
		if n, ok := b.s.cut[id]; ok {
			r = io.MultiReader(strings.NewReader(b.s.mails[id][:n]), errReader{io.ErrUnexpectedEOF})
		}
		if err := put(id, r); err != nil {
			return err
		}
	}
	return nil
}

func (b *memBox) Header(_ context.Context, id driver.ID) (io.Reader, error) {
	head, _, _ := strings.Cut(b.s.mails[id], "\r\n\r\n")
	return strings.NewReader(head + "\r\n\r\n"), nil
}

func (b *memBox) Remove(_ context.Context, ids []driver.ID) error {
	var kept []driver.ID
	for _, id := range ids {
		if id == b.s.keep {
			kept = append(kept, id)
			continue
		}
		b.gone = append(b.gone, id)
	}
	if len(kept) > 0 {
		return &driver.RemoveError{IDs: kept, Err: errors.New("not this one")}
	}
	return nil
}

func (b *memBox) Commit(context.Context) error {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if b.s.failCommit {
		return errors.New("not committed")
	}
	b.s.ids = slices.DeleteFunc(b.s.ids, func(id driver.ID) bool { return slices.Contains(b.gone, id) })
	b.s.removed = append(b.s.removed, b.gone...)
	b.s.commits++
	if b.s.loseCommit {
		return errors.New("connection lost")
	}
	return nil
}

func (b *memBox) Close() error { b.s.closed++; return nil }

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// bench is a pipeline on a memServer and a spool in a temporary directory.
type bench struct {
	t      *testing.T
	srv    *memServer
	spool  *spool.Spool
	common driver.Common
	set    driver.InboundSettings
	in     *driver.Inbound
	events []*driver.Event
}

func newBench(t *testing.T, mails ...string) *bench {
	t.Helper()
	sp, err := spool.New(t.TempDir() + "/spool")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, sp.Close()) })
	b := &bench{t: t, srv: newMemServer(mails...), spool: sp, common: driver.NewCommon(), set: driver.NewInboundSettings(), in: driver.NewInbound()}
	b.common.Spool = sp
	return b
}

func (b *bench) apply(opts ...driver.Option) {
	b.t.Helper()
	require.NoError(b.t, driver.Apply(opts, &b.set, &b.common))
}

func (b *bench) source() driver.Source {
	return driver.Source{
		Protocol: "POP3", Server: "pop.example.com", Account: "u",
		Open: func(context.Context) (driver.Mailbox, error) { return &memBox{s: b.srv}, nil },
	}
}

func (b *bench) poll(h driver.HandlerFunc) (driver.PollResult, error) {
	b.t.Helper()
	return b.pollCtx(b.t.Context(), h)
}

func (b *bench) pollCtx(ctx context.Context, h driver.HandlerFunc) (driver.PollResult, error) {
	b.t.Helper()
	return b.in.Poll(ctx, b.source(), b.common, b.set, driver.HandlerFunc(func(ctx context.Context, ev *driver.Event) error {
		b.events = append(b.events, ev)
		if h == nil {
			return nil
		}
		return h(ctx, ev)
	}))
}

// files lists everything in the spool, as kind/name without the numbers.
func (b *bench) files() []string {
	b.t.Helper()
	var names []string
	root := b.spool.Dir(spool.Root)
	require.NoError(b.t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(root, path)
			if i := strings.Index(rel, "_"); i > 0 && !strings.HasSuffix(rel, ".ids") {
				rel = rel[:i] + strings.TrimPrefix(filepath.Ext(rel), "")
			}
			names = append(names, rel)
		}
		return err
	}))
	slices.Sort(names)
	return names
}

func mail(subject, body string) string {
	return "From: Ann <Ann@Example.com>\r\nTo: desk@example.com\r\nSubject: " + subject + "\r\nMessage-ID: <" + subject + "@example.com>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\n" + body + "\r\n"
}

func withAttachment(subject string) string {
	return "From: Ann <ann@example.com>\r\nSubject: " + subject + "\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--b--\r\n"
}

func subjects(events []*driver.Event) []string {
	var s []string
	for _, ev := range events {
		s = append(s, ev.Subject)
	}
	return s
}

func TestPollHandsOverInOrderAndEmptiesTheMailbox(t *testing.T) {
	b := newBench(t, mail("one", "1"), mail("two", "2"), mail("three", "3"))
	res, err := b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"one", "two", "three"}, subjects(b.events))
	assert.Equal(t, 3, res.Delivered)
	assert.Equal(t, 3, res.Removed)
	assert.False(t, res.More)
	assert.Empty(t, b.srv.left())
	assert.Equal(t, 1, b.srv.closed)
	for _, ev := range b.events {
		assert.False(t, ev.Redelivered)
		assert.Len(t, ev.ID, 32)
		assert.FileExists(t, ev.ProcessedFile)
		assert.NoFileExists(t, ev.RawFile)
		assert.FileExists(t, ev.OriginalTextFile())
		require.NoError(t, ev.DeleteTempFiles())
	}
	assert.Equal(t, []string{"processed/POP3.tmp", "processed/POP3.tmp", "processed/POP3.tmp"}, b.files())
}

func TestNothingIsLeftWhenTheHostTakesAll(t *testing.T) {
	b := newBench(t, withAttachment("a"), withAttachment("b"))
	b.apply(driver.WithDeleteProcessed(true))
	_, err := b.poll(func(_ context.Context, ev *driver.Event) error {
		require.Len(t, ev.Files, 2)
		data, err := os.ReadFile(ev.Files[0].Path)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(data))
		return ev.DeleteTempFiles()
	})
	require.NoError(t, err)
	assert.Empty(t, b.files(), "no record, lock or directory entry outlives a session that left nothing behind")
}

func TestBatchSizeLeavesTheRestForTheNextSession(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", ""), mail("3", ""))
	b.apply(driver.WithBatchSize(2))
	res, err := b.poll(nil)
	require.NoError(t, err)
	assert.True(t, res.More)
	assert.Equal(t, []driver.ID{"uid-3"}, b.srv.left())
	res, err = b.poll(nil)
	require.NoError(t, err)
	assert.False(t, res.More)
	assert.Equal(t, []string{"1", "2", "3"}, subjects(b.events))
}

func TestRefusedMailComesAgainWithTheSameFiles(t *testing.T) {
	b := newBench(t, withAttachment("bad"), mail("good", ""))
	b.apply(driver.WithRetry(0, 0))
	down := true
	h := func(_ context.Context, ev *driver.Event) error {
		if ev.Subject == "bad" && down {
			return errors.New("database is down")
		}
		return nil
	}
	res, err := b.poll(h)
	require.NoError(t, err)
	assert.Equal(t, 1, res.Refused)
	assert.Equal(t, 1, res.Delivered)
	require.Len(t, res.Failures, 1)
	assert.ErrorContains(t, res.Failures[0].Err, "database is down")
	assert.Equal(t, []driver.ID{"uid-1"}, b.srv.left())

	down = false
	res, err = b.poll(h)
	require.NoError(t, err)
	assert.Equal(t, 1, res.Redelivered)
	first, again := b.events[0], b.events[2]
	assert.True(t, again.Redelivered)
	assert.Equal(t, 2, again.Attempt)
	assert.Equal(t, first.ID, again.ID)
	assert.Equal(t, first.Files, again.Files)
	assert.Equal(t, []driver.ID{"uid-1", "uid-2"}, b.srv.fetched, "a repeat is not fetched again")
	assert.Empty(t, b.srv.left())
}

func TestRefusedMailWaitsAndTakesNoPlaceInTheBatch(t *testing.T) {
	b := newBench(t, mail("bad", ""), mail("good", ""))
	b.apply(driver.WithBatchSize(1), driver.WithRetry(time.Hour, time.Hour))
	h := func(_ context.Context, ev *driver.Event) error {
		if ev.Subject == "bad" {
			return errors.New("no")
		}
		return nil
	}
	_, err := b.poll(h)
	require.NoError(t, err)
	res, err := b.poll(h)
	require.NoError(t, err)
	assert.Equal(t, 1, res.Waiting)
	assert.Equal(t, 1, res.Delivered)
	assert.WithinDuration(t, time.Now().Add(time.Hour), res.RetryAt, time.Minute)
	assert.Equal(t, []string{"bad", "good"}, subjects(b.events))
}

func TestRefusedMailSurvivesItsRemovalFromTheServer(t *testing.T) {
	b := newBench(t, mail("only", "text"))
	b.apply(driver.WithRetry(0, 0))
	_, err := b.poll(func(context.Context, *driver.Event) error { return errors.New("no") })
	require.NoError(t, err)
	b.srv.ids = nil // another client deleted it
	res, err := b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, 1, res.Redelivered, "the spool was its only place")
	assert.Equal(t, []string{"processed/POP3.tmp"}, b.files()[1:])
}

func TestThreeErrorsInARowEndTheSession(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", ""), mail("3", ""), mail("4", ""))
	res, err := b.poll(func(context.Context, *driver.Event) error { return errors.New("down") })
	require.Error(t, err)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	assert.Equal(t, 3, res.Refused)
	assert.Len(t, b.srv.left(), 4)
}

func TestRejectMovesTheRawMailToFailed(t *testing.T) {
	b := newBench(t, withAttachment("bad"), mail("good", ""))
	res, err := b.poll(func(_ context.Context, ev *driver.Event) error {
		if ev.Subject == "bad" {
			return driver.Reject(errors.New("not a ticket"))
		}
		return ev.DeleteTempFiles()
	})
	require.NoError(t, err)
	assert.Equal(t, 1, res.Failed)
	require.Len(t, res.Failures, 1)
	raw, err := os.ReadFile(res.Failures[0].File)
	require.NoError(t, err)
	assert.Equal(t, withAttachment("bad"), string(raw))
	reason, err := os.ReadFile(res.Failures[0].File + ".reason")
	require.NoError(t, err)
	assert.Contains(t, string(reason), "not a ticket")
	assert.Empty(t, b.srv.left())
	assert.Equal(t, []string{"failed/POP3.reason", "failed/POP3.tmp", "processed/POP3.tmp"}, b.files())
}

func TestStopEndsTheSessionWithoutError(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", ""))
	res, err := b.poll(func(context.Context, *driver.Event) error { return driver.Stop })
	require.NoError(t, err)
	assert.Equal(t, 1, res.Delivered)
	assert.True(t, res.More)
	assert.Equal(t, []driver.ID{"uid-2"}, b.srv.left())
}

func TestNothingIsFetchedLongAfterAStop(t *testing.T) {
	const n = 500
	mails := make([]string, n)
	for i := range mails {
		mails[i] = mail(fmt.Sprint(i), "")
	}
	b := newBench(t, mails...)
	b.apply(driver.WithBatchSize(n))
	res, err := b.poll(func(context.Context, *driver.Event) error { return driver.Stop })
	require.NoError(t, err)
	assert.True(t, res.More)
	assert.Len(t, b.srv.left(), n-1)
	assert.LessOrEqual(t, len(b.srv.fetched), 200, "groups that were under way")
	left, err := filepath.Glob(filepath.Join(b.spool.Dir(spool.Incoming), "*"))
	require.NoError(t, err)
	assert.Len(t, left, 1, "the text file of the one that was handed over")
}

func TestF42HandlerPanicCountsAndThenQuarantines(t *testing.T) {
	b := newBench(t, mail("bomb", ""), mail("good", ""))
	b.apply(driver.WithRetry(0, 0), driver.WithMaxAttempts(3))
	h := func(_ context.Context, ev *driver.Event) error {
		if ev.Subject == "bomb" {
			panic("boom")
		}
		return nil
	}
	for i := range 3 {
		res, err := b.poll(h)
		require.NoError(t, err)
		if i < 2 {
			assert.Equal(t, 1, res.Refused)
			continue
		}
		require.Equal(t, 1, res.Failed)
		reason, err := os.ReadFile(res.Failures[0].File + ".reason")
		require.NoError(t, err)
		assert.Contains(t, string(reason), "boom")
		assert.Contains(t, string(reason), "pipeline_test.go", "the stack is kept")
	}
	assert.Empty(t, b.srv.left())
}

func TestMaxErrorsIsTheHostsChoice(t *testing.T) {
	for limit, want := range map[int]int{0: 0, 2: 1} {
		b := newBench(t, mail("bad", ""))
		b.apply(driver.WithRetry(0, 0), driver.WithMaxErrors(limit))
		var failed int
		for range 4 {
			res, err := b.poll(func(context.Context, *driver.Event) error { return errors.New("no") })
			require.NoError(t, err)
			failed += res.Failed
		}
		assert.Equal(t, want, failed, "limit %d", limit)
	}
}

func TestF08LostCommitRepeatsNothing(t *testing.T) {
	for name, set := range map[string]func(*memServer){
		"confirmation lost": func(s *memServer) { s.loseCommit = true },
		"not committed":     func(s *memServer) { s.failCommit = true },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, mail("1", ""), mail("2", ""))
			set(b.srv)
			_, err := b.poll(nil)
			require.Error(t, err)
			assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
			b.srv.loseCommit, b.srv.failCommit = false, false
			_, err = b.poll(nil)
			require.NoError(t, err)
			assert.Len(t, b.events, 2, "handed over once")
			assert.Empty(t, b.srv.left())
			assert.NotContains(t, strings.Join(b.files(), " "), ".ids")
		})
	}
}

func TestF04CutBodyLeavesNoFileAndComesWhole(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", "a longer body"), mail("3", ""))
	b.srv.cut["uid-2"] = 60
	_, err := b.poll(nil)
	require.Error(t, err)
	assert.Equal(t, []string{"1"}, subjects(b.events))
	for _, f := range b.files() {
		assert.NotContains(t, f, ".part")
	}
	delete(b.srv.cut, "uid-2")
	_, err = b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"1", "2", "3"}, subjects(b.events))
	assert.Empty(t, b.srv.left())
}

func TestF14ReusedIDIsANewMail(t *testing.T) {
	b := newBench(t, mail("old", "1"))
	b.srv.failCommit = true
	_, err := b.poll(nil)
	require.Error(t, err)
	b.srv.failCommit = false
	b.srv.mails["uid-1"] = mail("new", "a longer one")
	_, err = b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"old", "new"}, subjects(b.events))
	assert.NotEqual(t, b.events[0].ID, b.events[1].ID)
	assert.False(t, b.events[1].Redelivered)
	assert.Empty(t, b.srv.left())
}

func TestF14SizeAloneDoesNotMakeANewMail(t *testing.T) {
	b := newBench(t, mail("same", "1"))
	b.srv.failCommit = true
	_, _ = b.poll(nil)
	b.srv.failCommit = false
	b.srv.sizes["uid-1"] = 9999
	_, err := b.poll(nil)
	require.NoError(t, err)
	assert.Len(t, b.events, 1)
}

func TestF25GoneMailIsCounted(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", ""))
	b.srv.hide["uid-1"] = true
	res, err := b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, 1, res.Gone)
	assert.Equal(t, []string{"2"}, subjects(b.events))
}

func TestLeaveOnServerRemembersWhatItHandedOver(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", ""))
	b.apply(driver.WithLeaveOnServer(true))
	for range 3 {
		_, err := b.poll(nil)
		require.NoError(t, err)
	}
	assert.Len(t, b.events, 2)
	assert.Len(t, b.srv.left(), 2)
	assert.Empty(t, b.srv.removed)
	b.srv.add("uid-3", mail("3", ""))
	b.srv.ids = b.srv.ids[1:]
	_, err := b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"1", "2", "3"}, subjects(b.events))
}

func TestLoopbackDivertsOrFlags(t *testing.T) {
	b := newBench(t, mail("1", ""), withAttachment("2"))
	b.apply(driver.WithLoopbackDetection(time.Hour, false))
	res, err := b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, 1, res.Diverted)
	assert.Equal(t, []string{"1"}, subjects(b.events))
	require.NoError(t, b.events[0].DeleteTempFiles())
	assert.Equal(t, []string{"loopback.json", "loopback/POP3.tmp", "processed/POP3.tmp"}, b.files(), "a diverted mail keeps its raw file and loses its parts")
	assert.Empty(t, b.srv.left())

	b.srv.add("uid-9", mail("9", ""))
	b.apply(driver.WithLoopbackDetection(time.Hour, true))
	_, err = b.poll(nil)
	require.NoError(t, err)
	assert.True(t, b.events[1].LoopbackCandidate)
}

func TestF40SecondPollerGetsBusy(t *testing.T) {
	b := newBench(t, mail("1", ""))
	_, err := b.poll(func(context.Context, *driver.Event) error {
		_, err := driver.NewInbound().Poll(t.Context(), b.source(), b.common, b.set, driver.HandlerFunc(func(context.Context, *driver.Event) error { return nil }))
		assert.ErrorIs(t, err, driver.ErrMailboxBusy)
		assert.Equal(t, driver.KindBusy, driver.KindOf(err))
		return nil
	})
	require.NoError(t, err)
}

func TestCancelInsideAHandlerIsNoErrorOfTheMail(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", ""))
	b.apply(driver.WithMaxErrors(1))
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := b.pollCtx(ctx, func(ctx context.Context, _ *driver.Event) error {
		cancel(driver.ErrClosed)
		<-ctx.Done()
		return ctx.Err()
	})
	assert.ErrorIs(t, err, driver.ErrClosed)
	assert.Equal(t, driver.KindClosed, driver.KindOf(err))
	res, err := b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, 2, res.Delivered)
	assert.True(t, b.events[1].Redelivered)
}

func TestF43StuckHandlerKeepsTheMailboxLocked(t *testing.T) {
	b := newBench(t, mail("1", ""))
	b.apply(driver.WithHandlerTimeout(time.Millisecond, time.Millisecond))
	release := make(chan struct{})
	_, err := b.poll(func(context.Context, *driver.Event) error { <-release; return nil })
	require.ErrorIs(t, err, driver.ErrHandlerStuck)
	_, err = b.poll(nil)
	require.ErrorIs(t, err, driver.ErrMailboxBusy)
	close(release)
	require.Eventually(t, func() bool {
		_, err := b.poll(nil)
		return err == nil
	}, 5*time.Second, time.Millisecond)
	assert.Len(t, b.events, 1, "what the stuck handler returned counts")
	assert.Empty(t, b.srv.left())
}

func TestTooBigMailDoesNotBlockTheOthers(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("big", strings.Repeat("x", 5000)), mail("3", ""))
	b.apply(driver.WithMaxMessageBytes(1000))
	res, err := b.poll(nil)
	require.NoError(t, err)
	require.Len(t, res.Failures, 1)
	assert.ErrorIs(t, res.Failures[0].Err, driver.ErrLimit)
	assert.True(t, res.More)
	_, err = b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"1", "3"}, subjects(b.events))
	assert.Equal(t, []driver.ID{"uid-2"}, b.srv.left())
}

func TestA38LimitGoesToFailed(t *testing.T) {
	deep := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 500)
	b := newBench(t, deep, mail("good", ""))
	res, err := b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, 1, res.Failed)
	assert.Equal(t, []string{"good"}, subjects(b.events))
	assert.Empty(t, b.srv.left())
}

// The tests below hold what a review of the pipeline found.

func TestNoLimitOfSizeIsNoLimit(t *testing.T) {
	b := newBench(t, mail("1", "text"))
	b.apply(driver.WithMaxMessageBytes(math.MaxInt64))
	_, err := b.poll(nil)
	require.NoError(t, err)
	assert.Equal(t, "text\r\n", b.events[0].Text)
}

func TestRawFileAloneBringsAMailBack(t *testing.T) {
	b := newBench(t, withAttachment("only"))
	b.apply(driver.WithRetry(0, 0))
	_, err := b.poll(func(_ context.Context, ev *driver.Event) error {
		require.NoError(t, ev.DeleteTempFiles())
		return errors.New("and yet not done")
	})
	require.NoError(t, err)
	b.srv.ids = nil // another client deleted it
	res, err := b.poll(nil)
	require.NoError(t, err)
	assert.Zero(t, res.Gone)
	require.Len(t, b.events, 2)
	assert.True(t, b.events[1].Redelivered)
	assert.Equal(t, "hello", content(t, b.events[1].Files[0].Path))
}

func TestChangedOptionsMakeNewFiles(t *testing.T) {
	b := newBench(t, strings.ReplaceAll(embedded, "\n", "\r\n"))
	b.apply(driver.WithRetry(0, 0), driver.WithReturnAttachments(true))
	_, err := b.poll(func(context.Context, *driver.Event) error { return errors.New("no") })
	require.NoError(t, err)
	b.apply(driver.WithParseEmbedded(false))
	_, err = b.poll(nil)
	require.NoError(t, err)
	again := b.events[1]
	require.Equal(t, "EmbeddedMsg1.eml", again.Files[0].Name)
	assert.True(t, strings.HasPrefix(content(t, again.Files[0].Path), "From: inner@example.com"), "the bytes are those of the name")
	assert.Len(t, content(t, again.Files[0].Path), int(again.Files[0].Size))
}

func TestF14TwoMailsUnderOneIDKeepTheirEvents(t *testing.T) {
	b := newBench(t, mail("A", "1"))
	b.apply(driver.WithRetry(0, 0))
	refuse := func(name string) driver.HandlerFunc {
		return func(_ context.Context, ev *driver.Event) error {
			if ev.Subject == name {
				return errors.New("no")
			}
			return nil
		}
	}
	_, err := b.poll(refuse("A"))
	require.NoError(t, err)
	b.srv.mails["uid-1"] = mail("B", "another and longer one")
	_, err = b.poll(refuse("B"))
	require.NoError(t, err)
	_, err = b.poll(nil)
	require.NoError(t, err)
	var got []string
	ids := map[string]string{}
	for _, ev := range b.events {
		got = append(got, fmt.Sprintf("%s %v", ev.Subject, ev.Redelivered))
		if ids[ev.Subject] == "" {
			ids[ev.Subject] = ev.ID
		}
		assert.Equal(t, ids[ev.Subject], ev.ID)
	}
	assert.Equal(t, []string{"A false", "A true", "B false", "B true"}, got)
	assert.NotEqual(t, ids["A"], ids["B"])
	assert.Empty(t, b.srv.left())
	assert.NotContains(t, strings.Join(b.files(), " "), ".ids")
}

func TestF14IDUsedAgainAfterRemovalIsAnotherEvent(t *testing.T) {
	b := newBench(t, mail("A", "1"))
	_, err := b.poll(nil)
	require.NoError(t, err)
	b.srv.add("uid-1", mail("B", "2"))
	_, err = b.poll(nil)
	require.NoError(t, err)
	require.Len(t, b.events, 2)
	assert.NotEqual(t, b.events[0].ID, b.events[1].ID)
}

func TestMailThatTheServerKeepsStopsNoOther(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", ""))
	b.srv.keep = "uid-1"
	for range 2 {
		res, err := b.poll(nil)
		require.NoError(t, err)
		require.Len(t, res.Failures, 1)
		assert.Equal(t, driver.ID("uid-1"), res.Failures[0].ID)
	}
	assert.Equal(t, []driver.ID{"uid-1"}, b.srv.left())
	assert.Len(t, b.events, 2, "handed over once")
	b.srv.keep = ""
	_, err := b.poll(nil)
	require.NoError(t, err)
	assert.Empty(t, b.srv.left())
}

func TestWrappedStopIsAnError(t *testing.T) {
	b := newBench(t, mail("1", ""), mail("2", ""))
	res, err := b.poll(func(_ context.Context, ev *driver.Event) error {
		if ev.Subject == "1" {
			return fmt.Errorf("database is down: %w", driver.Stop)
		}
		return driver.Reject(driver.Stop)
	})
	require.NoError(t, err)
	assert.Equal(t, 1, res.Refused)
	assert.Equal(t, 1, res.Failed)
	assert.Zero(t, res.Delivered)
}

func TestRefusedMailsDoNotStarveTheOthers(t *testing.T) {
	b := newBench(t, mail("bad", ""), mail("good", ""))
	b.apply(driver.WithBatchSize(1), driver.WithRetry(0, 0))
	h := func(_ context.Context, ev *driver.Event) error {
		if ev.Subject == "bad" {
			return errors.New("no")
		}
		return nil
	}
	for range 2 {
		_, err := b.poll(h)
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"bad", "bad", "good"}, subjects(b.events))
}

func TestTooBigIsNoRepeat(t *testing.T) {
	b := newBench(t, mail("big", strings.Repeat("x", 5000)))
	b.apply(driver.WithMaxMessageBytes(1000), driver.WithRetry(0, 0))
	res, err := b.poll(nil)
	require.NoError(t, err)
	assert.NotEmpty(t, res.Failures[0].EventID)
	b.apply(driver.WithMaxMessageBytes(10000))
	_, err = b.poll(nil)
	require.NoError(t, err)
	assert.False(t, b.events[0].Redelivered, "no handler ever saw it")
	assert.Equal(t, 1, b.events[0].Attempt)
}

func TestDoubledIDIsAProtocolError(t *testing.T) {
	b := newBench(t, mail("1", ""))
	b.srv.add("uid-1", mail("1", ""))
	_, err := b.poll(nil)
	assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
	assert.Empty(t, b.events)
}

func TestCaseOfTheServerNameMakesNoOtherMailbox(t *testing.T) {
	b := newBench(t, mail("1", ""))
	b.srv.failCommit = true
	_, _ = b.poll(nil)
	b.srv.failCommit = false
	src := b.source()
	src.Server = "POP.Example.COM"
	b.srv.add("uid-2", mail("2", ""))
	_, err := b.in.Poll(t.Context(), src, b.common, b.set, driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		b.events = append(b.events, ev)
		return nil
	}))
	require.NoError(t, err)
	assert.Equal(t, []string{"1", "2"}, subjects(b.events))
}
