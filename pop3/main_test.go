package pop3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bundle makes one option of several.
func bundle(lists ...[]driver.Option) []driver.Option {
	var all []driver.Option
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// clear is what a test needs to log in without TLS.
func plainLogin() []driver.Option {
	return []driver.Option{driver.WithLogin(pop3test.User, pop3test.Password), driver.WithInsecureAuth()}
}

func newServer(t testing.TB, opts ...pop3test.Option) *pop3test.Server {
	t.Helper()
	srv := pop3test.NewServer(opts...)
	t.Cleanup(srv.Close)
	return srv
}

func newDriver(t testing.TB, addr string, opts ...driver.Option) *Driver {
	t.Helper()
	sp, err := spool.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = sp.Close() })
	d, err := New(addr, bundle([]driver.Option{driver.WithSpool(sp), driver.WithTimeout(5 * time.Second)}, plainLogin(), opts)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// tryOpen logs in with a driver of its own.
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
func listIDs(ctx context.Context, mb driver.Mailbox) (ids []driver.ID, sizes []int64, err error) {
	for e, err := range mb.List(ctx) {
		if err != nil {
			return ids, sizes, err
		}
		ids, sizes = append(ids, e.ID), append(sizes, e.Size)
	}
	return ids, sizes, nil
}

func mustList(t testing.TB, mb driver.Mailbox) []driver.ID {
	t.Helper()
	ids, _, err := listIDs(t.Context(), mb)
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

// crlf writes a mail with the line ends of the wire.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

var errNoDial = errors.New("no network in this test")

func refuse(context.Context, string, string) (net.Conn, error) { return nil, errNoDial }

// announce tells when a connection was made.
func announce(made chan<- struct{}) driver.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		made <- struct{}{}
		return conn, err
	}
}
