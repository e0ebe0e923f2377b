package netx

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair gives a Conn and its peer. Pipes have no buffer: a write ends when the
// peer has read it.
func pair(t *testing.T, opts ...driver.Option) (*Conn, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	n := driver.NewNetwork()
	n.Dial = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
	require.NoError(t, driver.Apply(opts, &n))
	c, err := Dial(t.Context(), &n, "TEST", "mail.example.com:25", nil)
	require.NoError(t, err)
	c.EndSetup()
	t.Cleanup(func() { _ = theirs.Close(); _ = c.Close() })
	return c, theirs
}

func say(t *testing.T, peer net.Conn, text string) {
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.WriteString(peer, text) }()
	t.Cleanup(func() { _ = peer.Close(); <-done })
}

func TestReadLine(t *testing.T) {
	c, peer := pair(t)
	long := strings.Repeat("x", 3*readBuffer)
	say(t, peer, "one\r\ntwo\n\r\n\rthree\r\r\n"+long+"\r\n"+strings.Repeat("y", 101)+"\r\n")
	for _, want := range []string{"one", "two", "", "\rthree\r", long} {
		line, err := c.ReadLine(max(100, len(want)))
		require.NoError(t, err)
		assert.Equal(t, want, string(line))
	}
	_, err := c.ReadLine(100)
	require.ErrorIs(t, err, driver.ErrLimit)
	assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
	require.EqualError(t, err, "TEST mail.example.com:25 read: line longer than 100 bytes: limit exceeded")
	_, again := c.ReadLine(1000)
	assert.Equal(t, err, again, "dead")
	_, again = c.Write([]byte("x"))
	assert.Equal(t, err, again)
	assert.Equal(t, err, c.StartTLS(t.Context()))
}

func TestEndlessLineIsNotBuffered(t *testing.T) {
	c, peer := pair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		block := []byte(strings.Repeat("x", 64<<10))
		for {
			if _, err := peer.Write(block); err != nil {
				return
			}
		}
	}()
	_, err := c.ReadLine(1 << 20)
	require.ErrorIs(t, err, driver.ErrLimit)
	assert.Less(t, cap(c.line), 4<<20)
	_ = c.Close()
	<-done
}

func TestEOF(t *testing.T) {
	c, peer := pair(t)
	say(t, peer, "half a li")
	require.Eventually(t, func() bool { _, err := c.Peek(); return err == nil }, time.Second, time.Millisecond)
	_ = peer.Close()
	_, err := c.ReadLine(100)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
}

func TestReadCap(t *testing.T) {
	c, peer := pair(t)
	say(t, peer, strings.Repeat("x\r\n", 100))
	c.LimitRead(30)
	var err error
	n := 0
	for ; err == nil; n++ {
		_, err = c.ReadLine(10)
	}
	assert.Equal(t, 11, n)
	require.ErrorIs(t, err, driver.ErrLimit)
}

func TestTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := pair(t, driver.WithTimeout(10*time.Second))
		begin := time.Now()
		_, err := c.ReadLine(100)
		assert.Equal(t, 10*time.Second, time.Since(begin))
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
		require.EqualError(t, err, "TEST mail.example.com:25 read: no answer within 10s")
		var ne net.Error
		require.ErrorAs(t, err, &ne)
		assert.True(t, ne.Timeout())
		_ = c.Close()
	})
	synctest.Test(t, func(t *testing.T) { // a peer that takes nothing
		c, _ := pair(t, driver.WithTimeout(10*time.Second))
		begin := time.Now()
		_, err := c.Write(make([]byte, 10*writeBlock))
		assert.Equal(t, 10*time.Second, time.Since(begin))
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
		assert.Zero(t, c.Taken())
		_ = c.Close()
	})
}

// dripTo writes a byte each interval until the conn is closed.
func dripTo(peer net.Conn, b byte, interval time.Duration) chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			time.Sleep(interval) // the bubble's clock
			if _, err := peer.Write([]byte{b}); err != nil {
				return
			}
		}
	}()
	return done
}

func TestF06DripIsNoProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a line: one time-out for the whole
		c, peer := pair(t, driver.WithTimeout(10*time.Second))
		done := dripTo(peer, 'x', 3*time.Second)
		begin := time.Now()
		_, err := c.ReadLine(1000)
		require.Error(t, err)
		assert.Equal(t, 10*time.Second, time.Since(begin))
		_ = c.Close()
		<-done
	})
	synctest.Test(t, func(t *testing.T) { // a body: 1 KiB in each time-out
		c, peer := pair(t, driver.WithTimeout(10*time.Second))
		done := dripTo(peer, 'x', 3*time.Second)
		begin := time.Now()
		_, err := io.Copy(io.Discard, readOnly{c})
		require.Error(t, err)
		assert.Equal(t, 10*time.Second, time.Since(begin))
		_ = c.Close()
		<-done
	})
	synctest.Test(t, func(t *testing.T) { // slow, and fast enough
		c, peer := pair(t, driver.WithTimeout(10*time.Second))
		done := dripTo(peer, 'x', 9*time.Millisecond)
		n, err := io.CopyN(io.Discard, readOnly{c}, 20_000)
		require.NoError(t, err)
		assert.Equal(t, int64(20_000), n)
		_ = c.Close()
		<-done
	})
}

type readOnly struct{ io.Reader }

func TestSetupBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // F02: the greeting comes out of the same budget
		ours, theirs := net.Pipe()
		defer theirs.Close()
		n := driver.NewNetwork()
		n.Timeout = 10 * time.Second
		n.Dial = func(context.Context, string, string) (net.Conn, error) {
			time.Sleep(7 * time.Second) // the bubble's clock
			return ours, nil
		}
		begin := time.Now()
		c, err := Dial(t.Context(), &n, "TEST", "mail.example.com:25", nil)
		require.NoError(t, err)
		defer c.Close()
		assert.Equal(t, begin.Add(10*time.Second), c.SetupDeadline())
		_, err = c.ReadLine(100)
		require.Error(t, err)
		assert.Equal(t, 10*time.Second, time.Since(begin))
	})
	synctest.Test(t, func(t *testing.T) {
		n := driver.NewNetwork()
		n.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		begin := time.Now()
		_, err := Dial(t.Context(), &n, "TEST", "mail.example.com:25", nil)
		assert.Equal(t, driver.DefaultTimeout, time.Since(begin))
		require.EqualError(t, err, "TEST mail.example.com:25 dial: no answer within 1m0s")
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	})
}

func TestDialErrors(t *testing.T) {
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	n := driver.NewNetwork()
	_, err := Dial(ctx, &n, "TEST", "192.0.2.1:25", nil)
	require.ErrorIs(t, err, why)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))

	ctx, cancel = context.WithCancelCause(t.Context())
	cancel(driver.ErrClosed)
	_, err = Dial(ctx, &n, "TEST", "192.0.2.1:25", nil)
	assert.Equal(t, driver.KindClosed, driver.KindOf(err))

	_, err = Dial(t.Context(), &n, "TEST", "no port", nil)
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))

	proxy := &driver.Error{Op: "proxy", Kind: driver.KindPolicy, Err: errors.New("no")}
	n.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, proxy }
	_, err = Dial(t.Context(), &n, "TEST", "mail.example.com:25", nil)
	require.ErrorIs(t, err, proxy)
	assert.Equal(t, driver.KindPolicy, driver.KindOf(err), "a dialer's own verdict stands")
}

func TestWatch(t *testing.T) {
	why := errors.New("enough")
	for _, op := range []string{"read", "write"} {
		c, _ := pair(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		stop := c.Watch(ctx)
		done := make(chan error, 1)
		go func() {
			var err error
			if op == "read" {
				_, err = c.ReadLine(100)
			} else {
				_, err = c.Write(make([]byte, 2*writeBlock))
			}
			done <- err
		}()
		cancel(why)
		err := <-done
		require.ErrorIs(t, err, why, op)
		stop()
		assert.Equal(t, err, c.Err())
		_, err = c.Write([]byte("x"))
		require.ErrorIs(t, err, why, "nothing is sent afterwards")
	}
	// A watch that ended does no harm.
	c, peer := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	c.Watch(ctx)()
	cancel()
	say(t, peer, "alive\r\n")
	line, err := c.ReadLine(100)
	require.NoError(t, err)
	assert.Equal(t, "alive", string(line))
}

func TestCloseEndsCalls(t *testing.T) {
	c, _ := pair(t)
	done := make(chan error, 1)
	go func() { _, err := c.ReadLine(100); done <- err }()
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.Error(t, <-done)
	_, err := c.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestWriteCounts(t *testing.T) {
	c, peer := pair(t)
	got := make(chan int64, 1)
	go func() { n, _ := io.Copy(io.Discard, io.LimitReader(peer, 50_000)); _ = peer.Close(); got <- n }()
	_, err := c.Write(make([]byte, 10))
	require.NoError(t, err)
	assert.Equal(t, int64(10), c.Queued())
	assert.Zero(t, c.Taken(), "small writes wait for Flush")
	require.NoError(t, c.Flush())
	assert.Equal(t, int64(10), c.Taken())
	_, err = c.Write(make([]byte, 100_000))
	if err == nil {
		err = c.Flush()
	}
	require.Error(t, err)
	assert.Equal(t, int64(50_000), <-got)
	assert.Equal(t, int64(50_000), c.Taken(), "exactly what the network took")
}

func TestStartTLSRefusesLeftovers(t *testing.T) {
	c, peer := pair(t)
	say(t, peer, "220 go\r\n250 injected\r\n")
	_, err := c.ReadLine(100)
	require.NoError(t, err)
	assert.Equal(t, 14, c.Buffered())
	err = c.StartTLS(t.Context())
	require.ErrorIs(t, err, ErrInjected)
	assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
	_, again := c.ReadLine(100)
	assert.Equal(t, err, again, "the injected line is never parsed")

	c, _ = pair(t)
	_, err = c.Write([]byte("pending"))
	require.NoError(t, err)
	require.ErrorContains(t, c.StartTLS(t.Context()), "unsent bytes")
}

func TestStartTLSFailures(t *testing.T) {
	c, peer := pair(t)
	say(t, peer, "220 go\r\n")
	_, err := c.ReadLine(100)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = peer.Read(make([]byte, 1))
		go func() { _, _ = io.Copy(io.Discard, peer) }()
		_, _ = io.WriteString(peer, "500 what is this\r\n")
	}()
	err = c.StartTLS(t.Context())
	require.ErrorContains(t, err, "does not answer with TLS")
	assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
	var re tls.RecordHeaderError
	require.ErrorAs(t, err, &re)
	<-done

	c, _ = pair(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := c.Watch(ctx)
	cancel(driver.ErrClosed)
	err = c.StartTLS(ctx)
	require.ErrorIs(t, err, driver.ErrClosed)
	assert.Equal(t, driver.KindClosed, driver.KindOf(err))
	stop()
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                  `"plain"`,
		"a\r\nb\x00\x1b[31m":     `"a\r\nb\x00\x1b[31m"`,
		"\u202egpj.exe\u200b":    `"\u202egpj.exe\u200b"`,
		"bad \xff":               `"bad \xff"`,
		"größe":                  `"größe"`,
		strings.Repeat("ü", 200): `"` + strings.Repeat("ü", 128) + `"...`,
	} {
		assert.Equal(t, want, Quote(in))
	}
	assert.LessOrEqual(t, len(Quote(strings.Repeat("\x00", 1<<20))), 4*MaxQuoted+10)
	assert.Equal(t, `"`+strings.Repeat("x", 255)+`"...`, Quote(strings.Repeat("x", 255)+strings.Repeat("ü", 5)))
}
