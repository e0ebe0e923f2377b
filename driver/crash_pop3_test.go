package driver_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/simdisk"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/pop3/pop3test"
)

// downConn is a connection of a machine that can go down: then nothing is sent any more.
type downConn struct {
	net.Conn
	disk *simdisk.Disk
}

func (c downConn) Write(p []byte) (int, error) {
	if c.disk.Down() {
		_ = c.Close()
		return 0, simdisk.ErrDown
	}
	return c.Conn.Write(p)
}

// popWorld puts a POP3 server and the driver for it between the pipeline and the ledger.
func popWorld(t *testing.T, seed uint64, kinds ...string) (*simWorld, *pop3test.Server) {
	t.Helper()
	w := newSimWorld(seed, kinds...)
	srv := pop3test.NewServer(pop3test.WithPipelining())
	for _, s := range w.order {
		srv.AddMail(pop3test.Mail{UIDL: s, Raw: []byte(w.fates[s].raw)})
	}
	w.via = func() (driver.PollResult, error) {
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			if w.disk.Down() {
				return nil, simdisk.ErrDown
			}
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return downConn{conn, w.disk}, nil
		}
		d, err := pop3.New(srv.Addr, driver.WithSecurity(driver.SecurityNone), driver.WithInsecureAuth(),
			driver.WithLogin(pop3test.User, pop3test.Password), driver.WithSpool(w.spool), driver.WithDialer(dial),
			driver.WithRetry(0, 0), driver.WithMaxAttempts(1000), driver.WithBatchSize(100))
		if err != nil {
			return driver.PollResult{}, err
		}
		res, err := d.Poll(t.Context(), driver.HandlerFunc(w.handle))
		cerr := d.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, r := range srv.Ledger() {
			f := w.fates[r.UIDL]
			if f.removed = r.Removed; f.removed && !w.disk.Down() && w.safe(f) == "" {
				w.violate("%s: removed from the server while nothing else had it", f.subject)
			}
		}
		if err == nil {
			err = cerr
		}
		return res, err
	}
	return w, srv
}

func TestF34PowerCutAtEveryOperationOverPOP3(t *testing.T) {
	kinds := []string{"att", "reject", "plain"}
	w, srv := popWorld(t, 0, kinds...)
	w.converge()
	srv.Close()
	w.report(t, "without a fault")
	changes := w.disk.Changes()
	require.Greater(t, changes, 50)
	step := 2
	if quick() {
		step = 8
	}
	if exhaustive {
		step = 1
	}
	for n := 1; n <= changes; n += step {
		w, srv := popWorld(t, uint64(n), kinds...)
		w.disk.CutPowerAt(n)
		w.converge()
		srv.Close()
		w.report(t, fmt.Sprintf("power cut at change %d of %d", n, changes))
	}
}
