package webdav

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/killtest"
	"github.com/maildriver/maildriver/spool"
	"github.com/maildriver/maildriver/webdav/webdavtest"
)

func TestMain(m *testing.M) {
	if killtest.IsChild() {
		os.Exit(killtest.ChildMain(childDriver))
	}
	goleak.VerifyTestMain(m)
}

// childDriver makes the driver of a child process that is to be killed.
func childDriver(server map[string]string, opts ...driver.Option) (driver.Driver, error) {
	base := []driver.Option{driver.WithInsecureAuth()}
	if server["user"] != "" {
		base = append(base, driver.WithLogin(server["user"], server["password"]))
	}
	if server["plain"] != "" {
		base = append(base, WithPlain())
	}
	switch server["mode"] {
	case "move":
		base = append(base, WithMoveTo(server["to"]))
	case "leave":
		base = append(base, driver.WithLeaveOnServer(true))
	case "read":
		base = append(base, WithMarkRead())
	}
	return New(server["url"], append(base, opts...)...)
}

func newServer(t testing.TB, opts ...webdavtest.Option) *webdavtest.Server {
	t.Helper()
	srv := webdavtest.NewServer(opts...)
	t.Cleanup(srv.Close)
	return srv
}

// newDriver makes a driver for the fake's one account.
func newDriver(t testing.TB, addr string, opts ...driver.Option) *Driver {
	t.Helper()
	sp, err := spool.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = sp.Close() })
	base := []driver.Option{
		driver.WithSpool(sp), driver.WithTimeout(5 * time.Second), driver.WithRetry(0, 0), driver.WithDeleteProcessed(true),
		driver.WithLogin(webdavtest.User, webdavtest.Password), driver.WithInsecureAuth(),
	}
	d, err := New(addr, append(base, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// take is a handler that takes every mail and tells its subject.
func take(subjects *[]string) driver.Handler {
	return driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		*subjects = append(*subjects, ev.Subject)
		return ev.DeleteTempFiles()
	})
}

// pollAll polls until nothing is left to do.
func pollAll(t testing.TB, d driver.Driver, opts ...driver.Option) (subjects []string) {
	t.Helper()
	for {
		res, err := d.Poll(t.Context(), take(&subjects), opts...)
		require.NoError(t, err)
		require.Empty(t, res.Failures)
		if !res.More {
			return subjects
		}
	}
}

// letter makes a small message.
func letter(subject string) []byte {
	return []byte("From: bob@example.com\r\nTo: ann@example.com\r\nSubject: " + subject + "\r\n\r\nhello\r\n")
}
