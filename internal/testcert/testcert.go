// Package testcert makes throw-away certificates for the servers of the ...test packages. Its authority lives as long as
// the process and is in no trust store. All functions are safe for concurrent use; they panic where the system has no
// randomness.
package testcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"time"
)

var authority = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return issue(nil, key, &x509.Certificate{
		Subject: pkix.Name{CommonName: "maildriver throw-away authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	})
})

// Authority is the certificate that signs all others of this process.
func Authority() *x509.Certificate { return authority().Leaf }

// RootCAs holds the authority.
func RootCAs() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(Authority())
	return pool
}

// New makes a server's certificate for names, which are host names or addresses. A notAfter in the past makes an expired
// one. The key signs with a fixed length, so that two sessions alike have as many bytes.
func New(notAfter time.Time, names ...string) tls.Certificate {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: "maildriver test"}, NotBefore: notAfter.Add(-48 * time.Hour), NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(err)
	ca := authority()
	return issue(&ca, key, t)
}

var local = sync.OnceValue(func() tls.Certificate { return New(time.Now().Add(24*time.Hour), LocalNames()...) })

// Local is the certificate of this process for LocalNames, good for a day.
func Local() tls.Certificate { return local() }

// LocalNames are the names of this machine for itself.
func LocalNames() []string { return []string{"localhost", "127.0.0.1", "::1"} }

func issue(ca *tls.Certificate, key crypto.Signer, t *x509.Certificate) tls.Certificate {
	var err error
	t.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(err)
	parent, signer := t, any(key)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	must(err)
	leaf, err := x509.ParseCertificate(der)
	must(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func must(err error) {
	if err != nil {
		panic("testcert: " + err.Error())
	}
}
