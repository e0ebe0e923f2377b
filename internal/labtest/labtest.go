// Package labtest reaches the mailboxes of the test lab (real servers on
// loopback, ../shared/lab) from tests: it fills, counts and empties them over
// IMAP, which takes and gives messages byte for byte and costs milliseconds.
package labtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/maildriver/maildriver/spool"
)

// A Lab is the running lab. Any number of goroutines may use it.
type Lab struct{ env map[string]string }

// Find skips the test if the lab is not up.
func Find(t testing.TB) *Lab {
	t.Helper()
	dir := os.Getenv("LAB_DIR")
	if dir == "" {
		dir = filepath.Join(os.TempDir(), "maillab")
	}
	f, err := os.Open(filepath.Join(dir, "lab.env"))
	if err != nil {
		t.Skipf("the mail lab is not up: %v", err)
	}
	defer func() { _ = f.Close() }()
	l := &Lab{env: map[string]string{}}
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), "="); ok && !strings.HasPrefix(k, "#") {
			l.env[k] = v
		}
	}
	return l
}

// Addr gives an address of the lab, e.g. "LAB_POP3".
func (l *Lab) Addr(t testing.TB, name string) string {
	t.Helper()
	if l.env[name] == "" {
		t.Skipf("the mail lab has no %s", name)
	}
	return l.env[name]
}

// Password is that of one of the users u1 to u50.
func Password(user string) string { return user + "-secret" }

// A Mailbox is the INBOX of one user, over a connection of its own. One
// goroutine uses it.
type Mailbox struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	tag  int
}

// Mailbox opens the INBOX of a user and empties it, now and when the test has
// ended. Another test run that uses the same mailbox is waited for.
func (l *Lab) Mailbox(t testing.TB, user string) *Mailbox {
	t.Helper()
	reserve(t, user)
	conn, err := net.DialTimeout("tcp", l.Addr(t, "LAB_IMAP"), 10*time.Second)
	if err != nil {
		t.Skipf("the mail lab does not answer: %v", err)
	}
	m := &Mailbox{t: t, conn: conn, in: bufio.NewReader(conn)}
	t.Cleanup(func() { _ = conn.Close() })
	m.line()
	m.do("LOGIN " + user + " " + Password(user))
	m.Empty()
	t.Cleanup(m.Empty)
	return m
}

// reserveLimit bounds the wait for another test run.
const reserveLimit = 2 * time.Minute

// reserve keeps other test runs on this machine, in whatever process, out of
// the user's mailbox until the test has ended.
func reserve(t testing.TB, user string) {
	t.Helper()
	path := filepath.Join(os.TempDir(), fmt.Sprintf("maildriver-labtest-%d", os.Getuid()))
	if err := spool.OS().MkdirAll(path); err != nil {
		t.Fatalf("labtest: %v", err)
	}
	dir, err := spool.OS().OpenDir(path)
	if err != nil {
		t.Fatalf("labtest: %v", err)
	}
	defer func() { _ = dir.Close() }()
	f, err := dir.OpenAppend(user + ".lock")
	if err != nil {
		t.Fatalf("labtest: %v", err)
	}
	t.Cleanup(func() { _ = f.Close() })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(reserveLimit); ; <-tick.C {
		switch ok, err := f.TryLock(); {
		case err != nil:
			t.Fatalf("labtest: %v", err)
		case ok:
			return
		case time.Now().After(end):
			t.Fatalf("labtest: another test run has the mailbox of %s since more than %v", user, reserveLimit)
		}
	}
}

func (m *Mailbox) line() string {
	m.t.Helper()
	_ = m.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	s, err := m.in.ReadString('\n')
	if err != nil {
		m.t.Fatalf("labtest: %v", err)
	}
	return strings.TrimRight(s, "\r\n")
}

// do runs a command and gives its untagged answers.
func (m *Mailbox) do(parts ...string) (untagged []string) {
	m.t.Helper()
	m.tag++
	tag := "t" + strconv.Itoa(m.tag)
	_ = m.conn.SetWriteDeadline(time.Now().Add(30 * time.Second))
	b := (&net.Buffers{[]byte(tag + " ")})
	for _, p := range parts {
		*b = append(*b, []byte(p))
	}
	*b = append(*b, []byte("\r\n"))
	if _, err := b.WriteTo(m.conn); err != nil {
		m.t.Fatalf("labtest: %v", err)
	}
	for {
		line := m.line()
		if status, ok := strings.CutPrefix(line, tag+" "); ok {
			if !strings.HasPrefix(status, "OK") {
				m.t.Fatalf("labtest: %.60q: %s", parts[0], status)
			}
			return untagged
		}
		untagged = append(untagged, line)
	}
}

// Append puts raw messages behind those that are there.
func (m *Mailbox) Append(raw ...[]byte) {
	m.t.Helper()
	for len(raw) > 0 {
		n := min(len(raw), 100)
		parts := []string{"APPEND INBOX"}
		for _, r := range raw[:n] {
			parts = append(parts, fmt.Sprintf(" {%d+}\r\n", len(r)), string(r))
		}
		m.do(parts...)
		raw = raw[n:]
	}
}

// Count tells how many messages there are.
func (m *Mailbox) Count() int {
	m.t.Helper()
	for _, line := range m.do("STATUS INBOX (MESSAGES)") {
		if _, rest, ok := strings.Cut(line, "(MESSAGES "); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(rest, ")"))
			if err != nil {
				m.t.Fatalf("labtest: %q", line)
			}
			return n
		}
	}
	m.t.Fatal("labtest: no answer to STATUS")
	return 0
}

// Empty removes all messages.
func (m *Mailbox) Empty() {
	m.t.Helper()
	if m.Count() == 0 {
		return
	}
	m.do("SELECT INBOX")
	m.do("STORE 1:* +FLAGS.SILENT (\\Deleted)")
	m.do("CLOSE") // so that Count sees what others do
}

// AppendFrom puts a message there that is too big to keep. It is read twice
// over: r is copied to a file first, because its size comes before it.
func (m *Mailbox) AppendFrom(r io.Reader) {
	m.t.Helper()
	f, err := os.CreateTemp(m.t.TempDir(), "append")
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = f.Close(); _ = os.Remove(f.Name()) }()
	n, err := io.Copy(f, r)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	m.tag++
	tag := "t" + strconv.Itoa(m.tag)
	_ = m.conn.SetWriteDeadline(time.Now().Add(time.Minute))
	if err == nil {
		_, err = fmt.Fprintf(m.conn, "%s APPEND INBOX {%d+}\r\n", tag, n)
	}
	if err == nil {
		_, err = io.Copy(m.conn, f)
	}
	if err == nil {
		_, err = io.WriteString(m.conn, "\r\n")
	}
	if err != nil {
		m.t.Fatalf("labtest: %v", err)
	}
	for line := ""; !strings.HasPrefix(line, tag+" OK"); line = m.line() {
		if strings.HasPrefix(line, tag+" ") {
			m.t.Fatalf("labtest: APPEND: %s", line)
		}
	}
}
