package authtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var securities = []driver.Security{driver.SecurityNone, driver.SecurityExplicit, driver.SecurityImplicit}

// attempt is one login: a session that polls no mail, or sends one.
type attempt struct {
	protocol string // IMAP, POP3 or SMTP
	addr     string
	from, to string // of the mail
	opts     []driver.Option
}

// try logs in, with dir for the spool. local is the port of our end of the
// latest connection.
func (a *attempt) try(ctx context.Context, dir string) (local int, err error) {
	var mu sync.Mutex
	dial := driver.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			mu.Lock()
			local = c.LocalAddr().(*net.TCPAddr).Port
			mu.Unlock()
		}
		return c, err
	})
	opts := append([]driver.Option{dial, driver.WithTimeout(20 * time.Second)}, a.opts...)
	if a.protocol == "SMTP" {
		d, err := smtp.New(a.addr, opts...)
		if err != nil {
			return 0, err
		}
		const mail = "From: a@example.com\r\nTo: b@example.com\r\nSubject: login\r\n\r\nbody\r\n"
		_, serr := d.Send(ctx, &driver.Message{
			From: a.from, To: []driver.Recipient{{Address: a.to}},
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(mail)), nil },
		})
		return local, errors.Join(serr, d.Close())
	}
	sp, err := spool.New(dir)
	if err != nil {
		return 0, err
	}
	opts = append(opts, driver.WithSpool(sp), driver.WithRetry(0, 0), driver.WithLeaveOnServer(true))
	var d driver.Driver
	if a.protocol == "IMAP" {
		d, err = imap.New(a.addr, opts...)
	} else {
		d, err = pop3.New(a.addr, opts...)
	}
	if err != nil {
		return 0, errors.Join(err, sp.Close())
	}
	_, err = d.Poll(ctx, driver.HandlerFunc(func(context.Context, *driver.Event) error { return driver.Stop }))
	return local, errors.Join(err, d.Close(), sp.Close())
}

func tokens(value string) driver.Option {
	return driver.WithTokenSource(func(context.Context) (driver.Token, error) {
		if value == "" {
			return driver.Token{}, errors.New("the authorisation server is shut")
		}
		return driver.Token{Value: driver.NewSecret(value)}, nil
	})
}

func usesToken(mech string) bool { return mech == "OAUTHBEARER" || mech == "XOAUTH2" }

// table collects what the matrix found, and prints it.
type table struct {
	mu   sync.Mutex
	rows map[string]map[string]string
	cols []string
	keys []string
}

func newTable(rows, cols []string) *table {
	return &table{rows: map[string]map[string]string{}, keys: rows, cols: cols}
}

func (m *table) set(row, col, cell string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.rows[row] == nil {
		m.rows[row] = map[string]string{}
	}
	m.rows[row][col] = cell
}

func (m *table) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-19s", "")
	for _, c := range m.cols {
		fmt.Fprintf(&b, "%-10s", c)
	}
	for _, r := range m.keys {
		fmt.Fprintf(&b, "\n%-19s", r)
		for _, c := range m.cols {
			cell := m.rows[r][c]
			if cell == "" {
				cell = "-"
			}
			fmt.Fprintf(&b, "%-10s", cell)
		}
	}
	return b.String()
}
