package killtest_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/internal/killtest"
	"github.com/maildriver/maildriver/internal/labtest"
	"github.com/maildriver/maildriver/pop3/pop3test"
)

const (
	small = 1 << 20
	large = 200 << 20
	// mayGrow is by how much more memory, in KiB, the large mail may take than
	// the small one.
	mayGrow = 32 << 10
)

// peak runs a job and gives the child's peak of resident memory in KiB.
//
// The bytes that a poll saved are held against those of the mail of that size.
func peak(t *testing.T, job killtest.Job, size int64) int64 {
	t.Helper()
	dir := t.TempDir()
	job.Root, job.Journal = filepath.Join(dir, "spool"), filepath.Join(dir, "journal")
	c := killtest.Start(t, job)
	c.Done()
	if c.RSS == 0 {
		t.Skip("this system does not tell the peak of resident memory")
	}
	if job.Send == 0 {
		h := sha256.New()
		_, err := io.Copy(h, killtest.BigMail("big", size))
		require.NoError(t, err)
		entries := killtest.ReadJournal(t, job.Journal)
		require.Len(t, entries, 1)
		require.Len(t, entries[0].Files, 2, "the attachment and the original text")
		require.Equal(t, hex.EncodeToString(h.Sum(nil)), entries[0].RawSum, "the mail is whole")
	}
	return c.RSS
}

func compare(t *testing.T, run func(size int64) int64) {
	t.Helper()
	if testing.Short() {
		t.Skip("200 MB")
	}
	if underRace {
		t.Skip("the race detector takes memory of its own")
	}
	a := run(small)
	b := run(large)
	t.Logf("peak of resident memory: %d KiB with 1 MB, %d KiB with 200 MB", a, b)
	assert.Less(t, b-a, int64(mayGrow), "memory grows with the size of the mail")
}

func TestMemoryOfAPoll(t *testing.T) {
	t.Parallel()
	srv := pop3test.NewServer()
	t.Cleanup(srv.Close)
	compare(t, func(size int64) int64 {
		srv.AddMail(pop3test.Mail{Open: func() io.Reader { return killtest.BigMail("big", size) }})
		return peak(t, killtest.Job{Server: map[string]string{"addr": srv.Addr, "user": pop3test.User, "password": pop3test.Password}}, size)
	})
	assert.Empty(t, srv.Messages())
}

func TestMemoryOfAPollLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	if testing.Short() || underRace {
		t.Skip("200 MB")
	}
	const user = "u27"
	box := lab.Mailbox(t, user)
	compare(t, func(size int64) int64 {
		box.AppendFrom(killtest.BigMail("big", size))
		return peak(t, killtest.Job{Server: map[string]string{"addr": lab.Addr(t, "LAB_POP3"), "user": user, "password": labtest.Password(user)}}, size)
	})
	assert.Zero(t, box.Count())
}

func TestMemoryOfASend(t *testing.T) {
	t.Parallel()
	addr, got := sink(t)
	compare(t, func(size int64) int64 {
		rss := peak(t, killtest.Job{Send: size, Server: map[string]string{"protocol": "smtp", "addr": addr, "from": "a@example.com", "to": "b@example.com"}}, size)
		assert.Greater(t, <-got, size*9/10, "bytes that arrived")
		return rss
	})
}

func TestMemoryOfASendLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	compare(t, func(size int64) int64 {
		return peak(t, killtest.Job{Send: size, Server: map[string]string{
			"protocol": "smtp", "addr": lab.Addr(t, "LAB_SINK_OK"), "from": "u27@example.com", "to": "u27@example.com",
		}}, size)
	})
}

// sink is an SMTP server that keeps nothing: it tells how many bytes each
// message had.
func sink(t *testing.T) (addr string, got <-chan int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	sizes, done := make(chan int64, 4), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			swallow(c, sizes)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String(), sizes
}

func swallow(c net.Conn, sizes chan<- int64) {
	in := bufio.NewReaderSize(c, 64<<10)
	say := func(s string) bool { _, err := io.WriteString(c, s+"\r\n"); return err == nil }
	ok := say("220 sink")
	for ok {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " "); verb {
		case "DATA":
			ok = say("354 go")
			var n int64
			for ok {
				part, err := in.ReadSlice('\n')
				if err != nil {
					return
				}
				if string(part) == ".\r\n" {
					break
				}
				n += int64(len(part))
			}
			sizes <- n
			ok = say("250 ok")
		case "QUIT":
			_ = say("221 bye")
			return
		default:
			ok = say("250 ok")
		}
	}
}
