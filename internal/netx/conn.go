package netx

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/maildriver/maildriver/driver"
)

const (
	readBuffer = 16 << 10
	// writeBlock is the most that goes into one Write of the connection. The
	// peer has the time-out to take each block, so this is also the least
	// progress while sending: 32 KiB a minute by default.
	writeBlock = 32 << 10
	// minProgress is what must arrive within each time-out while a body is
	// read, unless it ends before: a peer that drips is as gone as a mute one.
	minProgress = 1 << 10
)

// A Conn is one connection to a mail server. One goroutine may read while
// another writes; Close and the cancellation of a watched context may come
// from anywhere. After the first error, and after Close, a Conn is dead: every
// later call gives the same error, and nothing is sent any more.
//
// Every error of a Conn is a [*driver.Error].
type Conn struct {
	name, addr, host string
	timeout          time.Duration
	network          driver.Network
	log              *slog.Logger

	raw   net.Conn // what was dialed, below TLS
	wire  *wire    // raw, as it is read
	trace *Trace   // nil without

	mu     sync.Mutex
	nc     net.Conn  // raw or the TLS over it
	dead   error     // the first error
	limit  time.Time // end of set-up, zero afterwards
	closed bool

	r       *bufio.Reader
	line    []byte // a line longer than the reader's buffer
	stream  wait   // progress of Read
	byLine  time.Time
	inLine  bool
	readCap int64 // bytes that may still be read; negative without a cap

	w        []byte
	queued   int64
	taken    int64
	writeFor time.Duration // limit for one block; 0: timeout
}

// attach puts the reader and writer over nc.
func (c *Conn) attach(nc net.Conn) {
	c.mu.Lock()
	c.nc = nc
	c.mu.Unlock()
	if c.r == nil {
		c.readCap = -1
		c.r = bufio.NewReaderSize(readerFunc(c.fill), readBuffer)
		c.w = make([]byte, 0, writeBlock)
		return
	}
	c.r.Reset(readerFunc(c.fill))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Timeout is the longest wait for the peer.
func (c *Conn) Timeout() time.Duration { return c.timeout }

// Addr is the host:port that was dialed.
func (c *Conn) Addr() string { return c.addr }

// LocalAddr is our end's address, nil if the dialer gave none.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// SetupDeadline is when the set-up must be finished, zero after EndSetup.
func (c *Conn) SetupDeadline() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.limit
}

// EndSetup ends the set-up budget: from here each wait has its own time-out.
func (c *Conn) EndSetup() {
	c.mu.Lock()
	c.limit = time.Time{}
	c.mu.Unlock()
}

// LimitRead caps what may still be read; reading more is [driver.ErrLimit].
// A negative n lifts the cap. It belongs to the reading goroutine.
func (c *Conn) LimitRead(n int64) { c.readCap = n }

// Watch makes the end of ctx the end of the connection: a blocked call returns
// at once with the context's cause. stop ends the watch and, if ctx ended in
// the meantime, returns only when the connection is dead. It may be called
// again. Several watches may be active.
func (c *Conn) Watch(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		c.abort(c.causeError("wait", context.Cause(ctx)))
	})
	return sync.OnceFunc(func() {
		if !cancel() {
			<-done
		}
	})
}

// abort kills the connection: blocked calls return, later ones never start.
func (c *Conn) abort(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead == nil {
		c.dead = err
	}
	if c.raw != nil {
		_ = c.raw.SetDeadline(time.Unix(1, 0))
	}
}

// arm sets a deadline for one read or write. It and abort exclude each other,
// so a deadline never undoes a cancellation.
func (c *Conn) arm(set func(time.Time) error, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead != nil {
		return c.dead
	}
	if !c.limit.IsZero() && c.limit.Before(t) {
		t = c.limit
	}
	// A pipe whose other end is closed refuses deadlines; reading it tells
	// what happened, and does not block.
	if err := set(t); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	return nil
}

// fail makes err, met in op, the death of the connection, unless it is dead
// already: the first error tells what happened.
func (c *Conn) fail(op string, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead != nil {
		return c.dead
	}
	var de *driver.Error
	switch typed, ok := err.(*driver.Error); {
	case ok:
		de = typed
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		de = c.wrap(op, driver.KindTemporary, fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF))
	case isTimeout(err):
		de = c.wrap(op, driver.KindTemporary, &timeoutError{c.timeout})
	case isAlert(err):
		// TLS 1.3 servers refuse a client certificate only after the handshake.
		de = c.wrap(op, driver.KindPolicy, err)
	default:
		de = c.wrap(op, driver.KindTemporary, err)
	}
	c.dead = de
	return de
}

// Err is the error that killed the connection, nil while it lives.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

// TLS gives the state of the TLS layer; ok is false without one.
func (c *Conn) TLS() (s tls.ConnectionState, ok bool) {
	c.mu.Lock()
	nc := c.nc
	c.mu.Unlock()
	if t, isTLS := nc.(*tls.Conn); isTLS {
		return t.ConnectionState(), true
	}
	return s, false
}

// Close closes the connection and ends blocked calls. It is idempotent. A
// living TLS connection says good-bye first, a dead one is just dropped.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	nc, alive := c.nc, c.dead == nil
	why := c.dead
	if alive {
		c.dead = c.wrap("close", driver.KindClosed, net.ErrClosed)
	}
	c.mu.Unlock()
	defer c.trace.end(why)
	if alive && nc != nil {
		return nc.Close() // tls bounds its closing alert by 5 s
	}
	return c.raw.Close()
}

// Fail kills the connection because of what the caller found wrong with the
// peer, and returns the error that it died of.
func (c *Conn) Fail(op string, k driver.Kind, err error) error {
	return c.fail(op, c.wrap(op, k, err))
}
