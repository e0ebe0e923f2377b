package webdav

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/webdav/webdavtest"
)

func TestFromParameters(t *testing.T) {
	t.Parallel()
	build := func(p map[string]string) (*Driver, error) {
		addr, opts, err := FromParameters(p)
		if err != nil {
			return nil, err
		}
		return New(addr, opts...)
	}
	spool := filepath.Join(t.TempDir(), "spool")
	d, err := build(map[string]string{
		"server": "https://mail.example.com/exchange/ann", "USERNAME": "ann", "PASSWORD": "pw", "domainname": "EXAMPLE", "AUTHTYPE": "form",
		"CURRENTFOLDER": "Inbox/Support", "TIMEOUT": "120", "WEBDAV After Processing": "move", "webdav move folder": "MsgFolderRoot/Done",
		"WEBDAV Unread Only": "yes", "WEBDAV Save Copy": "yes", "Spool Directory": spool, "PROTOCOLTYPE": "webdav",
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	assert.Equal(t, []string{"FORM"}, d.set.net.Mechanisms)
	assert.Equal(t, "EXAMPLE", d.set.net.Domain)
	assert.Equal(t, "Inbox/Support", d.set.dav.folder)
	assert.Equal(t, afterMove, d.set.dav.after)
	assert.True(t, d.set.dav.unread)
	assert.True(t, d.set.dav.saveSent)
	assert.Equal(t, "inbox/Support", d.folderID(&d.set))
	assert.Equal(t, "exchange/ann", d.account(&d.set))

	d, err = build(map[string]string{"WEBDAV Server": "dav.example.com:8443/mail", "WEBDAV Server Kind": "plain", "WEBDAV File Suffix": ".msg", "Current Folder": "in/new", "Spool Directory": spool})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	assert.True(t, d.set.dav.plain)
	assert.Equal(t, "https://dav.example.com:8443/mail", d.url.String())
	assert.Equal(t, "/mail/in/new", d.folderID(&d.set))
	assert.False(t, driver.CapabilitiesOf(d).Send)
	d, err = build(map[string]string{"SERVER": "mail.example.com", "AUTHTYPE": "Default", "USERNAME": "ann", "PASSWORD": "pw"})
	require.NoError(t, err, "for sending alone no spool is needed")
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	assert.Equal(t, []string{"DEFAULT"}, d.set.net.Mechanisms)

	for _, c := range []struct {
		p    map[string]string
		want []string
	}{
		{nil, []string{"WEBDAV Server"}},
		{map[string]string{"SERVER": "https://h?x=y", "USERNAME": "u", "AUTHTYPE": "APOP"}, []string{"query", "Account Password", "APOP"}},
		{map[string]string{"SERVER": "https://u:secret@h"}, []string{"WithLogin"}},
		{map[string]string{"SERVER": "h", "CURRENTFOLDER": "Archive", "WEBDAV Failed Folder": "Junk"}, []string{"WEBDAV Folder", "not available over WebDAV", "WEBDAV Failed Folder", "MsgFolderRoot/Junk"}},
		{map[string]string{"SERVER": "h", "CURRENTFOLDER": "a//b"}, []string{"WEBDAV Folder", "empty"}},
		{map[string]string{"SERVER": "h", "WEBDAV After Processing": "MOVE"}, []string{"WEBDAV Move Folder"}},
		{map[string]string{"SERVER": "h", "WEBDAV Move Folder": "MsgFolderRoot/x"}, []string{"counts only with MOVE"}},
		{map[string]string{"SERVER": "h", "WEBDAV After Processing": "READ", "Leave On Server": "yes"}, []string{"contradicts"}},
		{map[string]string{"SERVER": "h", "WEBDAV Server Kind": "PLAIN", "WEBDAV After Processing": "READ"}, []string{"need an Exchange"}},
		{map[string]string{"SERVER": "h", "AUTHTYPE": "form"}, []string{"a value is required with"}},
		{map[string]string{"SERVER": "h", "WEBDAV Server Kind": "PLAIN", "AUTHTYPE": "form", "USERNAME": "u", "PASSWORD": "p"}, []string{"FORM stands alone"}},
		{map[string]string{"SERVER": "h", "PORT": "443", "Enable TLS for WEBDAV": "yes"}, []string{"PORT", "Enable TLS"}},
		{map[string]string{"SERVER": "h", "CURRENTFOLDER": "DeletedItems", "WEBDAV After Processing": "MOVE", "WEBDAV Move Folder": "deleteditems"}, []string{"the folder \"DeletedItems\" itself"}},
	} {
		_, err := build(c.p)
		require.Error(t, err, "%v", c.p)
		assert.Equal(t, driver.KindConfig, driver.KindOf(err), "%v", err)
		for _, w := range c.want {
			assert.Contains(t, err.Error(), w)
		}
		assert.NotContains(t, err.Error(), "secret@")
	}
}

func TestParseAddr(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"mail.example.com": "https://mail.example.com", "mail.example.com:8443": "https://mail.example.com:8443",
		"http://h/exchange/ann/": "http://h/exchange/ann/", "[::1]:443": "https://[::1]:443", "HTTPS://H": "https://H",
	} {
		u, err := parseAddr(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, u.String())
	}
	for _, bad := range []string{"", "http://", "ftp://h", "https://h:0", "https://h:99999", "h h", "https://h/#x", "https://u@h", "mailto:x@y", "https://h\n"} {
		_, err := parseAddr(bad)
		require.Error(t, err, bad)
	}
}

// Options of one call make a session of their own, with a login of its own.
func TestOptionsOfOneCall(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Add(letter("one"))
	d := newDriver(t, srv.Mailbox())
	_, _, err := poll(t, d, driver.WithLogin("nobody", "else"))
	assert.Equal(t, driver.KindAuth, driver.KindOf(err), "%v", err)
	assert.Equal(t, []string{"one"}, pollAll(t, d))
	_, _, err = poll(t, d, WithPageSize(0))
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	require.NoError(t, d.Close())
	_, _, err = poll(t, d)
	require.ErrorIs(t, err, driver.ErrClosed)
	_, err = d.Send(t.Context(), message("A: b\r\n\r\n", "bob@example.com"))
	require.ErrorIs(t, err, driver.ErrClosed)
}

// The mailbox is found by its page, or by the names that it may have.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	for _, fake := range [][]webdavtest.Option{nil, {webdavtest.WithoutBase()}, {webdavtest.WithForms()}, {webdavtest.WithForms(), webdavtest.WithoutBase()}} {
		for _, opts := range [][]driver.Option{nil, {driver.WithFrom("Ann <ann@example.com>")}, {driver.WithFrom("other@example.com")}} {
			srv := newServer(t, fake...)
			srv.Add(letter("one"))
			assert.Equal(t, []string{"one"}, pollAll(t, newDriver(t, srv.URL, opts...)))
		}
	}
}
