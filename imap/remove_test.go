package imap

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
)

func mails(subjects ...string) [][]byte {
	var list [][]byte
	for _, s := range subjects {
		list = append(list, []byte("Subject: "+s+"\r\nMessage-ID: <"+s+"@x>\r\n\r\n"+s+"\r\n"))
	}
	return list
}

// said counts the commands that begin so.
func said(commands []string, prefix string) int {
	n := 0
	for _, c := range commands {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}
	return n
}

// What becomes of handled mails, and that each is handed over once.
func TestAfterProcessing(t *testing.T) {
	for _, c := range []struct {
		name                     string
		fake                     []imaptest.Option
		opts                     []driver.Option
		inbox, moved, unseen     int // at the end
		deleted                  int
		never                    string // a command that must not be said
		failedFolder, failedLeft int
	}{
		{name: "delete", never: "EXPUNGE"},
		{name: "move", opts: []driver.Option{WithMoveTo("Done")}, moved: 3, unseen: 3, never: "UID COPY"},
		{name: "move without MOVE", fake: []imaptest.Option{imaptest.Without("MOVE")}, opts: []driver.Option{WithMoveTo("Done")}, moved: 3, never: "UID MOVE"},
		{name: "mark seen", opts: []driver.Option{WithMarkSeen()}, inbox: 3, never: "UID EXPUNGE"},
		{name: "keyword", opts: []driver.Option{WithKeyword("$Done")}, inbox: 3, unseen: 3, never: "UID EXPUNGE"},
		{name: "leave", opts: []driver.Option{driver.WithLeaveOnServer(true)}, inbox: 3, unseen: 3, never: "SELECT"},
		{name: "F12 no UIDPLUS", fake: []imaptest.Option{imaptest.Without("UIDPLUS")}, inbox: 3, unseen: 3, deleted: 3, never: "EXPUNGE"},
		{name: "no UIDPLUS, plain", fake: []imaptest.Option{imaptest.Without("UIDPLUS")}, opts: []driver.Option{WithPlainExpunge()}, never: "UID EXPUNGE"},
		{name: "no UIDPLUS, no MOVE", fake: []imaptest.Option{imaptest.Without("UIDPLUS", "MOVE")}, opts: []driver.Option{WithMoveTo("Done")}, inbox: 3, deleted: 3, moved: 3, unseen: 3, never: "EXPUNGE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newServer(t, append(c.fake, imaptest.WithFolders("Done"))...)
			srv.Add(mails("a", "b", "c")...)
			var got []string
			d := newDriver(t, srv.Addr, append(c.opts, driver.WithBatchSize(2))...)
			for i := range 4 {
				res, err := d.Poll(t.Context(), take(&got))
				require.NoError(t, err)
				assert.Equal(t, i == 0, res.More)
				assert.Zero(t, res.Failed+res.Refused)
			}
			srv.Settled()
			assert.Equal(t, []string{"a", "b", "c"}, got)
			assert.Equal(t, c.inbox, srv.Count("INBOX"))
			assert.Equal(t, c.moved, srv.Count("Done"))
			assert.Equal(t, c.deleted, srv.Deleted("INBOX"))
			if c.inbox > 0 {
				assert.Equal(t, c.unseen, srv.Unseen("INBOX"), "BODY.PEEK leaves mails unread")
			}
			assert.Zero(t, said(srv.Commands(), c.never), "%s", c.never)
			assert.Zero(t, said(srv.Commands(), "CLOSE"), "CLOSE expunges")
			if n := said(srv.Commands(), "UID STORE"); n > 2 {
				t.Errorf("%d STORE: what is marked is not marked again", n)
			}
			// Nothing is forgotten as long as it is there.
			require.NoError(t, d.Close())
		})
	}
}

// Without UIDPLUS others' deleted mails are never expunged (F12).
func TestF12OthersDeletedMailSurvives(t *testing.T) {
	for _, plain := range []bool{false, true} {
		srv := newServer(t, imaptest.Without("UIDPLUS"))
		srv.AddFlagged("INBOX", []string{`\Deleted`}, mails("theirs")...)
		srv.Add(mails("ours")...)
		var got []string
		var opts []driver.Option
		if plain {
			opts = append(opts, WithPlainExpunge())
		}
		d := newDriver(t, srv.Addr, opts...)
		for range 2 {
			_, err := d.Poll(t.Context(), take(&got))
			require.NoError(t, err)
		}
		srv.Settled()
		assert.Equal(t, []string{"ours"}, got, "F12: what is marked as deleted is not taken")
		assert.Equal(t, 2, srv.Count("INBOX"), "F12")
		assert.Zero(t, said(srv.Commands(), "EXPUNGE"), "F12")
	}
}

// The connection is lost between STORE and EXPUNGE: the next session expunges
// and hands over nothing (F10).
func TestF10LostBetweenStoreAndExpunge(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{
		{To: "UID EXPUNGE", Times: 1, Then: imaptest.Drop},
		{To: "UID SEARCH DELETED", Times: 1, Text: "* SEARCH\r\n$ OK done\r\n"},
		{To: "UID SEARCH DELETED", Text: "* SEARCH 1\r\n$ OK done\r\n"},
	}, imaptest.Capabilities("IMAP4rev1 UIDPLUS")...)...)
	var got []string
	d := newDriver(t, srv.Addr)
	_, err := d.Poll(t.Context(), take(&got))
	require.Error(t, err)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	res, err := d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	assert.Equal(t, 1, res.Known, "F10")
	assert.Equal(t, []string{"a"}, got, "F10")
	assert.Equal(t, 2, said(srv.Commands(), "UID EXPUNGE 1"), "F10")
}

// A COPY that was confirmed is not repeated when the session died behind it.
func TestF10CopyIsNotRepeated(t *testing.T) {
	srv := newServer(t, imaptest.Without("MOVE"), imaptest.WithFolders("Done"))
	srv.Add(mails("a")...)
	d := newDriver(t, srv.Addr, WithMoveTo("Done"))
	mb, err := d.open(t.Context(), &d.set)
	require.NoError(t, err)
	m := mb.(*mailbox)
	ids := mustList(t, mb)
	_, uid, _ := parseID(ids[0])
	_, err = m.s.command("UID COPY", nil, raw(uidSet([]uint32{uid})), str("Done"))
	require.NoError(t, err)
	_, err = m.s.command("UID STORE", nil, raw(uidSet([]uint32{uid})+` +FLAGS (\Deleted)`))
	require.NoError(t, err)
	require.NoError(t, mb.Close())

	mb, err = d.open(t.Context(), &d.set)
	require.NoError(t, err)
	_ = mustList(t, mb)
	require.NoError(t, mb.Remove(t.Context(), ids))
	require.NoError(t, mb.Commit(t.Context()))
	require.NoError(t, mb.Close())
	srv.Settled()
	assert.Equal(t, 1, srv.Count("Done"))
	assert.Zero(t, srv.Count("INBOX"))
}

// COPYUID tells what was really copied: only that is deleted.
func TestCopyOfSome(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA, mailB, mailC), append([]imaptest.Reply{
		{To: "UID COPY", Text: "$ OK [COPYUID 9 1,3 11:12] done\r\n"},
	}, imaptest.Capabilities("IMAP4rev1 UIDPLUS")...)...)
	var got []string
	d := newDriver(t, srv.Addr, WithMoveTo("Done"))
	_, err := d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	assert.Equal(t, 1, said(srv.Commands(), `UID STORE 1,3 +FLAGS.SILENT (\Deleted)`), "%q", srv.Commands())
}

// Mails that went to the failed directory go to a folder of their own.
func TestFailedFolder(t *testing.T) {
	srv := newServer(t, imaptest.WithFolders("Failed"), imaptest.WithFolders("Done"))
	srv.Add(mails("good", "bad")...)
	d := newDriver(t, srv.Addr, WithFailedFolder("Failed"), WithMoveTo("Done"))
	res, err := d.Poll(t.Context(), driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		if ev.Subject == "bad" {
			return driver.Reject(errors.New("no"))
		}
		return nil
	}))
	require.NoError(t, err)
	srv.Settled()
	assert.Equal(t, 1, res.Failed)
	assert.Equal(t, []int{0, 1, 1}, []int{srv.Count("INBOX"), srv.Count("Done"), srv.Count("Failed")})
}

// UIDVALIDITY changes within a session: nothing is done by the old UIDs (F13).
func TestF13ChangeWithinASession(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{
		{To: "UID FETCH", Text: imaptest.Fetched(1, 1, mailA) + "* OK [UIDVALIDITY 8] new\r\n$ OK done\r\n"},
	}, imaptest.Capabilities("IMAP4rev1 UIDPLUS")...)...)
	var got []string
	d := newDriver(t, srv.Addr)
	_, err := d.Poll(t.Context(), take(&got))
	require.ErrorContains(t, err, "new ids meanwhile")
	assert.Zero(t, said(srv.Commands(), "UID STORE")+said(srv.Commands(), "UID EXPUNGE"), "F13")
}

// Known mails are found again after the server gave all of them new ids; a new
// one is handed over (F13).
func TestF13Renumbered(t *testing.T) {
	for _, leave := range []bool{true, false} {
		header := func(seq, uid int, mail string) string {
			h, _, _ := strings.Cut(mail, "\r\n\r\n")
			return strings.Replace(strings.Replace(imaptest.Fetched(seq, uint32(uid), h+"\r\n\r\n"), "BODY[]", "BODY[HEADER]", 1), "(UID", "(RFC822.SIZE "+itoa(len(mail))+" UID", 1)
		}
		first := newScript(t, imaptest.Basic(7, mailA, mailB), append([]imaptest.Reply{{To: "UID STORE", Text: "$ NO no\r\n"}}, imaptest.Capabilities("IMAP4rev1 UIDPLUS")...)...)
		var got []string
		d := newDriver(t, first.Addr, driver.WithLeaveOnServer(leave))
		_, err := d.Poll(t.Context(), take(&got))
		assert.Equal(t, leave, err == nil, "%v", err)
		assert.Equal(t, []string{"a", "b"}, got)

		// the same server with another numbering: b, c, a
		first.Prepend(append([]imaptest.Reply{
			{To: "UID STORE", Text: "$ OK done\r\n"},
			{To: "UID FETCH 1:3 (UID RFC822.SIZE BODY.PEEK[HEADER])", Text: header(1, 1, mailB) + header(2, 2, mailC) + header(3, 3, mailA) + "$ OK done\r\n"},
			{To: "UID FETCH 2 ", Text: imaptest.Fetched(2, 2, mailC) + "$ OK done\r\n"},
		}, imaptest.Basic(8, mailB, mailC, mailA)[2:7]...)...)
		for range 2 {
			_, err = d.Poll(t.Context(), take(&got))
			require.NoError(t, err)
		}
		if leave {
			assert.Equal(t, []string{"a", "b", "c"}, got, "F13")
			assert.Equal(t, 1, said(first.Commands(), "UID FETCH 1:3 (UID RFC822.SIZE"), "F13: found again once")
		} else {
			assert.True(t, slices.Equal(got[:3], []string{"a", "b", "c"}), "F13: %q", got)
			assert.NotZero(t, said(first.Commands(), "UID EXPUNGE 1:3"), "F13: %q", first.Commands())
		}
	}
}

func itoa(n int) string { return strings.TrimSpace(string(formatID(0, uint32(n))[2:])) }
