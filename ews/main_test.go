package ews

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews/ewstest"
	"github.com/maildriver/maildriver/internal/killtest"
	"github.com/maildriver/maildriver/spool"
)

func TestMain(m *testing.M) {
	if killtest.IsChild() {
		os.Exit(killtest.ChildMain(childDriver))
	}
	os.Exit(recordAll(m))
}

// recordAll runs the tests with all requests of the run recorded, and holds them
// against the schema at the end (E1).
func recordAll(m *testing.M) int {
	if os.Getenv(ewstest.RecordEnv) == "" {
		dir, err := os.MkdirTemp("", "maildriver-ews-")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := os.Setenv(ewstest.RecordEnv, dir); err != nil {
			panic(err)
		}
	}
	status := -1
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { status = code }))
	if status == 0 {
		if err := validateRequests(os.Getenv(ewstest.RecordEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return status
}

// childDriver makes the driver of a child process that is to be killed.
func childDriver(server map[string]string, opts ...driver.Option) (driver.Driver, error) {
	base := []driver.Option{driver.WithLogin(ewstest.User, ewstest.Password), driver.WithInsecureAuth()}
	switch server["mode"] {
	case "move":
		base = append(base, WithMoveTo("MsgFolderRoot/Done"))
	case "leave":
		base = append(base, driver.WithLeaveOnServer(true))
	case "sync":
		base = append(base, driver.WithLeaveOnServer(true), WithSyncState(server["state"]))
	case "read":
		base = append(base, WithMarkRead())
	}
	if pem := server["ca"]; pem != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(pem))
		base = append(base, driver.WithRootCAs(pool))
	}
	return New(server["addr"], append(base, opts...)...)
}

func newServer(t testing.TB, opts ...ewstest.Option) *ewstest.Server {
	t.Helper()
	srv := ewstest.NewServer(opts...)
	t.Cleanup(srv.Close)
	return srv
}

// newDriver makes a driver for the fake, without TLS, which costs time and is
// tested elsewhere.
func newDriver(t testing.TB, srv *ewstest.Server, opts ...driver.Option) *Driver {
	t.Helper()
	return newDriverAt(t, srv, srv.PlainURL, opts...)
}

func newDriverAt(t testing.TB, srv *ewstest.Server, addr string, opts ...driver.Option) *Driver {
	t.Helper()
	sp, err := spool.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = sp.Close() })
	base := []driver.Option{
		driver.WithSpool(sp), driver.WithTimeout(30 * time.Second), driver.WithRootCAs(srv.RootCAs()),
		driver.WithLogin(ewstest.User, ewstest.Password), driver.WithInsecureAuth(), driver.WithMechanisms("BASIC"),
		driver.WithRetry(0, 0), driver.WithBatchSize(1_000_000),
	}
	d, err := New(addr, append(base, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// mail makes a message with that subject.
func mail(subject string) []byte {
	return []byte("From: ann@example.com\r\nTo: desk@example.com\r\nSubject: " + subject + "\r\n\r\nhello " + subject + "\r\n")
}

func mails(n int) (raw [][]byte, subjects []string) {
	for i := range n {
		subjects = append(subjects, fmt.Sprintf("mail-%05d", i))
		raw = append(raw, mail(subjects[i]))
	}
	return raw, subjects
}

// A taker is a handler that takes every mail and notes its subject.
type taker struct{ subjects []string }

func (h *taker) Handle(_ context.Context, ev *driver.Event) error {
	h.subjects = append(h.subjects, ev.Subject)
	return nil
}

func poll(t testing.TB, d *Driver, h driver.Handler, opts ...driver.Option) driver.PollResult {
	t.Helper()
	res, err := d.Poll(t.Context(), h, opts...)
	require.NoError(t, err)
	return res
}

// operations gives the names of the operations that a server was asked for.
func operations(srv *ewstest.Server) string {
	var list []string
	for _, r := range srv.Requests() {
		list = append(list, r.Operation)
	}
	return strings.Join(list, " ")
}
