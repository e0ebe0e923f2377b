package imap

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
)

// Servers that agree to remove mails, and keep them for the account lacks the
// right, do not have them handed over again and again.
func TestServerKeepsWhatItAgreedToRemove(t *testing.T) {
	agrees := []imaptest.Reply{{To: "UID EXPUNGE", Text: "$ OK done\r\n"}, {To: "UID MOVE", Text: "$ OK done\r\n"}, {To: "EXPUNGE", Text: "$ OK done\r\n"}}
	for _, c := range []struct {
		name, caps string
		opts       []driver.Option
		deleted    string // what SEARCH DELETED finds after STORE
		kind       driver.Kind
	}{
		{"delete", "IMAP4rev1 UIDPLUS", nil, "", 0},
		{"plain expunge", "IMAP4rev1", []driver.Option{WithPlainExpunge()}, " 1 2", 0},
		{"plain expunge, no flag kept", "IMAP4rev1", []driver.Option{WithPlainExpunge()}, "", 0},
		{"move", "IMAP4rev1 UIDPLUS MOVE", []driver.Option{WithMoveTo("Done")}, "", driver.KindPermanent},
		{"copy", "IMAP4rev1 UIDPLUS", []driver.Option{WithMoveTo("Done")}, "", driver.KindPermanent},
	} {
		t.Run(c.name, func(t *testing.T) {
			replies := append([]imaptest.Reply{
				{To: "UID SEARCH DELETED", Times: 1, Text: "* SEARCH\r\n$ OK done\r\n"},
				{To: "UID SEARCH DELETED", Times: 1, Text: "* SEARCH" + c.deleted + "\r\n$ OK done\r\n"},
			}, append(agrees, imaptest.Capabilities(c.caps)...)...)
			srv := newScript(t, imaptest.Basic(7, mailA, mailB), replies...)
			var got []string
			d := newDriver(t, srv.Addr, c.opts...)
			for range 3 {
				res, err := d.Poll(t.Context(), take(&got))
				assert.Zero(t, res.Removed)
				if c.kind != 0 {
					require.ErrorIs(t, err, errKept)
					assert.Equal(t, c.kind, driver.KindOf(err), "Run must end: each session would copy the mails again")
					continue
				}
				require.NoError(t, err)
				require.Len(t, res.Failures, 2)
				require.ErrorIs(t, res.Failures[0].Err, errKept)
			}
			assert.Equal(t, []string{"a", "b"}, got)
		})
	}
}

// Only those that the server keeps are remembered; the others are forgotten.
func TestServerKeepsSome(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA, mailB), append([]imaptest.Reply{
		{To: "UID EXPUNGE", Text: "* 1 EXPUNGE\r\n$ OK done\r\n"},
		{To: "UID SEARCH UID 1:2", Text: "* SEARCH 2\r\n$ OK done\r\n"},
	}, imaptest.Capabilities("IMAP4rev1 UIDPLUS")...)...)
	mb := openBox(t, srv.Addr)
	ids := mustList(t, mb)
	var kept *driver.RemoveError
	require.ErrorAs(t, mb.Remove(t.Context(), ids), &kept)
	assert.Equal(t, []driver.ID{"7.2"}, kept.IDs)
	require.NoError(t, mb.Commit(t.Context()), "the session goes on")
}

// A server that tells of each mail's end is not asked again.
func TestRemovalIsNotAskedForTwice(t *testing.T) {
	srv := newServer(t)
	srv.Add(mails("a", "b")...)
	var got []string
	_, err := newDriver(t, srv.Addr).Poll(t.Context(), take(&got))
	require.NoError(t, err)
	srv.Settled()
	for _, c := range srv.Commands() {
		assert.False(t, strings.HasPrefix(c, "UID SEARCH") && strings.Contains(c, " UID "), c)
	}
	assert.Zero(t, srv.Count("INBOX"))
}

// Without an answer about the mails marked as deleted, others' may be among
// them: nothing is expunged (F12).
func TestF12PlainExpungeWithoutAnAnswer(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA), imaptest.Reply{To: "UID SEARCH DELETED", Text: "$ OK done\r\n"})
	var got []string
	d := newDriver(t, srv.Addr, WithPlainExpunge())
	for range 2 {
		_, err := d.Poll(t.Context(), take(&got))
		require.NoError(t, err)
	}
	assert.Zero(t, said(srv.Commands(), "EXPUNGE"), "F12")
	assert.Equal(t, []string{"a"}, got)
}

// A listing that was lost on its way is not an empty folder: everything known
// would be forgotten, and handed over once more.
func TestListingWithoutAnAnswer(t *testing.T) {
	for _, caps := range []string{"IMAP4rev1", "IMAP4rev1 ESEARCH"} {
		all := "UID SEARCH ALL"
		if strings.Contains(caps, "ESEARCH") {
			all = "UID SEARCH RETURN (ALL) ALL"
		}
		srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{
			{To: all, Skip: 1, Times: 1, Text: "* ESEARCH (TAG \"X9\") UID ALL 1\r\n$ OK done\r\n"},
		}, imaptest.Capabilities(caps)...)...)
		var got []string
		d := newDriver(t, srv.Addr, driver.WithLeaveOnServer(true))
		for i := range 3 {
			_, err := d.Poll(t.Context(), take(&got))
			if i != 1 {
				require.NoError(t, err)
				continue
			}
			require.ErrorContains(t, err, "no answer about the 1 mails")
			assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
		}
		assert.Equal(t, []string{"a"}, got, caps)
	}
	// What an empty folder is not asked about is no fault.
	srv := newScript(t, imaptest.Basic(7), imaptest.Reply{To: "UID SEARCH", Text: "$ OK done\r\n"})
	_, err := newDriver(t, srv.Addr).Poll(t.Context(), take(new([]string)))
	require.NoError(t, err)
}

// One mail whose header the server does not give must not hold up all others
// for ever, once all have new ids (F13, F25).
func TestF13HeaderThatCannotBeHad(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA), imaptest.Capabilities("IMAP4rev1")...)
	var got []string
	d := newDriver(t, srv.Addr, driver.WithLeaveOnServer(true))
	_, err := d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	header, _, _ := strings.Cut(mailA, "\r\n\r\n")
	found := strings.Replace(imaptest.Fetched(1, 1, header+"\r\n\r\n"), "BODY[]", "RFC822.SIZE "+itoa(len(mailA))+" BODY[HEADER]", 1)
	srv.Prepend(append([]imaptest.Reply{
		{To: "UID SEARCH UID 2", Text: "* SEARCH 2\r\n$ OK done\r\n"},
		{To: "UID FETCH 1:3 (UID RFC822.SIZE", Text: found + strings.ReplaceAll(strings.ReplaceAll(found, "* 1", "* 3"), "UID 1", "UID 3") + "$ OK done\r\n"},
		{To: "UID FETCH 2", Text: "$ NO damaged\r\n"},
		{To: "UID FETCH 2:3", Text: imaptest.Fetched(3, 3, mailC) + "$ OK done\r\n"},
	}, imaptest.Basic(8, mailA, mailB, mailC)[2:7]...)...)
	srv.Prepend(imaptest.Reply{To: "UID FETCH 2:3", Text: imaptest.Fetched(3, 3, mailC) + "$ OK done\r\n"})
	res, err := d.Poll(t.Context(), take(&got))
	require.NoError(t, err, "%q", srv.Commands())
	assert.Equal(t, []string{"a", "c"}, got, "F13")
	require.Len(t, res.Failures, 1)
	assert.Equal(t, driver.ID("8.2"), res.Failures[0].ID)
}
