package drivertest

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// A wire is the network between the driver and its server. It counts what
// passes in each direction over all connections, and can break at a byte.
type wire struct {
	base driver.DialFunc

	mu       sync.Mutex
	conns    map[*wireConn]struct{}
	read     int64   // bytes to the driver
	wrote    int64   // bytes to the server
	turns    []int64 // read at each write: where an answer begins
	cutRead  int64   // break when this many bytes were read; negative: never
	cutWrite int64
	stall    int64 // say nothing more after this many; negative: never
	broken   bool
	heals    int           // resets so far
	closed   chan struct{} // something was closed; for one waiter
	stalled  chan struct{} // closed when the stall has begun
}

func newWire(base driver.DialFunc) *wire {
	if base == nil {
		base = new(net.Dialer).DialContext
	}
	w := &wire{base: base, conns: map[*wireConn]struct{}{}, closed: make(chan struct{}, 1)}
	w.reset()
	return w
}

// reset heals the wire and counts from 0 again.
func (w *wire) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read, w.wrote, w.turns = 0, 0, nil
	w.cutRead, w.cutWrite, w.stall, w.broken = -1, -1, -1, false
	w.stalled = make(chan struct{})
	w.heals++
}

// set changes the faults.
func (w *wire) set(f func(*wire)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

// counts gives the bytes in both directions.
func (w *wire) counts() (read, wrote int64, turns []int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read, w.wrote, append([]int64(nil), w.turns...)
}

// cut reports whether the wire broke.
func (w *wire) cut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// open counts connections that the driver has not closed. One that net/http
// was still dialing is closed only when that has ended, so it waits a little.
func (w *wire) open() int {
	late := time.NewTimer(5 * time.Second)
	defer late.Stop()
	for {
		w.mu.Lock()
		n := len(w.conns)
		w.mu.Unlock()
		if n == 0 {
			return 0
		}
		select {
		case <-w.closed:
		case <-late.C:
			return n
		}
	}
}

// dial is the driver's dialer.
func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	broken := w.broken
	w.mu.Unlock()
	if broken {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	nc, err := w.base(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &wireConn{Conn: nc, w: w}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = struct{}{}
	return c, nil
}

// snapped breaks every connection, unless the wire was healed since: a read or
// write that meets the cut may come back late.
func (w *wire) snapped(heals int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if heals == w.heals {
		w.cutAll()
	}
}

// snap breaks every connection.
func (w *wire) snap() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cutAll()
}

func (w *wire) cutAll() {
	w.broken = true
	for c := range w.conns {
		_ = c.Conn.Close()
	}
}

type wireConn struct {
	net.Conn
	w *wire
}

func (c *wireConn) Close() error {
	c.w.mu.Lock()
	delete(c.w.conns, c)
	c.w.mu.Unlock()
	select {
	case c.w.closed <- struct{}{}:
	default:
	}
	return c.Conn.Close()
}

// Read breaks at the cut only when the next byte has arrived: the server has
// done what it answers, and the driver does not hear of it.
func (c *wireConn) Read(p []byte) (int, error) {
	for {
		c.w.mu.Lock()
		room, stall := int64(len(p)), false
		if c.w.cutRead >= 0 {
			room = min(room, c.w.cutRead-c.w.read)
		}
		if c.w.stall >= 0 && c.w.stall-c.w.read < room {
			room = c.w.stall - c.w.read
			stall = room <= 0
		}
		broken, heals := c.w.broken, c.w.heals
		c.w.mu.Unlock()
		switch {
		case broken:
			return 0, c.reset("read")
		case stall:
			return 0, c.swallow()
		case room <= 0 && len(p) > 0:
			var next [1]byte
			if _, err := c.Conn.Read(next[:]); err != nil {
				return 0, err
			}
			c.w.snapped(heals)
			continue
		}
		n, err := c.Conn.Read(p[:room])
		c.w.mu.Lock()
		c.w.read += int64(n)
		broken = c.w.broken
		c.w.mu.Unlock()
		if err != nil && broken {
			err = c.reset("read")
		}
		return n, err
	}
}

// swallow reads what comes and keeps it, until the connection ends.
func (c *wireConn) swallow() error {
	c.w.mu.Lock()
	select {
	case <-c.w.stalled:
	default:
		close(c.w.stalled)
	}
	c.w.mu.Unlock()
	var b [4 << 10]byte
	for {
		if _, err := c.Conn.Read(b[:]); err != nil {
			return err
		}
	}
}

func (c *wireConn) Write(p []byte) (int, error) {
	c.w.mu.Lock()
	c.w.turns = append(c.w.turns, c.w.read)
	room := int64(len(p))
	if c.w.cutWrite >= 0 {
		room = min(room, c.w.cutWrite-c.w.wrote)
	}
	if c.w.broken {
		room = -1
	}
	heals := c.w.heals
	c.w.mu.Unlock()
	if room < 0 {
		c.w.snapped(heals) // another connection wrote past the cut meanwhile
		return 0, c.reset("write")
	}
	n, err := c.Conn.Write(p[:room])
	c.w.mu.Lock()
	c.w.wrote += int64(n)
	c.w.mu.Unlock()
	if err == nil && n < len(p) {
		c.w.snapped(heals)
		err = c.reset("write")
	}
	return n, err
}

func (c *wireConn) reset(op string) error {
	return &net.OpError{Op: op, Net: "tcp", Err: syscall.ECONNRESET}
}
