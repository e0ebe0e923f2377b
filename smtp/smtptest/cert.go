package smtptest

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/maildriver/maildriver/internal/testcert"
)

// RootCAs holds the throw-away CA that signs the certificates of this package.
func (s *Server) RootCAs() *x509.CertPool { return testcert.RootCAs() }

// Certificate makes a certificate of this package's CA for names, which are
// host names or addresses. A notAfter in the past makes an expired one.
func Certificate(notAfter time.Time, names ...string) tls.Certificate {
	return testcert.New(notAfter, names...)
}
