package netx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// ErrSilence says that Await ended because nothing came in time.
var ErrSilence = errors.New("the peer said nothing")

// awaitBuffer is what an idle connection reads into.
const awaitBuffer = 256

// Await waits until the peer says something, until the end of ctx or until the
// deadline, and meanwhile keeps no buffers: thousands of connections can idle.
// It returns nil when there is something to read. The end of ctx, whose error
// it then returns, and the deadline, [ErrSilence], do not harm the connection.
// Every other error is its death.
func (c *Conn) Await(ctx context.Context, deadline time.Time) error {
	if err := c.Err(); err != nil {
		return err
	}
	if c.r.Buffered() > 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(c.w) > 0 {
		return c.Fail("wait", driver.KindProtocol, errors.New("a command was not sent"))
	}
	c.r, c.w, c.line = nil, nil, nil
	var head []byte
	// The buffers come back whatever happens: the caller may go on.
	defer func() {
		c.r = bufio.NewReaderSize(readerFunc(func(p []byte) (int, error) {
			if len(head) == 0 {
				return c.fill(p)
			}
			n := copy(p, head)
			head = head[n:]
			return n, nil
		}), readBuffer)
		c.w = make([]byte, 0, writeBlock)
		if len(head) > 0 {
			_, _ = c.r.Peek(1) // so that Buffered tells the truth
		}
	}()
	c.mu.Lock()
	nc := c.nc
	c.mu.Unlock()
	if err := c.arm(nc.SetReadDeadline, deadline); err != nil {
		return c.fail("wait", err)
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.dead == nil {
			_ = nc.SetReadDeadline(time.Unix(1, 0))
		}
	})
	buf := make([]byte, awaitBuffer)
	n, err := nc.Read(buf)
	if !stop() {
		<-done
	}
	head = buf[:n]
	switch {
	case n > 0:
		return nil // an error comes again with the next read
	case err == nil:
		err = io.ErrNoProgress
	case isTimeout(err) && c.Err() == nil && ctx.Err() != nil:
		return ctx.Err()
	case isTimeout(err) && c.Err() == nil:
		return fmt.Errorf("%w until %s", ErrSilence, deadline.Format(time.TimeOnly))
	}
	return c.fail("wait", err)
}
