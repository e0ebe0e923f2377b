package netx

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
)

// An issuer signs certificates for the tests.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (i *issuer) issue(t *testing.T, tmpl *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl.SerialNumber = big.NewInt(time.Now().UnixNano())
	if tmpl.NotBefore.IsZero() {
		tmpl.NotBefore = time.Now().Add(-time.Hour)
	}
	if tmpl.NotAfter.IsZero() {
		tmpl.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := tmpl, key
	if i != nil {
		parent, signer = i.cert, i.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func newIssuer(t *testing.T) *issuer {
	c := (*issuer)(nil).issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return &issuer{c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)}
}

func (i *issuer) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(i.cert)
	return p
}

func forHost(names ...string) *x509.Certificate {
	return &x509.Certificate{DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, Subject: pkix.Name{CommonName: "server"}}
}

// dialTLS connects to a server with cert, and returns what it got told, and
// what was logged.
func dialTLS(t *testing.T, cfg *tls.Config, opts ...driver.Option) (logged string, err error) {
	t.Helper()
	addr := listen(t, func(nc net.Conn) {
		s := tls.Server(nc, cfg)
		if s.Handshake() == nil {
			_, _ = io.WriteString(s, greeting)
			_, _ = io.Copy(io.Discard, s)
		}
	})
	n := driver.NewNetwork()
	n.Timeout = 5 * time.Second
	n.Security = driver.SecurityImplicit
	n.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	require.NoError(t, driver.Apply(opts, &n))
	var log bytes.Buffer
	c, err := Dial(t.Context(), &n, "TEST", "mail.example.com:993", slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err == nil {
		_, err = c.ReadLine(100)
		_ = c.Close()
	}
	return log.String(), err
}

func TestA26Certificates(t *testing.T) {
	ca, strange := newIssuer(t), newIssuer(t)
	good := ca.issue(t, forHost("mail.example.com"))
	self := (*issuer)(nil).issue(t, forHost("mail.example.com"))
	old, young, client := forHost("mail.example.com"), forHost("mail.example.com"), forHost("mail.example.com")
	old.NotBefore, old.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	young.NotBefore = time.Now().Add(30 * time.Minute)
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	many := forHost("a.example", "b.example", "c.example", "d.example", "e.example")
	sameKey := driver.PinOf(good.Leaf)
	roots := driver.WithRootCAs(ca.pool())
	ok := driver.CertificateProblem(255)
	for _, c := range []struct {
		name string
		cert tls.Certificate
		opts []driver.Option
		want driver.CertificateProblem
		text string
		log  string
	}{
		{"good", good, []driver.Option{roots}, ok, "", ""},
		{"expired", ca.issue(t, old), []driver.Option{roots}, driver.CertificateExpired, "expired on ", ""},
		{"not yet", ca.issue(t, young), []driver.Option{roots}, driver.CertificateNotYetValid, "valid only from ", ""},
		{"other names", ca.issue(t, many), []driver.Option{roots}, driver.CertificateWrongName, `"a.example, b.example, c.example" and 2 more, not for "mail.example.com"`, ""},
		{"hostile names", ca.issue(t, forHost("evil.example\x1b[31m")), []driver.Option{roots}, driver.CertificateWrongName, `"evil.example\x1b[31m", not`, ""},
		{"no names", ca.issue(t, forHost()), []driver.Option{roots}, driver.CertificateWrongName, "no name at all", ""},
		{"not for servers", ca.issue(t, client), []driver.Option{roots}, driver.CertificateWrongUsage, "not for servers", ""},
		{"unknown authority", strange.issue(t, forHost("mail.example.com")), []driver.Option{roots}, driver.CertificateUnknownAuthority, "unknown authority", ""},
		{"signed by itself", self, []driver.Option{roots}, driver.CertificateUnknownAuthority, "signed by itself", ""},
		{"A25 ignored", self, []driver.Option{driver.WithInsecureSkipVerify()}, ok, "", "level=WARN"},
		{"A25 ignored, wrong name", ca.issue(t, forHost("other.example")), []driver.Option{roots, driver.WithInsecureSkipVerify()}, ok, "", `other.example`},
		{"ignored and not needed", good, []driver.Option{roots, driver.WithInsecureSkipVerify()}, ok, "", ""},
		{"A25 pinned in place of an authority", self, []driver.Option{driver.WithInsecureSkipVerify(), driver.WithPinnedKeys(driver.PinOf(self.Leaf))}, ok, "", "level=DEBUG"},
		{"pinned and good", good, []driver.Option{roots, driver.WithPinnedKeys(driver.Pin{}, sameKey)}, ok, "", ""},
		{"pinned and bad", self, []driver.Option{roots, driver.WithPinnedKeys(driver.PinOf(self.Leaf))}, driver.CertificateUnknownAuthority, "signed by itself", ""},
		{"another pinned", good, []driver.Option{roots, driver.WithPinnedKeys(driver.Pin{})}, driver.CertificateNotPinned, "pinned", ""},
		{"name override", ca.issue(t, forHost("inner.example")), []driver.Option{roots, driver.WithServerName("inner.example")}, ok, "", ""},
		{"name override, wrong", good, []driver.Option{roots, driver.WithServerName("inner.example")}, driver.CertificateWrongName, `not for "inner.example"`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			log, err := dialTLS(t, &tls.Config{Certificates: []tls.Certificate{c.cert}}, c.opts...)
			if c.log == "" {
				assert.Empty(t, log)
			} else {
				assert.Contains(t, log, c.log)
			}
			if c.want == ok {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
			assert.NotContains(t, err.Error(), "\x1b")
			ce, found := errors.AsType[*driver.CertificateError](err)
			if c.want == driver.CertificateInvalid && !found {
				return // crypto/x509 does not even parse it
			}
			require.True(t, found, "%v", err)
			assert.Equal(t, c.want, ce.Problem, "%v", err)
			assert.ErrorContains(t, err, c.text)
			pin, known := ce.Pin()
			assert.True(t, known)
			assert.Equal(t, driver.PinOf(c.cert.Leaf), pin, "what the server showed")
		})
	}
}

func TestTLSVersionAndClientCertificates(t *testing.T) {
	ca := newIssuer(t)
	server := ca.issue(t, forHost("mail.example.com"))
	roots := driver.WithRootCAs(ca.pool())
	_, err := dialTLS(t, &tls.Config{Certificates: []tls.Certificate{server}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, roots)
	require.Error(t, err, "1.2 at least")
	assert.Equal(t, driver.KindPolicy, driver.KindOf(err))

	tmpl := forHost()
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	mine := ca.issue(t, tmpl)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(), MaxVersion: version}
		_, err = dialTLS(t, cfg, roots, driver.WithClientCertificate(mine))
		require.NoError(t, err)
		_, err = dialTLS(t, cfg, roots)
		require.Error(t, err)
		assert.Equal(t, driver.KindPolicy, driver.KindOf(err), "%v", err)
	}
}

// TestA26NameBehindAProxy: what is verified is the server's name, not that of
// the proxy that the connection goes to; nor has the proxy anything from the
// server's options (A25).
func TestA26NameBehindAProxy(t *testing.T) {
	ca := newIssuer(t)
	server := ca.issue(t, forHost("mail.example.com"))
	proxyCert := ca.issue(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	roots := driver.WithRootCAs(ca.pool())
	var mu sync.Mutex
	certs := 0
	tunnel := func(outer, inner tls.Certificate) string {
		return listen(t, func(nc net.Conn) {
			p := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{outer}, ClientAuth: tls.RequestClientCert})
			if p.Handshake() != nil {
				return
			}
			mu.Lock()
			certs += len(p.ConnectionState().PeerCertificates)
			mu.Unlock()
			head := make([]byte, 0, 1000)
			for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
				if _, err := p.Read(b); err != nil {
					return
				}
				head = append(head, b[0])
			}
			_, _ = io.WriteString(p, "HTTP/1.1 200 OK\r\n\r\n")
			s := tls.Server(p, &tls.Config{Certificates: []tls.Certificate{inner}})
			if s.Handshake() == nil {
				_, _ = io.WriteString(s, greeting)
				_, _ = io.Copy(io.Discard, s)
			}
		})
	}
	implicit := driver.WithSecurity(driver.SecurityImplicit)
	mine := driver.WithClientCertificate(ca.issue(t, forHost()))
	line, err := through(t, "mail.example.com:993", roots, implicit, mine, driver.WithProxy(driver.ProxyHTTPS, tunnel(proxyCert, server)))
	require.NoError(t, err)
	assert.Equal(t, "220 hello", line)
	assert.Zero(t, certs, "the client certificate is not the proxy's business")

	_, err = through(t, "mail.example.com:993", roots, implicit, driver.WithProxy(driver.ProxyHTTPS, tunnel(proxyCert, proxyCert)))
	require.ErrorContains(t, err, `not for "mail.example.com"`)
	de, _ := errors.AsType[*driver.Error](err)
	assert.Equal(t, "tls", de.Op)

	for _, opts := range [][]driver.Option{{roots}, {roots, driver.WithInsecureSkipVerify()}, {roots, driver.WithInsecureSkipVerify(), driver.WithPinnedKeys(driver.PinOf(server.Leaf))}, {roots, driver.WithServerName("mail.example.com")}} {
		_, err = through(t, "mail.example.com:993", append(opts, implicit, driver.WithProxy(driver.ProxyHTTPS, tunnel(server, server)))...)
		pe, ok := errors.AsType[*driver.ProxyError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, "tls", pe.Step)
		assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
	}
}

func TestParsePin(t *testing.T) {
	cert := newIssuer(t).cert
	pin := driver.PinOf(cert)
	for _, s := range []string{pin.String(), strings.Replace(pin.String(), "sha256/", "sha256//", 1), " " + pin.String() + "\n"} {
		got, err := driver.ParsePin(s)
		require.NoError(t, err)
		assert.Equal(t, pin, got)
	}
	for _, first := range []byte{0xff, 0xfc} { // base64 that begins with a slash
		p := driver.Pin{first}
		got, err := driver.ParsePin(p.String())
		require.NoError(t, err)
		assert.Equal(t, p, got)
	}
	for _, s := range []string{"", "sha256/", "sha1/AAAA", pin.String() + "AA", "sha256/" + strings.Repeat("=", 44), pin.String()[7:]} {
		_, err := driver.ParsePin(s)
		assert.Error(t, err, s)
	}
}
