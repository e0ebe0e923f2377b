package ews

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/ews/ewstest"
	"github.com/maildriver/maildriver/internal/killtest"
)

// killMails makes mails with attachments and gives their hashes by subject.
func killMails(n int) (raw [][]byte, sums map[string]string) {
	sums = map[string]string{}
	for i := range n {
		subject := fmt.Sprintf("mail-%03d", i+1)
		m := []byte("From: ann@example.com\r\nSubject: " + subject + "\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
			"--b\r\nContent-Type: text/plain\r\n\r\nhello " + subject + "\r\n--b\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
			strings.Repeat("QUJDREVG\r\n", i%7*10) + "--b--\r\n")
		sum := sha256.Sum256(m)
		raw, sums[subject] = append(raw, m), hex.EncodeToString(sum[:])
	}
	return raw, sums
}

// killAgainAndAgain kills the poller so many times with SIGKILL, at random steps
// and between hand-over and record, then lets it come to its end and holds the
// journal of the handler against the promise.
func killAgainAndAgain(t *testing.T, job killtest.Job, sums map[string]string, kills int) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	var log []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d, killed: %s", seed, strings.Join(log, "\n"))
		}
	})
	dir := t.TempDir()
	job.Root, job.Journal = filepath.Join(dir, "spool"), filepath.Join(dir, "journal")
	job.Server["state"] = filepath.Join(dir, "state")
	for killed, early := 0, 0; killed < kills; {
		j := job
		j.Sessions = 2
		switch r.IntN(4) {
		case 0:
			j.Point, j.Nth = "journaled", 1+r.IntN(j.Batch)
		case 1: // a POST
			j.Point, j.Nth = []string{"send POST", "sent POST", "answered POST"}[r.IntN(3)], 1+r.IntN(6)
		default:
			j.Nth = 1 + r.IntN(200)
		}
		c := killtest.Start(t, j)
		at := c.Stopped()
		if at == "" {
			early++
			require.Less(t, early, 20*kills, "the poller was killed %d times only", killed)
			continue
		}
		c.Kill()
		killed++
		log = append(log, fmt.Sprintf("at %q (%q, %d)", at, j.Point, j.Nth))
	}
	killtest.Start(t, job).Done()
	entries := killtest.ReadJournal(t, job.Journal)
	repeats := killtest.Check(t, entries, sums)
	assert.LessOrEqual(t, repeats, kills, "repeats")
	t.Logf("%d mails, %d hand-overs, %d repeats, %d kills", len(sums), len(entries), repeats, kills)
	if mode := job.Server["mode"]; mode == "" || mode == "move" {
		killtest.CheckFiles(t, job.Root, entries)
		return
	}
	// What stays on the server stays in the records.
	var ids []string
	require.NoError(t, filepath.WalkDir(job.Root, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasPrefix(filepath.Base(path), "Previous_") {
			ids = append(ids, path)
		}
		return err
	}))
	assert.Len(t, ids, 1, "the records")
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
			raw, sums := killMails(40)
			srv.Add(raw...)
			killAgainAndAgain(t, killtest.Job{Batch: 8, Server: map[string]string{"addr": srv.PlainURL, "mode": mode}}, sums, 4)
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
