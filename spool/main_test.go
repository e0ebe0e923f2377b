package spool

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// holderEnv makes the test binary a second process that holds a mailbox until its standard input ends.
const holderEnv = "SPOOL_TEST_HOLD"

func TestMain(m *testing.M) {
	if root := os.Getenv(holderEnv); root != "" {
		os.Exit(hold(root))
	}
	goleak.VerifyTestMain(m)
}

func hold(root string) int {
	s, err := New(root)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	box, err := s.Lock(testID)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := box.Unlock(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// startHolder starts the second process and gives what it says first. End closes its input and waits.
func startHolder(t *testing.T, root string) (said string, cmd *exec.Cmd, end func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	cmd = exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), holderEnv+"="+root)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	done := false
	end = func() error {
		if done {
			return nil
		}
		done = true
		defer cancel()
		_ = in.Close()
		return cmd.Wait()
	}
	t.Cleanup(func() { _ = end() })
	return strings.TrimSpace(line), cmd, end
}

var testID = MailboxID{Protocol: "POP3", Server: "mail.example.com", Account: "support@example.com"}

// newSpool gives a spool on the real disk whose syncs are left out: killing a process loses nothing of the page cache.
func newSpool(t testing.TB, root string, opts ...Option) *Spool {
	t.Helper()
	s, err := New(root, append([]Option{WithFS(newFaultFS())}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func tempRoot(t testing.TB) string { return filepath.Join(t.TempDir(), "spool") }

func mustLock(t testing.TB, s *Spool) *Mailbox {
	t.Helper()
	box, err := s.Lock(testID)
	require.NoError(t, err)
	t.Cleanup(func() { _ = box.Unlock() })
	return box
}

// fastRoot is tempRoot in memory where there is such a place: the crash loops make thousands of directories.
func fastRoot(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "spooltest")
	if err != nil {
		return tempRoot(t)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "spool")
}

// tree lists all files under root by relative path.
func tree(t testing.TB, root string) []string {
	t.Helper()
	var list []string
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if path == root && missing(err) {
			return nil
		}
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(root, path)
			list = append(list, filepath.ToSlash(rel))
		}
		return err
	}))
	slices.Sort(list)
	return list
}

// makeRaw makes a raw file with its attachment, as a poller does up to the hand-over, and gives the record.
func makeRaw(s *Spool, svc *Service, key string, no uint64) (Record, error) {
	rec := Record{Key: key, EventID: "event-" + key, Size: 100 + int64(no), HeaderHash: fmt.Sprintf("%016x", no)}
	raw, err := s.CreateIncoming(svc, "POP3", no)
	if err != nil {
		return rec, err
	}
	defer raw.Abort()
	att, err := s.CreateAttachment(svc, no, 1)
	if err != nil {
		return rec, err
	}
	defer att.Abort()
	if _, err := io.WriteString(raw, "raw of "+key); err != nil {
		return rec, err
	}
	if _, err := io.WriteString(att, "att of "+key); err != nil {
		return rec, err
	}
	if err := raw.Commit(); err != nil {
		return rec, err
	}
	if err := att.Commit(); err != nil {
		return rec, err
	}
	rec.Raw, rec.Files = raw.Name(), []string{att.Name()}
	return rec, s.SyncDir(Incoming)
}

func mustRaw(t testing.TB, s *Spool, svc *Service, key string, no uint64) Record {
	t.Helper()
	rec, err := makeRaw(s, svc, key, no)
	require.NoError(t, err)
	return rec
}

func keepNone(string) bool { return false }

// present is FilesPresent for records whose files must be possible to look at.
func present(t testing.TB, box *Mailbox, rec Record) bool {
	t.Helper()
	ok, err := box.FilesPresent(rec)
	require.NoError(t, err)
	return ok
}
