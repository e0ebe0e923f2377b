package webdav

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/killtest"
	"github.com/maildriver/maildriver/internal/labtest"
	"github.com/maildriver/maildriver/webdav/webdavtest"
)

// exhaustive asks for the tests in full.
var exhaustive = os.Getenv("MAILDRIVER_EXHAUSTIVE") != ""

// siege kills the poller at random requests and disk operations, and between
// hand-over and record.
func siege(t *testing.T, server, sums map[string]string, kills int) {
	t.Helper()
	mode := server["mode"]
	killtest.Siege{
		Job:  killtest.Job{Batch: 8, Server: server},
		Sums: sums, Kills: kills, Keeps: mode != "" && mode != "move",
		Choose: func(r *rand.Rand, _ int, j *killtest.Job) {
			j.Sessions = 2
			switch r.IntN(4) {
			case 0:
				j.Point, j.Nth = "journaled", 1+r.IntN(j.Batch)
			case 1:
				j.Point = []string{"send GET", "sent GET", "send DELETE", "sent DELETE", "answered DELETE", "send PROPFIND"}[r.IntN(6)]
				if mode == "move" {
					j.Point = strings.Replace(j.Point, "DELETE", "MOVE", 1)
				}
				j.Nth = 1 + r.IntN(3)
			default:
				j.Nth = 1 + r.IntN(200)
			}
		},
	}.Run(t)
}

func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("many processes")
	}
	for _, mode := range []string{"", "move", "leave"} {
		t.Run("plain mode "+mode, func(t *testing.T) {
			t.Parallel()
			c := newCollection(t)
			raw, sums := killtest.Mails(30)
			c.add(raw...)
			siege(t, map[string]string{"url": c.url, "plain": "yes", "mode": mode, "to": "done"}, sums, 4)
			left, moved := 0, 0
			switch mode {
			case "leave":
				left = len(raw)
			case "move":
				moved = len(raw)
			}
			assert.Equal(t, left, c.count(""))
			assert.Equal(t, moved, c.count("done/"))
		})
	}
	t.Run("Exchange mode read", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t, webdavtest.WithForms())
		raw, sums := killtest.Mails(30)
		srv.Add(raw...)
		siege(t, map[string]string{"url": srv.Mailbox(), "user": webdavtest.User, "password": webdavtest.Password, "mode": "read"}, sums, 4)
		assert.Equal(t, len(raw), srv.Left())
		assert.Zero(t, srv.Unread("Inbox"))
	})
}

func TestKilledAgainAndAgainLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	if testing.Short() {
		t.Skip("many processes")
	}
	for _, mode := range []string{"", "move", "leave"} {
		t.Run("mode "+mode, func(t *testing.T) {
			t.Parallel()
			c := labCollection(t, lab)
			mails, kills := 40, 3
			if exhaustive {
				mails, kills = 200, 20
			}
			raw, sums := killtest.Mails(mails)
			c.add(raw...)
			siege(t, map[string]string{
				"url": c.url, "plain": "yes", "user": c.user, "password": c.pass, "mode": mode, "to": "done",
			}, sums, kills)
			left, moved := 0, 0
			switch mode {
			case "leave":
				left = len(raw)
			case "move":
				moved = len(raw)
			}
			assert.Equal(t, left, c.count(""))
			assert.Equal(t, moved, c.count("done/"))
		})
	}
}

// W11: memory does not grow with the size of a mail, measured in a process of
// its own.
func TestW11MemoryOf100MB(t *testing.T) {
	t.Parallel()
	if testing.Short() || underRace {
		t.Skip("100 MB")
	}
	plain := newCollection(t)
	srv := newServer(t)
	peak := func(job map[string]string) int64 {
		dir := t.TempDir()
		c := killtest.Start(t, killtest.Job{Root: filepath.Join(dir, "spool"), Journal: filepath.Join(dir, "journal"), Server: job})
		c.Done()
		require.Len(t, killtest.ReadJournal(t, filepath.Join(dir, "journal")), 1)
		return c.RSS
	}
	exchange := func(size int64) int64 {
		n, err := io.Copy(io.Discard, killtest.BigMail("big", size))
		require.NoError(t, err)
		srv.AddFrom("Inbox", n, func() io.ReadCloser { return io.NopCloser(killtest.BigMail("big", size)) })
		return peak(map[string]string{"url": srv.Mailbox(), "user": webdavtest.User, "password": webdavtest.Password})
	}
	file := func(size int64) int64 {
		plain.do(http.MethodPut, "big.eml", nil, killtest.BigMail("big", size), http.StatusCreated)
		return peak(map[string]string{"url": plain.url, "plain": "yes"})
	}
	for name, of := range map[string]func(int64) int64{"Exchange": exchange, "plain": file} {
		small, large := of(1<<20), of(100<<20)
		t.Logf("%s: peak of resident memory: %d KiB with 1 MB, %d KiB with 100 MB", name, small, large)
		assert.Less(t, large-small, int64(8<<10), "KiB")
	}
	assert.Zero(t, srv.Left())
	assert.Zero(t, plain.count(""))
}

// Sending 100 MB takes no memory either: it is read as it goes.
func TestSendMemoryOf100MB(t *testing.T) {
	t.Parallel()
	if testing.Short() || underRace {
		t.Skip("100 MB")
	}
	srv := newServer(t)
	var got atomic.Int64
	srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		n, _ := io.Copy(io.Discard, r.Body)
		got.Store(n)
		w.WriteHeader(http.StatusCreated)
		return true
	})
	peak := func(size int64) int64 {
		c := killtest.Start(t, killtest.Job{Root: filepath.Join(t.TempDir(), "spool"), Send: size, Server: map[string]string{
			"url": srv.Mailbox(), "user": webdavtest.User, "password": webdavtest.Password, "from": webdavtest.Address, "to": "bob@example.com",
		}})
		c.Done()
		return c.RSS
	}
	small, large := peak(1<<20), peak(100<<20)
	t.Logf("peak of resident memory: %d KiB with 1 MB, %d KiB with 100 MB", small, large)
	assert.Less(t, large-small, int64(8<<10), "KiB")
	assert.Greater(t, got.Load(), int64(99<<20))
}

// Ten thousand mails, each once; some less by default, the time being that of
// the spool.
func TestTenThousand(t *testing.T) {
	t.Parallel()
	n := 1_500
	if exhaustive {
		n = 10_000
	}
	srv := newServer(t)
	for i := range n {
		srv.Add(letter(fmt.Sprint("mail ", i)))
	}
	srv.AddFolder("Done")
	d := newDriver(t, srv.Mailbox(), driver.WithBatchSize(n), WithMoveTo("MsgFolderRoot/Done"))
	got := pollAll(t, d)
	require.Len(t, got, n)
	for i, s := range got {
		require.Equal(t, fmt.Sprint("mail ", i), s)
	}
	assert.Zero(t, srv.Left())
	assert.Equal(t, n, srv.Count("Done"))
}
