package killtest_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/internal/killtest"
	"github.com/maildriver/maildriver/internal/labtest"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/spool"
)

// killAll kills the poller so many times and lets it come to its end.
func killAll(t *testing.T, job killtest.Job, kills int) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	p := plan{r: rand.New(rand.NewPCG(seed, 0))}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, killed: %s", seed, strings.Join(p.log, "\n"))
		}
	})
	killed, early := 0, 0
	for round := 0; killed < kills; round++ {
		if p.kill(t, job, round) {
			killed++
			continue
		}
		early++
		require.Less(t, early, kills, "the poller was killed %d times only", killed)
	}
	killtest.Start(t, job).Done()
}

// TestKilledAgainAndAgain kills the poller again and again on the fake, at
// named points, after a random number of steps, and at any moment.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	const mails, kills = 150, 15
	srv, job, sums := fake(t, mails)
	job.Batch = 8
	killAll(t, job, kills)
	entries, repeats := finish(t, "F26-F32", srv, job, sums)
	assert.LessOrEqual(t, repeats, kills, "repeats")
	assert.GreaterOrEqual(t, repeats, kills/10, "the moments between hand-over and record were not hit")
	t.Logf("%d mails, %d hand-overs, %d repeats, %d kills", mails, len(entries), repeats, kills)
	for _, r := range srv.Ledger() {
		assert.True(t, r.Removed, "%s was not removed", r.UIDL)
	}
}

// TestKilledAgainAndAgainLab is the promise on a real server: 500 mails with
// attachments, and the poller killed 50 times.
func TestKilledAgainAndAgainLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	if testing.Short() {
		t.Skip("many processes")
	}
	const mails, kills = 500, 50
	const user = "u30"
	box := lab.Mailbox(t, user)
	raw, sums := killtest.Mails(mails)
	box.Append(raw...)
	require.Equal(t, mails, box.Count())
	dir := t.TempDir()
	job := killtest.Job{
		Server: map[string]string{"addr": lab.Addr(t, "LAB_POP3"), "user": user, "password": labtest.Password(user)},
		Root:   filepath.Join(dir, "spool"), Journal: filepath.Join(dir, "journal"), Batch: 8,
	}
	killAll(t, job, kills)
	entries := killtest.ReadJournal(t, job.Journal)
	repeats := killtest.Check(t, entries, sums)
	assert.LessOrEqual(t, repeats, kills, "repeats")
	assert.GreaterOrEqual(t, repeats, kills/10, "the moments between hand-over and record were not hit")
	killtest.CheckFiles(t, job.Root, entries)
	assert.Zero(t, box.Count(), "mails are left on the server")
	t.Logf("%d mails, %d hand-overs, %d repeats, %d kills", mails, len(entries), repeats, kills)
}

// The points at which a process dies, one mail at hand. The first sync of
// Current makes the session known, the second the record that the handler is
// entered, the third that it took the mail; the header is one more write.
func TestKilledAtPoint(t *testing.T) {
	for _, c := range []struct {
		number, what, point string
		nth                 int
		offered             int // hand-overs that the handler saw, in the end
		marked              bool
	}{
		{"F26", "while writing the raw file", "after write raw part", 1, 1, false},
		{"F26", "before its sync", "before sync raw part", 1, 1, false},
		{"F27", "after the rename, before any record", "after rename raw", 1, 1, false},
		{"F27", "after the files of the parts", "after rename text", 1, 1, false},
		{"F28", "before the record is written", "before write current", 3, 1, false},
		{"F28", "after the record, before the hand-over", "after sync current", 2, 1, true},
		{"F29", "inside the handler, which did nothing yet", "handler", 1, 1, true},
		{"F29", "inside the handler, which did its work", "journaled", 1, 2, true},
		{"F30", "after the handler, before that is recorded", "before write current", 4, 2, true},
		{"F31", "once it is recorded, before anything else", "after sync current", 3, 1, false},
		{"F31", "before the raw file is removed", "before remove raw", 1, 1, false},
		{"F31", "before the server is told", "send DELE", 1, 1, false},
		{"F07", "between DELE and QUIT", "send QUIT", 1, 1, false},
		{"F08", "before the reply to QUIT", "sent QUIT", 1, 1, false},
		{"F08", "after the reply to QUIT", "answered QUIT", 1, 1, false},
		{"F31", "before the lock is removed", "before remove lock", 1, 1, false},
	} {
		t.Run(c.number+" "+c.what, func(t *testing.T) {
			t.Parallel()
			srv, job, sums := fake(t, 1)
			killAt(t, job, c.point, c.nth)
			entries, _ := finish(t, c.number, srv, job, sums)
			if assert.Len(t, entries, c.offered, "%s: hand-overs", c.number) {
				assert.Equal(t, c.marked, entries[len(entries)-1].Redelivered, "%s: marked", c.number)
			}
		})
	}
}

// TestF29KilledHandlerIsQuarantined: a mail that takes the process down each
// time goes to the failed directory, whole and with the reason.
func TestF29KilledHandlerIsQuarantined(t *testing.T) {
	t.Parallel()
	srv, job, sums := fake(t, 2)
	job.MaxAttempts = 3
	for range 3 {
		killAt(t, job, "journaled", 1)
	}
	killtest.Start(t, job).Done()
	entries := killtest.ReadJournal(t, job.Journal)
	killtest.Check(t, entries, sums)
	require.Len(t, entries, 4, "F29: three attempts at the first mail, one at the second")
	assert.Equal(t, "mail-002", entries[3].Subject, "F29")
	assert.Equal(t, 3, entries[2].Attempt, "F29")
	failed, err := filepath.Glob(filepath.Join(job.Root, "failed", "*"))
	require.NoError(t, err)
	assert.Len(t, failed, 2, "F29: the raw mail and the reason: %q", failed)
	assert.Empty(t, srv.Messages(), "F29")
}

// TestF32KilledWhileMerging kills the process at every step of the merge of
// the records, each time from the same state: what is known afterwards must be
// the same.
func TestF32KilledWhileMerging(t *testing.T) {
	t.Parallel()
	srv, job, sums := fake(t, 4)
	job.Batch = 3
	killAt(t, job, "journaled", 3)
	saved := filepath.Join(t.TempDir(), "saved")
	require.NoError(t, os.CopyFS(saved, os.DirFS(job.Root)))
	want := known(t, srv.Addr, job.Root)
	require.Len(t, want, 3+2*3+1, "F32: three records, two of them done, the files of three mails and the raw one of the third")
	for step := 1; ; step++ {
		require.NoError(t, os.RemoveAll(job.Root))
		require.NoError(t, os.CopyFS(job.Root, os.DirFS(saved)))
		j := job
		j.Nth = step
		c := killtest.Start(t, j)
		point := c.Stopped()
		c.Kill()
		require.NotEmpty(t, point, "F32: the poller came to its end")
		assert.Equal(t, want, known(t, srv.Addr, job.Root), "F32: killed at step %d, %s", step, point)
		if point == "dial" {
			require.Greater(t, step, 10, "F32: steps of the merge")
			break
		}
	}
	entries, repeats := finish(t, "F32", srv, job, sums)
	assert.Len(t, entries, 5, "F32")
	assert.Equal(t, 1, repeats, "F32")
}

// known gives what a process that takes the mailbox over knows and has.
func known(t *testing.T, addr, root string) (list []string) {
	t.Helper()
	sp, err := spool.New(root)
	require.NoError(t, err)
	defer func() { assert.NoError(t, sp.Close()) }()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	box, err := sp.Lock(spool.MailboxID{Protocol: "POP3", Server: host, Port: n, Account: pop3test.User})
	require.NoError(t, err)
	defer func() { assert.NoError(t, box.Unlock()) }()
	for r := range box.Records() {
		list = append(list, fmt.Sprintf("%s state %v attempts %d files %d", r.Key, r.State, r.Attempts, len(r.Files)))
	}
	files, err := filepath.Glob(filepath.Join(root, "incoming", "*"))
	require.NoError(t, err)
	for _, f := range files {
		list = append(list, filepath.Base(f))
	}
	slices.Sort(list)
	return list
}

// TestF40TwoProcesses: while one process has the mailbox nobody else polls it,
// even if that process stands still; when it is dead, the next one takes over.
func TestF40TwoProcesses(t *testing.T) {
	t.Parallel()
	srv, job, sums := fake(t, 3)
	first := job
	first.Point, first.Nth = "journaled", 2
	holder := killtest.Start(t, first)
	require.Equal(t, "journaled", holder.Stopped())
	requireBusy(t, job, "F40: a second process while the first is in a handler")
	stop(holder)
	requireBusy(t, job, "F40: a second process while the first is stopped")
	holder.Kill()
	entries, repeats := finish(t, "F40", srv, job, sums)
	assert.Equal(t, 1, repeats, "F40: the mail that was in the handler")
	assert.Len(t, entries, 4, "F40")
}

// TestF40StoppedProcessGoesOn stops the process with SIGSTOP at moments spread
// over its work and lets it go on: it must end as if nothing had been.
func TestF40StoppedProcessGoesOn(t *testing.T) {
	t.Parallel()
	srv, job, sums := fake(t, 2)
	for nth := 1; ; nth += 11 {
		j := job
		j.Nth = nth
		c := killtest.Start(t, j)
		if c.Stopped() == "" {
			break
		}
		stop(c)
		resume(c)
		c.Go()
		c.Done()
		srv.Add(mustMail(sums, fmt.Sprintf("later-%d", nth)))
	}
	_, repeats := finish(t, "F40", srv, job, sums)
	assert.Zero(t, repeats, "F40")
}

// TestF44Terminated: SIGTERM in the middle of a mail. No other mail is begun,
// this one is finished or comes again, and the session ends with QUIT.
func TestF44Terminated(t *testing.T) {
	for _, c := range []struct {
		what           string
		point          string
		nth            int
		obey           bool
		left, repeated int
	}{
		{"the handler finishes", "journaled", 2, false, 2, 0},
		{"the handler gives up", "handler", 1, true, 4, 0},
		{"while fetching", "after write raw part", 2, false, 4, 0},
	} {
		t.Run(c.what, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("there is no SIGTERM")
			}
			srv, job, sums := fake(t, 4)
			first := job
			first.Point, first.Nth, first.Obey, first.Term = c.point, c.nth, c.obey, true
			child := killtest.Start(t, first)
			require.Equal(t, c.point, child.Stopped(), "F44")
			terminate(child)
			child.Go()
			child.Done()
			assert.Equal(t, c.left, len(srv.Messages()), "F44: mails left on the server") //nolint:testifylint // Len would print them
			if c.point != "after write raw part" {
				assert.Contains(t, string(srv.Transcripts()[0].Client), "QUIT", "F44: the session ends with QUIT")
			}
			_, repeats := finish(t, "F44", srv, job, sums)
			assert.Equal(t, c.repeated, repeats, "F44: repeats")
		})
	}
}

func mustMail(sums map[string]string, subject string) []byte {
	raw, sum := killtest.Mail(subject, 40)
	sums[subject] = sum
	return raw
}

func requireBusy(t *testing.T, job killtest.Job, what string) {
	t.Helper()
	job.Point, job.Nth = "", 0
	assert.Contains(t, killtest.Start(t, job).Failed(), "being polled by another poller", what)
}
