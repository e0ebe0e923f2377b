package driver

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Pin is the SHA-256 of a public key, in DER with its algorithm
// (SubjectPublicKeyInfo), as in RFC 7469 section 2.4.
type Pin [sha256.Size]byte

// PinOf makes the pin of a certificate's key.
func PinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// String gives the pin as [ParsePin] reads it: "sha256/" and base64.
func (p Pin) String() string { return "sha256/" + base64.StdEncoding.EncodeToString(p[:]) }

// ParsePin reads a pin: "sha256/" or "sha256//" and the hash in base64.
func ParsePin(s string) (Pin, error) {
	var p Pin
	text, ok := strings.CutPrefix(strings.TrimSpace(s), "sha256/")
	if !ok {
		return p, fmt.Errorf("%q does not begin with sha256/", s)
	}
	// 32 bytes take 44 characters, of which the first may be the slash of base64
	// itself; one more is that of curl's "sha256//".
	if len(text) == base64.StdEncoding.EncodedLen(len(p))+1 {
		text = strings.TrimPrefix(text, "/")
	}
	sum, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(sum) != len(p) {
		return p, fmt.Errorf("%q is not the base64 of %d bytes", s, len(p))
	}
	copy(p[:], sum)
	return p, nil
}

// WithPinnedKeys accepts only a server that has one of these keys. Everything
// else about the certificate is checked as well, and then the key may also be
// that of one of its issuers; with [WithInsecureSkipVerify] the server's own key
// is all that counts, which is right for a server with a certificate that it
// signed itself. Pins do not hold for a proxy.
func WithPinnedKeys(pins ...Pin) Option {
	return netOption("PinnedKeys", func(n *Network) error {
		if len(pins) == 0 {
			return errors.New("no key is named")
		}
		n.Pins = append([]Pin{}, pins...)
		return nil
	})
}

// pinCheck makes the check of a handshake. Unlike VerifyPeerCertificate it is
// made when a session is resumed, too.
func pinCheck(pins []Pin, host string) func(tls.ConnectionState) error {
	pins = slices.Clone(pins)
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return &CertificateError{Host: host, Reason: "the server shows no certificate"}
		}
		leaf := s.PeerCertificates[0]
		if pinned(pins, leaf, s.VerifiedChains) {
			return nil
		}
		return &CertificateError{
			Problem: CertificateNotPinned, Host: host, Certificate: leaf,
			Reason: "the server's key is not one of those that are pinned",
		}
	}
}

// pinned looks for a pinned key: the server's, or that of an issuer in a chain
// that was verified. In one that was not, anybody's certificate can stand.
func pinned(pins []Pin, leaf *x509.Certificate, chains [][]*x509.Certificate) bool {
	if slices.Contains(pins, PinOf(leaf)) {
		return true
	}
	for _, chain := range chains {
		for _, cert := range chain {
			if slices.Contains(pins, PinOf(cert)) {
				return true
			}
		}
	}
	return false
}

// CertificateProblem says what is wrong with a server's certificate.
type CertificateProblem uint8

// What can be wrong with a certificate.
const (
	CertificateInvalid     CertificateProblem = iota // none of the others
	CertificateExpired                               // its time is over
	CertificateNotYetValid                           // its time has not come
	CertificateWrongName                             // it is for other hosts
	CertificateUnknownAuthority
	CertificateWrongUsage // it is not for servers
	CertificateNotPinned  // its key is none of [WithPinnedKeys]
)

var certificateProblems = [...]string{"invalid", "expired", "not yet valid", "wrong name", "unknown authority", "wrong usage", "not pinned"}

func (p CertificateProblem) String() string {
	if int(p) < len(certificateProblems) {
		return certificateProblems[p]
	}
	return fmt.Sprintf("problem(%d)", uint8(p))
}

// A CertificateError says why a server's certificate was refused. It is found
// with errors.As in an error of Op "tls" and kind policy. The error of
// crypto/x509, if there was one, is inside.
type CertificateError struct {
	Problem CertificateProblem
	// Host is the name that the certificate had to be for.
	Host string
	// Certificate is what the server showed, nil if it is not known.
	Certificate *x509.Certificate
	// Reason is one sentence.
	Reason string
	Err    error
}

func (e *CertificateError) Error() string { return e.Reason }
func (e *CertificateError) Unwrap() error { return e.Err }

// Pin is the pin of the key that the server showed, for a host that wants to
// trust it from now on; ok is false if it is not known.
func (e *CertificateError) Pin() (p Pin, ok bool) {
	if e.Certificate == nil {
		return p, false
	}
	return PinOf(e.Certificate), true
}
