package smtptest

import (
	"errors"
	"io"
	"net"
	"time"
)

var errCut = errors.New("smtptest: cut")

// rawConn logs what comes from the client on the socket.
type rawConn struct {
	net.Conn
	t *transcript
}

func (r rawConn) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.t.add(&r.t.raw, p[:n])
	return n, err
}

// Read reads for the session, inside TLS, up to the cut.
func (c *conn) Read(p []byte) (int, error) {
	if c.stallRead == 0 {
		c.silence()
		return 0, io.EOF
	}
	if c.stallRead > 0 && len(p) > c.stallRead {
		p = p[:c.stallRead]
	}
	if c.cutRead == 0 {
		c.end(drop)
		return 0, errCut
	}
	if c.cutRead > 0 && len(p) > c.cutRead {
		p = p[:c.cutRead]
	}
	n, err := c.nc.Read(p)
	if c.cutRead > 0 {
		c.cutRead -= n
	}
	if c.stallRead > 0 {
		c.stallRead -= n
	}
	c.t.add(&c.t.client, p[:n])
	return n, err
}

// write writes all of s, or what the cut leaves of it. It reports whether the
// session may go on.
func (c *conn) write(s string) bool {
	if c.over {
		return false
	}
	cut := c.cutWrite >= 0 && len(s) >= c.cutWrite
	if cut {
		s = s[:c.cutWrite]
	}
	n, err := io.WriteString(c.nc, s)
	c.t.add(&c.t.server, []byte(s[:n]))
	if c.cutWrite >= 0 {
		c.cutWrite -= n
	}
	if err != nil || cut {
		c.end(drop)
		return false
	}
	return true
}

// end ends the connection in a way.
func (c *conn) end(how ending) {
	switch how {
	case stay:
		return
	case hang:
		c.silence()
	case reset:
		if tcp, ok := c.socket.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	case drop:
	}
	c.over = true
	_ = c.socket.Close()
}

// silence waits until the client goes away or the server is closed, reading
// nothing that the client could take for progress.
func (c *conn) silence() {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if c.stallRead == 0 { // keep the window shut
			<-c.s.done
			return
		}
		_, _ = io.Copy(io.Discard, c.socket)
	}()
	select {
	case <-gone:
	case <-c.s.done:
		_ = c.socket.Close()
		<-gone
	}
}

// drip writes s over and over, a byte each interval.
func (c *conn) drip(s string, interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % len(s) {
		select {
		case <-c.s.done:
			return
		case <-tick.C:
			if !c.write(s[i : i+1]) {
				return
			}
		}
	}
}
