package imaptest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A client says lines and hears them.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func newClient(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	c := &client{t, conn, bufio.NewReader(conn)}
	c.hear("* OK")
	return c
}

func (c *client) encrypt(srv *Server) {
	c.t.Helper()
	conn := tls.Client(c.Conn, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: srv.RootCAs(), ServerName: "localhost"})
	require.NoError(c.t, conn.Handshake())
	c.Conn, c.r = conn, bufio.NewReader(conn)
}

func (c *client) say(format string, args ...any) {
	c.t.Helper()
	_, err := fmt.Fprintf(c.Conn, format+"\r\n", args...)
	require.NoError(c.t, err)
}

// hear reads up to the line that begins so.
func (c *client) hear(prefix string) string {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		require.NoError(c.t, err, "waiting for %q", prefix)
		if strings.HasPrefix(line, prefix) {
			return strings.TrimRight(line, "\r\n")
		}
	}
}

func (c *client) ask(tag, format string, args ...any) {
	c.t.Helper()
	c.say(tag+" "+format, args...)
	c.hear(tag + " OK")
}

func (c *client) login() {
	c.t.Helper()
	c.ask("a1", "LOGIN %q %q", User, Password)
	c.ask("a2", "SELECT INBOX")
}

// bounded fails the test if f does not come to its end.
func bounded(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not come to its end")
	}
}

// A client that does not read holds up nobody: not the mailbox, and not the
// end of the server.
func TestClientThatDoesNotRead(t *testing.T) {
	for _, c := range []struct {
		name string
		opts []Option
	}{{"in clear", nil}, {"STARTTLS", []Option{WithStartTLS()}}} {
		t.Run(c.name, func(t *testing.T) {
			srv := NewServer(c.opts...)
			srv.Add(bytes.Repeat([]byte("Subject: x\r\n\r\n"), 1<<20)) // more than any socket holds
			cl := newClient(t, srv.Addr)
			if len(c.opts) > 0 {
				cl.ask("s", "STARTTLS")
				cl.encrypt(srv)
			}
			cl.login()
			cl.say("a3 UID FETCH 1:* (UID BODY.PEEK[])")
			cl.hear("* 1 FETCH")
			bounded(t, func() { srv.Add([]byte("Subject: y\r\n\r\n")); _ = srv.Count(Inbox); srv.Close() })
		})
	}
}

// The server is closed while it sends mails, at moments of all sorts: under
// TLS the memory server would wait for itself.
func TestCloseWhileMailsAreSent(t *testing.T) {
	many := slices.Repeat([][]byte{bytes.Repeat([]byte("x"), 5000)}, 500)
	for i := range 6 {
		srv := NewServer(WithStartTLS())
		srv.Add(many...)
		cl := newClient(t, srv.Addr)
		cl.ask("s", "STARTTLS")
		cl.encrypt(srv)
		cl.login()
		cl.say("a3 UID FETCH 1:* (UID BODY.PEEK[])")
		if i%2 > 0 {
			cl.hear("* 1 FETCH")
		}
		bounded(t, srv.Close)
	}
}

func TestCloseEndsEverySession(t *testing.T) {
	srv := NewServer()
	early := newClient(t, srv.Addr)
	idle := newClient(t, srv.Addr)
	idle.login()
	idle.say("a3 IDLE")
	idle.hear("+ ")
	bounded(t, srv.Close)
	bounded(t, srv.Close)
	_, err := early.r.ReadByte()
	require.Error(t, err)
	_, err = net.Dial("tcp", srv.Addr)
	require.Error(t, err)
}

// Settled returns once what a client asked for is done, however the client
// went away.
func TestSettled(t *testing.T) {
	srv := NewServer()
	defer srv.Close()
	srv.Settled()
	srv.Add([]byte("Subject: x\r\n\r\n"))
	cl := newClient(t, srv.Addr)
	cl.login()
	cl.say(`a3 UID STORE 1 +FLAGS.SILENT (\Deleted)`)
	cl.say("a4 UID EXPUNGE 1")
	require.NoError(t, cl.Close())
	bounded(t, srv.Settled)
	assert.Zero(t, srv.Count(Inbox))
	assert.Contains(t, srv.Commands(), "UID EXPUNGE 1")
}

// The last words arrive.
func TestLogoutIsAnswered(t *testing.T) {
	srv := NewServer(WithTLS())
	defer srv.Close()
	conn, err := tls.Dial("tcp", srv.Addr, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: srv.RootCAs()})
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	cl := &client{t, conn, bufio.NewReader(conn)}
	cl.hear("* OK")
	cl.login()
	cl.say("a3 LOGOUT")
	cl.hear("* BYE")
	cl.hear("a3 OK")
	_, err = cl.r.ReadByte()
	require.Error(t, err)
}

func TestScript(t *testing.T) {
	srv := NewScripted(Greeting, append([]Reply{
		{To: "NOOP", Times: 1, Text: "$ NO first\r\n"},
		{To: "NOOP", Skip: 1, Times: 1, Text: "* 1 EXISTS\r\n$ NO third\r\n"},
		{To: "X", Text: "$ OK bye\r\n", Then: Drop},
	}, Basic(7, "Subject: a\r\n\r\n")...)...)
	defer srv.Close()
	cl := newClient(t, srv.Addr)
	for i, want := range []string{"NO first", "OK done", "NO third", "OK done"} {
		cl.say("n%d noop", i)
		assert.Equal(t, want, strings.TrimPrefix(cl.hear(fmt.Sprintf("n%d ", i)), fmt.Sprintf("n%d ", i)))
	}
	cl.say("l LOGIN {3}")
	cl.hear("+ ")
	cl.say("ann {2+}\r\npw")
	cl.hear("l OK")
	cl.say("u UNKNOWN")
	cl.hear("u BAD")
	srv.CutAfter(10)
	cut, err := net.Dial("tcp", srv.Addr)
	require.NoError(t, err)
	defer func() { _ = cut.Close() }()
	require.NoError(t, cut.SetDeadline(time.Now().Add(20*time.Second)))
	var got bytes.Buffer
	_, err = got.ReadFrom(cut)
	require.NoError(t, err)
	assert.Equal(t, Greeting[:10], got.String())
	assert.EqualValues(t, 10, srv.Sent())
	cl.say("x X")
	cl.hear("x OK")
	_, err = cl.r.ReadByte()
	require.Error(t, err)
	assert.Equal(t, 2, srv.Connections())
	assert.Equal(t, []string{"noop", "noop", "noop", "noop", "LOGIN {3}\r\nann {2+}\r\npw", "UNKNOWN", "X"}, srv.Commands())
}
