package netx

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
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
	t := tls.Client(c.wire, adjusted(ctx, c.tlsConfig()))
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
	s := t.ConnectionState()
	c.trace.Note("%s, %s", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite))
	return nil
}

func (c *Conn) serverName() string {
	if c.network.ServerName != "" {
		return c.network.ServerName
	}
	return c.host
}

func (c *Conn) tlsConfig() *tls.Config { return TLSConfig(&c.network, c.name, c.addr, c.host, c.log) }

// TLSConfig makes the configuration for one server, with a warning to log
// whenever a certificate is accepted only because n.InsecureSkipVerify says so.
// name and addr are for that warning.
func TLSConfig(n *driver.Network, name, addr, host string, log *slog.Logger) *tls.Config {
	cfg := n.TLSConfig(host)
	if !cfg.InsecureSkipVerify {
		return cfg
	}
	pinCheck := cfg.VerifyConnection // nil without pins
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		if pinCheck != nil {
			if err := pinCheck(s); err != nil {
				return err
			}
		}
		if len(s.PeerCertificates) == 0 {
			return &driver.CertificateError{Host: cfg.ServerName, Reason: "the server shows no certificate"}
		}
		// The check is made all the same, so that the log tells each time that
		// the permission to skip it was needed.
		leaf := s.PeerCertificates[0]
		opts := x509.VerifyOptions{Roots: cfg.RootCAs, DNSName: cfg.ServerName, Intermediates: x509.NewCertPool()}
		for _, ic := range s.PeerCertificates[1:] {
			opts.Intermediates.AddCert(ic)
		}
		if _, err := leaf.Verify(opts); err != nil {
			level, text := slog.LevelWarn, "server certificate accepted without verification"
			if pinCheck != nil { // the key was the proof
				level, text = slog.LevelDebug, "server certificate accepted by its pinned key"
			}
			log.Log(context.Background(), level, text, "driver", name, "addr", addr, "error", describe(err, cfg.ServerName, leaf).Error())
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
		return c.wrap("tls", driver.KindPolicy, describe(ce.Err, c.serverName(), first(ce.UnverifiedCertificates)))
	}
	if ce, ok := errors.AsType[*driver.CertificateError](err); ok {
		return c.wrap("tls", driver.KindPolicy, ce)
	}
	if ctx.Err() != nil || isTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
		return c.setupError(ctx, "tls", c.timeout, err)
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

// A CertificateError tells why a server's certificate was refused.
type CertificateError = driver.CertificateError

// describe says what is wrong with a certificate, nil if it is not known, that
// had to be for host.
func describe(err error, host string, cert *x509.Certificate) error {
	ce := &driver.CertificateError{Host: host, Certificate: cert, Err: err}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Cert != nil {
		whose := "the server's certificate"
		if cert != nil && !e.Cert.Equal(cert) {
			whose = "a certificate that the server's hangs on"
		}
		switch e.Reason {
		case x509.Expired:
			ce.Problem = driver.CertificateExpired
			ce.Reason = whose + " expired on " + e.Cert.NotAfter.UTC().Format(time.DateTime) + " UTC"
			if time.Now().Before(e.Cert.NotBefore) {
				ce.Problem = driver.CertificateNotYetValid
				ce.Reason = whose + " is valid only from " + e.Cert.NotBefore.UTC().Format(time.DateTime) + " UTC"
			}
			return ce
		case x509.IncompatibleUsage:
			ce.Problem = driver.CertificateWrongUsage
			ce.Reason = whose + " is not for servers"
			return ce
		}
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		ce.Problem = driver.CertificateWrongName
		ce.Reason = fmt.Sprintf("the server's certificate is for %s, not for %s", certNames(e.Certificate), Quote(e.Host))
		return ce
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		ce.Problem = driver.CertificateUnknownAuthority
		ce.Reason = "the server's certificate is signed by an unknown authority"
		if cert != nil && bytes.Equal(cert.RawIssuer, cert.RawSubject) {
			ce.Reason = "the server's certificate is signed by itself and by no authority"
		}
		return ce
	}
	ce.Reason = "the server's certificate is refused: " + Quote(err.Error())
	return ce
}

func first(certs []*x509.Certificate) *x509.Certificate {
	if len(certs) == 0 {
		return nil
	}
	return certs[0]
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
