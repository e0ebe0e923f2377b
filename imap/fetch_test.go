package imap

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
)

// fetchAnswers are answers to UID FETCH 1:2, with what must come of them; they
// seed the fuzzer too.
var fetchAnswers = []struct {
	name, text string
	got        []string // contents of 7.1 and 7.2; "-" is none
	err        string
}{
	{"in order", imaptest.Fetched(1, 1, mailA) + imaptest.Fetched(2, 2, mailB), []string{mailA, mailB}, ""},
	{"out of order", imaptest.Fetched(2, 2, mailB) + imaptest.Fetched(1, 1, mailA), []string{mailA, mailB}, ""},
	{"F20 one is expunged meanwhile", "* 1 EXPUNGE\r\n" + imaptest.Fetched(1, 2, mailB), []string{"-", mailB}, ""},
	{"flags of others", "* 7 FETCH (FLAGS (\\Seen) UID 99)\r\n* 1 FETCH (FLAGS ())\r\n" + imaptest.Fetched(1, 1, mailA) + imaptest.Fetched(2, 2, mailB), []string{mailA, mailB}, ""},
	{"a mail twice", imaptest.Fetched(1, 1, mailA) + imaptest.Fetched(1, 1, mailC) + imaptest.Fetched(2, 2, mailB), []string{mailA, mailB}, ""},
	{"a mail nobody asked for", imaptest.Fetched(3, 3, mailC) + imaptest.Fetched(1, 1, mailA) + imaptest.Fetched(2, 2, mailB), []string{mailA, mailB}, ""},
	{"empty", imaptest.Fetched(1, 1, "") + imaptest.Fetched(2, 2, mailB), []string{"", mailB}, ""},
	{"quoted", "* 1 FETCH (UID 1 BODY[] \"a \\\"b\\\" \\\\c\")\r\n" + imaptest.Fetched(2, 2, mailB), []string{`a "b" \c`, mailB}, ""},
	{"literal8", "* 1 FETCH (UID 1 BODY[] ~{3}\r\na\x00b)\r\n" + imaptest.Fetched(2, 2, mailB), []string{"a\x00b", mailB}, ""},
	{"lower case, odd spaces at the end", "* 1 fetch (uid 1 body[] {1}\r\nx)  \r\n" + imaptest.Fetched(2, 2, mailB), []string{"x", mailB}, ""},
	{"items around", "* 1 FETCH (MODSEQ (7) UID 1 FLAGS (\\Seen $x) INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" BODY[] {1}\r\nx RFC822.SIZE 99999999999999999999999)\r\n" + imaptest.Fetched(2, 2, mailB), []string{"x", mailB}, ""},
	{"NIL", "* 1 FETCH (UID 1 BODY[] NIL)\r\n" + imaptest.Fetched(2, 2, mailB), []string{"-", mailB}, ""},
	{"F18 longer than announced", "* 1 FETCH (UID 1 BODY[] {5}\r\nhello world)\r\n", nil, ""},
	{"F18 one byte longer", "* 1 FETCH (UID 1 BODY[] {5}\r\nhello!)\r\n", nil, "longer than announced"},
	{"F18 shorter than announced", "* 1 FETCH (UID 1 BODY[] {50}\r\nhello)\r\n" + imaptest.Fetched(2, 2, mailB), nil, ""},
	{"F18 literal in an odd place", "* 1 FETCH (UID {1}\r\n1 BODY[] {1}\r\nx)\r\n", nil, "a number is none"},
	{"F19 no list", "* 1 FETCH UID 1\r\n", nil, "no list"},
	{"F19 does not end", "* 1 FETCH (UID 1\r\n", nil, "not apart"},
	{"F19 two UIDs", "* 1 FETCH (UID 1 UID 2 BODY[] {1}\r\nx)\r\n", nil, "different UIDs"},
	{"F19 UID 0", "* 1 FETCH (UID 0 BODY[] {1}\r\nx)\r\n", nil, "UIDs"},
	{"F19 two contents", "* 1 FETCH (UID 1 BODY[] {1}\r\nx BODY[] {1}\r\ny)\r\n", nil, ""},
	{"F19 something behind", "* 1 FETCH (UID 1) more\r\n", nil, "follows"},
	{"F19 unknown tag", "X9 OK done\r\n", nil, "nothing that was asked"},
	{"F19 a continuation", "+ go on\r\n", nil, "nothing that was asked"},
	{"F19 NUL", "* OK \x00\r\n", nil, "NUL"},
	{"F19 BYE", "* BYE gone\r\n", nil, "BYE"},
	{"F19 half a line", "* 1 FETCH (UID 1 BODY[] {1", nil, ""},
}

func TestFetchAnswers(t *testing.T) {
	for _, c := range fetchAnswers {
		t.Run(c.name, func(t *testing.T) {
			exists := "* SEARCH 2\r\n$ OK done\r\n"
			then := imaptest.Next
			if c.got == nil {
				then = imaptest.Drop
			}
			srv := newScript(t, imaptest.Basic(7, mailA, mailB), imaptest.Reply{To: "UID FETCH 1:2", Text: c.text + "$ OK done\r\n", Then: then},
				imaptest.Reply{To: "UID SEARCH UID", Text: exists}, imaptest.Reply{To: "UID FETCH", Text: "$ OK done\r\n"})
			mb := openBox(t, srv.Addr)
			got, err := fetchAll(t.Context(), mb, mustList(t, mb))
			if c.got == nil {
				require.Error(t, err)
				if c.err != "" {
					require.ErrorContains(t, err, c.err)
				}
				assert.NotEqual(t, driver.KindUnknown, driver.KindOf(err))
				_, again := fetchAll(t.Context(), mb, []driver.ID{"7.1"})
				require.Error(t, again, "I7: the connection is not used again")
				return
			}
			require.NoError(t, err)
			for i, want := range c.got {
				text, ok := got[formatID(7, uint32(i+1))]
				assert.Equal(t, want != "-", ok, "mail %d", i+1)
				if ok {
					assert.Equal(t, want, text)
				}
			}
			require.NoError(t, mb.KeepAlive(t.Context()), "the conversation is in step")
		})
	}
}

// A mail that the server cannot give holds up no other, and stays.
func TestMailThatTheServerCannotGive(t *testing.T) {
	for _, answer := range []string{"$ NO [SERVERBUG] cannot convert\r\n", "$ OK done\r\n", "* 2 FETCH (UID 2 BODY[] NIL)\r\n$ OK done\r\n"} {
		srv := newScript(t, imaptest.Basic(7, mailA, mailB, mailC), append([]imaptest.Reply{
			{To: "UID SEARCH UID", Text: "* SEARCH 2\r\n$ OK done\r\n"},
			{To: "UID FETCH 1:3", Text: imaptest.Fetched(1, 1, mailA) + imaptest.Fetched(3, 3, mailC) + answer},
			{To: "UID FETCH 2 ", Text: answer},
		}, imaptest.Capabilities("IMAP4rev1 UIDPLUS")...)...)
		var got []string
		d := newDriver(t, srv.Addr)
		res, err := d.Poll(t.Context(), take(&got))
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "c"}, got)
		require.Len(t, res.Failures, 1)
		require.ErrorIs(t, res.Failures[0].Err, errNotGiven)
		assert.Zero(t, res.Gone)
		assert.Equal(t, 1, said(srv.Commands(), "UID EXPUNGE 1,3"))
	}
}

// What is announced is asked for ahead, and read when nobody wants it any
// more.
func TestFetchAhead(t *testing.T) {
	srv := newServer(t)
	var list []string
	for i := range 100 {
		list = append(list, fmt.Sprintf("mail %03d", i))
	}
	srv.Add(mails(list...)...)
	mb := openBox(t, srv.Addr)
	ids := mustList(t, mb)
	require.Len(t, ids, 100)
	mb.Announce(ids)
	for i := 0; i < 96; i += 16 {
		got, err := fetchAll(t.Context(), mb, ids[i:i+16])
		require.NoError(t, err)
		assert.Len(t, got, 16)
	}
	assert.NotEmpty(t, mb.s.ahead, "the last mails are on their way")
	require.NoError(t, mb.KeepAlive(t.Context()))
	assert.Empty(t, mb.s.ahead)
	got, err := fetchAll(t.Context(), mb, ids[90:])
	require.NoError(t, err)
	assert.Len(t, got, 10)
	require.NoError(t, mb.Remove(t.Context(), ids[:50]))
	require.NoError(t, mb.Commit(t.Context()))
	srv.Settled()
	assert.Equal(t, 50, srv.Count("INBOX"))
	assert.Zero(t, srv.Count("INBOX")-srv.Unseen("INBOX"))
}

// Large mails are not asked for ahead: nobody might want them.
func TestLargeMailsAreNotFetchedAhead(t *testing.T) {
	srv := newServer(t)
	for range 40 {
		srv.Add([]byte("Subject: x\r\n\r\n" + strings.Repeat("y", 100_000)))
	}
	mb := openBox(t, srv.Addr)
	ids := mustList(t, mb)
	mb.Announce(ids)
	for i := 0; i < 32; i += 16 {
		_, err := fetchAll(t.Context(), mb, ids[i:i+16])
		require.NoError(t, err)
		for _, p := range mb.s.ahead {
			assert.Empty(t, p.uids, "asked for ahead")
		}
	}
}

// Half a mail that put refuses ends the session: the rest is not worth
// reading.
func TestPutError(t *testing.T) {
	srv := newServer(t)
	srv.Add(mails("a", "b")...)
	mb := openBox(t, srv.Addr)
	ids := mustList(t, mb)
	err := mb.Fetch(t.Context(), ids, func(driver.ID, io.Reader) error { return io.ErrShortWrite })
	require.ErrorIs(t, err, io.ErrShortWrite)
	require.Error(t, mb.KeepAlive(t.Context()))
}

// cannedConn is a connection to a server that says what it has to say and
// hangs up.
type cannedConn struct {
	net.Conn
	r *strings.Reader
}

func (c *cannedConn) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c *cannedConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *cannedConn) Close() error                     { return nil }
func (c *cannedConn) SetDeadline(time.Time) error      { return nil }
func (c *cannedConn) SetReadDeadline(time.Time) error  { return nil }
func (c *cannedConn) SetWriteDeadline(time.Time) error { return nil }

func FuzzFetch(f *testing.F) {
	for _, c := range fetchAnswers {
		f.Add(c.text)
	}
	const before = "* PREAUTH [CAPABILITY IMAP4rev1] hi\r\n* OK [UIDVALIDITY 7] x\r\nA1 OK done\r\n* SEARCH 1 2\r\nA2 OK\r\n* SEARCH\r\nA3 OK\r\n"
	var text string
	d := newDriver(f, "mail.example.com", driver.WithDialer(func(context.Context, string, string) (net.Conn, error) {
		return &cannedConn{r: strings.NewReader(before + text + "A4 OK done\r\n")}, nil
	}))
	f.Fuzz(func(t *testing.T, answer string) {
		text = answer
		mb, err := d.open(t.Context(), &d.set)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = mb.Close() }()
		ids, err := listIDs(t.Context(), mb)
		if err != nil || len(ids) != 2 {
			t.Fatal(ids, err)
		}
		got, err := fetchAll(t.Context(), mb, ids)
		for id, mail := range got {
			if id != "7.1" && id != "7.2" {
				t.Fatalf("%s was not asked for", id)
			}
			if !strings.Contains(text, mail) && !strings.Contains(text, `"`) {
				t.Fatalf("%q was not sent", mail)
			}
		}
		if err != nil && driver.KindOf(err) == driver.KindUnknown {
			t.Fatalf("not classified: %v", err)
		}
	})
}
