package imap

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/maildriver/maildriver/driver"
)

// sessions are all that a server says in one session of FuzzServer.
var sessions = []string{
	"* OK [CAPABILITY IMAP4rev1 LITERAL+] hi\r\nA1 OK [CAPABILITY IMAP4rev1 UIDPLUS MOVE NAMESPACE IDLE ESEARCH SPECIAL-USE LIST-EXTENDED] in\r\n" +
		"* NAMESPACE ((\"INBOX.\" \".\")) ((\"user.\" \".\")) NIL\r\nT1 OK done\r\n" +
		"* 2 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 3] x\r\n* OK [PERMANENTFLAGS (\\Deleted \\*)] x\r\nA2 OK [READ-WRITE] done\r\n" +
		"* ESEARCH (TAG \"A3\") UID ALL 1:2\r\nA3 OK done\r\nA4 OK done\r\n" +
		"* 1 FETCH (UID 1 BODY[] {5}\r\nabcde)\r\n* 2 FETCH (UID 2 BODY[] \"x\")\r\nA5 OK done\r\nT2 OK done\r\nT3 OK [COPYUID 9 1:2 3:4] done\r\n* BYE\r\nA6 OK\r\n",
	"* PREAUTH [CAPABILITY IMAP4rev1 UIDPLUS] hi\r\n* LIST (\\Noselect) \"/\" \"\"\r\nA1 OK done\r\n* OK [UIDVALIDITY 7] x\r\nA2 OK done\r\n* SEARCH 1 2\r\nA3 OK\r\n* SEARCH 2\r\nA4 OK\r\n" +
		"* 1 FETCH (BODY[] {3}\r\nabc UID 1 FLAGS (\\Seen))\r\nA5 OK\r\n",
	"* OK [CAPABILITY IMAP4rev1 ENABLE UTF8=ACCEPT IDLE] hi\r\nA1 OK in\r\n* CAPABILITY IMAP4rev1 ENABLE UTF8=ACCEPT IDLE\r\nA2 OK\r\n* ENABLED UTF8=ACCEPT\r\nA3 OK\r\n* LIST () \".\" {5}\r\nINBOX\r\nA4 OK\r\n" +
		"+ go on\r\n* 1 EXISTS\r\n* OK [UIDVALIDITY 4294967295] x\r\n* OK [UIDNEXT 4294967295] x\r\nA5 OK\r\n",
	"* OK [CAPABILITY IMAP4rev1] hi\r\nA1 OK [CAPABILITY IMAP4rev1 UIDPLUS NAMESPACE] in\r\n* NAMESPACE ((\") NIL\r\nT1 OK done\r\n* 1 EXISTS\r\n", // a string that does not end
	"* BYE [UNAVAILABLE] later\r\n",
}

// FuzzServer puts a client through a session with a server that says anything:
// it never panics, never hangs, and what fails has a kind.
func FuzzServer(f *testing.F) {
	for _, s := range sessions {
		f.Add(s)
	}
	var text string
	d := newDriver(f, "mail.example.com", WithFolder("Inbox/Sub"), WithMoveTo("Archive"), WithMaxListing(1000),
		driver.WithDialer(func(context.Context, string, string) (net.Conn, error) {
			return &cannedConn{r: strings.NewReader(text)}, nil
		}))
	check := func(t *testing.T, err error) {
		if err != nil && driver.KindOf(err) == driver.KindUnknown {
			t.Fatalf("not classified: %v", err)
		}
	}
	f.Fuzz(func(t *testing.T, said string) {
		text = said
		if mb, err := d.open(t.Context(), &d.set); err != nil {
			check(t, err)
		} else {
			ids, err := listIDs(t.Context(), mb)
			check(t, err)
			_, err = fetchAll(t.Context(), mb, ids)
			check(t, err)
			check(t, mb.Remove(t.Context(), ids))
			check(t, mb.Commit(t.Context()))
			_ = mb.Close()
		}
		folders, err := d.Folders(t.Context())
		if err != nil {
			check(t, err)
			return
		}
		_, err = folders.List(t.Context())
		check(t, err)
		_, err = folders.Status(t.Context(), "Sent/a")
		check(t, err)
		_, err = folders.Append(t.Context(), "x", strings.NewReader("abc"), 3)
		check(t, err)
		_ = folders.Close()
	})
}
