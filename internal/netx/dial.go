package netx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// Dial connects to addr, host:port, through the proxy if there is one, and with
// [driver.SecurityImplicit] speaks TLS. name is the driver's name in errors,
// "SMTP".
//
// Look-up, proxy, connect and TLS share one budget of n.Timeout. What is left of
// it bounds the waits of the returned Conn until EndSetup, so that the greeting
// comes out of the same budget. log gets a warning whenever a certificate is
// accepted only because n.InsecureSkipVerify says so, and when a trace cannot be
// written.
//
// Errors are [*driver.Error] with Op "dial", "proxy" or "tls".
func Dial(ctx context.Context, n *driver.Network, name, addr string, log *slog.Logger) (*Conn, error) {
	timeout := n.Timeout
	if timeout <= 0 {
		timeout = driver.DefaultTimeout
	}
	limit := time.Now().Add(timeout)
	c := &Conn{name: name, addr: addr, timeout: timeout, limit: limit, network: *n, log: log}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		c.host, err = asciiHost(host)
	}
	if err != nil {
		c.addr = Quote(addr) // it may hold anything
		return nil, c.wrap("dial", driver.KindConfig, err)
	}
	c.trace = OpenTrace(n, name, addr, c.log)
	connect := timeout
	if n.ConnectTimeout > 0 {
		connect = min(connect, n.ConnectTimeout)
	}
	dctx, cancel := context.WithTimeout(ctx, connect)
	defer cancel()
	nc, err := c.open(dctx, n, port)
	if err != nil {
		err = c.setupError(ctx, "dial", connect, err)
		c.trace.end(err)
		return nil, err
	}
	c.attach(nc)
	c.raw, c.wire = nc, newWire(nc)
	c.trace.Note("connected")
	if n.Security == driver.SecurityImplicit {
		if err := c.handshake(ctx, limit); err != nil {
			c.trace.end(err)
			return nil, err
		}
	}
	return c, nil
}

// setupError classifies what ended the set-up. The caller's own context comes
// before our budget, and both before what the network made of them.
func (c *Conn) setupError(ctx context.Context, op string, budget time.Duration, err error) error {
	he, proxied := errors.AsType[*hopError](err)
	if proxied {
		op = "proxy"
	}
	if ctx.Err() != nil {
		return c.causeError(op, context.Cause(ctx))
	}
	if _, ok := errors.AsType[*policyError](err); ok {
		return c.wrap(op, driver.KindPolicy, unhop(err))
	}
	if isTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
		late := error(&timeoutError{budget})
		if proxied {
			named := *he.ProxyError
			named.Err = late
			late = &named
		}
		return c.wrap(op, driver.KindTemporary, late)
	}
	if proxied {
		return c.wrap(op, he.kind, he.ProxyError)
	}
	if de, ok := errors.AsType[*driver.Error](err); ok && de.Kind != driver.KindUnknown {
		return c.wrap(op, de.Kind, err) // a dialer of ours, e.g. a proxy's policy
	}
	return c.wrap(op, driver.KindTemporary, err)
}

// unhop takes our own wrapping off.
func unhop(err error) error {
	if he, ok := errors.AsType[*hopError](err); ok {
		return he.ProxyError
	}
	if pe, ok := errors.AsType[*policyError](err); ok {
		return pe // net.OpError around it names the address once more
	}
	return err
}

func (c *Conn) causeError(op string, cause error) error {
	if errors.Is(cause, driver.ErrClosed) {
		return c.wrap(op, driver.KindClosed, cause)
	}
	return c.wrap(op, driver.KindTemporary, cause)
}

func (c *Conn) wrap(op string, k driver.Kind, err error) *driver.Error {
	return &driver.Error{Op: op, Driver: c.name, Addr: c.addr, Kind: k, Err: err}
}

// A timeoutError says how long we waited in vain. It is a net.Error.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string {
	after := e.after
	if after > time.Second {
		after = after.Round(time.Second / 10)
	}
	return fmt.Sprintf("no answer within %v", after)
}
func (e *timeoutError) Timeout() bool { return true }

// Temporary completes net.Error.
func (e *timeoutError) Temporary() bool { return true }

func isTimeout(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return ok && ne.Timeout()
}
