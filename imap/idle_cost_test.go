package imap

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
	"github.com/maildriver/maildriver/spool"
)

// fakeEnv makes this test binary a server, so that the cost of a client can be
// told from that of its server.
const fakeEnv = "MAILDRIVER_IMAP_FAKE"

// fakeMain serves until its standard input ends.
func fakeMain() {
	srv := imaptest.NewScripted(imaptest.Greeting, append([]imaptest.Reply{
		{To: "STARTTLS", Text: "$ OK go\r\n", Then: imaptest.StartTLS},
		{To: "IDLE", Text: "+ idling\r\n", Then: imaptest.UntilDone},
	}, append(imaptest.Capabilities("IMAP4rev1 IDLE STARTTLS UIDPLUS"), imaptest.Basic(7)...)...)...)
	fmt.Println(srv.Addr)
	_, _ = io.Copy(io.Discard, os.Stdin)
	srv.Close()
}

func startFake(t *testing.T) (addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), fakeEnv+"=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait(); cancel() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

// A quietNet tells when the connections made through it have become silent.
type quietNet struct{ conns, heard atomic.Int64 }

func (q *quietNet) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		q.conns.Add(1)
		c = &quietConn{c, q}
	}
	return c, err
}

type quietConn struct {
	net.Conn
	q *quietNet
}

func (c *quietConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.q.heard.Add(int64(n))
	return n, err
}

// TestThousandIdleMailboxes: one process waits for a thousand mailboxes at
// once.
func TestThousandIdleMailboxes(t *testing.T) {
	if testing.Short() || underRace {
		t.Skip("1,000 connections")
	}
	addr := startFake(t)
	for _, c := range []struct {
		name  string
		n     int
		limit float64 // bytes each
		opts  []driver.Option
	}{
		{"in clear", 1000, 25 << 10, nil},
		{"TLS", 200, 45 << 10, []driver.Option{driver.WithInsecureSkipVerify(), driver.WithSecurity(driver.SecurityExplicit)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sp, err := spool.New(t.TempDir())
			require.NoError(t, err)
			defer func() { _ = sp.Close() }()
			q := &quietNet{}
			drivers := make([]*Driver, c.n)
			for i := range drivers {
				d, err := New(addr, append([]driver.Option{
					driver.WithSpool(sp), driver.WithLogin(fmt.Sprintf("user%d", i), "x"), driver.WithInsecureAuth(), driver.WithDialer(q.dial),
				}, c.opts...)...)
				require.NoError(t, err)
				d.mem.saw(inbox, 7, 1) // as after a poll
				drivers[i] = d
			}
			memory := func() (heap, stacks float64) {
				runtime.GC()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return float64(m.HeapInuse), float64(m.StackInuse)
			}
			heapBefore, stacksBefore := memory()
			others := runtime.NumGoroutine()
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for _, d := range drivers {
				wg.Go(func() { assert.ErrorIs(t, d.Wait(ctx), context.Canceled) })
			}
			quiet := func() bool {
				if q.conns.Load() < int64(c.n) {
					return false
				}
				heard := q.heard.Load()
				timer := time.NewTimer(300 * time.Millisecond)
				<-timer.C
				return heard == q.heard.Load()
			}
			require.Eventually(t, quiet, 20*time.Second, 10*time.Millisecond)
			heap, stacks := memory()
			heap, stacks = (heap-heapBefore)/float64(c.n), (stacks-stacksBefore)/float64(c.n)
			goroutines := float64(runtime.NumGoroutine()-others)/float64(c.n) - 1
			t.Logf("%d idle mailboxes: %.1f KB each, and %.1f KB of the stack that called Wait; %.2f goroutines besides that", c.n, heap/1024, stacks/1024, goroutines)
			assert.Less(t, heap+stacks, c.limit)
			assert.Less(t, goroutines, 0.1)
			cancel()
			wg.Wait()
			for _, d := range drivers {
				require.NoError(t, d.Close())
			}
		})
	}
}
