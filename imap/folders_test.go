package imap

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
)

func openFolders(t *testing.T, addr string, opts ...driver.Option) *Folders {
	t.Helper()
	f, err := newDriver(t, addr, opts...).Folders(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func TestFolders(t *testing.T) {
	srv := newServer(t, imaptest.WithFolders("Sent"), imaptest.WithFolders("Spam"))
	f := openFolders(t, srv.Addr)
	ctx := t.Context()
	require.NoError(t, f.Create(ctx, "inbox/Entw\u00fcrfe und mehr"))
	require.NoError(t, f.Subscribe(ctx, "INBOX/Entw\u00fcrfe und mehr"))
	list, err := f.List(ctx)
	require.NoError(t, err)
	roles := map[string]Role{}
	for _, x := range list {
		assert.True(t, x.Selectable, x.Path)
		assert.False(t, x.Shared, x.Path)
		roles[x.Path] = x.Role
	}
	assert.Equal(t, map[string]Role{"INBOX": RoleInbox, "Sent": "", "Spam": "", "INBOX/Entw\u00fcrfe und mehr": ""}, roles)
	none, err := f.ByRole(ctx, RoleArchive)
	require.NoError(t, err)
	assert.Empty(t, none)

	id, err := f.Append(ctx, "Sent", strings.NewReader(mailA), int64(len(mailA)), AppendFlags(`\Seen`), AppendDate(time.Unix(1e9, 0)))
	require.NoError(t, err)
	assert.NotEmpty(t, id)
	st, err := f.Status(ctx, "Sent")
	require.NoError(t, err)
	assert.Equal(t, uint32(1), st.Messages)
	assert.Zero(t, st.Unseen)
	assert.Equal(t, uint32(2), st.UIDNext)

	opens := 0
	copyID, err := f.AppendMessage(ctx, "", &driver.Message{Open: func() (io.ReadCloser, error) {
		opens++
		return io.NopCloser(strings.NewReader("Subject: x\n\nline\r\nline\n\n")), nil
	}})
	require.NoError(t, err)
	assert.NotEmpty(t, copyID)
	assert.Equal(t, 2, opens)
	mb := openBox(t, srv.Addr, WithFolder("Sent"))
	got, err := fetchAll(ctx, mb, mustList(t, mb))
	require.NoError(t, err)
	assert.Equal(t, "Subject: x\r\n\r\nline\r\nline\r\n\r\n", got[copyID])

	require.NoError(t, f.Rename(ctx, "Spam", "Rubbish"))
	require.NoError(t, f.Delete(ctx, "Rubbish"))
	err = f.Delete(ctx, "Rubbish")
	re, ok := errors.AsType[*ReplyError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, "NONEXISTENT", re.Code)
	require.NoError(t, f.Unsubscribe(ctx, "Sent"))
	_, err = f.Append(ctx, "Nowhere", strings.NewReader("x"), 1)
	require.Error(t, err)
	_, err = f.List(ctx)
	require.NoError(t, err, "the session goes on after a refusal")
	_, err = f.Append(ctx, "INBOX", strings.NewReader("x"), 2)
	require.ErrorContains(t, err, "2 were announced")
	_, err = f.List(ctx)
	require.Error(t, err, "but not after half a mail")
}

// The paths of the documented "Current folder", and what servers make of them.
func TestPaths(t *testing.T) {
	for _, c := range []struct {
		name, caps, namespace, list string
		path, want                  string // "" is an error
	}{
		{"inbox", "IMAP4rev1", "", "", "inBox", `"INBOX"`},
		{"below inbox", "IMAP4rev1", "", `() "." ""`, "inbox/Sub/Deep", `"INBOX.Sub.Deep"`},
		{"other delimiter", "IMAP4rev1", "", `() "\\" ""`, "a/b", `"a\\b"`},
		{"flat", "IMAP4rev1", "", `() NIL ""`, "a/b", ""},
		{"flat, one part", "IMAP4rev1", "", `() NIL ""`, "a", `"a"`},
		{"delimiter in a part", "IMAP4rev1", "", `() "." ""`, "v1.0/x", ""},
		{"all below INBOX", "IMAP4rev1 NAMESPACE", `(("INBOX." ".")) NIL NIL`, "", "Archive2/2026", `"INBOX.Archive2.2026"`},
		{"said twice", "IMAP4rev1 NAMESPACE", `(("INBOX." ".")) NIL NIL`, "", "Inbox/Archive2", `"INBOX.Archive2"`},
		{"shared", "IMAP4rev1 NAMESPACE", `(("INBOX." ".")) (("user." ".")) (("#shared." ".") ("Public." "."))`, "", "Public/News", `"Public.News"`},
		{"of another user", "IMAP4rev1 NAMESPACE", `(("INBOX." ".")) (("user." ".")) NIL`, "", "user/bob/Inbox", `"user.bob.Inbox"`},
		{"root", "IMAP4rev1", "", `() "/" ""`, "MsgFolderRoot/x", `"x"`},
		{"root and inbox", "IMAP4rev1 NAMESPACE", `(("INBOX." ".")) NIL NIL`, "", "msgfolderroot/Inbox", `"INBOX"`},
		{"root and a role", "IMAP4rev1", "", `(\Sent) "." "Gesendet"`, "MsgFolderRoot/SentItems", `"Gesendet"`},
		{"role", "IMAP4rev1 SPECIAL-USE LIST-EXTENDED", "", `(\Sent) "." "Gesendet"`, "sentitems", `"Gesendet"`},
		{"below a role", "IMAP4rev1", "", `(\Archive) "." "Alt"`, "Archive/2026", `"Alt.2026"`},
		{"no such role", "IMAP4rev1", "", `() "." "x"`, "JunkEmail", `"JunkEmail"`},
		{"unicode", "IMAP4rev1", "", `() "/" ""`, "\u53f0\u5317/&", `"&U,BTFw-/&-"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := "$ OK done\r\n"
			if c.list != "" {
				list = "* LIST " + c.list + "\r\n" + list
			}
			srv := newScript(t, imaptest.Basic(7), append([]imaptest.Reply{
				{To: "LIST", Text: list}, {To: "NAMESPACE", Text: "* NAMESPACE " + c.namespace + "\r\n$ OK done\r\n"},
			}, imaptest.Capabilities(c.caps)...)...)
			_, err := tryOpen(t, srv.Addr, WithFolder(c.path))
			if c.want == "" {
				require.Error(t, err)
				assert.Equal(t, driver.KindConfig, driver.KindOf(err))
				return
			}
			require.NoError(t, err)
			assert.Contains(t, srv.Commands(), "SELECT "+c.want)
		})
	}
}

func TestListShowsForeignFolders(t *testing.T) {
	srv := newScript(t, nil, append([]imaptest.Reply{
		{To: "NAMESPACE", Text: "* NAMESPACE ((\"INBOX.\" \".\")) ((\"user.\" \".\")) NIL\r\n$ OK done\r\n"},
		{To: `LIST "" "*"`, Text: "* LIST (\\HasChildren) \".\" INBOX\r\n* LIST (\\Noselect) \".\" INBOX.Alt\r\n* LIST () \".\" {9}\r\nINBOX.a b\r\n$ OK done\r\n"},
		{To: `LIST "" "user.*"`, Text: "* LIST () \".\" user.bob\r\n$ OK done\r\n"},
		{To: "LOGIN", Text: "$ OK in\r\n"},
		{To: "LOGOUT", Text: "* BYE\r\n$ OK\r\n"},
	}, imaptest.Capabilities("IMAP4rev1 NAMESPACE")...)...)
	list, err := openFolders(t, srv.Addr).List(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []Folder{
		{Path: "INBOX", Name: "INBOX", Role: RoleInbox, Selectable: true, Children: true},
		{Path: "Alt", Name: "INBOX.Alt"},
		{Path: "a b", Name: "INBOX.a b", Selectable: true},
		{Path: "user/bob", Name: "user.bob", Selectable: true, Shared: true},
	}, list)
}

// Several folders of an account are several mailboxes.
func TestSeveralFolders(t *testing.T) {
	srv := newServer(t, imaptest.WithFolders("Work"))
	srv.Add(mails("in")...)
	srv.AddTo("Work", mails("at work")...)
	var got []string
	d := newDriver(t, srv.Addr)
	_, err := d.Poll(t.Context(), take(&got), WithFolder("Work"))
	require.NoError(t, err)
	_, err = d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	assert.Equal(t, []string{"at work", "in"}, got)
	_, err = d.Poll(t.Context(), take(&got), WithFolder("Nowhere"))
	require.Error(t, err)
	assert.Equal(t, driver.KindPermanent, driver.KindOf(err))
}

// What to take: unread, by size, by a criterion; what is left out is not
// forgotten.
func TestSelection(t *testing.T) {
	for _, c := range []struct {
		name string
		opts []driver.Option
		want []string
	}{
		{"all", nil, []string{"a", "b", "large"}},
		{"unseen", []driver.Option{WithUnseen(true)}, []string{"b", "large"}},
		{"size", []driver.Option{WithMaxSize(500)}, []string{"a", "b"}},
		{"criterion", []driver.Option{WithSearch("NOT SUBJECT a")}, []string{"b"}},
		{"since", []driver.Option{WithSince(time.Now().Add(72 * time.Hour))}, nil},
		{"both", []driver.Option{WithUnseen(true), WithMaxSize(500), WithSince(time.Now().Add(-72 * time.Hour))}, []string{"b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newServer(t)
			srv.AddFlagged("INBOX", []string{`\Seen`}, mails("a")...)
			srv.Add(mails("b")...)
			srv.Add(append(mails("large")[0], bytes.Repeat([]byte("x\r\n"), 1000)...))
			var got []string
			d := newDriver(t, srv.Addr, c.opts...)
			_, err := d.Poll(t.Context(), take(&got))
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
			srv.Settled()
			assert.Equal(t, 3-len(c.want), srv.Count("INBOX"))
		})
	}
}

// What somebody reads and unreads is not handed over twice.
func TestSelectionRemembers(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA),
		imaptest.Reply{To: "UID SEARCH UNSEEN", Times: 1, Text: "* SEARCH 1\r\n$ OK done\r\n"},
		imaptest.Reply{To: "UID SEARCH UNSEEN", Times: 1, Skip: 0, Text: "* SEARCH\r\n$ OK done\r\n"},
		imaptest.Reply{To: "UID SEARCH UNSEEN", Text: "* SEARCH 1\r\n$ OK done\r\n"})
	var got []string
	d := newDriver(t, srv.Addr, WithUnseen(true), driver.WithLeaveOnServer(true))
	for range 3 {
		_, err := d.Poll(t.Context(), take(&got))
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"a"}, got)
}

func TestReadOnlyFolder(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA), imaptest.Reply{To: "SELECT", Text: "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n$ OK [READ-ONLY] done\r\n"})
	_, err := tryOpen(t, srv.Addr)
	require.ErrorContains(t, err, "read-only")
	_, err = tryOpen(t, srv.Addr, driver.WithLeaveOnServer(true))
	require.NoError(t, err)
	srv.Prepend(imaptest.Reply{To: "SELECT", Text: "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [PERMANENTFLAGS (\\Deleted)] x\r\n$ OK [READ-WRITE] done\r\n"})
	_, err = tryOpen(t, srv.Addr, WithKeyword("$Done"))
	require.ErrorContains(t, err, "keeps no flag $Done")
	srv.Prepend(imaptest.Reply{To: "SELECT", Text: "* 1 EXISTS\r\n$ OK done\r\n"})
	_, err = tryOpen(t, srv.Addr)
	require.ErrorContains(t, err, "UIDVALIDITY")
}
