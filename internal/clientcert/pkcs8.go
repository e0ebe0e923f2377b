package clientcert

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"hash"
)

// encryptedKey is EncryptedPrivateKeyInfo (RFC 5958 section 3).
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// pbes2 are the parameters of PBES2 (RFC 8018 appendix A.4).
type pbes2 struct {
	Derive  pkix.AlgorithmIdentifier
	Encrypt pkix.AlgorithmIdentifier
}

// derivation are the parameters of PBKDF2 (RFC 8018 appendix A.2).
type derivation struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// maxIterations keeps a file from taking minutes; openssl's default is 2048,
// and recommendations are below a million.
var maxIterations = 10_000_000 // lower in tests

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// digests by their OID, as pseudo-random functions.
var digests = map[string]func() hash.Hash{
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.8":  sha256.New224,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
}

var ciphers = map[string]struct {
	key int // bytes
	new func([]byte) (cipher.Block, error)
}{
	"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
	"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher}, //nolint:gosec // old files have it
}

func isEncryptedKey(der []byte) bool {
	var e encryptedKey
	rest, err := asn1.Unmarshal(der, &e)
	return err == nil && len(rest) == 0 && len(e.Data) > 0
}

// decryptKey opens an encrypted key.
func decryptKey(der []byte, passphrase string) (crypto.PrivateKey, error) {
	if passphrase == "" {
		return nil, ErrPassphraseRequired
	}
	var e encryptedKey
	if rest, err := asn1.Unmarshal(der, &e); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: the encrypted key cannot be read", ErrFormat)
	}
	if !e.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("%w: the key's encryption %v is not PBES2", ErrFormat, e.Algorithm.Algorithm)
	}
	plain, err := openPBES2(e, passphrase)
	if err != nil {
		return nil, err
	}
	// Wrong padding, and garbage behind padding that fits by chance, both mean
	// that the key was another.
	n := len(plain)
	pad := int(plain[n-1])
	if pad == 0 || pad > n {
		return nil, ErrWrongPassphrase
	}
	for _, b := range plain[n-pad:] {
		if int(b) != pad {
			return nil, ErrWrongPassphrase
		}
	}
	key, err := parseKey(plain[:n-pad])
	if err != nil {
		return nil, ErrWrongPassphrase
	}
	return key, nil
}

func openPBES2(e encryptedKey, passphrase string) ([]byte, error) {
	var p pbes2
	if rest, err := asn1.Unmarshal(e.Algorithm.Parameters.FullBytes, &p); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: the key's encryption cannot be read", ErrFormat)
	}
	c, ok := ciphers[p.Encrypt.Algorithm.String()]
	if !ok {
		return nil, fmt.Errorf("%w: the key's cipher %v is not known", ErrFormat, p.Encrypt.Algorithm)
	}
	if !p.Derive.Algorithm.Equal(oidPBKDF2) {
		return nil, fmt.Errorf("%w: the key's derivation %v is not PBKDF2", ErrFormat, p.Derive.Algorithm)
	}
	var d derivation
	if rest, err := asn1.Unmarshal(p.Derive.Parameters.FullBytes, &d); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: the key's derivation cannot be read", ErrFormat)
	}
	prf := d.PRF.Algorithm.String()
	if len(d.PRF.Algorithm) == 0 {
		prf = "1.2.840.113549.2.7" // the default
	}
	digest, ok := digests[prf]
	if !ok {
		return nil, fmt.Errorf("%w: the key's digest %s is not known", ErrFormat, prf)
	}
	if d.Iterations < 1 || d.Iterations > maxIterations {
		return nil, fmt.Errorf("%w: %d iterations are not between 1 and %d", ErrFormat, d.Iterations, maxIterations)
	}
	if d.KeyLength != 0 && d.KeyLength != c.key {
		return nil, fmt.Errorf("%w: a key of %d bytes where %d are needed", ErrFormat, d.KeyLength, c.key)
	}
	key, err := pbkdf2.Key(digest, passphrase, d.Salt, d.Iterations, c.key)
	if err != nil {
		return nil, err
	}
	block, err := c.new(key)
	if err != nil {
		return nil, err
	}
	var iv []byte
	if _, err := asn1.Unmarshal(p.Encrypt.Parameters.FullBytes, &iv); err != nil || len(iv) != block.BlockSize() {
		return nil, fmt.Errorf("%w: the key's start vector cannot be read", ErrFormat)
	}
	if len(e.Data) == 0 || len(e.Data)%block.BlockSize() != 0 {
		return nil, fmt.Errorf("%w: the key is cut", ErrFormat)
	}
	plain := make([]byte, len(e.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, e.Data)
	return plain, nil
}
