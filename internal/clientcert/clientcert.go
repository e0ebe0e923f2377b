// Package clientcert reads client certificates from the files that people have
// them in: PKCS #12 (.pfx, .p12) in its old and new encryption, PEM, and DER
// (.cer) with a key beside it.
//
// RFCs: 7292 (PKCS #12), 7468 (PEM), 5958 and 8018 (encrypted keys).
package clientcert

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// MaxFile bounds a file, in bytes: a chain of certificates has some thousand.
const MaxFile = 1 << 20

// What is wrong with files.
var (
	ErrNoPrivateKey       = errors.New("the certificate comes without its private key, and no key file is named")
	ErrNoCertificate      = errors.New("the file holds no certificate")
	ErrPassphraseRequired = errors.New("the file is encrypted and no passphrase is given")
	ErrWrongPassphrase    = errors.New("the passphrase does not open the file")
	ErrKeyMismatch        = errors.New("the private key is not that of the certificate")
	ErrFormat             = errors.New("the file is none of PKCS #12, PEM and DER, or is damaged")
)

// A FileError names the file. It holds no secret.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// Load reads a certificate with its chain, and its key from keyFile, or from
// the same file if keyFile is "". passphrase opens whichever is encrypted.
// Errors are [*FileError].
func Load(certFile, keyFile, passphrase string) (tls.Certificate, error) {
	var c contents
	if err := c.read(certFile, passphrase); err != nil {
		return tls.Certificate{}, &FileError{certFile, err}
	}
	if len(c.certs) == 0 {
		return tls.Certificate{}, &FileError{certFile, ErrNoCertificate}
	}
	where := certFile
	if keyFile != "" && keyFile != certFile {
		where = keyFile
		var k contents
		if err := k.read(keyFile, passphrase); err != nil {
			return tls.Certificate{}, &FileError{keyFile, err}
		}
		if len(k.keys) == 0 {
			return tls.Certificate{}, &FileError{keyFile, errors.New("the file holds no private key")}
		}
		c.keys = k.keys
	}
	if len(c.keys) == 0 {
		return tls.Certificate{}, &FileError{certFile, ErrNoPrivateKey}
	}
	out, err := c.pair()
	if err != nil {
		return out, &FileError{where, err}
	}
	return out, nil
}

// contents is what one or two files hold.
type contents struct {
	certs []*x509.Certificate
	keys  []crypto.PrivateKey
}

func (c *contents) read(path, passphrase string) error {
	data, err := ReadFile(path)
	if err != nil {
		return err
	}
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		return c.pem(data, passphrase)
	}
	return c.der(data, passphrase)
}

// ReadFile reads a regular file of at most [MaxFile] bytes.
func ReadFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		return nil, bare(err)
	}
	f, err := os.Open(path) //nolint:gosec // the host's configuration names it
	if err != nil {
		return nil, bare(err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(data) > MaxFile {
		err = fmt.Errorf("longer than %d bytes", MaxFile)
	}
	return data, bare(err)
}

// bare takes the path off an error, which [FileError] names already.
func bare(err error) error {
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		return pe.Err
	}
	return err
}

func (c *contents) pem(data []byte, passphrase string) error {
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return nil
		}
		switch b.Type {
		case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
			cert, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrFormat, err)
			}
			c.certs = append(c.certs, cert)
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			key, err := pemKey(b, passphrase)
			if err != nil {
				return err
			}
			c.keys = append(c.keys, key)
		}
	}
}

func pemKey(b *pem.Block, passphrase string) (crypto.PrivateKey, error) {
	der := b.Bytes
	switch {
	case b.Type == "ENCRYPTED PRIVATE KEY":
		return decryptKey(der, passphrase)
	//lint:ignore SA1019 old keys are made so, and the file is the user's own
	case x509.IsEncryptedPEMBlock(b): //nolint:staticcheck // as said above
		if passphrase == "" {
			return nil, ErrPassphraseRequired
		}
		var err error
		//lint:ignore SA1019 as above
		if der, err = x509.DecryptPEMBlock(b, []byte(passphrase)); err != nil { //nolint:staticcheck // as above
			if errors.Is(err, x509.IncorrectPasswordError) {
				err = ErrWrongPassphrase
			}
			return nil, err
		}
		// The padding may fit by chance: then the key does not parse.
		if key, err := parseKey(der); err == nil {
			return key, nil
		}
		return nil, ErrWrongPassphrase
	}
	return parseKey(der)
}

// der reads a file that is a single object.
func (c *contents) der(data []byte, passphrase string) error {
	if certs, err := x509.ParseCertificates(data); err == nil && len(certs) > 0 {
		c.certs = certs
		return nil
	}
	if key, err := parseKey(data); err == nil {
		c.keys = []crypto.PrivateKey{key}
		return nil
	}
	if isEncryptedKey(data) {
		key, err := decryptKey(data, passphrase)
		if err == nil {
			c.keys = []crypto.PrivateKey{key}
		}
		return err
	}
	if !isPFX(data) {
		return ErrFormat
	}
	return c.pfx(data, passphrase)
}

// isPFX recognizes the outermost layer of RFC 7292 section 4: a sequence that
// begins with version 3.
func isPFX(data []byte) bool {
	var seq asn1.RawValue
	if _, err := asn1.Unmarshal(data, &seq); err != nil || seq.Tag != asn1.TagSequence {
		// Old tools write indefinite lengths, which are not DER; go-pkcs12
		// tells what it makes of them.
		return len(data) > 5 && data[0] == 0x30 && data[1] == 0x80
	}
	var version int
	_, err := asn1.Unmarshal(seq.Bytes, &version)
	return err == nil && version == 3
}

func (c *contents) pfx(data []byte, passphrase string) error {
	key, cert, chain, err := pkcs12.DecodeChain(data, passphrase)
	switch {
	case err == nil:
		c.certs = append([]*x509.Certificate{cert}, chain...)
		c.keys = []crypto.PrivateKey{key}
		return nil
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, pkcs12.ErrDecryption):
		if passphrase == "" {
			return ErrPassphraseRequired
		}
		return ErrWrongPassphrase
	}
	if strings.Contains(err.Error(), "private key missing") { // the library has no name for it
		return ErrNoPrivateKey
	}
	return fmt.Errorf("%w: %w", ErrFormat, err)
}

// parseKey reads a key that is not encrypted, in any of its forms.
func parseKey(der []byte) (crypto.PrivateKey, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return nil, fmt.Errorf("%w: the private key cannot be read", ErrFormat)
}

// pair finds the certificate of the key and puts it in front of the others.
func (c *contents) pair() (tls.Certificate, error) {
	for _, key := range c.keys {
		signer, ok := key.(crypto.Signer)
		if !ok {
			continue
		}
		public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
		if !ok {
			continue
		}
		for i, cert := range c.certs {
			if !public.Equal(cert.PublicKey) {
				continue
			}
			out := tls.Certificate{PrivateKey: key, Leaf: cert, Certificate: [][]byte{cert.Raw}}
			for j, other := range c.certs {
				if j != i {
					out.Certificate = append(out.Certificate, other.Raw)
				}
			}
			return out, nil
		}
	}
	return tls.Certificate{}, ErrKeyMismatch
}
