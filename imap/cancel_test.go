package imap

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
)

// In whatever state a session is, the end of its context ends it.
func TestCancelInEveryState(t *testing.T) {
	poll := func(ctx context.Context, d *Driver) error {
		_, err := d.Poll(ctx, take(new([]string)))
		return err
	}
	wait := func(ctx context.Context, d *Driver) error {
		d.mem.saw(inbox, 7, 9)
		return d.Wait(ctx)
	}
	folders := func(do func(context.Context, *Folders) error) func(context.Context, *Driver) error {
		return func(ctx context.Context, d *Driver) error {
			f, err := d.Folders(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }()
			return do(ctx, f)
		}
	}
	for _, c := range []struct {
		name, caps string
		at         imaptest.Reply // the state; it cancels, and the server is silent from then on
		opts       []driver.Option
		run        func(context.Context, *Driver) error
	}{
		{"capability", "IMAP4rev1", imaptest.Reply{To: "CAPABILITY"}, nil, poll},
		{"challenge", "IMAP4rev1 AUTH=CRAM-MD5", imaptest.Reply{To: "AUTHENTICATE"}, nil, poll},
		{"enable", "IMAP4rev1 ENABLE UTF8=ACCEPT", imaptest.Reply{To: "ENABLE"}, nil, poll},
		{"id", "IMAP4rev1 ID", imaptest.Reply{To: "ID"}, []driver.Option{WithClientID("a", "1")}, poll},
		{"namespace", "IMAP4rev1 NAMESPACE", imaptest.Reply{To: "NAMESPACE"}, []driver.Option{WithFolder("a")}, poll},
		{"roles", "IMAP4rev1", imaptest.Reply{To: `LIST "" "*"`}, []driver.Option{WithFolder("Archive")}, poll},
		{"several searches", "IMAP4rev1 ESEARCH", imaptest.Reply{To: "UID SEARCH RETURN (ALL) DELETED"}, nil, poll},
		{"in a mail", "IMAP4rev1 UIDPLUS", imaptest.Reply{To: "UID FETCH", Text: "* 1 FETCH (UID 1 BODY[] {999}\r\nSubject: x"}, nil, poll},
		{"move", "IMAP4rev1 MOVE", imaptest.Reply{To: "UID MOVE"}, []driver.Option{WithMoveTo("a")}, poll},
		{"copy", "IMAP4rev1 UIDPLUS", imaptest.Reply{To: "UID COPY"}, []driver.Option{WithMoveTo("a")}, poll},
		{"examine of idle", "IMAP4rev1 IDLE", imaptest.Reply{To: "EXAMINE"}, nil, wait},
		{"consent to idle", "IMAP4rev1 IDLE", imaptest.Reply{To: "IDLE"}, nil, wait},
		{"idle", "IMAP4rev1 IDLE", imaptest.Reply{To: "IDLE", Text: "+ idling\r\n"}, nil, wait},
		{"end of idle", "IMAP4rev1 IDLE", imaptest.Reply{To: "IDLE", Text: "+ idling\r\n* 2 EXISTS\r\n"}, nil, wait},
		{"search of idle", "IMAP4rev1 IDLE", imaptest.Reply{To: "UID SEARCH UID"}, nil, wait},
		{"list", "IMAP4rev1", imaptest.Reply{To: `LIST "" "*"`}, nil, folders(func(ctx context.Context, f *Folders) error {
			_, err := f.List(ctx)
			return err
		})},
		{"status", "IMAP4rev1", imaptest.Reply{To: "STATUS"}, nil, folders(func(ctx context.Context, f *Folders) error {
			_, err := f.Status(ctx, "a")
			return err
		})},
		{"append", "IMAP4rev1 LITERAL+", imaptest.Reply{To: "APPEND"}, nil, folders(func(ctx context.Context, f *Folders) error {
			_, err := f.Append(ctx, "a", strings.NewReader("x"), 1)
			return err
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c.at.Do, c.at.Then = cancel, imaptest.Hang
			srv := newScript(t, imaptest.Basic(7, mailA), append([]imaptest.Reply{c.at}, imaptest.Capabilities(c.caps)...)...)
			d := newDriver(t, srv.Addr, append(c.opts, driver.WithTimeout(time.Minute))...)
			begin := time.Now()
			var err error
			within(t, func() { err = c.run(ctx, d) })
			require.ErrorIs(t, err, context.Canceled)
			assert.Less(t, time.Since(begin), 10*time.Second)
		})
	}
}
