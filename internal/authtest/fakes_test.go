package authtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
	"github.com/maildriver/maildriver/internal/sasl/sasltest"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

// The account on the fakes. Name and password have what must be escaped.
const (
	fakeUser     = `tim,=`
	fakePassword = `p,="\ 1€`
	fakeToken    = "to.ken~+/=="
)

// A fake is a server for one test.
type fake struct {
	addr       string
	pool       *x509.CertPool
	violations func() []string
}

func newFake(t *testing.T, protocol string, security driver.Security, mechanisms ...string) *fake {
	t.Helper()
	switch protocol {
	case "IMAP":
		opts := []imaptest.Option{imaptest.WithLogin(fakeUser, fakePassword), imaptest.WithToken(fakeToken)}
		if !slices.Equal(mechanisms, []string{"CLEARTEXT"}) {
			opts = append(opts, imaptest.WithAuth(mechanisms...))
		}
		switch security {
		case driver.SecurityExplicit:
			opts = append(opts, imaptest.WithStartTLS())
		case driver.SecurityImplicit:
			opts = append(opts, imaptest.WithTLS())
		}
		s := imaptest.NewServer(opts...)
		t.Cleanup(s.Close)
		return &fake{s.Addr, s.RootCAs(), s.Violations}
	case "POP3":
		opts := []pop3test.Option{pop3test.WithUser(fakeUser, fakePassword), pop3test.WithToken(fakeUser, fakeToken)}
		switch {
		case slices.Equal(mechanisms, []string{"APOP"}):
			opts = append(opts, pop3test.WithAPOP(), pop3test.WithoutUser())
		case !slices.Equal(mechanisms, []string{"USER"}):
			opts = append(opts, pop3test.WithAuth(mechanisms...), pop3test.WithoutUser())
		}
		switch security {
		case driver.SecurityExplicit:
			opts = append(opts, pop3test.WithTLSRequired())
		case driver.SecurityImplicit:
			opts = append(opts, pop3test.WithTLS())
		}
		s := pop3test.NewServer(opts...)
		t.Cleanup(s.Close)
		return &fake{s.Addr, s.RootCAs(), s.Violations}
	}
	opts := []smtptest.Option{smtptest.WithLogin(fakeUser, fakePassword), smtptest.WithToken(fakeToken), smtptest.WithMechanisms(mechanisms...)}
	switch security {
	case driver.SecurityExplicit:
		opts = append(opts, smtptest.WithSTARTTLS())
	case driver.SecurityImplicit:
		opts = append(opts, smtptest.WithImplicitTLS())
	}
	s := smtptest.NewServer(opts...)
	t.Cleanup(s.Close)
	return &fake{s.Addr(), s.RootCAs(), s.Violations}
}

func (f *fake) attempt(protocol string, security driver.Security, opts ...driver.Option) *attempt {
	return &attempt{protocol: protocol, addr: f.addr, from: "a@example.com", to: "b@example.com", opts: append([]driver.Option{
		driver.WithRootCAs(f.pool), driver.WithSecurity(security), driver.WithInsecureAuth(), driver.WithLogin(fakeUser, fakePassword), tokens(fakeToken),
	}, opts...)}
}

// clientCertificate is for the account of the fakes.
func clientCertificate(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: fakeUser}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// An eavesdropper has all that comes out of a driver: debug log, traces, errors.
type eavesdropper struct {
	t   *testing.T
	out *recorder
	dir string
}

func newEavesdropper(t *testing.T) *eavesdropper {
	return &eavesdropper{t, new(recorder), t.TempDir()}
}

func (e *eavesdropper) logger() driver.Option {
	return driver.WithLogger(slog.New(slog.NewTextHandler(e.out, &slog.HandlerOptions{Level: slog.LevelDebug})))
}

func (e *eavesdropper) traces() driver.Option { return driver.WithLogDebug(e.dir, "X") }

func (e *eavesdropper) note(err error) {
	_, _ = fmt.Fprintf(e.out, "%v\n%+v\n%#v\n%q\n", err, err, err, err)
}

// found fails the test where one of the secrets came out, in any form (A30).
func (e *eavesdropper) found(secrets ...string) {
	e.t.Helper()
	files, err := filepath.Glob(filepath.Join(e.dir, "*"))
	require.NoError(e.t, err)
	assert.NotEmpty(e.t, files, "no trace was written: there is nothing to look at")
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(e.t, err)
		_, _ = e.out.Write(b)
	}
	text := e.out.String()
	for _, secret := range secrets {
		for name, form := range forms(secret) {
			if i := strings.Index(text, form); i >= 0 {
				e.t.Errorf("A30: a secret (%s) is in: ...%s...", name, text[max(0, i-200):min(len(text), i+len(form)+50)])
			}
		}
	}
}

// TestFakes has every mechanism on every protocol with strict servers, among
// them what the lab cannot do: SCRAM with channel binding, NTLM for a server
// that demands Extended Protection, EXTERNAL over SMTP with a certificate. Debug log
// and traces are on, and nothing in them or in an error is a secret.
func TestFakes(t *testing.T) {
	cert := driver.WithClientCertificate(clientCertificate(t))
	own := map[string]string{"USER": "POP3", "APOP": "POP3", "CLEARTEXT": "IMAP"}
	rows := slices.Concat(sasltest.Mechanisms, []string{"USER", "APOP", "CLEARTEXT"})
	protocols := []string{"IMAP", "POP3", "SMTP"}
	for _, security := range securities {
		found := newTable(rows, protocols)
		for _, mech := range rows {
			for _, protocol := range protocols {
				if own[mech] != "" && own[mech] != protocol {
					continue
				}
				t.Run(fmt.Sprint(security, "/", mech, "/", protocol), func(t *testing.T) {
					f := newFake(t, protocol, security, mech)
					seen := newEavesdropper(t)
					right := []driver.Option{driver.WithMechanisms(mech), seen.logger(), seen.traces()}
					wrong := []driver.Option{driver.WithMechanisms(mech), seen.logger(), seen.traces(), driver.WithLogin(fakeUser, fakePassword+"x"), tokens(fakeToken + "x")}
					if mech == "EXTERNAL" {
						right = append(right, cert)
					}
					_, err := f.attempt(protocol, security, wrong...).try(t.Context(), t.TempDir())
					require.Error(t, err)
					seen.note(err)
					defer seen.found(fakePassword, fakeToken)
					assert.Equal(t, driver.KindAuth, driver.KindOf(err), "%v", err)
					if usesToken(mech) {
						var te *driver.TokenError
						require.ErrorAs(t, err, &te)
						assert.Equal(t, "invalid_token", te.Status)
					}
					_, err = f.attempt(protocol, security, right...).try(t.Context(), t.TempDir())
					seen.note(err)
					assert.Empty(t, f.violations())
					if security == driver.SecurityNone && (mech == "EXTERNAL" || strings.HasSuffix(mech, "-PLUS")) {
						require.Error(t, err, "there is no TLS to go by")
						assert.Equal(t, driver.KindAuth, driver.KindOf(err))
						return
					}
					require.NoError(t, err)
					found.set(mech, protocol, "ok")
				})
			}
		}
		t.Logf("%v: ok = right credentials taken, wrong ones refused%s", security, found)
	}
}

// TestAuto has servers that offer everything: the strongest is taken.
func TestAuto(t *testing.T) {
	all := []string{"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "NTLM", "EXTERNAL"}
	for _, protocol := range []string{"IMAP", "POP3", "SMTP"} {
		for _, security := range securities {
			t.Run(fmt.Sprint(protocol, "/", security), func(t *testing.T) {
				f := newFake(t, protocol, security, all...)
				a := f.attempt(protocol, security)
				a.opts = []driver.Option{driver.WithRootCAs(f.pool), driver.WithSecurity(security), driver.WithLogin(fakeUser, fakePassword)}
				_, err := a.try(t.Context(), t.TempDir())
				require.NoError(t, err, "SCRAM needs no permission in clear")
				assert.Empty(t, f.violations(), "a server that offers -PLUS takes no flag y")
			})
		}
	}
}

// TestNothingToSay wants a typed error and no credential on the wire where the
// mechanism is not known, not offered, or lacks something.
func TestNothingToSay(t *testing.T) {
	dry := tokens("")
	for _, protocol := range []string{"IMAP", "POP3", "SMTP"} {
		for name, c := range map[string]struct {
			opts []driver.Option
			kind driver.Kind
			want string
		}{
			"unknown":             {[]driver.Option{driver.WithMechanisms("X-NOBODY")}, driver.KindAuth, "not known here: X-NOBODY"},
			"not offered":         {[]driver.Option{driver.WithMechanisms("SCRAM-SHA-256")}, driver.KindAuth, "offers none of SCRAM-SHA-256"},
			"no negotiator":       {[]driver.Option{driver.WithMechanisms("GSSAPI")}, driver.KindAuth, "driver.WithNegotiator"},
			"no token":            {[]driver.Option{driver.WithMechanisms("OAuth20"), dry, driver.WithInsecureAuth()}, driver.KindAuth, "OAUTHBEARER: no access token: the authorisation server is shut"},
			"A54: token in clear": {[]driver.Option{tokens(fakeToken)}, driver.KindPolicy, "credentials are not sent without TLS: mechanism OAUTHBEARER"},
			"A06: plain in clear": {[]driver.Option{driver.WithMechanisms("PLAIN")}, driver.KindPolicy, "credentials are not sent without TLS: mechanism PLAIN"},
		} {
			t.Run(protocol+"/"+name, func(t *testing.T) {
				f := newFake(t, protocol, driver.SecurityNone, "PLAIN", "GSSAPI", "OAUTHBEARER", "XOAUTH2")
				var seen recorder
				a := f.attempt(protocol, driver.SecurityNone)
				a.opts = append([]driver.Option{driver.WithLogin(fakeUser, fakePassword), seen.dialer()}, c.opts...)
				_, err := a.try(t.Context(), t.TempDir())
				require.ErrorContains(t, err, c.want)
				assert.Equal(t, c.kind, driver.KindOf(err))
				assert.NotContains(t, strings.ToUpper(seen.String()), "AUTH ")
				assert.NotContains(t, strings.ToUpper(seen.String()), "AUTHENTICATE")
				assert.NotContains(t, strings.ToUpper(seen.String()), "LOGIN")
				assert.NotContains(t, strings.ToUpper(seen.String()), "USER")
			})
		}
	}
}
