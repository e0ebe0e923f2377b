package netx

import (
	"bufio"
	"errors"
	"fmt"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// A wait is the budget of the reader of a body: each window of one time-out
// that is spent waiting must bring minProgress bytes.
type wait struct {
	spent time.Duration
	got   int
}

// fill is the only place that reads from the network.
func (c *Conn) fill(p []byte) (int, error) {
	if c.readCap == 0 {
		return 0, c.wrap("read", driver.KindProtocol, fmt.Errorf("session too long: %w", driver.ErrLimit))
	}
	if c.readCap > 0 && int64(len(p)) > c.readCap {
		p = p[:c.readCap]
	}
	start := time.Now()
	deadline := c.byLine
	if !c.inLine {
		deadline = start.Add(c.timeout - c.stream.spent)
	}
	c.mu.Lock()
	nc := c.nc
	c.mu.Unlock()
	if nc == c.raw {
		nc = c.wire
	}
	if c.wire.poll {
		deadline = c.wire.pollDeadline()
	}
	if err := c.arm(nc.SetReadDeadline, deadline); err != nil {
		return 0, err
	}
	n, err := nc.Read(p)
	if c.readCap > 0 {
		c.readCap -= int64(n)
	}
	if !c.inLine && !c.wire.poll {
		c.stream.spent += time.Since(start)
		if c.stream.got += n; c.stream.got >= minProgress {
			c.stream = wait{}
		}
	}
	return n, err
}

// Buffered is how many bytes have arrived that nobody has read.
func (c *Conn) Buffered() int { return c.r.Buffered() }

// Read reads a body. The peer must make progress: 1 KiB within each time-out,
// or the end. Waits that are over count on until StartBody.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.trace.Content('S', n)
	if err != nil {
		err = c.fail("read", err)
	}
	return n, err
}

// Peek returns the next bytes, at least one and all that are buffered, without
// taking them; Discard takes them. They are valid until the next read.
func (c *Conn) Peek() ([]byte, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	if _, err := c.r.Peek(1); err != nil {
		return nil, c.fail("read", err)
	}
	return c.r.Peek(c.r.Buffered())
}

// Discard takes n bytes that Peek returned.
func (c *Conn) Discard(n int) {
	_, _ = c.r.Discard(n)
	c.trace.Content('S', n)
}

// StartBody begins the progress count of Read anew.
func (c *Conn) StartBody() { c.stream = wait{} }

// ReadLine reads a line of at most max bytes, which must be complete within
// one time-out. The line comes without its line end, CRLF or a bare LF, and is
// valid until the next read. A longer line is [driver.ErrLimit], of kind
// protocol.
func (c *Conn) ReadLine(max int) ([]byte, error) {
	return c.ReadLineBy(time.Now().Add(c.timeout), max)
}

// ReadLineBy is ReadLine with a deadline for the caller to choose, e.g. one
// for all lines of a reply.
func (c *Conn) ReadLineBy(deadline time.Time, max int) ([]byte, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	start := time.Now()
	c.byLine, c.inLine = deadline, true
	defer func() { c.inLine = false }()
	c.line = c.line[:0]
	for {
		part, err := c.r.ReadSlice('\n')
		if len(c.line)+len(part) > max+2 {
			return nil, c.tooLong(max)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			c.line = append(c.line, part...)
			continue
		}
		if isTimeout(err) {
			err = c.wrap("read", driver.KindTemporary, &timeoutError{time.Since(start)})
		}
		if err != nil {
			return nil, c.fail("read", err)
		}
		line := part
		if len(c.line) > 0 {
			c.line = append(c.line, part...)
			line = c.line
		}
		line = line[:len(line)-1]
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if len(line) > max {
			return nil, c.tooLong(max)
		}
		c.trace.Line('S', line)
		return line, nil
	}
}

func (c *Conn) tooLong(max int) error {
	return c.fail("read", c.wrap("read", driver.KindProtocol, fmt.Errorf("line longer than %d bytes: %w", max, driver.ErrLimit)))
}
