package tlsbind

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func issue(t *testing.T, key crypto.Signer, a x509.SignatureAlgorithm) *x509.Certificate {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), SignatureAlgorithm: a, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

// TestEndPoint hashes with the hash of the signature, and with SHA-256 where
// that is weaker (RFC 5929 section 4.1).
func TestEndPoint(t *testing.T) {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	sha1 := issue(t, r, x509.SHA256WithRSA)
	sha1.SignatureAlgorithm = x509.SHA1WithRSA // Go signs no more with it
	s256 := func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }
	s384 := func(b []byte) []byte { s := sha512.Sum384(b); return s[:] }
	s512 := func(b []byte) []byte { s := sha512.Sum512(b); return s[:] }
	for name, tt := range map[string]struct {
		cert *x509.Certificate
		hash func([]byte) []byte
	}{
		"SHA-1":         {sha1, s256},
		"RSA, SHA-256":  {issue(t, r, x509.SHA256WithRSA), s256},
		"PSS, SHA-384":  {issue(t, r, x509.SHA384WithRSAPSS), s384},
		"RSA, SHA-512":  {issue(t, r, x509.SHA512WithRSA), s512},
		"ECDSA SHA-384": {issue(t, e, x509.ECDSAWithSHA384), s384},
		"Ed25519":       {issue(t, ed, x509.PureEd25519), nil},
	} {
		t.Run(name, func(t *testing.T) {
			cs := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.cert}}
			if tt.hash == nil {
				assert.Nil(t, EndPoint(cs))
				return
			}
			sum := tt.hash(tt.cert.Raw)
			assert.Equal(t, sum, EndPointHash(cs))
			assert.Equal(t, append([]byte("tls-server-end-point:"), sum...), EndPoint(cs))
		})
	}
	assert.Nil(t, EndPoint(nil))
	assert.Nil(t, EndPoint(&tls.ConnectionState{}))
}

func TestExporter(t *testing.T) {
	_, err := Exporter(nil)
	require.ErrorIs(t, err, ErrNoExporter)
	_, err = Exporter(&tls.ConnectionState{Version: tls.VersionTLS12})
	require.ErrorIs(t, err, ErrNoExporter)

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	cert := issue(t, key, x509.ECDSAWithSHA256)
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	server := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}, MinVersion: tls.VersionTLS13})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	client := tls.Client(a, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	require.NoError(t, client.SetDeadline(time.Now().Add(10*time.Second)))
	require.NoError(t, client.Handshake())
	go func() { _, _ = client.Read(make([]byte, 1)) }() // takes the tickets, which the server sends into a pipe
	require.NoError(t, <-done)
	ours, theirs := client.ConnectionState(), server.ConnectionState()
	x, err := Exporter(&ours)
	require.NoError(t, err)
	y, err := Exporter(&theirs)
	require.NoError(t, err)
	assert.Equal(t, x, y)
	assert.Len(t, x, 32)
}
