package driver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"github.com/maildriver/maildriver/internal/clientcert"
)

// What can be wrong with the files of a client certificate, for errors.Is.
var (
	// ErrNoPrivateKey says that a certificate, e.g. a .cer file, came without
	// the key that it needs.
	ErrNoPrivateKey = clientcert.ErrNoPrivateKey
	// ErrNoCertificate says that there is no certificate in the file.
	ErrNoCertificate = clientcert.ErrNoCertificate
	// ErrPassphraseRequired says that a file is encrypted, and how to open it
	// was not said.
	ErrPassphraseRequired = clientcert.ErrPassphraseRequired
	// ErrWrongPassphrase says that the passphrase is not that of the file.
	ErrWrongPassphrase = clientcert.ErrWrongPassphrase
	// ErrKeyMismatch says that key and certificate do not belong together.
	ErrKeyMismatch = clientcert.ErrKeyMismatch
	// ErrCertificateFormat says that the file cannot be read.
	ErrCertificateFormat = clientcert.ErrFormat
)

// LoadClientCertificate reads a client certificate, the chain to its authority
// if the file has it, and its key. The formats, told by the contents, are
// PKCS #12 (.pfx, .p12), PEM, and DER (.cer, .der) with the key in keyFile.
// keyFile may be "" if the key is in certFile. passphrase, a text or a
// [Secret], opens what is encrypted; "" if nothing is. The error names the
// file, and never holds the passphrase.
func LoadClientCertificate[S SecretText](ctx context.Context, certFile, keyFile string, passphrase S) (tls.Certificate, error) {
	secret, err := secretOf(passphrase).Resolve(ctx)
	if err != nil {
		return tls.Certificate{}, err
	}
	return clientcert.Load(certFile, keyFile, secret.Reveal())
}

// LoadRootCAs reads the certificates of the authorities to trust from a PEM
// file, or from one of DER with a single certificate.
func LoadRootCAs(file string) (*x509.CertPool, error) {
	data, err := clientcert.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	pool := x509.NewCertPool()
	if pool.AppendCertsFromPEM(data) {
		return pool, nil
	}
	cert, err := x509.ParseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, ErrNoCertificate)
	}
	pool.AddCert(cert)
	return pool, nil
}
