package sasl

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/sasl/sasltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "tanstaaftanstaaf"

func network(t testing.TB, opts ...driver.Option) *driver.Network {
	n := driver.NewNetwork()
	require.NoError(t, driver.Apply(append([]driver.Option{driver.WithLogin("tim", secret)}, opts...), &n))
	return &n
}

func tokenSource(value string) driver.Option {
	return driver.WithTokenSource(func(context.Context) (driver.Token, error) {
		return driver.Token{Value: driver.NewSecret(value)}, nil
	})
}

// handshake gives the states of both ends of a TLS connection, and the server's
// certificate.
func handshake(t testing.TB, version uint16) (client, server tls.ConnectionState, leaf []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example.com"}, DNSNames: []string{"mail.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	leaf, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	a, b := net.Pipe()
	defer func() { _, _ = a.Close(), b.Close() }()
	c := tls.Client(a, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, MaxVersion: version})
	s := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf}, PrivateKey: key}}, MinVersion: tls.VersionTLS12})
	done := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err == nil {
			_, err = s.Read(make([]byte, 1))
		}
		done <- err
	}()
	require.NoError(t, c.Handshake())
	_, err = c.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, <-done)
	return c.ConnectionState(), s.ConnectionState(), leaf
}

var errRefused = &driver.Error{Op: "auth", Driver: "TEST", Kind: driver.KindAuth, Err: errors.New("refused")}

// live is a conversation with a server of sasltest.
type live struct {
	new     func(mech string) sasltest.Server
	srv     sasltest.Server
	pending []byte // the response that waits for Receive
	cancel  bool
	user    string // who is logged in
	started int
	hidden  []string
	heard   []string
	refusal error
}

func (l *live) Start(args string) error {
	mech, ir, ok := strings.Cut(args, " ")
	l.started++
	l.srv, l.pending = l.new(mech), nil
	if ok {
		return l.Send(ir)
	}
	return nil
}

func (l *live) Send(line string) error {
	l.heard = append(l.heard, line)
	if l.cancel = line == "*"; l.cancel {
		return nil
	}
	if line == "=" {
		line = ""
	}
	b, err := base64.StdEncoding.DecodeString(line)
	if b == nil {
		b = []byte{}
	}
	l.pending = b
	return err
}

func (l *live) Receive() ([]byte, bool, error) {
	if l.cancel || l.srv == nil {
		return nil, false, errRefused
	}
	challenge, done, user, err := l.srv.Next(l.pending)
	switch {
	case err != nil:
		l.refusal = err
		return nil, false, errRefused
	case done:
		l.user = user
		return nil, false, nil
	}
	return []byte(base64.StdEncoding.EncodeToString(challenge)), true, nil
}

func (l *live) Hide(secret string) { l.hidden = append(l.hidden, secret) }
