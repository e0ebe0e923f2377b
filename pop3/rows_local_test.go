package pop3_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/mime"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/pop3/pop3test"
)

// TestF01NoServer: one server that cannot be reached stops nobody else.
func TestF01NoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := l.Addr().String()
	require.NoError(t, l.Close())
	b := newBench(t, "F01", nil)
	b.add("one")
	for what, bad := range map[string]struct {
		addr string
		dial driver.DialFunc
	}{
		"refused": {closed, new(net.Dialer).DialContext},
		"no route": {"192.0.2.1:110", func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ENETUNREACH}
		}},
		"no such host": {"pop.invalid:110", func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "pop.invalid", IsNotFound: true}
		}},
		"proxy refuses": {"pop.example.com:110", func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("socks connect: general failure")
		}},
	} {
		d, err := pop3.New(bad.addr, driver.WithLogin("u", "p"), driver.WithInsecureAuth(), driver.WithDialer(bad.dial), driver.WithSpool(spoolAt(t, b.root)))
		require.NoError(t, err, "F01")
		_, err = d.Poll(t.Context(), driver.HandlerFunc(b.handle))
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "F01 %s: %v", what, err)
		assert.ErrorContains(t, err, bad.addr, "F01 %s: the error names host and port", what)
		assert.ErrorContains(t, err, "dial", "F01 %s: the error names the stage", what)
		require.NoError(t, d.Close(), "F01")
		b.noStrays()
	}
	b.heal("one")
}

// TestF02BlackHole: a server that takes the connection and says nothing costs
// the time-out and no more.
func TestF02BlackHole(t *testing.T) {
	b := newBench(t, "F02", nil)
	b.add("one")
	b.srv.Script(pop3test.Rule{At: pop3test.StepGreeting, Do: pop3test.Hang()})
	begin := time.Now()
	_, err := b.poll(driver.WithTimeout(100 * time.Millisecond))
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "F02: %v", err)
	assert.Less(t, time.Since(begin), 5*time.Second, "F02: one budget for all of the set-up")
	b.heal("one")
}

// TestF35LogFails: a log that cannot be written is no reason to lose mail.
func TestF35LogFails(t *testing.T) {
	log := slog.New(slog.NewTextHandler(fullWriter{}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b := newBench(t, "F35", nil, driver.WithLogger(log))
	b.add("one", "two")
	b.heal("one", "two")
}

type fullWriter struct{}

func (fullWriter) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestF37DirectoryReplaced: a spool that is changed under a running session is
// an error of this machine; the server keeps its mail.
func TestF37DirectoryReplaced(t *testing.T) {
	for what, change := range map[string]func(dir string) error{
		"removed":               func(dir string) error { return os.Rename(dir, dir+"2") },
		"replaced by a file":    func(dir string) error { return errors.Join(os.Rename(dir, dir+"2"), os.WriteFile(dir, nil, 0o600)) },
		"replaced by a symlink": func(dir string) error { return errors.Join(os.Rename(dir, dir+"2"), os.Symlink(dir+"2", dir)) },
		"open to others":        func(dir string) error { return os.Chmod(dir, 0o777) }, //nolint:gosec // that is the fault
	} {
		t.Run(what, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("no directory in use can be moved there")
			}
			b := newBench(t, "F37", nil)
			_, err := b.poll() // makes the directories
			require.NoError(t, err)
			b.add("one", "two", "three", "four", "five", "six", "seven", "eight")
			var once sync.Once
			_, err = b.driver.Poll(t.Context(), driver.HandlerFunc(func(context.Context, *driver.Event) error {
				once.Do(func() { assert.NoError(t, change(filepath.Join(b.root, "incoming")), "F37") })
				return errors.New("later")
			}))
			require.Error(t, err, "F37")
			_, err = b.poll()
			if what != "removed" { // which the next session mends
				assert.Equal(t, driver.KindConfig, driver.KindOf(err), "F37: %v", err)
				assert.ErrorContains(t, err, "incoming", "F37: the error names the directory")
			}
			left := map[string]bool{}
			for _, m := range b.srv.Messages() {
				left[string(m.Raw)] = true
			}
			assert.Equal(t, 8, len(left)+len(b.took), "F37: each mail is on the server or was taken")
		})
	}
}

// TestF38NoDescriptorIsLost: sessions that fail for want of descriptors give
// back those that they have.
func TestF38NoDescriptorIsLost(t *testing.T) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("this system does not tell the open descriptors")
	}
	b := newBench(t, "F38", nil)
	b.add("one")
	_, err := b.poll(driver.WithDialer(func(context.Context, string, string) (net.Conn, error) { return nil, syscall.EMFILE }))
	assert.True(t, driver.KindOf(err).Retryable(), "F38: %v", err)
	before := descriptors(t)
	for range 20 {
		_, err := b.poll(driver.WithDialer(func(context.Context, string, string) (net.Conn, error) { return nil, syscall.EMFILE }))
		require.ErrorIs(t, err, syscall.EMFILE, "F38")
		b.srv.Script(pop3test.Rule{At: pop3test.StepRetr, Do: pop3test.Drop()})
		_, err = b.poll()
		require.Error(t, err, "F38")
		b.srv.ClearScript()
	}
	require.Eventually(t, func() bool { return descriptors(t) <= before }, 10*time.Second, 5*time.Millisecond, "F38: descriptors were lost")
	b.heal("one")
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}

// TestF43SessionIsNotHeldOpen: a handler that never returns holds the mailbox
// on this machine, but not the lock of the maildrop on the server.
func TestF43SessionIsNotHeldOpen(t *testing.T) {
	b := newBench(t, "F43", nil)
	b.add("one", "two")
	release := make(chan struct{})
	_, err := b.driver.Poll(t.Context(), driver.HandlerFunc(func(ctx context.Context, ev *driver.Event) error {
		<-ctx.Done()
		assert.ErrorIs(t, context.Cause(ctx), driver.ErrHandlerTimeout, "F43: the handler is told")
		<-release
		return b.handle(ctx, ev)
	}), driver.WithHandlerTimeout(time.Millisecond, time.Millisecond))
	require.ErrorIs(t, err, driver.ErrHandlerStuck, "F43")
	other, err := pop3.New(b.srv.Addr, driver.WithLogin(pop3test.User, pop3test.Password), driver.WithInsecureAuth(), driver.WithSpool(spoolAt(t, t.TempDir())))
	require.NoError(t, err)
	res, err := other.Poll(t.Context(), driver.HandlerFunc(func(context.Context, *driver.Event) error { return errors.New("only looking") }))
	require.NoError(t, err, "F43: the maildrop is still locked")
	assert.Equal(t, 2, res.Listed, "F43: nothing was removed")
	require.NoError(t, other.Close())
	close(release)
	require.Eventually(t, func() bool {
		_, err := b.poll()
		return err == nil
	}, 10*time.Second, 2*time.Millisecond, "F43: the mailbox is free once the handler returned")
	b.heal("one", "two")
}

// hostileNames are file names that try to leave the directory, or to be
// something that they are not.
var hostileNames = []string{
	"../../x", "/etc/passwd", `C:\x`, `\\srv\s`, "a\x00b", ".", "..", "CON", "a:b", strings.Repeat("n", 4096), "\u202egpj.exe", "trailing. ", "",
}

// TestA32HostileFileNames: the name of a file on disk is ours, whatever the
// mail says; the name that the sender gave is data.
func TestA32HostileFileNames(t *testing.T) {
	b := newBench(t, "A32", nil)
	for _, name := range hostileNames {
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)
		b.srv.Add([]byte("Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/octet-stream; name=\"" +
			quoted + "\"\r\nContent-Disposition: attachment; filename=\"" + quoted + "\"\r\n\r\ndata\r\n--b--\r\n"))
	}
	incoming := filepath.Join(b.root, "incoming")
	n := 0
	_, err := b.driver.Poll(t.Context(), driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		name := hostileNames[n]
		n++
		require.NotEmpty(t, ev.Files, "A32: %.40q", name)
		for _, f := range ev.Files {
			assert.Equal(t, incoming, filepath.Dir(f.Path), "A32: %.40q", name)
			assert.Regexp(t, `^(ATT|OriginalMessageText)_[0-9a-f_]+\.(dat|txt)$`, filepath.Base(f.Path), "A32: %.40q", name)
			safe := mime.SafeName(f.Name)
			assert.Equal(t, filepath.Base(safe), safe, "A32: %.40q", name)
			assert.NotContains(t, []string{"", ".", ".."}, safe, "A32: %.40q", name)
			assert.Less(t, len(safe), 256, "A32: %.40q", name)
		}
		return ev.DeleteTempFiles()
	}), driver.WithBatchSize(100))
	require.NoError(t, err, "A32")
	assert.Equal(t, len(hostileNames), n, "A32")
	b.noStrays()
}

// TestA14ReplyToEncodedLineEnds: line ends that hide in encoded words come out
// decoded, and must not become header fields of the answer.
func TestA14ReplyToEncodedLineEnds(t *testing.T) {
	b := newBench(t, "A14", nil)
	b.srv.AddText("From: =?utf-8?q?Ann=0D=0ABcc:_v1@example.com?= <ann@example.com>\n" +
		"Subject: =?utf-8?q?hello=0D=0ABcc:_v2@example.com=0D=0A=0D=0Abody?=\nMessage-ID: <m@example.com>\n\nhi\n")
	_, err := b.driver.Poll(t.Context(), driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		assert.NotContains(t, ev.Subject, "\n", "A14")
		assert.NotContains(t, ev.SenderName, "\n", "A14")
		draft := ev.Reply()
		draft.From, draft.Text = mime.Address{Addr: "desk@example.com"}, "answer"
		m, err := driver.NewMessage(draft)
		require.NoError(t, err, "A14")
		r, err := m.Open()
		require.NoError(t, err, "A14")
		raw, err := io.ReadAll(r)
		require.NoError(t, err, "A14")
		require.NoError(t, r.Close(), "A14")
		head, _, _ := strings.Cut(string(raw), "\r\n\r\n")
		for line := range strings.SplitSeq(head, "\r\n") {
			assert.False(t, strings.HasPrefix(strings.ToLower(line), "bcc"), "A14: %q", line)
		}
		for _, to := range m.To {
			assert.Equal(t, "ann@example.com", to.Address, "A14")
		}
		return ev.DeleteTempFiles()
	}))
	require.NoError(t, err, "A14")
}
