package netx

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/testcert"
)

// socketPair is a Conn over TCP and its peer.
func socketPair(t *testing.T, opts ...driver.Option) (*Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	n := driver.NewNetwork()
	require.NoError(t, driver.Apply(opts, &n))
	c, err := Dial(t.Context(), &n, "TEST", l.Addr().String(), nil)
	require.NoError(t, err)
	peer, err := l.Accept()
	require.NoError(t, err)
	c.EndSetup()
	t.Cleanup(func() { _ = peer.Close(); _ = c.Close() })
	return c, peer
}

// arrives waits for bytes that are on their way.
func arrives(t *testing.T, c *Conn) {
	t.Helper()
	require.Eventually(t, func() bool {
		came, err := c.Arrived()
		return came || err != nil
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, c.Err())
}

func nothing(t *testing.T, c *Conn) {
	t.Helper()
	came, err := c.Arrived()
	require.NoError(t, err)
	assert.False(t, came)
}

func hears(t *testing.T, c *Conn, want string) {
	t.Helper()
	line, err := c.ReadLine(100)
	require.NoError(t, err)
	assert.Equal(t, want, string(line))
}

func TestArrived(t *testing.T) {
	for name, pair := range map[string]func(*testing.T, ...driver.Option) (*Conn, net.Conn){"socket": socketPair, "pipe": pair} {
		t.Run(name, func(t *testing.T) {
			c, peer := pair(t)
			nothing(t, c)
			done := make(chan struct{})
			go func() { defer close(done); _, _ = io.WriteString(peer, "one\r\ntw") }()
			arrives(t, c)
			came, err := c.Arrived()
			require.NoError(t, err)
			assert.True(t, came, "again, as nobody read it")
			hears(t, c, "one")
			<-done
			done = make(chan struct{})
			go func() { defer close(done); _, _ = io.WriteString(peer, "o\r\n"); _ = peer.Close() }()
			hears(t, c, "two")
			<-done
			require.Eventually(t, func() bool {
				_, err := c.Arrived()
				return err != nil
			}, 10*time.Second, time.Millisecond)
			require.ErrorIs(t, c.Err(), io.ErrUnexpectedEOF)
			_, err = c.Arrived()
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		})
	}
	c, _ := socketPair(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer c.Watch(ctx)()
	cancel(errors.New("enough"))
	require.Eventually(t, func() bool { return c.Err() != nil }, 10*time.Second, time.Millisecond)
	_, err := c.Arrived()
	require.ErrorContains(t, err, "enough")
}

// TestArrivedInTLS looks where the socket does not tell: at records that TLS
// has read with others, and at records that are not complete.
func TestArrivedInTLS(t *testing.T) {
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			cert := testcert.Local()
			c, raw := socketPair(t, driver.WithRootCAs(testcert.RootCAs()))
			held := &holder{Conn: raw}
			srv := tls.Server(held, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version})
			done := make(chan error, 1)
			go func() { done <- srv.Handshake() }()
			require.NoError(t, c.StartTLS(t.Context()))
			require.NoError(t, <-done)
			nothing(t, c) // the tickets of TLS 1.3 are no data

			held.hold = true
			_, err := io.WriteString(srv, "one\r\n")
			require.NoError(t, err)
			_, err = io.WriteString(srv, "two\r\n")
			require.NoError(t, err)
			_, err = raw.Write(held.take(held.Len()))
			require.NoError(t, err)
			hears(t, c, "one")
			came, err := c.Arrived()
			require.NoError(t, err)
			assert.True(t, came, "the second record came with the first")
			hears(t, c, "two")
			nothing(t, c)

			_, err = io.WriteString(srv, "three\r\n")
			require.NoError(t, err)
			_, err = raw.Write(held.take(7))
			require.NoError(t, err)
			nothing(t, c)
			_, err = raw.Write(held.take(held.Len()))
			require.NoError(t, err)
			arrives(t, c)
			hears(t, c, "three")
		})
	}
}

// holder keeps what is written while it holds.
type holder struct {
	net.Conn
	bytes.Buffer
	hold bool
}

func (h *holder) Read(p []byte) (int, error) { return h.Conn.Read(p) }

func (h *holder) Write(p []byte) (int, error) {
	if h.hold {
		return h.Buffer.Write(p)
	}
	return h.Conn.Write(p)
}

func (h *holder) take(n int) []byte { return bytes.Clone(h.Next(n)) }
