package imap

import (
	"bytes"
	"context"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
	"github.com/maildriver/maildriver/internal/killtest"
	"github.com/maildriver/maildriver/spool"
)

func TestMain(m *testing.M) {
	if killtest.IsChild() {
		os.Exit(killtest.ChildMain(childDriver))
	}
	if os.Getenv(fakeEnv) != "" {
		fakeMain()
		return
	}
	goleak.VerifyTestMain(m)
}

// childDriver makes the driver of a child process that is to be killed.
func childDriver(server map[string]string, opts ...driver.Option) (driver.Driver, error) {
	base := []driver.Option{driver.WithLogin(server["user"], server["password"]), driver.WithInsecureAuth()}
	switch server["way"] {
	case "move", "copy":
		base = append(base, WithMoveTo("Archive"))
	case "leave":
		base = append(base, driver.WithLeaveOnServer(true))
	case "seen":
		base = append(base, WithMarkSeen())
	}
	return New(server["addr"], append(base, opts...)...)
}

// newServer starts the fake of the normal case.
func newServer(t testing.TB, opts ...imaptest.Option) *imaptest.Server {
	t.Helper()
	srv := imaptest.NewServer(opts...)
	t.Cleanup(srv.Close)
	return srv
}

// newScript starts the fake of faults. replies come before those of
// [imaptest.Basic].
func newScript(t testing.TB, basic []imaptest.Reply, replies ...imaptest.Reply) *imaptest.Scripted {
	t.Helper()
	srv := imaptest.NewScripted(imaptest.Greeting, append(replies, basic...)...)
	t.Cleanup(srv.Close)
	return srv
}

func newDriver(t testing.TB, addr string, opts ...driver.Option) *Driver {
	t.Helper()
	sp, err := spool.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = sp.Close() })
	base := []driver.Option{
		driver.WithSpool(sp), driver.WithTimeout(5 * time.Second),
		driver.WithLogin(imaptest.User, imaptest.Password), driver.WithInsecureAuth(), driver.WithRetry(0, 0),
	}
	d, err := New(addr, append(base, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// tryOpen opens the folder with a driver of its own.
func tryOpen(t testing.TB, addr string, opts ...driver.Option) (*mailbox, error) {
	t.Helper()
	d := newDriver(t, addr, opts...)
	mb, err := d.open(t.Context(), &d.set)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = mb.Close() })
	return mb.(*mailbox), nil
}

func openBox(t testing.TB, addr string, opts ...driver.Option) *mailbox {
	t.Helper()
	mb, err := tryOpen(t, addr, opts...)
	require.NoError(t, err)
	return mb
}

// listIDs reads the listing.
func listIDs(ctx context.Context, mb driver.Mailbox) (ids []driver.ID, err error) {
	for e, err := range mb.List(ctx) {
		if err != nil {
			return ids, err
		}
		if !e.Hold {
			ids = append(ids, e.ID)
		}
	}
	return ids, nil
}

func mustList(t testing.TB, mb driver.Mailbox) []driver.ID {
	t.Helper()
	ids, err := listIDs(t.Context(), mb)
	require.NoError(t, err)
	return ids
}

// fetchAll fetches the mails and returns them by id.
func fetchAll(ctx context.Context, mb driver.Mailbox, ids []driver.ID) (map[driver.ID]string, error) {
	got := make(map[driver.ID]string)
	err := mb.Fetch(ctx, ids, func(id driver.ID, r io.Reader) error {
		var buf bytes.Buffer
		if _, err := io.Copy(&buf, r); err != nil {
			return err
		}
		got[id] = buf.String()
		return nil
	})
	return got, err
}

// take is a handler that takes every mail and tells its subject.
func take(subjects *[]string) driver.Handler {
	return driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		*subjects = append(*subjects, ev.Subject)
		return nil
	})
}
