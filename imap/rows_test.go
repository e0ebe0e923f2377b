package imap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
	"github.com/maildriver/maildriver/spool"
)

// The tests of this file are rows of the catalogues of faults and attacks that
// concern no other file.

// cutNet makes connections that end after so many bytes from the server, or to
// it.
type cutNet struct{ from, to int64 }

func (c *cutNet) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &cutConn{Conn: conn, from: c.from, to: c.to}, nil
}

type cutConn struct {
	net.Conn
	from, to int64 // bytes left; negative: any
}

func (c *cutConn) Read(p []byte) (int, error) {
	if c.from >= 0 && int64(len(p)) > c.from {
		if p = p[:c.from]; len(p) == 0 {
			_ = c.Close()
			return 0, io.EOF
		}
	}
	n, err := c.Conn.Read(p)
	if c.from >= 0 {
		c.from -= int64(n)
	}
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	if c.to >= 0 && int64(len(p)) > c.to {
		n, _ := c.Conn.Write(p[:c.to])
		c.to = 0
		_ = c.Close()
		return n, io.ErrClosedPipe
	}
	n, err := c.Conn.Write(p)
	if c.to >= 0 {
		c.to -= int64(n)
	}
	return n, err
}

// The conversation is cut at every byte, whoever says it: no step hangs,
// takes a part for the whole, or fails without a kind.
func TestF03CutAtEveryByte(t *testing.T) {
	caps := imaptest.Capabilities("IMAP4rev1 UIDPLUS ESEARCH NAMESPACE")
	srv := newScript(t, imaptest.Basic(7, mailA, mailB), append(caps,
		imaptest.Reply{To: "UID SEARCH RETURN (ALL) ALL", Text: "* ESEARCH (TAG \"A4\") UID ALL 1:2\r\n$ OK done\r\n"},
		imaptest.Reply{To: "UID SEARCH RETURN (ALL) DELETED", Text: "$ OK done\r\n"},
	)...)
	whole := map[driver.ID]string{"7.1": mailA, "7.2": mailB}
	ids := []driver.ID{"7.1", "7.2"}
	cut := &cutNet{-1, -1}
	d := newDriver(t, srv.Addr, driver.WithDialer(cut.dial))
	run := func() error {
		mb, err := d.open(t.Context(), &d.set)
		if err != nil {
			return err
		}
		defer func() { _ = mb.Close() }()
		listed, err := listIDs(t.Context(), mb)
		if err != nil {
			return err
		}
		require.Equal(t, ids, listed)
		got, err := fetchAll(t.Context(), mb, ids)
		for id, text := range got {
			require.Equal(t, whole[id], text, "F04: half a mail")
		}
		if err != nil {
			return err
		}
		require.Len(t, got, 2)
		if err := mb.Remove(t.Context(), ids); err != nil {
			return err
		}
		return mb.Commit(t.Context())
	}
	require.NoError(t, run())
	total, commands := srv.Sent(), srv.Commands()
	last := int64(len("* BYE bye\r\nA9 OK done\r\n")) // by then all is done
	for n := range total - last {
		cut.from, cut.to = n, -1
		err := run()
		require.Error(t, err, "F03: cut after %d of %d bytes from the server", n, total)
		require.Equal(t, driver.KindTemporary, driver.KindOf(err), "F03: cut after %d bytes from the server: %v", n, err)
	}
	var said int64
	for _, c := range commands[:len(commands)-1] { // without LOGOUT
		said += int64(len("A1 ") + len(c) + len("\r\n"))
	}
	for n := range said {
		cut.from, cut.to = -1, n
		err := run()
		require.Error(t, err, "F03: cut after %d of %d bytes to the server", n, said)
		require.Equal(t, driver.KindTemporary, driver.KindOf(err), "F03: cut after %d bytes to the server: %v", n, err)
	}
}

// The same with the whole pipeline and a server that remembers, at positions
// all over the session: nothing is lost and nothing comes twice.
func TestF03CutPipeline(t *testing.T) {
	for _, c := range []struct {
		name string
		opts []driver.Option
		left int
	}{
		{"delete", nil, 0},
		{"move", []driver.Option{WithMoveTo("Done")}, 0},
		{"leave", []driver.Option{driver.WithLeaveOnServer(true)}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for n := int64(20); n < 1400; n += 61 {
				srv := newServer(t, imaptest.WithFolders("Done"))
				srv.Add(mails("a", "b", "c")...)
				cut := &cutNet{n, -1}
				if n%2 == 1 {
					cut = &cutNet{-1, n / 2}
				}
				var got []string
				d := newDriver(t, srv.Addr, append(c.opts, driver.WithDialer(cut.dial))...)
				_, _ = d.Poll(t.Context(), take(&got))
				srv.Settled()
				cut.from, cut.to = -1, -1
				_, err := d.Poll(t.Context(), take(&got))
				require.NoError(t, err, "F03: %d", n)
				srv.Settled()
				assert.Equal(t, []string{"a", "b", "c"}, got, "F03: cut after %d bytes", n)
				assert.Equal(t, c.left, srv.Count(imaptest.Inbox), "F03: cut after %d bytes", n)
				srv.Close()
			}
		})
	}
}

// The peer of an IDLE vanishes. That is found out, and the next poll takes the
// mail that came meanwhile.
func TestF05MailOfAHalfOpenIdleIsTaken(t *testing.T) {
	srv, d, got := idleScript(t, imaptest.Reply{To: "IDLE", Text: "+ idling\r\n", Then: imaptest.Hang})
	d.set.imap.idleRenewal = 20 * time.Millisecond
	within(t, func() { assert.Equal(t, driver.KindTemporary, driver.KindOf(d.Wait(t.Context())), "F05") })
	srv.Prepend(imaptest.Basic(7, mailA, mailB)...)
	srv.Prepend(imaptest.Capabilities("IMAP4rev1 UIDPLUS IDLE")...)
	_, err := d.Poll(t.Context(), take(got))
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, *got, "F05")
}

// MOVE is refused: nothing else is tried, and the mail does not come again.
func TestF11MoveRefused(t *testing.T) {
	for _, answer := range []string{"NO [TRYCREATE] no such folder", "NO [OVERQUOTA] full", "NO", "BAD what"} {
		srv := newScript(t, imaptest.Basic(7, mailA), append(imaptest.Capabilities("IMAP4rev1 UIDPLUS MOVE"),
			imaptest.Reply{To: "UID MOVE", Text: "$ " + answer + "\r\n"})...)
		var got []string
		d := newDriver(t, srv.Addr, WithMoveTo("Done"))
		for range 2 {
			_, err := d.Poll(t.Context(), take(&got))
			_, refused := errors.AsType[*ReplyError](err)
			require.True(t, refused, "F11: %v", err)
		}
		assert.Equal(t, []string{"a"}, got, "F11")
		assert.Zero(t, said(srv.Commands(), "UID STORE")+said(srv.Commands(), "UID EXPUNGE")+said(srv.Commands(), "UID COPY"), "F11: %q", srv.Commands())
	}
}

// A folder by two names must not be moved to itself: its mails would come for
// ever.
func TestMoveToTheSameFolder(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{
		{To: "LIST", Text: "* LIST (\\Archive) \".\" \"Alt\"\r\n$ OK done\r\n"},
	}, imaptest.Capabilities("IMAP4rev1 UIDPLUS MOVE SPECIAL-USE")...)...)
	for _, o := range []driver.Option{WithMoveTo("Alt"), WithFailedFolder("Alt")} {
		_, err := tryOpen(t, srv.Addr, WithFolder("Archive"), o)
		require.ErrorContains(t, err, "the same folder")
		assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	}
	sp, err := spool.New(t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, sp.Close()) }()
	_, err = New(srv.Addr, driver.WithSpool(sp), driver.WithLogin("ann", "secret"), WithMoveTo("MsgFolderRoot/Inbox"))
	require.ErrorContains(t, err, "the folder \"INBOX\" itself")
}

// Names of folders are as long as a server likes, and kept: a listing of them is
// bounded by its bytes too (A18).
func TestA18ListingOfLongNames(t *testing.T) {
	name := strings.Repeat("x", maxResponse/2)
	one := "* LIST () \"/\" {" + itoa(len(name)) + "}\r\n" + name
	srv := newScript(t, imaptest.Basic(7), imaptest.Reply{To: `LIST "" "*"`, Text: strings.Repeat(one+"\r\n", maxFolderBytes/len(name)+1) + "$ OK done\r\n"})
	f, err := newDriver(t, srv.Addr).Folders(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	_, err = f.List(t.Context())
	require.ErrorIs(t, err, driver.ErrLimit)
}

// A server that numbers the mails anew for each connection (F13, between two
// SELECTs of one run) does not make Run poll without a pause.
func TestF13NumberedAnewInEverySession(t *testing.T) {
	var validity atomic.Int64
	var srv *imaptest.Scripted
	renumber := func() {
		v := uint32(validity.Add(1))
		srv.Prepend(imaptest.Basic(v, mailA)[2:4]...) // SELECT and EXAMINE
		srv.Prepend(imaptest.Reply{To: "LOGIN", Text: "$ OK [CAPABILITY IMAP4rev1 IDLE] in\r\n", Do: func() {
			v := uint32(validity.Add(1))
			srv.Prepend(imaptest.Basic(v, mailA)[2:4]...)
		}})
	}
	srv = newScript(t, imaptest.Basic(1, mailA), append([]imaptest.Reply{
		{To: "IDLE", Text: "+ idling\r\n", Then: imaptest.UntilDone},
		{To: "UID FETCH 1 (UID RFC822.SIZE BODY.PEEK[HEADER])", Text: strings.Replace(strings.Replace(imaptest.Fetched(1, 1, mailA[:strings.Index(mailA, "first")]), "BODY[]", "BODY[HEADER]", 1), "(UID", "(RFC822.SIZE "+itoa(len(mailA))+" UID", 1) + "$ OK done\r\n"},
	}, imaptest.Capabilities("IMAP4rev1 IDLE")...)...)
	renumber()
	d := newDriver(t, srv.Addr, driver.WithLeaveOnServer(true))
	var got []string
	inVain := false
	for range 4 {
		_, err := d.Poll(t.Context(), take(&got))
		require.NoError(t, err)
		within(t, func() { err = d.Wait(t.Context()) })
		inVain = err != nil
		if inVain {
			require.ErrorIs(t, err, errVain, "F13")
			assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
		}
	}
	assert.True(t, inVain, "F13: Wait says again and again that there is mail")
	assert.Equal(t, []string{"a"}, got, "F13: known by its header")
}

// An idle connection from before a renumbering gives one alarm, not one after
// the other.
func TestF13IdleFromBeforeARenumbering(t *testing.T) {
	srv, d, got := idleScript(t, imaptest.Reply{To: "IDLE", Text: "+ idling\r\n", Then: imaptest.UntilDone})
	leaveIdle(t, d)
	d.mem.saw(inbox, 8, 2) // a poll that saw the new numbers
	d.idle.s.box.news = true
	within(t, func() { assert.NoError(t, d.Wait(t.Context()), "F13") })
	assert.Nil(t, d.idle)
	srv.Prepend(imaptest.Basic(8, mailA)[2:4]...)
	d.mem.saw(inbox, 8, 2)
	leaveIdle(t, d)
	assert.Equal(t, []string{"a"}, *got)
}

// BYE in reply to whatever command: temporary, and the next session goes on
// where this one was.
func TestF19ByeAnywhere(t *testing.T) {
	for _, command := range []string{"CAPABILITY", "LOGIN", "SELECT", "UID SEARCH", "UID FETCH", "UID STORE", "UID EXPUNGE"} {
		for _, bye := range []string{"* BYE\r\n", "* BYE [UNAVAILABLE] Session invalidated\r\n$ OK done\r\n"} {
			srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{{To: command, Times: 1, Text: bye, Then: imaptest.Drop}}, imaptest.Capabilities("IMAP4rev1 UIDPLUS")...)...)
			var got []string
			d := newDriver(t, srv.Addr)
			_, err := d.Poll(t.Context(), take(&got))
			require.Equal(t, driver.KindTemporary, driver.KindOf(err), "F19: BYE after %s: %v", command, err)
			re, ok := errors.AsType[*ReplyError](err)
			require.True(t, ok, "F19: BYE after %s: %v", command, err)
			assert.Equal(t, "BYE", re.Status)
			_, err = d.Poll(t.Context(), take(&got))
			require.NoError(t, err, "F19: after BYE after %s", command)
			assert.Equal(t, []string{"a"}, got, "F19: BYE after %s", command)
			assert.Equal(t, 2, srv.Connections())
		}
	}
}

// Another client removes mails between the listing and the fetch, and between
// fetch and removal: only UIDs count.
func TestF20ExpungedByAnother(t *testing.T) {
	srv := newServer(t)
	srv.Add(mails("a", "b", "c", "d")...)
	ours, theirs := openBox(t, srv.Addr), openBox(t, srv.Addr)
	ids := mustList(t, ours)
	require.Equal(t, ids, mustList(t, theirs))
	require.NoError(t, theirs.Remove(t.Context(), ids[1:2]))
	got, err := fetchAll(t.Context(), ours, ids)
	require.NoError(t, err, "F20")
	assert.Len(t, got, 3, "F20")
	assert.Contains(t, got[ids[3]], "Subject: d", "F20: the numbers have moved")
	require.NoError(t, theirs.Remove(t.Context(), ids[:1]))
	require.NoError(t, ours.Remove(t.Context(), ids[:3]))
	require.NoError(t, ours.Commit(t.Context()))
	require.NoError(t, theirs.Commit(t.Context()))
	srv.Settled()
	assert.Equal(t, 1, srv.Count(imaptest.Inbox), "F20")
}

// Nothing that a server says reaches a log or an error unescaped, no folder
// has a name of control characters, and nobody follows it elsewhere.
func TestA08ServerTextIsHarmless(t *testing.T) {
	const evil = "\x1b[2J\u202eevil\u0085"
	var log bytes.Buffer
	srv := newScript(t, imaptest.Basic(7), append([]imaptest.Reply{
		{To: "ENABLE", Text: "* ENABLED UTF8=ACCEPT\r\n* OK [ALERT] " + evil + "\r\n$ OK done\r\n"},
		{To: "LIST", Text: "* LIST () \"/\" \"" + evil + "\"\r\n* LIST () \"/\" good\r\n$ OK done\r\n"},
		{To: "STATUS", Text: "$ NO [REFERRAL imap://elsewhere/] " + evil + "\r\n"},
		{To: "CREATE", Text: evil + "\r\n"},
	}, imaptest.Capabilities("IMAP4rev1 ENABLE UTF8=ACCEPT")...)...)
	f := openFolders(t, srv.Addr, driver.WithLogger(slog.New(slog.NewJSONHandler(&log, nil))))
	list, err := f.List(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []Folder{{Path: "good", Name: "good", Selectable: true}}, list, "A08")
	_, refused := f.Status(t.Context(), "good")
	require.Error(t, refused)
	garbage := f.Create(t.Context(), "x")
	require.Error(t, garbage)
	for _, text := range []string{log.String(), refused.Error(), garbage.Error()} {
		assert.NotContains(t, text, "\x1b", "A08")
		assert.NotContains(t, text, "\u202e", "A08")
		assert.NotContains(t, text, "\u0085", "A08")
	}
	assert.Contains(t, log.String(), "alerts", "A08")
	assert.Equal(t, 1, srv.Connections(), "A08: a referral is not followed")
}

// Sizes at the edge of what numbers hold are an error at once, wherever the
// literal stands.
func TestA18SizesThatOverflow(t *testing.T) {
	for _, size := range []string{"9223372036854775807", "9223372036854775808", "18446744073709551615", "281474976710657"} {
		for _, text := range []string{"* LIST () \"/\" {%s}\r\nx", "* 1 FETCH (UID 1 ENVELOPE {%s}\r\nx", "* 1 FETCH (UID 1 BODY[] {%s}\r\nx", "* 1 FETCH (UID 1 X ({3}\r\nabc {%s}\r\nx"} {
			srv := newScript(t, imaptest.Basic(7, mailA), imaptest.Reply{To: "UID FETCH", Text: fmt.Sprintf(text, size), Then: imaptest.Hang})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := newDriver(t, srv.Addr).Poll(t.Context(), take(new([]string)))
			runtime.ReadMemStats(&after)
			require.Equal(t, driver.KindProtocol, driver.KindOf(err), "A18: %s: %v", size, err)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), "A18: bytes allocated")
		}
	}
}

// Very many literals cost linear time in one response after the other, and are
// an error in one; a range costs nothing for what it could hold.
func TestA19ManyLiterals(t *testing.T) {
	one := "* 1 FETCH (UID 1 ENVELOPE (" + strings.Repeat("{1}\r\na ", 100_000) + "))\r\n"
	each := strings.Repeat("* 9 FETCH (UID 9 X-NOTE {1}\r\na)\r\n", 50_000)
	t.Run("in one response", func(t *testing.T) {
		srv := newScript(t, imaptest.Basic(7, mailA), imaptest.Reply{To: "UID FETCH", Text: one + "$ OK done\r\n"})
		_, err := newDriver(t, srv.Addr).Poll(t.Context(), take(new([]string)))
		require.ErrorIs(t, err, driver.ErrLimit, "A19")
	})
	t.Run("in many responses", func(t *testing.T) {
		srv := newScript(t, imaptest.Basic(7, mailA), imaptest.Reply{To: "UID FETCH", Text: each + imaptest.Fetched(1, 1, mailA) + "$ OK done\r\n"})
		var got []string
		begin := time.Now()
		_, err := newDriver(t, srv.Addr).Poll(t.Context(), take(&got))
		require.NoError(t, err, "A19")
		assert.Equal(t, []string{"a"}, got)
		assert.Less(t, time.Since(begin), 10*time.Second, "A19")
	})
	t.Run("COPYUID of all there could be", func(t *testing.T) {
		srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{
			{To: "UID COPY", Text: "$ OK [COPYUID 9 1:4294967295 1:4294967295] done\r\n"},
		}, imaptest.Capabilities("IMAP4rev1 UIDPLUS")...)...)
		var got []string
		_, err := newDriver(t, srv.Addr, WithMoveTo("Done")).Poll(t.Context(), take(&got))
		require.NoError(t, err, "A19")
		assert.Equal(t, 1, said(srv.Commands(), "UID EXPUNGE 1"), "A19")
	})
}

// A large mail that was asked for ahead is passed over when it comes before its
// turn, and refused for its size in its turn.
func TestLargeMailAheadOfItsTurn(t *testing.T) {
	large := "Subject: large\r\n\r\n" + strings.Repeat("x", 5000)
	var list []string
	for i := range fetchChunk + 1 {
		list = append(list, "Subject: m"+itoa(i+1)+"\r\n\r\n")
	}
	first := ""
	for i, m := range list[:fetchChunk-1] {
		first += imaptest.Fetched(i+1, uint32(i+1), m)
	}
	srv := newScript(t, imaptest.Basic(7, list...), append([]imaptest.Reply{
		{To: "UID FETCH 1:16 ", Text: first}, // the last is gone; the reply comes with the next command
		{To: "UID FETCH 17 ", Times: 1, Text: imaptest.Fetched(17, 17, large) + "A6 OK done\r\n$ OK done\r\n"},
		{To: "UID FETCH 17 ", Text: imaptest.Fetched(17, 17, large) + "$ OK done\r\n"},
		{To: "UID SEARCH UID 16", Text: "* SEARCH\r\n$ OK done\r\n"},
	}, imaptest.Capabilities("IMAP4rev1")...)...)
	mb := openBox(t, srv.Addr, driver.WithMaxMessageBytes(1000))
	ids := mustList(t, mb)
	mb.Announce(ids)
	mb.s.seenMails, mb.s.seenBytes = 1, 100 // small so far: there is room ahead
	got, err := fetchAll(t.Context(), mb, ids[:fetchChunk])
	require.NoError(t, err)
	assert.Len(t, got, fetchChunk-1)
	got, err = fetchAll(t.Context(), mb, ids[fetchChunk:])
	require.NoError(t, err)
	assert.Equal(t, large, got[ids[fetchChunk]])
}

// The greatest UID leaves no number for a next one.
func TestTheLastUID(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{
		{To: "UID SEARCH ALL", Text: "* SEARCH 4294967295\r\n$ OK done\r\n"},
		{To: "UID FETCH", Text: imaptest.Fetched(1, 4294967295, mailA) + "$ OK done\r\n"},
		{To: "IDLE", Text: "+ idling\r\n", Then: imaptest.UntilDone},
	}, imaptest.Capabilities("IMAP4rev1 UIDPLUS IDLE")...)...)
	var got []string
	d := newDriver(t, srv.Addr, driver.WithLeaveOnServer(true))
	_, err := d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, got)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	within(t, func() { assert.ErrorIs(t, d.Wait(ctx), context.DeadlineExceeded) })
}

// A server cannot make the library wait for consent in the middle of a
// command, by the length of a name that it gives a role.
func TestLongNameOfARole(t *testing.T) {
	name := strings.Repeat("long", 1200)
	srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{
		{To: "LIST", Text: "* LIST (\\Archive) \"/\" \"" + name + "\"\r\n$ OK done\r\n"},
	}, imaptest.Capabilities("IMAP4rev1 UIDPLUS MOVE")...)...)
	var got []string
	d := newDriver(t, srv.Addr, WithMoveTo("Archive"))
	within(t, func() {
		_, err := d.Poll(t.Context(), take(&got))
		assert.NoError(t, err)
	})
	assert.Equal(t, 1, said(srv.Commands(), "UID MOVE 1 {4800}"))
}
