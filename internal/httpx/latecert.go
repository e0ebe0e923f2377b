package httpx

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/netx"
)

// HTTP servers may ask for a client certificate only when they have seen what
// is wanted: IIS and Apache by default of a location. TLS 1.3 has post-handshake
// authentication for that, which crypto/tls does not speak; before it, one
// renegotiation does. So a client with a certificate that the server did not
// ask for at once goes on with TLS 1.2, if the server has it.

// connect opens a connection to the origin. late tells that the certificate may
// still be asked for on it.
func (c *Client) connect(ctx context.Context, n *driver.Network) (nc net.Conn, cs *tls.ConnectionState, late bool, err error) {
	if len(n.Certificates) == 0 || n.Security != driver.SecurityImplicit {
		nc, cs, err = c.open(ctx, n)
		return nc, cs, false, err
	}
	c.mu.Lock()
	known := c.lateCert
	c.mu.Unlock()
	if known == lateYes {
		nc, cs, err = c.open(netx.AdjustTLS(ctx, renegotiable), n)
		return nc, cs, true, err
	}
	asked := false
	nc, cs, err = c.open(netx.AdjustTLS(ctx, func(cfg *tls.Config) {
		certs := cfg.Certificates
		cfg.Renegotiation = tls.RenegotiateOnceAsClient
		cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			for i := range certs {
				if info.SupportsCertificate(&certs[i]) == nil {
					return &certs[i], nil
				}
			}
			return new(tls.Certificate), nil
		}
	}), n)
	if err != nil || asked || known == lateNo || cs == nil || cs.Version < tls.VersionTLS13 {
		return nc, cs, err == nil && !asked && cs != nil && cs.Version < tls.VersionTLS13, err
	}
	old, oldState, err := c.open(netx.AdjustTLS(ctx, renegotiable), n)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil { // the server has TLS 1.3 alone
		if ctx.Err() == nil {
			c.lateCert = lateNo
		}
		return nc, cs, false, nil
	}
	c.lateCert = lateYes
	_ = nc.Close()
	return old, oldState, true, nil
}

// What is known of a server that did not ask for the certificate at once.
type lateCert uint8

const (
	lateUnknown lateCert = iota
	lateYes              // TLS 1.2 with renegotiation
	lateNo               // there is no TLS 1.2
)

func renegotiable(cfg *tls.Config) {
	cfg.MaxVersion = tls.VersionTLS12
	cfg.Renegotiation = tls.RenegotiateOnceAsClient
}

func (c *Client) open(ctx context.Context, n *driver.Network) (net.Conn, *tls.ConnectionState, error) {
	nx, err := netx.Dial(ctx, n, c.opts.Driver, c.addr, c.opts.Log)
	if err != nil {
		return nil, nil, err
	}
	return nx.Take()
}

// warm deals with a server that cannot keep a body while it asks for the
// certificate (Apache: SSLRenegBufferSize, status 413): the certificate is asked
// for by a request without body first. It tells whether to try again.
func (c *Client) warm(ctx context.Context, l *lane, t *try, resp *http.Response, withBody bool) (again bool, err error) {
	if t.conn == nil || !t.conn.late || t.conn.warm {
		return false, nil
	}
	if resp.StatusCode != http.StatusRequestEntityTooLarge || !withBody || t.req.GetBody == nil {
		t.conn.warm = true
		return false, nil
	}
	Drain(resp)
	w := &try{}
	w.req, err = http.NewRequestWithContext(ctx, http.MethodOptions, t.req.URL.String(), nil)
	if err != nil {
		return false, err
	}
	resp, err = l.roundTrip(ctx, w)
	if err != nil {
		return false, err
	}
	Drain(resp)
	if w.conn != nil {
		w.conn.warm = true
	}
	return true, nil
}
