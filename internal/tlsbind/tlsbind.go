// Package tlsbind makes channel bindings of TLS connections (RFC 5929, RFC
// 9266).
package tlsbind

import (
	"crypto"
	_ "crypto/sha256" // linked in for the hashes below
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// The names of the binding types.
const (
	TypeEndPoint = "tls-server-end-point"
	TypeExporter = "tls-exporter"
)

// EndPoint gives the binding to the server's certificate with its prefix, as
// GSS-API and NTLM take it; nil if the certificate has none: the type is not
// defined for signatures without one hash (RFC 5929 section 4.1), such as
// Ed25519.
func EndPoint(cs *tls.ConnectionState) []byte {
	sum := EndPointHash(cs)
	if sum == nil {
		return nil
	}
	return append([]byte(TypeEndPoint+":"), sum...)
}

// EndPointHash is EndPoint without the prefix, as SCRAM takes it.
func EndPointHash(cs *tls.ConnectionState) []byte {
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return nil
	}
	cert := cs.PeerCertificates[0]
	hash, ok := hashOf(cert.SignatureAlgorithm)
	if !ok {
		return nil
	}
	h := hash.New()
	h.Write(cert.Raw)
	return h.Sum(nil)
}

// hashOf is the hash of the certificate's signature; MD5 and SHA-1 become
// SHA-256 (RFC 5929 section 4.1).
func hashOf(a x509.SignatureAlgorithm) (crypto.Hash, bool) {
	switch a {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1,
		x509.SHA256WithRSA, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS, x509.DSAWithSHA256:
		return crypto.SHA256, true
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		return crypto.SHA384, true
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		return crypto.SHA512, true
	default:
		return 0, false
	}
}

// ErrNoExporter says that a connection has no binding of type tls-exporter.
var ErrNoExporter = errors.New("tls-exporter needs TLS 1.3")

// Exporter gives the binding of type tls-exporter (RFC 9266 section 4.2). Before
// TLS 1.3 it needs the extended master secret and is not the default, so it is
// made for TLS 1.3 alone.
func Exporter(cs *tls.ConnectionState) ([]byte, error) {
	if cs == nil || cs.Version < tls.VersionTLS13 {
		return nil, ErrNoExporter
	}
	return cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
}
