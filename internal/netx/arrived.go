package netx

import (
	"net"
	"syscall"
	"time"
)

// pollWait is how long a transport that cannot be asked is waited for.
const pollWait = time.Millisecond

// Arrived takes in what the peer has sent so far and reports whether there is
// something to read. It does not wait for more, and harms nothing if nothing
// came; part of a TLS record, or one without data, is nothing yet. The end of
// the connection is an error, as it is to every read. It belongs to the reading
// goroutine.
//
// A transport that is no socket of the system, from a dialer of the host's own,
// is read for a millisecond instead. So is every one on Windows.
func (c *Conn) Arrived() (bool, error) {
	if err := c.Err(); err != nil {
		return false, err
	}
	if c.r.Buffered() > 0 {
		return true, nil
	}
	c.wire.poll = true
	_, err := c.r.Peek(1)
	c.wire.poll = false
	switch {
	case err == nil:
		return true, nil
	case isTimeout(err) && c.Err() == nil:
		return false, nil
	}
	return false, c.fail("read", err)
}

// A wire is what was dialed, with a Read that need not wait.
type wire struct {
	net.Conn
	socket syscall.RawConn // nil if it cannot be asked
	poll   bool            // Read takes what is there; it belongs to the reader
}

func newWire(nc net.Conn) *wire {
	w := &wire{Conn: nc}
	// Other types may have a socket inside and do something to its bytes.
	switch s := nc.(type) {
	case *net.TCPConn:
		w.socket = rawConn(s)
	case *net.UnixConn:
		w.socket = rawConn(s)
	}
	return w
}

func rawConn(s syscall.Conn) syscall.RawConn {
	if !canPoll {
		return nil
	}
	rc, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	return rc
}

// Read says that the time is up where it would have to wait.
func (w *wire) Read(p []byte) (int, error) {
	if w.poll && w.socket != nil {
		return readNow(w.socket, p)
	}
	return w.Conn.Read(p)
}

// pollDeadline is the deadline of a read that need not wait. A socket's must
// not be over, as then nothing would be read at all.
func (w *wire) pollDeadline() time.Time {
	if w.socket != nil {
		return time.Now().Add(time.Hour)
	}
	return time.Now().Add(pollWait)
}
