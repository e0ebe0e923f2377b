package nettest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/internal/labtest"
)

// at puts a port of the lab on another of its addresses, each of which shows
// another certificate.
func at(t *testing.T, lab *labtest.Lab, ip, name string) string {
	_, port, err := net.SplitHostPort(lab.Addr(t, name))
	require.NoError(t, err)
	return net.JoinHostPort(ip, port)
}

// pinAt looks up the key of a server, as a host would to pin it.
func pinAt(t *testing.T, lab *labtest.Lab, ip string) driver.Pin {
	c, err := tls.Dial("tcp", at(t, lab, ip, "LAB_IMAPS"), &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
	require.NoError(t, err)
	defer c.Close()
	return driver.PinOf(c.ConnectionState().PeerCertificates[0])
}

// TestLabTLS is the matrix of certificates: protocol, explicit and implicit.
func TestLabTLS(t *testing.T) {
	lab := labtest.Find(t)
	lab.Mailbox(t, proxyUser)
	roots := labRoots(t, lab)
	pool, err := driver.LoadRootCAs(lab.Addr(t, "LAB_CA"))
	require.NoError(t, err)
	expired, other := pinAt(t, lab, "127.0.0.2"), driver.Pin{1}
	issuer := caPin(t, lab.Addr(t, "LAB_CA"))
	problem := func(p driver.CertificateProblem) *driver.CertificateProblem { return &p }
	rows := []struct {
		name string
		ip   string
		opts []driver.Option
		want *driver.CertificateProblem // nil: accepted
		text string
		x509 func(error) bool
		warn bool
	}{
		{"valid", "127.0.0.1", []driver.Option{roots}, nil, "", nil, false},
		{"expired", "127.0.0.2", []driver.Option{roots}, problem(driver.CertificateExpired), "expired on ", is[x509.CertificateInvalidError], false},
		{"wrong host", "127.0.0.3", []driver.Option{roots, driver.WithServerName("mail.example.com")}, problem(driver.CertificateWrongName), `"wrong.example.net", not for "mail.example.com"`, is[x509.HostnameError], false},
		{"right name by override", "127.0.0.3", []driver.Option{roots, driver.WithServerName("wrong.example.net")}, nil, "", nil, false},
		{"unknown CA", "127.0.0.1", nil, problem(driver.CertificateUnknownAuthority), "unknown authority", is[x509.UnknownAuthorityError], false},
		{"expired, ignored", "127.0.0.2", []driver.Option{roots, driver.WithInsecureSkipVerify()}, nil, "", nil, true},
		{"valid, ignored", "127.0.0.1", []driver.Option{driver.WithRootCAs(pool), driver.WithInsecureSkipVerify()}, nil, "", nil, false},
		{"expired, pinned", "127.0.0.2", []driver.Option{driver.WithInsecureSkipVerify(), driver.WithPinnedKeys(other, expired)}, nil, "", nil, false},
		{"valid, issuer pinned", "127.0.0.1", []driver.Option{roots, driver.WithPinnedKeys(issuer)}, nil, "", nil, false},
		{"valid, other pinned", "127.0.0.1", []driver.Option{roots, driver.WithPinnedKeys(other)}, problem(driver.CertificateNotPinned), "not one of those that are pinned", nil, false},
		{"issuer pinned, unverified", "127.0.0.1", []driver.Option{driver.WithInsecureSkipVerify(), driver.WithPinnedKeys(issuer)}, problem(driver.CertificateNotPinned), "pinned", nil, false},
	}
	ports := map[string][2]string{"SMTP": {"LAB_SUBMISSION", "LAB_SMTPS"}, "POP3": {"LAB_POP3", "LAB_POP3S"}, "IMAP": {"LAB_IMAP", "LAB_IMAPS"}}
	out := &table{t: t, title: "certificates of the lab"}
	defer out.print()
	out.add("certificate", "TLS", "SMTP", "POP3", "IMAP", "HTTPS")
	for _, r := range rows {
		for i, security := range []driver.Security{driver.SecurityExplicit, driver.SecurityImplicit} {
			cells := []string{r.name, security.String()}
			list := protocols
			if security == driver.SecurityImplicit {
				list = slices.Concat(protocols, overHTTP[1:2])
			}
			logs := make([]strings.Builder, len(list))
			errs := each(list, func(p protocol) error {
				n := slices.IndexFunc(list, func(q protocol) bool { return q.name == p.name })
				addr := ""
				if p.name == "HTTPS" {
					u, err := url.Parse(lab.Addr(t, "LAB_HTTPS"))
					if err != nil {
						return err
					}
					addr = "https://" + net.JoinHostPort(r.ip, u.Port())
				} else {
					addr = at(t, lab, r.ip, ports[p.name][i])
				}
				return p.run(t, addr, append([]driver.Option{
					driver.WithLogin(proxyUser, labtest.Password(proxyUser)), driver.WithTimeout(soon), driver.WithSecurity(security),
					driver.WithLogger(slog.New(slog.NewTextHandler(&logs[n], nil))),
				}, r.opts...)...)
			})
			for n, err := range errs {
				name := r.name + ", " + security.String() + ", " + list[n].name
				cells = append(cells, verdict(err))
				assert.Equal(t, r.warn, strings.Contains(logs[n].String(), "accepted without verification"), "A25: %s: %s", name, logs[n].String())
				if r.want == nil {
					assert.NoError(t, err, name)
					continue
				}
				ce, ok := errors.AsType[*driver.CertificateError](err)
				if !assert.True(t, ok, "%s: %v", name, err) {
					continue
				}
				assert.Equal(t, *r.want, ce.Problem, name)
				assert.ErrorContains(t, err, r.text, name)
				assert.Equal(t, driver.KindPolicy, driver.KindOf(err), name)
				de, _ := errors.AsType[*driver.Error](err)
				assert.Equal(t, "tls", de.Op, name)
				if r.x509 != nil {
					assert.True(t, r.x509(err), "%s: %v", name, err)
				}
			}
			out.add(cells...)
		}
	}
}

func is[E error](err error) bool { _, ok := errors.AsType[E](err); return ok }

func indexOf(p protocol) int {
	for i := range protocols {
		if protocols[i].name == p.name {
			return i
		}
	}
	return -1
}

func caPin(t *testing.T, file string) driver.Pin {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	block, _ := pem.Decode(data)
	require.NotNil(t, block)
	cert, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return driver.PinOf(cert)
}

// strip puts somebody in front of a server of implicit TLS who speaks TLS with it
// and no TLS with the client, and notes what the client says.
func strip(t *testing.T, lab *labtest.Lab, addr string, heard io.Writer) string {
	pem, err := os.ReadFile(lab.Addr(t, "LAB_CA"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer client.Close()
				server, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: soon}, Config: &tls.Config{RootCAs: pool, ServerName: "localhost"}}).Dial("tcp", addr)
				if !assert.NoError(t, err) {
					return
				}
				defer server.Close()
				limit := time.Now().Add(2 * soon)
				for _, c := range []net.Conn{client, server} {
					_ = c.SetDeadline(limit)
				}
				wg.Go(func() {
					_, _ = io.Copy(io.MultiWriter(server, heard), client)
					_ = server.Close()
				})
				_, _ = io.Copy(client, server)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// A lockedBuffer is one that several goroutines write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestLabTLSRequired: TLS that was asked for and is not offered ends the session
// before anything that matters is said (A03).
func TestLabTLSRequired(t *testing.T) {
	lab := labtest.Find(t)
	// Postfix's sink has no STARTTLS. Dovecot has a port without it only behind
	// TLS: somebody in the middle takes that off, which is A03 as it happens.
	for name, addr := range map[string]string{
		"SMTP": lab.Addr(t, "LAB_SINK_OK"), "SMTP, Postfix": lab.Addr(t, "LAB_SMTPS"), "SMTP, Exim": lab.Addr(t, "LAB_EXIMS"),
		"POP3": lab.Addr(t, "LAB_POP3S"), "IMAP": lab.Addr(t, "LAB_IMAPS"),
	} {
		t.Run(name, func(t *testing.T) {
			protocolName, _, _ := strings.Cut(name, ",")
			p := protocols[slices.IndexFunc(protocols, func(p protocol) bool { return p.name == protocolName })]
			heard := &lockedBuffer{}
			if addr != lab.Addr(t, "LAB_SINK_OK") {
				addr = strip(t, lab, addr, heard)
			}
			err := p.run(t, addr, driver.WithSecurity(driver.SecurityExplicit), driver.WithTimeout(soon), driver.WithLogin("alice", "alice-secret"), driver.WithInsecureAuth())
			require.ErrorIs(t, err, driver.ErrTLSRequired)
			assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
			assert.NotRegexp(t, "(?i)AUTH|LOGIN|USER|PASS|MAIL", heard.String())
		})
	}
	// And the other way round: servers that refuse logins in clear.
	for _, p := range protocols[1:] {
		err := p.run(t, at(t, lab, "127.0.0.4", "LAB_"+p.name), driver.WithTimeout(soon), driver.WithLogin("alice", "alice-secret"))
		require.Error(t, err, p.name)
		assert.NotContains(t, err.Error(), "alice-secret")
	}
}

// TestLabClientCertificates: the server asks for one and logs whom it saw
// (Exim's EXTERNAL; Dovecot with AUTH=EXTERNAL, which takes the name from it).
func TestLabClientCertificates(t *testing.T) {
	lab := labtest.Find(t)
	roots := labRoots(t, lab)
	cert, err := driver.LoadClientCertificate(t.Context(), lab.Addr(t, "LAB_CLIENT_CERT"), lab.Addr(t, "LAB_CLIENT_KEY"), "")
	require.NoError(t, err)
	for _, c := range []struct {
		p        protocol
		addr     string
		security driver.Security
	}{
		{protocols[0], lab.Addr(t, "LAB_EXIM"), driver.SecurityExplicit},
		{protocols[0], lab.Addr(t, "LAB_EXIMS"), driver.SecurityImplicit},
		{protocols[0], lab.Addr(t, "LAB_SUBMISSION"), driver.SecurityExplicit},
		{protocols[1], lab.Addr(t, "LAB_POP3"), driver.SecurityExplicit},
		{protocols[1], lab.Addr(t, "LAB_POP3S"), driver.SecurityImplicit},
		{protocols[2], lab.Addr(t, "LAB_IMAP"), driver.SecurityExplicit},
		{protocols[2], lab.Addr(t, "LAB_IMAPS"), driver.SecurityImplicit},
	} {
		opts := []driver.Option{roots, driver.WithSecurity(c.security), driver.WithTimeout(soon), driver.WithLogin("alice", ""), driver.WithMechanisms("EXTERNAL")}
		if c.addr == lab.Addr(t, "LAB_SUBMISSION") {
			// Postfix takes the certificate itself in place of a login.
			opts = []driver.Option{roots, driver.WithSecurity(c.security), driver.WithTimeout(soon)}
		}
		t.Run(c.p.name+" "+c.security.String()+" "+c.addr, func(t *testing.T) {
			err := c.p.run(t, c.addr, append(opts, driver.WithClientCertificate(cert))...)
			if c.p.name == "SMTP" && err != nil && strings.Contains(err.Error(), "RCPT") {
				return // another refusal of the recipient: behind the login
			}
			assert.NoError(t, err)
			assert.Error(t, c.p.run(t, c.addr, opts...), "without the certificate")
		})
	}
}
