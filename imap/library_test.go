package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
)

// The tests of this file are the guards against what is known of go-imap
// v2.0.0-beta.8: each shows that what happens in it cannot happen here.

const (
	mailA = "Subject: a\r\nMessage-ID: <a@x>\r\n\r\nfirst\r\n"
	mailB = "Subject: b\r\nMessage-ID: <b@x>\r\n\r\nsecond mail\r\n"
	mailC = "Subject: c\r\nMessage-ID: <c@x>\r\n\r\nthird\r\n"
)

// The library's Move, without the capability, sends STORE and EXPUNGE without
// waiting for its COPY.
func TestLibraryMoveNeverDeletesWithoutACopy(t *testing.T) {
	for _, caps := range []string{"IMAP4rev1", "IMAP4rev1 UIDPLUS"} {
		srv := newScript(t, imaptest.Basic(7, mailA), append(imaptest.Capabilities(caps),
			imaptest.Reply{To: "UID COPY", Text: "$ NO [OVERQUOTA] full\r\n"})...)
		var got []string
		d := newDriver(t, srv.Addr, WithMoveTo("Done"), WithPlainExpunge())
		_, err := d.Poll(t.Context(), take(&got))
		re, ok := errors.AsType[*ReplyError](err)
		require.True(t, ok, "F11: %v", err)
		assert.Equal(t, "OVERQUOTA", re.Code)
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
		assert.Equal(t, []string{"a"}, got)
		for _, c := range srv.Commands() {
			assert.NotContains(t, c, "STORE", "F11")
			assert.NotContains(t, c, "EXPUNGE", "F11")
		}
		_, err = d.Poll(t.Context(), take(&got))
		require.Error(t, err)
		assert.Equal(t, []string{"a"}, got, "F11: the mail is done and not handed over again")
	}
}

// A connection that is cut inside a literal ends it without an error in the
// library.
func TestLibraryCutLiteralIsAnError(t *testing.T) {
	full := imaptest.Fetched(1, 1, mailA) + imaptest.Fetched(2, 2, mailB)
	for n := range len(full) {
		srv := newScript(t, imaptest.Basic(7, mailA, mailB), imaptest.Reply{To: "UID FETCH", Text: full[:n], Then: imaptest.Drop})
		mb := openBox(t, srv.Addr)
		got, err := fetchAll(t.Context(), mb, mustList(t, mb))
		require.Error(t, err, "F04: cut after %d bytes", n)
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "F04: cut after %d bytes: %v", n, err)
		whole := map[driver.ID]string{"7.1": mailA, "7.2": mailB}
		for id, text := range got {
			assert.Equal(t, whole[id], text, "F04: cut after %d bytes", n)
		}
		assert.LessOrEqual(t, len(got), 1, "F04: cut after %d bytes", n)
		_ = mb.Close()
		srv.Close()
	}
}

// The library drops the content of a mail whose UID comes behind it.
func TestLibraryUIDBehindTheContent(t *testing.T) {
	late := func(seq, uid int, mail string) string {
		return fmt.Sprintf("* %d FETCH (FLAGS (\\Seen) BODY[] {%d}\r\n%s UID %d)\r\n", seq, len(mail), mail, uid)
	}
	srv := newScript(t, imaptest.Basic(7, mailA, mailB, mailC),
		imaptest.Reply{To: "UID FETCH 1 ", Text: late(1, 1, mailA) + "$ OK done\r\n"},
		imaptest.Reply{To: "UID FETCH 2 ", Text: late(2, 2, mailB) + "$ OK done\r\n"},
		imaptest.Reply{To: "UID FETCH 3 ", Text: late(3, 3, mailC) + "$ OK done\r\n"},
		imaptest.Reply{To: "UID FETCH", Text: late(1, 1, mailA) + late(2, 2, mailB) + late(3, 3, mailC) + "$ OK done\r\n"})
	mb := openBox(t, srv.Addr)
	ids := mustList(t, mb)
	for range 2 {
		got, err := fetchAll(t.Context(), mb, ids)
		require.NoError(t, err)
		assert.Equal(t, map[driver.ID]string{"7.1": mailA, "7.2": mailB, "7.3": mailC}, got)
	}
	all := 0
	for _, c := range srv.Commands() {
		if strings.HasPrefix(c, "UID FETCH 1:3 ") {
			all++
		}
	}
	assert.Equal(t, 1, all, "what the server does is remembered")
}

// A mail in place of the one that was asked for alone is not taken for it.
func TestLibraryUIDBehindTheContentIsChecked(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA),
		imaptest.Reply{To: "UID FETCH", Text: fmt.Sprintf("* 1 FETCH (BODY[] {%d}\r\n%s UID 2)\r\n$ OK done\r\n", len(mailA), mailA)})
	mb := openBox(t, srv.Addr)
	got, err := fetchAll(t.Context(), mb, mustList(t, mb))
	require.ErrorContains(t, err, "a mail came in place of another")
	assert.Empty(t, got)
}

// Responses, items and names that the library does not know end its
// connection.
func TestLibraryUnknownResponsesAreHarmless(t *testing.T) {
	noise := "* XFANCY 1 (2 \"three\")\r\n* VANISHED (EARLIER) 300:310\r\n* ID NIL\r\n* ID (\"name\" NIL)\r\n" +
		"* 9 FETCH (X-GM-MSGID 1278455344230334865 X-GM-LABELS (\"\\\\Inbox\" {4}\r\nab)( foo) MODSEQ (65402) EMAILID (M6d99))\r\n" +
		"* QUOTAROOT INBOX \"\"\r\n* OK [XFOO bar] baz\r\n* 23 XUNKNOWN\r\n* NO [ALERT] \x1b[31mlook here\r\n* METADATA \"\" (/a {3}\r\nxyz)\r\n"
	item := fmt.Sprintf("* 1 FETCH (X-GM-MSGID 1 UID 1 ENVELOPE (NIL \"a\" ((\"x\" NIL \"y\" {1}\r\nz)) NIL) BODY[] {%d}\r\n%s X-GM-THRID 7)\r\n", len(mailA), mailA)
	replies := imaptest.Capabilities("IMAP4rev1 UIDPLUS ID MOVE")
	for _, r := range imaptest.Basic(7, mailA) {
		if r.To != "LOGOUT" && r.To != "UID FETCH" {
			r.Text = noise + r.Text
		}
		replies = append(replies, r)
	}
	srv := newScript(t, nil, append([]imaptest.Reply{
		{To: "UID FETCH", Text: noise + item + noise + "$ OK done\r\n"},
		{To: "ID", Text: "* ID NIL\r\n$ OK done\r\n"},
		{To: `LIST "" "*"`, Text: noise + "* LIST () \"/\" \"&AAA-bad&\"\r\n* LIST () \"/\" \"&U,BTF2XlZyyKng-\"\r\n* LIST () NIL INBOX\r\n$ OK done\r\n"},
	}, replies...)...)
	var got []string
	d := newDriver(t, srv.Addr, WithClientID("maildriver", "1"))
	res, err := d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, got)
	assert.Equal(t, 1, res.Removed)
	assert.Contains(t, srv.Commands(), `ID ("name" "maildriver" "version" "1")`)

	f, err := d.Folders(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	list, err := f.List(t.Context())
	require.NoError(t, err)
	var paths []string
	for _, x := range list {
		paths = append(paths, x.Path)
	}
	assert.Equal(t, []string{"\u53f0\u5317\u65e5\u672c\u8a9e", "INBOX"}, paths)
}

// The library waits for a mute server for ever, and for one that says BYE.
func TestLibraryEveryWaitEnds(t *testing.T) {
	for _, c := range []struct{ command, text string }{
		{"CAPABILITY", ""},
		{"LOGIN", ""},
		{"SELECT", ""},
		{"UID SEARCH", ""},
		{"UID FETCH", ""},
		{"UID FETCH", "* 1 FETCH (UID 1 BODY[] {1000}\r\nSubject"},
		{"UID STORE", ""},
		{"UID EXPUNGE", ""},
		{"UID STORE", "* BYE going down\r\n"},
		{"UID SEARCH", "* BYE [UNAVAILABLE] maintenance\r\n"},
		{"SELECT", "* 5 EXI"},
	} {
		t.Run(c.command+" "+c.text, func(t *testing.T) {
			t.Parallel()
			srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{{To: c.command, Text: c.text, Then: imaptest.Hang}}, imaptest.Capabilities("IMAP4rev1 UIDPLUS")...)...)
			d := newDriver(t, srv.Addr, driver.WithTimeout(200*time.Millisecond))
			begin := time.Now()
			var got []string
			_, err := d.Poll(t.Context(), take(&got))
			require.Error(t, err)
			assert.Equal(t, driver.KindTemporary, driver.KindOf(err), "%v", err)
			assert.Less(t, time.Since(begin), 3*time.Second)
			if strings.HasPrefix(c.text, "* BYE") {
				re, ok := errors.AsType[*ReplyError](err)
				require.True(t, ok, "%v", err)
				assert.Equal(t, "BYE", re.Status)
			}
		})
	}
}

// The library knows no context.
func TestLibraryCommandsFollowTheContext(t *testing.T) {
	for _, command := range []string{"LOGIN", "SELECT", "UID SEARCH", "UID FETCH", "UID STORE", "UID EXPUNGE"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{{To: command, Then: imaptest.Hang, Do: cancel}}, imaptest.Capabilities("IMAP4rev1 UIDPLUS")...)...)
			d := newDriver(t, srv.Addr, driver.WithTimeout(time.Minute))
			var got []string
			begin := time.Now()
			_, err := d.Poll(ctx, take(&got))
			require.ErrorIs(t, err, context.Canceled)
			assert.Less(t, time.Since(begin), 20*time.Second)
		})
	}
}

// The library takes lines and literals of any size.
func TestLibraryNothingIsUnbounded(t *testing.T) {
	huge := strings.Repeat("x", 8<<20)
	for _, c := range []struct {
		name string
		r    imaptest.Reply
	}{
		{"F19 text line", imaptest.Reply{To: "SELECT", Text: "* OK " + huge + "\r\n$ OK done\r\n"}},
		{"A18 literal of a response", imaptest.Reply{To: "SELECT", Text: "* LIST () \"/\" {99999999999}\r\n" + huge}},
		{"A18 literal of an item", imaptest.Reply{To: "UID FETCH", Text: "* 1 FETCH (UID 1 ENVELOPE {8388608}\r\n" + huge + ")\r\n$ OK done\r\n"}},
		{"A18 content of a mail nobody asked for", imaptest.Reply{To: "UID SEARCH", Text: "* 1 FETCH (UID 9 BODY[] {8388608}\r\n" + huge + ")\r\n$ OK done\r\n"}},
		{"A18 literal that no number can hold", imaptest.Reply{To: "UID FETCH", Text: "* 1 FETCH (UID 1 BODY[] {99999999999999999999}\r\n" + huge}},
		{"F18 negative literal", imaptest.Reply{To: "UID FETCH", Text: "* 1 FETCH (UID 1 BODY[] {-1}\r\n" + huge}},
		{"A19 nested lists", imaptest.Reply{To: "UID FETCH", Text: "* 1 FETCH (UID 1 BODYSTRUCTURE " + strings.Repeat("(", 60_000) + "\r\n"}},
		{"A19 range", imaptest.Reply{To: "UID SEARCH", Text: "* ESEARCH (TAG \"A4\") UID ALL 1:4294967295\r\n* SEARCH " + strings.Repeat("1 ", 4<<20) + "\r\n$ OK done\r\n"}},
		{"A20 endless responses", imaptest.Reply{To: "SELECT", Text: strings.Repeat("* 1 EXISTS\r\n", 200_000)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{c.r}, imaptest.Capabilities("IMAP4rev1 UIDPLUS")...)...)
			d := newDriver(t, srv.Addr, WithMaxListing(1000))
			var got []string
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := d.Poll(t.Context(), take(&got))
			runtime.ReadMemStats(&after)
			require.Error(t, err)
			assert.Equal(t, driver.KindProtocol, driver.KindOf(err), "%v", err)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(80<<20), "bytes allocated, those of the server (8 MiB, some times over) among them")
			assert.Empty(t, got)
			assert.LessOrEqual(t, len(err.Error()), 1000)
		})
	}
}

// A mail beyond the limit of the pipeline stays, and costs nothing (A18).
func TestA18HugeMailIsRefusedBySize(t *testing.T) {
	srv := newScript(t, imaptest.Basic(7, mailA), imaptest.Reply{To: "UID FETCH", Text: "* 1 FETCH (UID 1 BODY[] {99999999999}\r\nSubject: x\r\n", Then: imaptest.Hang})
	d := newDriver(t, srv.Addr)
	var got []string
	res, err := d.Poll(t.Context(), take(&got))
	require.NoError(t, err)
	require.Len(t, res.Failures, 1)
	require.ErrorIs(t, res.Failures[0].Err, driver.ErrLimit)
	assert.Empty(t, got)
}

// The library fails on an empty challenge behind an initial response, and
// never cancels.
func TestLibraryAuthenticate(t *testing.T) {
	t.Run("challenge behind the initial response", func(t *testing.T) {
		srv := newScript(t, imaptest.Basic(7), append([]imaptest.Reply{
			{To: "AUTHENTICATE PLAIN", Text: "+ \r\n", Then: imaptest.ReadLine},
		}, imaptest.Capabilities("IMAP4rev1 AUTH=PLAIN LOGINDISABLED")...)...)
		mb, err := tryOpen(t, srv.Addr)
		require.NoError(t, err)
		require.NoError(t, mb.Commit(t.Context()))
	})
	t.Run("given up", func(t *testing.T) {
		srv := newScript(t, imaptest.Basic(7), append([]imaptest.Reply{
			{To: "AUTHENTICATE CRAM-MD5", Text: "+ !!!\r\n", Then: imaptest.ReadLine},
		}, imaptest.Capabilities("IMAP4rev1 AUTH=CRAM-MD5")...)...)
		_, err := tryOpen(t, srv.Addr)
		require.ErrorContains(t, err, "not base64")
		assert.Contains(t, srv.Commands(), "*", "the exchange is cancelled")
	})
}

// The library writes UTF-8 names as soon as it hears of IMAP4rev2, enabled or
// not.
func TestLibraryNamesFollowWhatIsEnabled(t *testing.T) {
	for _, c := range []struct {
		caps, enabled string
		want          string
	}{
		{"IMAP4rev1 IMAP4rev2 MOVE UIDPLUS", "", `UID MOVE 1 "R&AOk-sum&AOk- &-"`},
		{"IMAP4rev1 ENABLE UTF8=ACCEPT MOVE UIDPLUS", "* ENABLED UTF8=ACCEPT\r\n", "UID MOVE 1 {10}\r\nR\u00e9sum\u00e9 &"},
		{"IMAP4rev1 ENABLE UTF8=ACCEPT MOVE UIDPLUS", "", `UID MOVE 1 "R&AOk-sum&AOk- &-"`},
	} {
		srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{
			{To: "ENABLE", Text: c.enabled + "$ OK done\r\n"},
			{To: "NAMESPACE", Text: "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n$ OK done\r\n"},
		}, imaptest.Capabilities(c.caps)...)...)
		var got []string
		d := newDriver(t, srv.Addr, WithMoveTo("R\u00e9sum\u00e9 &"))
		_, err := d.Poll(t.Context(), take(&got))
		require.NoError(t, err)
		assert.Contains(t, srv.Commands(), c.want, "%q", c.caps)
	}
}

// The library's reader is never given what it can choke on, and when it chokes
// all the same, nobody waits for it.
func TestLibraryTroubleEndsTheSession(t *testing.T) {
	for _, text := range []string{
		`(((" "/")) NIL NIL`, `(("" "/")) NIL`, `((" ") NIL`, `(("" "/")) NIL NIL)`, `((`, `"`, `{3}`, `(("" {1000} "/")) NIL NIL`, `(("" "\`, "((\"\" {1}\r\n\")) NIL NIL",
	} {
		srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{
			{To: "NAMESPACE", Text: "* NAMESPACE " + text + "\r\n$ OK done\r\n"},
		}, imaptest.Capabilities("IMAP4rev1 NAMESPACE")...)...)
		d := newDriver(t, srv.Addr, WithFolder("Inbox/Sub"), driver.WithTimeout(300*time.Millisecond))
		within(t, func() {
			_, err := d.Poll(t.Context(), take(new([]string)))
			assert.Error(t, err, "%q", text)
			assert.NotEqual(t, driver.KindUnknown, driver.KindOf(err), "%q: %v", text, err)
		})
	}
}

// A client that waits for more than there is comes back all the same.
func TestLibraryGuard(t *testing.T) {
	mb := openBox(t, newServer(t).Addr, driver.WithTimeout(100*time.Millisecond))
	within(t, func() {
		err := mb.s.library().do("NOOP", nil, nil, func(c *imapclient.Client) func() error {
			cmd := c.Noop()
			mb.s.lib.feed([]byte("* LIST () \"/\" \"")) // a string that goes on behind the reply
			return cmd.Wait
		})
		assert.ErrorContains(t, err, "cannot be read")
	})
	require.Error(t, mb.KeepAlive(t.Context()))
}

// Contents never pass through the library: memory does not grow with them.
func TestMemoryIsFlat(t *testing.T) {
	const size = 32 << 20
	srv := newScript(t, imaptest.Basic(7, strings.Repeat("0123456789abcdef", size/16)))
	mb := openBox(t, srv.Addr)
	ids := mustList(t, mb)
	require.NoError(t, mb.Fetch(t.Context(), ids, func(_ driver.ID, r io.Reader) error {
		// By now the server, which is in this process too, has its text ready.
		_, err := io.CopyN(io.Discard, r, 1)
		require.NoError(t, err)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		n, err := io.Copy(io.Discard, r)
		runtime.ReadMemStats(&after)
		assert.Equal(t, int64(size-1), n)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "bytes allocated for 32 MiB")
		return err
	}))
}
