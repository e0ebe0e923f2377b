package netx

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/maildriver/maildriver/driver"
)

// Take gives the connection, as it is after the set-up, to a caller that reads
// and writes in its own way (net/http). Deadlines are the caller's from here;
// none is set. The Conn itself is dead afterwards. cs is nil without TLS.
func (c *Conn) Take() (nc net.Conn, cs *tls.ConnectionState, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead != nil {
		return nil, nil, c.dead
	}
	if len(c.w) > 0 || c.r.Buffered() > 0 {
		return nil, nil, c.wrap("wait", driver.KindProtocol, errors.New("bytes are under way"))
	}
	c.dead = c.wrap("wait", driver.KindClosed, net.ErrClosed)
	c.closed = true
	if t, ok := c.nc.(*tls.Conn); ok {
		state := t.ConnectionState()
		cs = &state
	}
	if c.trace != nil {
		return &tracedConn{Conn: c.nc, trace: c.trace}, cs, nil
	}
	return c.nc, cs, nil
}

type tlsKey struct{}

// AdjustTLS lets change see, and change, the configuration of each TLS
// handshake with the server under ctx, for protocols with needs of their own
// (client certificates that HTTP servers ask for late).
func AdjustTLS(ctx context.Context, change func(*tls.Config)) context.Context {
	return context.WithValue(ctx, tlsKey{}, change)
}

func adjusted(ctx context.Context, cfg *tls.Config) *tls.Config {
	if change, ok := ctx.Value(tlsKey{}).(func(*tls.Config)); ok {
		change(cfg)
	}
	return cfg
}
