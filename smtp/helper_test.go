package smtp

import (
	"bufio"
	"context"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

const plainText = "From: a@example.com\r\nTo: b@example.com\r\nSubject: hello\r\nMessage-ID: <m1@example.com>\r\n\r\nfirst\r\n.second\r\n..\r\n"

// message makes a message of body for the given recipients.
func message(body string, to ...string) *driver.Message {
	if len(to) == 0 {
		to = []string{"b@example.com"}
	}
	m := &driver.Message{
		From:      "a@example.com",
		Open:      func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil },
		MessageID: "m1@example.com",
	}
	for _, a := range to {
		m.To = append(m.To, driver.Recipient{Address: a})
	}
	return m
}

// start makes a fake server and a driver for it.
func start(t *testing.T, fake []smtptest.Option, opts ...driver.Option) (*smtptest.Server, *Driver) {
	t.Helper()
	srv := smtptest.NewServer(fake...)
	t.Cleanup(srv.Close)
	return srv, connect(t, srv, opts...)
}

func connect(t *testing.T, srv *smtptest.Server, opts ...driver.Option) *Driver {
	t.Helper()
	base := []driver.Option{
		driver.WithRootCAs(srv.RootCAs()), driver.WithTimeout(5 * time.Second), WithDataTimeout(5 * time.Second),
		WithIdleTime(0), // a connection for each message, unless a test says otherwise
	}
	d, err := New(srv.Addr(), append(base, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	return d
}

func explicit() driver.Option { return driver.WithSecurity(driver.SecurityExplicit) }

func send(t *testing.T, d *Driver, m *driver.Message, opts ...driver.Option) (driver.Receipt, error) {
	t.Helper()
	return sendWithin(t, 30*time.Second, d, m, opts...)
}

func sendWithin(t *testing.T, limit time.Duration, d *Driver, m *driver.Message, opts ...driver.Option) (driver.Receipt, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	rec, err := d.Send(ctx, m, opts...)
	require.Equal(t, rec.Delivery, driver.DeliveryOf(err), "receipt and error must agree: %v", err)
	require.Len(t, rec.Recipients, len(m.To), "the receipt has every recipient")
	return rec, err
}

func itoa(n int) string { return strconv.Itoa(n) }

// silentTLS is a server that agrees to STARTTLS and then says nothing.
func silentTLS(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		r := bufio.NewReader(nc)
		_, _ = io.WriteString(nc, "220 hello\r\n")
		_, _ = r.ReadString('\n')
		_, _ = io.WriteString(nc, "250-mx\r\n250 STARTTLS\r\n")
		_, _ = r.ReadString('\n')
		_, _ = io.WriteString(nc, "220 go ahead\r\n")
		_, _ = io.Copy(io.Discard, r)
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}
