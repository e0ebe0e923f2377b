package netx

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// notes is a trace in memory.
type notes struct {
	bytes.Buffer
	fail   error
	closed int
}

func (n *notes) Write(p []byte) (int, error) {
	if n.fail != nil {
		return 0, n.fail
	}
	return n.Buffer.Write(p)
}

func (n *notes) Close() error { n.closed++; return nil }

// lines are those of a trace without their times.
func (n *notes) lines() []string {
	var list []string
	for line := range strings.Lines(n.String()) {
		list = append(list, strings.TrimSuffix(line[13:], "\n"))
	}
	return list
}

func traced(t *testing.T, opts ...driver.Option) (*Conn, net.Conn, *notes) {
	n := &notes{}
	c, peer := pair(t, append(opts, driver.WithTrace(func(protocol, addr string) (io.WriteCloser, error) {
		assert.Equal(t, "TEST", protocol)
		assert.Equal(t, "mail.example.com:25", addr)
		return n, nil
	}))...)
	return c, peer, n
}

func TestTraceShowsCommandsAndNeitherLoginNorContent(t *testing.T) {
	c, peer, n := traced(t, driver.WithLogin("ann", "hunter-two"))
	var heard bytes.Buffer
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.Copy(&heard, peer) }()
	send := func(put func([]byte) (int, error), text string) {
		_, err := put([]byte(text))
		require.NoError(t, err)
		require.NoError(t, c.Flush())
	}
	send(c.Command, "EHLO me\r\nMAIL FROM:<a@b>\r\n")
	end := c.Private()
	send(c.Command, "AUTH PLAIN AGFubgBodW50ZXItdHdv\r\n")
	send(c.Command, "A7 LOGIN ann hunter-two\r\n")
	send(c.Command, "PASS hunter-two\r\n")
	send(c.Command, "AGFubgBodW50ZXItdHdv\r\n")
	send(c.Command, "*\r\n")
	send(c.Write, "raw answer\r\n")
	end()
	end() // a second end does nothing
	send(c.Command, "DATA\r\n")
	send(c.Write, "Subject: secret plans\r\n")
	send(c.Write, "\r\nmore of them\r\n")
	send(c.Command, ".\r\n")
	send(c.Command, "echo hunter-two aHVudGVyLXR3bw== 68756e7465722d74776f\r\n")
	send(c.Command, "NOOP \x1b[31m\u202e\x00 "+strings.Repeat("x", 3000)+"\r\n")
	c.Hide("ya29.token")
	send(c.Command, "say ya29.token\r\n")
	require.NoError(t, c.Close())
	<-done
	got := n.lines()
	require.Contains(t, got[0], "TEST mail.example.com:25, TLS none")
	assert.Equal(t, []string{
		"=: connecting to mail.example.com:25", "=: connected",
		"C: EHLO me", "C: MAIL FROM:<a@b>",
		"C: AUTH PLAIN [21 bytes of a login]", "C: A7 LOGIN [15 bytes of a login]", "C: PASS [11 bytes of a login]",
		"C: [20 bytes of a login]", "C: [1 bytes of a login]", "C: [12 bytes]",
		"C: DATA", "C: [39 bytes]", "C: .",
		"C: echo [secret] [secret]w== [secret]",
	}, got[1:15])
	assert.Contains(t, got[15], `C: NOOP \x1b[31m\u202e\x00 xxx`)
	assert.Contains(t, got[15], "more)")
	assert.Less(t, len(got[15]), 1200)
	assert.Equal(t, []string{"C: say [secret]", "=: closed"}, got[16:18])
	assert.Equal(t, 1, n.closed)
	assert.NotContains(t, n.String(), "secret plans")
	assert.NotContains(t, n.String(), "hunter")
}

func TestTraceOfTheServersWords(t *testing.T) {
	c, peer, n := traced(t, driver.WithLogin("ann", "hunter-two"))
	say(t, peer, "220 hi\r\n334 VXNlcm5hbWU6\r\n+ VXNlcg==\r\n535 5.7.8 no hunter-two\r\nA1 NO [AUTHENTICATIONFAILED] wrong\r\nA1 NO [HUNTER] x\r\n-ERR [AUTH] x\r\n* CAPABILITY X\r\n2.0.0\r\nSome content\r\nmore\r\nlast line hunter-two\r\n")
	read := func() {
		_, err := c.ReadLine(200)
		require.NoError(t, err)
	}
	read()
	end := c.Private()
	for range 8 {
		read()
	}
	end()
	buf := make([]byte, 12)
	_, err := io.ReadFull(c, buf)
	require.NoError(t, err)
	p, err := c.Peek()
	require.NoError(t, err)
	require.NotEmpty(t, p)
	c.Discard(2)
	c.Show(func(dir byte, line []byte) string { return string(dir) + " shown " + string(line[:4]) })
	read()
	read()
	_ = c.Close()
	got := n.lines()[3:]
	require.GreaterOrEqual(t, len(got), 12, "%q", got)
	assert.Equal(t, []string{
		"S: 220 hi", "S: 334 [13 bytes of a login]", "S: + [9 bytes of a login]", "S: 535 5.7.8 [14 bytes of a login]",
		"S: A1 NO [AUTHENTICATIONFAILED] [6 bytes of a login]", "S: A1 NO [11 bytes of a login]", "S: -ERR [AUTH] [2 bytes of a login]",
		"S: * [13 bytes of a login]", "S: [5 bytes of a login]", "S: [14 bytes]", "S: S shown more", "S: S shown last",
	}, got[:12])
	assert.NotContains(t, n.String(), "hunter")
	assert.NotContains(t, n.String(), "content")
	assert.Contains(t, n.String(), "bytes]")
}

func TestF35TraceThatCannotBeWrittenHarmsNothing(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	n := driver.NewNetwork()
	n.Trace = func(string, string) (io.WriteCloser, error) { return nil, errors.New("disk full") }
	assert.Nil(t, OpenTrace(&n, "TEST", "a:1", logger))
	assert.Contains(t, log.String(), "disk full")
	log.Reset()
	broken := &notes{fail: errors.New("no space")}
	n.Trace = func(string, string) (io.WriteCloser, error) { return broken, nil }
	trace := OpenTrace(&n, "TEST", "a:1", logger)
	trace.Note("x")
	trace.Line('S', []byte("y"))
	trace.end(nil)
	assert.Equal(t, 1, strings.Count(log.String(), "no space"), "told once")
	assert.Equal(t, 1, broken.closed)
	n.Trace = func(string, string) (io.WriteCloser, error) { return nil, nil }
	trace = OpenTrace(&n, "TEST", "a:1", logger)
	trace.Note("x")
	trace.Content('C', 3)
	trace.commands([]byte("x\r\n"))
	trace.end(errors.New("x"))
}

func TestLogDebugFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	opt := driver.WithLogDebug(dir, "POP3SMTP")
	for range 2 {
		c, peer := pair(t, opt)
		_ = c.Close()
		_ = peer.Close()
	}
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, files, 2, "one for each service")
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	var parts [][]string
	for _, f := range files {
		m := regexp.MustCompile(`^POP3SMTP_([0-9a-f]+)_([0-9a-f]+)_([0-9a-f]+)_([0-9a-f]+)_([0-9a-f]+)\.log$`).FindStringSubmatch(f.Name())
		require.NotNil(t, m, f.Name())
		parts = append(parts, m)
		info, err := f.Info()
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	assert.Equal(t, parts[0][1:3], parts[1][1:3], "the same process and driver")
	assert.NotEqual(t, parts[0][3], parts[1][3], "another service")
	n := driver.NewNetwork()
	for _, bad := range []driver.Option{driver.WithLogDebug("", "POP3SMTP"), driver.WithLogDebug(dir, ""), driver.WithLogDebug(dir, "../x"), driver.WithTrace(nil)} {
		assert.Error(t, driver.Apply([]driver.Option{bad}, &n))
	}
}

// TestForms: the net behind the structure finds a secret in whatever form.
func TestForms(t *testing.T) {
	secret := `sp "q" \b ü€ %s`
	for _, f := range forms(secret) {
		assert.GreaterOrEqual(t, len(f), minSecret)
	}
	assert.Empty(t, forms("abc"))
}

func TestTraceOfHTTP(t *testing.T) {
	c, peer, n := traced(t)
	nc, _, err := c.Take()
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1000)
		for _, answer := range []string{"HTTP/1.1 401 Unauth", "orized\r\nWWW-Authenticate: NTLM abc\r\n\r\nbody\r\nmore", "garbage\r\n" + strings.Repeat("x", 2000)} {
			_, _ = peer.Read(buf)
			_, _ = io.WriteString(peer, answer)
		}
	}()
	buf := make([]byte, 4000)
	_, err = nc.Write([]byte("POST /EWS/Exchange.asmx?token=topsecret HTTP/1.1\r\nAuthorization: Basic abc\r\n\r\n<body>"))
	require.NoError(t, err)
	_, err = nc.Read(buf)
	require.NoError(t, err)
	_, err = nc.Write([]byte("MKCOL"))
	require.NoError(t, err)
	_, err = nc.Read(buf)
	require.NoError(t, err)
	_, err = nc.Write([]byte("\x00\x01 not http\r\nx"))
	require.NoError(t, err)
	_, err = nc.Read(buf)
	require.NoError(t, err)
	require.NoError(t, nc.Close())
	_ = peer.Close()
	<-done
	got := n.lines()[3:]
	assert.Equal(t, []string{"C: POST /EWS/Exchange.asmx?... HTTP/1.1", "C: [34 bytes]"}, got[:2])
	assert.NotContains(t, n.String(), "topsecret")
	assert.NotContains(t, n.String(), "NTLM abc")
	assert.NotContains(t, n.String(), "body")
	assert.Equal(t, "=: closed", got[len(got)-1])
	assert.Equal(t, 1, n.closed)
}
