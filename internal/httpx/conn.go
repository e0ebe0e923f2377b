package httpx

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// minProgress is what must arrive within each silence limit, unless the answer
// ends before: a peer that drips is as gone as a mute one.
const minProgress = 1 << 10

// A conn is a connection with a limit on silence instead of deadlines: the
// peer must take each block that is written, and must say something after it,
// in that time. The time that the reader of a body takes for itself does not
// count.
type conn struct {
	net.Conn
	id  uint64
	tls *tls.ConnectionState // nil without
	c   *Client

	late bool // a client certificate may be asked for late
	warm bool // and was, or will not be

	mu      sync.Mutex
	silence time.Duration
	spent   time.Duration // waited in the current window
	got     int           // arrived in it
	gen     uint64        // counts writes
	reading bool
	closed  bool
}

// dial connects to the origin. The request under way is what it is for: net/http
// would let the dial outlive it.
func (c *Client) dial(l *lane) (net.Conn, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, c.wrap("dial", driver.KindClosed, driver.ErrClosed)
	}
	c.dials.Add(1)
	defer c.dials.Done()
	ctx := l.ctx
	c.mu.Unlock()
	n := c.net
	n.Security = driver.SecurityNone
	if c.origin.Scheme == "https" {
		n.Security = driver.SecurityImplicit
	}
	nc, cs, late, err := c.connect(ctx, &n)
	if err != nil {
		return nil, err
	}
	cn := &conn{Conn: nc, tls: cs, late: late, c: c, silence: c.net.Timeout}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		_ = nc.Close()
		return nil, c.wrap("dial", driver.KindClosed, driver.ErrClosed)
	}
	if err := context.Cause(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	c.dialed++
	cn.id = c.dialed
	c.conns[cn] = struct{}{}
	l.conn = cn
	return cn, nil
}

// set begins a request: its silence limit counts from now.
func (c *conn) set(silence time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silence = silence
	c.restart()
}

// restart gives the peer the whole limit anew. The caller holds mu.
func (c *conn) restart() {
	c.spent, c.got = 0, 0
	c.gen++
	if c.reading {
		_ = c.Conn.SetReadDeadline(time.Now().Add(c.silence))
	}
}

func (c *conn) Read(p []byte) (int, error) {
	for {
		c.mu.Lock()
		start, gen, limit := time.Now(), c.gen, c.silence
		err := c.Conn.SetReadDeadline(start.Add(limit - c.spent))
		c.reading = true
		c.mu.Unlock()
		if err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(p)
		c.mu.Lock()
		c.reading = false
		again := false
		if c.gen == gen {
			c.spent += time.Since(start)
		} else {
			again = true // something was sent meanwhile: its own wait has begun
		}
		if c.got += n; c.got >= minProgress {
			c.spent, c.got = 0, 0
		}
		c.mu.Unlock()
		if n == 0 && isTimeout(err) {
			if again {
				continue
			}
			return 0, &silenceError{limit}
		}
		return n, err
	}
}

// writeBlock is what the peer must take within the silence limit.
const writeBlock = 32 << 10

func (c *conn) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		c.mu.Lock()
		limit := c.silence
		err := c.Conn.SetWriteDeadline(time.Now().Add(limit))
		c.restart()
		c.mu.Unlock()
		if err != nil {
			return total, err
		}
		n, err := c.Conn.Write(p[:min(len(p), writeBlock)])
		total += n
		if err != nil {
			if isTimeout(err) {
				err = &silenceError{limit}
			}
			return total, err
		}
		p = p[n:]
	}
	c.mu.Lock()
	c.restart()
	c.mu.Unlock()
	return total, nil
}

func (c *conn) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	c.c.mu.Lock()
	delete(c.c.conns, c)
	c.c.mu.Unlock()
	return c.Conn.Close()
}

// A silenceError says how long the peer said nothing. It is a net.Error.
type silenceError struct{ after time.Duration }

func (e *silenceError) Error() string { return fmt.Sprintf("no answer within %v", e.after) }

// Timeout completes net.Error.
func (e *silenceError) Timeout() bool { return true }

// Temporary completes net.Error.
func (e *silenceError) Temporary() bool { return true }

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}
