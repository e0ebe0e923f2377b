package ews

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/ews/ewstest"
	"github.com/maildriver/maildriver/internal/killtest"
)

// siege kills the poller at random steps, at POSTs, and between hand-over and
// record.
func siege(t *testing.T, url, mode string, sums map[string]string) {
	t.Helper()
	killtest.Siege{
		Job:  killtest.Job{Batch: 8, Server: map[string]string{"addr": url, "mode": mode, "state": filepath.Join(t.TempDir(), "state")}},
		Sums: sums, Kills: 4, Keeps: mode != "" && mode != "move",
		Choose: func(r *rand.Rand, _ int, j *killtest.Job) {
			j.Sessions = 2
			switch r.IntN(4) {
			case 0:
				j.Point, j.Nth = "journaled", 1+r.IntN(j.Batch)
			case 1: // a POST
				j.Point, j.Nth = []string{"send POST", "sent POST", "answered POST"}[r.IntN(3)], 1+r.IntN(6)
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
	for _, mode := range []string{"", "move", "leave", "sync", "read"} {
		t.Run("mode "+mode, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, ewstest.WithPageLimit(30))
			srv.AddFolder("MsgFolderRoot/Done")
			raw, sums := killtest.Mails(40)
			srv.Add(raw...)
			siege(t, srv.PlainURL, mode, sums)
			left, moved := len(raw), 0
			switch mode {
			case "":
				left = 0
			case "move":
				left, moved = 0, len(raw)
			}
			assert.Equal(t, left, srv.Count("Inbox"))
			assert.Equal(t, moved, srv.Count("MsgFolderRoot/Done"))
			if mode == "read" {
				for _, it := range srv.Items("Inbox") {
					assert.True(t, it.Read)
				}
			}
		})
	}
}

// E5: memory does not grow with the size of a mail, measured in a process of its
// own, and the file is the mail.
func TestE5MemoryOf200MB(t *testing.T) {
	t.Parallel()
	if testing.Short() || underRace {
		t.Skip("200 MiB")
	}
	srv := newServer(t)
	peak := func(size int64) int64 {
		open := func() io.Reader { return killtest.BigMail("big", size) }
		hash := sha256.New()
		n, err := io.Copy(hash, open())
		require.NoError(t, err)
		srv.AddItem("Inbox", ewstest.Item{Open: open, Size: n})
		dir := t.TempDir()
		c := killtest.Start(t, killtest.Job{
			Root: filepath.Join(dir, "spool"), Journal: filepath.Join(dir, "journal"),
			Server: map[string]string{"addr": srv.PlainURL},
		})
		c.Done()
		entries := killtest.ReadJournal(t, filepath.Join(dir, "journal"))
		require.Len(t, entries, 1)
		assert.Equal(t, hex.EncodeToString(hash.Sum(nil)), entries[0].RawSum)
		return c.RSS
	}
	small, large := peak(1<<20), peak(200<<20)
	t.Logf("peak of resident memory: %d KiB with 1 MiB, %d KiB with 200 MiB", small, large)
	assert.Less(t, large-small, int64(16<<10), "KiB")
	assert.Zero(t, srv.Count("Inbox"))
}

// The same for sending.
func TestMemoryOfSending(t *testing.T) {
	t.Parallel()
	if testing.Short() || underRace {
		t.Skip("it measures memory")
	}
	srv := newServer(t)
	peak := func(size int64) int64 {
		dir := t.TempDir()
		c := killtest.Start(t, killtest.Job{
			Root: filepath.Join(dir, "spool"), Send: size,
			Server: map[string]string{"addr": srv.PlainURL, "from": ewstest.User, "to": "bob@example.com"},
		})
		c.Done()
		return c.RSS
	}
	small, large := peak(1<<20), peak(16<<20)
	t.Logf("peak of resident memory: %d KiB with 1 MiB, %d KiB with 16 MiB", small, large)
	assert.Less(t, large-small, int64(4<<10), "KiB")
	require.Len(t, srv.Sent(), 2)
	want, err := io.ReadAll(killtest.BigMail("big", 16<<20))
	require.NoError(t, err)
	assert.Equal(t, sha256.Sum256(want), sha256.Sum256(srv.Sent()[1].MIME))
}
