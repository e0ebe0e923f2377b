package imap

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/imap/imaptest"
)

// Dovecot works on several searches at a time: replies come before the end of
// the first.
func TestSearchRepliesOutOfTurn(t *testing.T) {
	for _, c := range []struct{ name, first, second string }{
		{"all at once", "* ESEARCH (TAG \"A4\") UID ALL 1:3\r\n* ESEARCH (TAG \"A5\") UID ALL 2\r\n$ OK done\r\n", "$ OK done\r\n"},
		{"second one first", "* ESEARCH (TAG \"A5\") UID ALL 2\r\nA5 OK done\r\n* ESEARCH (TAG \"A4\") UID ALL 1:3\r\n$ OK done\r\n", ""},
		{"in order, others' too", "* ESEARCH (TAG \"X1\") UID ALL 1:4000000000\r\n* ESEARCH (TAG \"A4\") UID ALL 3,1:2\r\n$ OK done\r\n", "* ESEARCH (TAG \"A5\") UID ALL 2\r\n$ OK done\r\n"},
		{"of a server that knows no ESEARCH", "* SEARCH 3 2 1\r\n$ OK done\r\n", "* SEARCH 2 2\r\n$ OK done\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newScript(t, imaptest.Basic(7, mailA, mailB, mailC), append([]imaptest.Reply{
				{To: "UID SEARCH RETURN (ALL) ALL", Text: c.first}, {To: "UID SEARCH RETURN (ALL) DELETED", Text: c.second},
			}, imaptest.Capabilities("IMAP4rev1 ESEARCH")...)...)
			mb := openBox(t, srv.Addr)
			assert.Equal(t, "CAPABILITY", srv.Commands()[0])
			_, _, err := mb.list()
			require.NoError(t, err)
			assert.Equal(t, []uint32{1, 2, 3}, mb.uids)
			assert.Equal(t, map[uint32]bool{2: true}, mb.deleted)
			require.NoError(t, mb.KeepAlive(t.Context()))
		})
	}
}

func TestSearchGarbage(t *testing.T) {
	for _, text := range []string{
		"* SEARCH 1 x\r\n", "* SEARCH 0\r\n", "* SEARCH 4294967296\r\n", "* SEARCH -1\r\n", "* SEARCH 1\x002\r\n",
		"* ESEARCH (TAG \"A4\" UID ALL 1\r\n", "* ESEARCH (TAG \"A4\") ALL 1\r\n", "* ESEARCH (TAG \"A4\") UID ALL 1:*\r\n", "* ESEARCH UID ALL 5:x\r\n",
	} {
		srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{
			{To: "UID SEARCH", Text: text + "$ OK done\r\n"},
		}, imaptest.Capabilities("IMAP4rev1 ESEARCH")...)...)
		mb := openBox(t, srv.Addr)
		_, err := listIDs(t.Context(), mb)
		require.Error(t, err, "%q", text)
		require.Error(t, mb.KeepAlive(t.Context()), "%q", text)
	}
}
