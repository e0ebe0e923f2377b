package spool

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIDsNamesAreTheDocumentedOnes(t *testing.T) {
	for want, id := range map[string]MailboxID{
		"mail.example.com_support@example.com":          {Protocol: "POP3", Server: "Mail.Example.COM", Account: "support@example.com"},
		"mail.example.com_joe":                          {Protocol: "pop3", Server: "mail.example.com", Account: "joe", Port: 995, Folder: "inbox"},
		"mail.example.com~2110_joe":                     {Protocol: "POP3", Server: "mail.example.com", Account: "joe", Port: 2110},
		"mail.example.com~imap_joe":                     {Protocol: "IMAP", Server: "mail.example.com", Account: "joe", Port: 143},
		"mail.example.com~imap~1143_joe~archive%2F2024": {Protocol: "IMAP", Server: "mail.example.com", Account: "joe", Port: 1143, Folder: "archive/2024"},
		"%3A%3A1_dom%5Cuser":                            {Protocol: "POP3", Server: "::1", Account: `dom\user`},
		"h_%2E.%2F..%2Fetc%2Fpasswd":                    {Protocol: "POP3", Server: "h", Account: "../../etc/passwd"},
	} {
		assert.Equal(t, want, id.base())
	}
}

func TestA34HostileAccountsNeitherEscapeNorMeet(t *testing.T) {
	ids := []MailboxID{}
	for _, account := range []string{
		"", "joe", "Joe", "JOE", "joe~inbox", "joe_x", "../../etc/x", `DOM\u`, "DOM/u", "a:b", "nul\x00", "%2F", "/", "caf\u00e9", "cafe\u0301",
		"\u017f", "s", "\u212a", "k", strings.Repeat("a", 300), strings.Repeat("a", 301), strings.Repeat("/", 300), "joe~~0123456789abcdef", "con", ".", "..",
	} {
		for _, server := range []string{"mail", "mail_x", "x", "mail~imap", "mail:143", strings.Repeat("h", 253)} {
			for _, proto := range []string{"POP3", "IMAP", "EWS"} {
				for _, port := range []int{0, 143, 110, 1} {
					for _, folder := range []string{"", "Archive", "archive", "inbox/x", "x"} {
						ids = append(ids, MailboxID{Protocol: proto, Server: server, Account: account, Port: port, Folder: folder})
					}
				}
			}
		}
	}
	seen := map[string]MailboxID{}
	for _, id := range ids {
		base := id.base()
		name := "Previous_" + base + ".ids.corrupt-99.part"
		require.LessOrEqual(t, len(name), 255, "A34")
		require.Empty(t, strings.Trim(base, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.@+_-%~"), "A34")
		require.NoError(t, checkName(name), "A34")
		folded := strings.ToLower(base) // a case-insensitive file system
		if other, ok := seen[folded]; ok {
			require.Equal(t, other, id.normal(), "A34: two mailboxes share %s", base)
		}
		seen[folded] = id.normal()
	}
	assert.Greater(t, len(seen), 5000)
}

func TestA34ForeignRecordIsNotReused(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	box := mustLock(t, s)
	require.NoError(t, box.Append(Done("k", OutcomeDelivered, DisposeKeep, "")))
	require.NoError(t, box.Prune(nil))
	require.NoError(t, box.Unlock())
	other := testID
	other.Account = "other"
	move(t, s.Path(IDs, "Previous_"+testID.base()+".ids"), s.Path(IDs, "Previous_"+other.base()+".ids"))
	_, err := s.Lock(other)
	var ie *IdentityError
	require.True(t, errors.As(err, &ie), "A34: %v", err)
	assert.Equal(t, testID.normal(), ie.Got)
	assert.Equal(t, other.normal().Account, ie.Want.Account)
	assert.FileExists(t, s.Path(IDs, "Previous_"+other.base()+".ids"))
}

func TestBadIdentities(t *testing.T) {
	s := newSpool(t, tempRoot(t))
	for _, id := range []MailboxID{
		{},
		{Protocol: "POP3"},
		{Protocol: "P/3", Server: "h"},
		{Protocol: "POP3", Server: "h", Port: 70000},
		{Protocol: "POP3", Server: "h", Account: strings.Repeat("a", maxIdentity+1)},
	} {
		_, err := s.Lock(id)
		assert.Error(t, err, "%v", id)
	}
}
