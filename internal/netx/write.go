package netx

import (
	"time"

	"github.com/maildriver/maildriver/driver"
)

// Command is Write for commands, which a trace shows.
func (c *Conn) Command(p []byte) (int, error) {
	n, err := c.write(p)
	c.trace.commands(p[:n])
	return n, err
}

// Write queues p and sends full blocks. Each block must be taken within the
// time-out, which is the progress a peer owes us. An error is final. A trace
// shows the length alone; Command is for what may be seen.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.write(p)
	c.trace.Content('C', n)
	return n, err
}

func (c *Conn) write(p []byte) (int, error) {
	if err := c.Err(); err != nil {
		return 0, err
	}
	total := len(p)
	for len(p) > 0 {
		if len(c.w) == 0 && len(p) >= writeBlock {
			c.queued += writeBlock
			if err := c.send(p[:writeBlock]); err != nil {
				return total - len(p), err
			}
			p = p[writeBlock:]
			continue
		}
		n := copy(c.w[len(c.w):cap(c.w)], p)
		c.w = c.w[:len(c.w)+n]
		c.queued += int64(n)
		p = p[n:]
		if len(c.w) == cap(c.w) {
			if err := c.Flush(); err != nil {
				return total - len(p), err
			}
		}
	}
	return total, nil
}

// Flush sends what is queued.
func (c *Conn) Flush() error {
	if err := c.Err(); err != nil {
		return err
	}
	if len(c.w) == 0 {
		return nil
	}
	b := c.w
	c.w = c.w[:0]
	return c.send(b)
}

// SetWriteTimeout sets the time in which the peer must take each block, in
// place of the connection's time-out; 0 brings that back. It belongs to the
// writing goroutine.
func (c *Conn) SetWriteTimeout(d time.Duration) { c.writeFor = d }

// Queued counts the bytes ever given to Write, which is the offset of the
// next one.
func (c *Conn) Queued() int64 { return c.queued }

// Taken counts the bytes that the network took from us. Those before it may
// have reached the peer, those after it cannot: this is how a send knows
// whether the end of a message went out.
func (c *Conn) Taken() int64 { return c.taken }

func (c *Conn) send(b []byte) error {
	c.mu.Lock()
	nc := c.nc
	c.mu.Unlock()
	limit := c.writeFor
	if limit <= 0 {
		limit = c.timeout
	}
	if err := c.arm(nc.SetWriteDeadline, time.Now().Add(limit)); err != nil {
		return c.fail("write", err)
	}
	n, err := nc.Write(b)
	c.taken += int64(n)
	if isTimeout(err) {
		err = c.wrap("write", driver.KindTemporary, &timeoutError{limit})
	}
	if err != nil {
		return c.fail("write", err)
	}
	return nil
}
