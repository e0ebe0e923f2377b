package imap

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/imap/imaptest"
	"github.com/maildriver/maildriver/internal/killtest"
	"github.com/maildriver/maildriver/internal/labtest"
)

// killPoints are points that a random choice seldom hits: those of every mode,
// and those of the ways to be rid of mails.
var killPoints = map[string][]string{
	"":       {"handler", "before write current", "after sync current", "after rename raw", "sent UID FETCH", "answered UID FETCH", "send LOGOUT", "answered LOGOUT", "after replace previous"},
	"delete": {"send UID STORE", "answered UID STORE", "send UID EXPUNGE", "answered UID EXPUNGE"},
	"move":   {"send UID MOVE", "sent UID MOVE", "answered UID MOVE"},
	"copy":   {"send UID COPY", "answered UID COPY", "send UID STORE", "answered UID STORE", "send UID EXPUNGE"},
	"seen":   {"send UID STORE", "answered UID STORE"},
	"leave":  {"answered LOGOUT"},
}

// siege kills the poller at named points, after a random number of steps, and
// between hand-over and record.
func siege(t *testing.T, job killtest.Job, way string, sums map[string]string, kills int) {
	t.Helper()
	repeats := killtest.Siege{
		Job: job, Sums: sums, Kills: kills, Ends: true, Keeps: way == "leave" || way == "seen",
		Choose: func(r *rand.Rand, round int, j *killtest.Job) {
			j.Sessions = 1
			switch round % 4 {
			case 0: // between hand-over and record: the one place for a repeat
				j.Point, j.Nth = "journaled", 1+r.IntN(j.Batch)
			case 1:
				j.Point, j.Nth = killPoints[way][r.IntN(len(killPoints[way]))], 1
			case 2:
				j.Point, j.Nth = killPoints[""][r.IntN(len(killPoints[""]))], 1
			default:
				j.Nth = 1 + r.IntN(200)
			}
		},
	}.Run(t)
	assert.GreaterOrEqual(t, repeats, 1, "the moments between hand-over and record were not hit")
}

func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("many processes")
	}
	const kills = 8
	for _, way := range []string{"delete", "copy", "leave", "seen"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, imaptest.WithFolders("Archive"), imaptest.Without("MOVE"))
			raw, sums := killtest.Mails(60)
			srv.Add(raw...)
			job := killtest.Job{Batch: 8, Server: map[string]string{"addr": srv.Addr, "user": imaptest.User, "password": imaptest.Password, "way": way}}
			siege(t, job, way, sums, kills)
			srv.Settled()
			left := 0
			if way == "leave" || way == "seen" {
				left = len(raw)
			}
			assert.Equal(t, left, srv.Count("INBOX"))
			switch way {
			case "copy":
				// COPY is not undone by a kill, and not repeated once \Deleted
				// recorded it: a mail is there once or, killed between the
				// two, twice.
				assert.GreaterOrEqual(t, srv.Count("Archive"), len(raw))
				assert.LessOrEqual(t, srv.Count("Archive"), len(raw)+kills*job.Batch)
			case "seen":
				assert.Zero(t, srv.Unseen("INBOX"))
			}
		})
	}
}

func TestKilledAgainAndAgainLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	if testing.Short() {
		t.Skip("many processes")
	}
	mails, kills := 120, 12
	if os.Getenv("MAILDRIVER_EXHAUSTIVE") != "" {
		mails, kills = 500, 50
	}
	for i, way := range []string{"delete", "move", "leave"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			user := fmt.Sprintf("u%d", 16+i)
			box := lab.Mailbox(t, user)
			before := countIn(t, lab, user, "Archive")
			raw, sums := killtest.Mails(mails)
			box.Append(raw...)
			siege(t, killtest.Job{Batch: 8, Server: map[string]string{
				"addr": lab.Addr(t, "LAB_IMAP"), "user": user, "password": labtest.Password(user), "way": way,
			}}, way, sums, kills)
			left := 0
			if way == "leave" {
				left = len(raw)
			}
			assert.Equal(t, left, box.Count(), "mails are left on the server")
			if way == "move" { // MOVE is one step on the server: nothing twice
				assert.Equal(t, before+len(raw), countIn(t, lab, user, "Archive"))
			}
		})
	}
}

// Memory does not grow with the size of a mail, measured in a process of its
// own.
func TestMemoryOf200MBLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	if testing.Short() || underRace {
		t.Skip("200 MB")
	}
	const user = "u14"
	box := lab.Mailbox(t, user)
	peak := func(size int64) int64 {
		box.AppendFrom(killtest.BigMail("big", size))
		dir := t.TempDir()
		c := killtest.Start(t, killtest.Job{
			Root: filepath.Join(dir, "spool"), Journal: filepath.Join(dir, "journal"),
			Server: map[string]string{"addr": lab.Addr(t, "LAB_IMAP"), "user": user, "password": labtest.Password(user)},
		})
		c.Done()
		require.Len(t, killtest.ReadJournal(t, filepath.Join(dir, "journal")), 1)
		return c.RSS
	}
	small, large := peak(1<<20), peak(200<<20)
	t.Logf("peak of resident memory: %d KiB with 1 MB, %d KiB with 200 MB", small, large)
	assert.Less(t, large-small, int64(8<<10), "KiB")
	assert.Less(t, large, int64(20<<10), "KiB")
	assert.Zero(t, box.Count())
}
