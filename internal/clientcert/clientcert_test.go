package clientcert

import (
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pass is the passphrase of the files in testdata, which openssl 3 made.
const pass = "open sésame"

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name, cert, key, pass string
		chain                 int // certificates; 0: an error
		err                   error
		at                    string // file of the error
	}{
		{"PEM and key", "client.pem", "key.pem", "", 1, nil, ""},
		{"a passphrase that nobody needs", "client.pem", "key.pem", pass, 1, nil, ""},
		{"all in one, the authority first", "all.pem", "", pass, 2, nil, ""},
		{"DER and key", "client.cer", "key.pem", "", 1, nil, ""},
		{"DER and DER of RFC 5915", "client.cer", "key.der", "", 1, nil, ""},
		{"AES-256, HMAC-SHA-256", "client.cer", "key-aes.pem", pass, 1, nil, ""},
		{"AES-128, HMAC-SHA-512, DER", "client.cer", "key-aes.der", pass, 1, nil, ""},
		{"3DES, HMAC-SHA-1", "client.cer", "key-des3.pem", pass, 1, nil, ""},
		{"PEM encryption of old", "client.pem", "key-old.pem", pass, 1, nil, ""},
		{"PFX, new encryption", "modern.pfx", "", pass, 2, nil, ""},
		{"PFX, old encryption", "legacy.p12", "", pass, 2, nil, ""},
		{"PFX without passphrase", "open.pfx", "", "", 1, nil, ""},
		{"certificate and key, each in a PFX", "client.cer", "modern.pfx", pass, 1, nil, ""},

		{"a .cer without key", "client.cer", "", "", 0, ErrNoPrivateKey, "client.cer"},
		{"a PEM without key", "client.pem", "", pass, 0, ErrNoPrivateKey, "client.pem"},
		{"a PFX without key", "nokey.pfx", "", pass, 0, ErrNoPrivateKey, "nokey.pfx"},
		{"a key without certificate", "key.pem", "", "", 0, ErrNoCertificate, "key.pem"},
		{"wrong passphrase, PFX", "modern.pfx", "", "open", 0, ErrWrongPassphrase, "modern.pfx"},
		{"wrong passphrase, old PFX", "legacy.p12", "", "open", 0, ErrWrongPassphrase, "legacy.p12"},
		{"wrong passphrase, AES", "client.cer", "key-aes.pem", "open", 0, ErrWrongPassphrase, "key-aes.pem"},
		{"wrong passphrase, 3DES", "client.cer", "key-des3.pem", "open", 0, ErrWrongPassphrase, "key-des3.pem"},
		{"wrong passphrase, old PEM", "client.cer", "key-old.pem", "open", 0, ErrWrongPassphrase, "key-old.pem"},
		{"no passphrase, PFX", "modern.pfx", "", "", 0, ErrPassphraseRequired, "modern.pfx"},
		{"no passphrase, AES", "client.cer", "key-aes.der", "", 0, ErrPassphraseRequired, "key-aes.der"},
		{"no passphrase, old PEM", "client.cer", "key-old.pem", "", 0, ErrPassphraseRequired, "key-old.pem"},
		{"another key", "client.cer", "other.pem", "", 0, ErrKeyMismatch, "other.pem"},
		{"scrypt", "client.cer", "key-scrypt.pem", pass, 0, ErrFormat, "key-scrypt.pem"},
		{"a .p7b", "client.p7b", "", "", 0, ErrFormat, "client.p7b"},
		{"no file", "none.pfx", "", "", 0, os.ErrNotExist, "none.pfx"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := func(name string) string {
				if name == "" {
					return ""
				}
				return filepath.Join("testdata", name)
			}
			got, err := Load(at(c.cert), at(c.key), c.pass)
			if c.chain == 0 {
				require.ErrorIs(t, err, c.err)
				fe, ok := errors.AsType[*FileError](err)
				require.True(t, ok)
				assert.Equal(t, at(c.at), fe.Path)
				if c.pass != "" {
					assert.NotContains(t, err.Error(), pass)
				}
				return
			}
			require.NoError(t, err)
			assert.Len(t, got.Certificate, c.chain)
			assert.Equal(t, "ann", got.Leaf.Subject.CommonName, "the leaf comes first")
			assert.True(t, got.Leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(got.PrivateKey.(crypto.Signer).Public()))
		})
	}
}

func TestLoadNoRegularFile(t *testing.T) {
	_, err := Load(t.TempDir(), "", "")
	require.ErrorContains(t, err, "not a regular file")
	big := filepath.Join(t.TempDir(), "big")
	require.NoError(t, os.WriteFile(big, make([]byte, MaxFile+1), 0o600))
	_, err = Load(big, "", "")
	require.ErrorContains(t, err, "longer than")
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	_, err = Load(empty, "", "")
	require.ErrorIs(t, err, ErrFormat)
}

// FuzzContents: whatever is in a file, it is read or refused, in little time.
func FuzzContents(f *testing.F) {
	names, err := filepath.Glob("testdata/*.*")
	require.NoError(f, err)
	for _, name := range names {
		data, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(data)
	}
	maxIterations = 3000
	f.Cleanup(func() { maxIterations = 10_000_000 })
	f.Fuzz(func(t *testing.T, data []byte) {
		var c contents
		if err := c.pem(data, pass); err == nil && len(c.certs) > 0 && len(c.keys) > 0 {
			_, _ = c.pair()
		}
		_ = isPFX(data)
		if isEncryptedKey(data) {
			if key, err := decryptKey(data, pass); err == nil && key == nil {
				t.Fatal("no key and no error")
			}
		}
	})
}

func TestIterationsAreBounded(t *testing.T) {
	maxIterations = 1000
	t.Cleanup(func() { maxIterations = 10_000_000 })
	_, err := Load("testdata/client.cer", "testdata/key-aes.pem", pass)
	require.ErrorIs(t, err, ErrFormat)
	assert.ErrorContains(t, err, "iterations")
}
