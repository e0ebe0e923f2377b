package netx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/maildriver/maildriver/driver"
)

// ErrInjected says that a server, or someone on the path, sent bytes in clear
// behind its consent to TLS, to have them taken for protected ones.
var ErrInjected = errors.New("bytes in clear after the consent to TLS")

// StartTLS upgrades the connection, after the server agreed to it. It refuses
// if any byte has arrived already (the STARTTLS injection of RFC 3207 section
// 5; A01). The handshake has one time-out of its own.
func (c *Conn) StartTLS(ctx context.Context) error {
	if err := c.Err(); err != nil {
		return err
	}
	if n := c.r.Buffered(); n > 0 {
		return c.fail("tls", c.wrap("tls", driver.KindProtocol, fmt.Errorf("%d %w", n, ErrInjected)))
	}
	if len(c.w) > 0 {
		return c.fail("tls", c.wrap("tls", driver.KindProtocol, errors.New("unsent bytes before the handshake")))
	}
	return c.handshake(ctx, time.Now().Add(c.timeout))
}

func (c *Conn) handshake(ctx context.Context, deadline time.Time) error {
	hctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if err := c.arm(c.raw.SetDeadline, deadline); err != nil {
		return c.fail("tls", err)
	}
	t := tls.Client(c.raw, c.tlsConfig())
	if err := t.HandshakeContext(hctx); err != nil {
		if dead := c.Err(); dead != nil { // cancelled by a watch
			_ = c.raw.Close()
			return dead
		}
		err = c.fail("tls", c.tlsError(ctx, err))
		_ = c.raw.Close()
		return err
	}
	c.attach(t)
	return nil
}

func (c *Conn) tlsConfig() *tls.Config {
	cfg := c.network.TLSConfig(c.host)
	if !cfg.InsecureSkipVerify {
		return cfg
	}
	// The check is made all the same, so that the log tells each time that
	// the permission to skip it was needed.
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		opts := x509.VerifyOptions{Roots: cfg.RootCAs, DNSName: cfg.ServerName, Intermediates: x509.NewCertPool()}
		for _, ic := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(ic)
		}
		if _, err := s.PeerCertificates[0].Verify(opts); err != nil {
			c.log.Warn("server certificate accepted without verification",
				"driver", c.name, "addr", c.addr, "error", describe(err).Error())
		}
		return nil
	}
	return cfg
}

// tlsError classifies a failed handshake: a certificate that we refuse is a
// matter of policy, a broken or silent connection is temporary, all else is a
// peer that does not speak TLS as we need it.
func (c *Conn) tlsError(ctx context.Context, err error) error {
	if ce, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return c.wrap("tls", driver.KindPolicy, describe(ce.Err))
	}
	if ctx.Err() != nil {
		return c.setupError(ctx, "tls", err)
	}
	if isTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
		return c.setupError(ctx, "tls", err)
	}
	if re, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return c.wrap("tls", driver.KindProtocol, fmt.Errorf("the server does not answer with TLS: %w", re))
	}
	if isAlert(err) {
		return c.wrap("tls", driver.KindPolicy, fmt.Errorf("the server refuses the handshake: %w", err))
	}
	if strings.HasPrefix(err.Error(), "tls: ") {
		return c.wrap("tls", driver.KindPolicy, err)
	}
	return c.wrap("tls", driver.KindTemporary, err)
}

// isAlert tells an alert of the peer's TLS.
func isAlert(err error) bool {
	oe, ok := errors.AsType[*net.OpError](err)
	return ok && oe.Op == "remote error"
}

// A CertificateError tells why a server's certificate was refused. The x509
// error is inside.
type CertificateError struct {
	Reason string // one sentence
	Err    error
}

func (e *CertificateError) Error() string { return e.Reason }
func (e *CertificateError) Unwrap() error { return e.Err }

func describe(err error) error {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired && e.Cert != nil {
		reason := "the server's certificate expired on " + e.Cert.NotAfter.UTC().Format(time.DateTime) + " UTC"
		if time.Now().Before(e.Cert.NotBefore) {
			reason = "the server's certificate is valid only from " + e.Cert.NotBefore.UTC().Format(time.DateTime) + " UTC"
		}
		return &CertificateError{reason, err}
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return &CertificateError{fmt.Sprintf("the server's certificate is for %s, not for %s", certNames(e.Certificate), Quote(e.Host)), err}
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return &CertificateError{"the server's certificate is signed by an unknown authority", err}
	}
	return &CertificateError{"the server's certificate is refused: " + Quote(err.Error()), err}
}

func certNames(cert *x509.Certificate) string {
	if cert == nil {
		return "another name"
	}
	names := cert.DNSNames
	for _, ip := range cert.IPAddresses {
		names = append(names[:len(names):len(names)], ip.String())
	}
	switch n := len(names); {
	case n == 0:
		return "no name at all"
	case n > 3:
		return Quote(strings.Join(names[:3], ", ")) + fmt.Sprintf(" and %d more", n-3)
	}
	return Quote(strings.Join(names, ", "))
}
