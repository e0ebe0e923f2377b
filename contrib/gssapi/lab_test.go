package gssapi_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/contrib/gssapi"
	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/internal/httpx"
	"github.com/maildriver/maildriver/internal/labtest"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/smtp"
	"github.com/maildriver/maildriver/spool"
)

// The lab's user of these tests. She has a principal, and no other suite logs
// in as her with GSSAPI.
const (
	labUser      = "carol"
	labPassword  = "carol-secret"
	labPrincipal = "carol@EXAMPLE.COM"
)

type lab struct {
	*labtest.Lab
	t    *testing.T
	conf string
	dir  string
	box  *labtest.Mailbox
}

func openLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{Lab: labtest.Find(t), t: t}
	l.conf, l.dir = l.Addr(t, "LAB_KRB5_CONF"), l.Addr(t, "LAB_DIR")
	l.box = l.Mailbox(t, labUser)
	return l
}

// at is a server of the lab under the name that its principal has.
func (l *lab) at(key string) string {
	_, port, err := net.SplitHostPort(l.Addr(l.t, key))
	require.NoError(l.t, err)
	return net.JoinHostPort("localhost", port)
}

func (l *lab) roots() driver.Option {
	pem, err := os.ReadFile(l.Addr(l.t, "LAB_CA"))
	require.NoError(l.t, err)
	pool := x509.NewCertPool()
	require.True(l.t, pool.AppendCertsFromPEM(pem))
	return driver.WithRootCAs(pool)
}

// spool is for one driver.
func (l *lab) spool(t *testing.T) driver.Option {
	t.Helper()
	sp, err := spool.New(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, sp.Close()) })
	return driver.WithSpool(sp)
}

// client makes a client, with the lab's configuration.
func (l *lab) client(cred gssapi.Credentials, opts ...gssapi.Option) *gssapi.Client {
	l.t.Helper()
	c, err := gssapi.New(cred, append([]gssapi.Option{gssapi.WithConfigFile(l.conf)}, opts...)...)
	require.NoError(l.t, err)
	return c
}

// kinit makes a credential cache with MIT's own tool.
func (l *lab) kinit(args ...string) string {
	l.t.Helper()
	if _, err := exec.LookPath("kinit"); err != nil {
		l.t.Skip("the lab has no kinit")
	}
	path := filepath.Join(l.t.TempDir(), "cc")
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kinit", append([]string{"-c", path}, append(args, labPrincipal)...)...)
	cmd.Env = append(os.Environ(), "KRB5_CONFIG="+l.conf)
	cmd.Stdin = strings.NewReader(labPassword + "\n")
	out, err := cmd.CombinedOutput()
	require.NoError(l.t, err, "%s", out)
	return path
}

// keytab makes one of carol's password with MIT's own tool.
func (l *lab) keytab() string {
	l.t.Helper()
	if _, err := exec.LookPath("ktutil"); err != nil {
		l.t.Skip("the lab has no ktutil")
	}
	path := filepath.Join(l.t.TempDir(), "keytab")
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ktutil")
	cmd.Env = append(os.Environ(), "KRB5_CONFIG="+l.conf)
	cmd.Stdin = strings.NewReader("addent -password -p " + labPrincipal + " -k 1 -e aes256-cts-hmac-sha1-96\n" + labPassword + "\nwkt " + path + "\nquit\n")
	out, err := cmd.CombinedOutput()
	require.NoError(l.t, err, "%s", out)
	return path
}

// logged waits until a log of the lab has a new line with all the words.
func (l *lab) logged(t *testing.T, name string, do func(), words ...string) string {
	t.Helper()
	path := filepath.Join(l.dir, "log", name)
	f, err := os.Open(path)
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	_, err = f.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	do()
	var seen bytes.Buffer
	found := ""
	require.Eventually(t, func() bool {
		_, err := io.Copy(&seen, f)
		if err != nil {
			return false
		}
		for line := range strings.Lines(seen.String()) {
			ok := true
			for _, w := range words {
				ok = ok && strings.Contains(line, w)
			}
			if ok {
				found = line
				return true
			}
		}
		return false
	}, 10*time.Second, 10*time.Millisecond, "%s has no line with %q", name, words)
	return found
}

func (l *lab) poll(t *testing.T, d driver.Driver) {
	t.Helper()
	defer func() { assert.NoError(t, d.Close()) }()
	l.box.Append([]byte("Subject: kerberos\r\n\r\nhello\r\n"))
	got := 0
	_, err := d.Poll(t.Context(), driver.HandlerFunc(func(_ context.Context, ev *driver.Event) error {
		got++
		return ev.DeleteTempFiles()
	}))
	require.NoError(t, err)
	assert.Positive(t, got)
}

func (l *lab) send(t *testing.T, d driver.Driver) {
	t.Helper()
	defer func() { assert.NoError(t, d.Close()) }()
	text := "From: <" + labUser + "@example.com>\r\nSubject: kerberos\r\n\r\nhello\r\n"
	_, err := d.Send(t.Context(), &driver.Message{
		From: labUser + "@example.com",
		To:   []driver.Recipient{{Address: labUser + "@example.com"}},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
	})
	require.NoError(t, err)
}

// refused tries to get in.
func (l *lab) refused(t *testing.T, protocol, addr string, opts ...driver.Option) error {
	t.Helper()
	never := driver.HandlerFunc(func(context.Context, *driver.Event) error { t.Error("it got in"); return nil })
	switch protocol {
	case "IMAP":
		d, err := imap.New(addr, opts...)
		require.NoError(t, err)
		defer func() { assert.NoError(t, d.Close()) }()
		_, err = d.Poll(t.Context(), never)
		return err
	case "POP3":
		d, err := pop3.New(addr, opts...)
		require.NoError(t, err)
		defer func() { assert.NoError(t, d.Close()) }()
		_, err = d.Poll(t.Context(), never)
		return err
	}
	d, err := smtp.New(addr, opts...)
	require.NoError(t, err)
	defer func() { assert.NoError(t, d.Close()) }()
	rec, err := d.Send(t.Context(), &driver.Message{
		From: labUser + "@example.com",
		To:   []driver.Recipient{{Address: labUser + "@example.com"}},
		Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("Subject: kerberos\r\n\r\nhello\r\n")), nil
		},
	})
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	return err
}

// The GSSAPI rows of the matrix: every protocol and protection, with the three
// kinds of credentials, each login proven by the server's log.
func TestLabMatrix(t *testing.T) {
	l := openLab(t)
	clients := map[string]*gssapi.Client{
		"password": l.client(gssapi.Password(labPrincipal, driver.NewSecret(labPassword))),
		"keytab":   l.client(gssapi.Keytab(labUser, l.keytab())),
		"ccache":   l.client(gssapi.CCache("FILE:" + l.kinit())),
	}
	type peer struct {
		name, key string
		security  driver.Security
		log       string
		words     []string
	}
	dovecot := func(proto string) []string {
		return []string{proto + "-login:", "Login: user=<" + labUser + ">, method=GSSAPI"}
	}
	postfix := []string{"sasl_method=GSSAPI, sasl_username=" + labUser}
	exim := []string{"A=", "gssapi", labUser}
	none, explicit, implicit := driver.SecurityNone, driver.SecurityExplicit, driver.SecurityImplicit
	var table []string
	var logs bytes.Buffer // the drivers are closed before it is read
	for _, p := range []peer{
		{"IMAP", "LAB_IMAP", none, "dovecot.log", dovecot("imap")},
		{"IMAP", "LAB_IMAP", explicit, "dovecot.log", append(dovecot("imap"), "TLS")},
		{"IMAP", "LAB_IMAPS", implicit, "dovecot.log", append(dovecot("imap"), "TLS")},
		{"POP3", "LAB_POP3", none, "dovecot.log", dovecot("pop3")},
		{"POP3", "LAB_POP3", explicit, "dovecot.log", append(dovecot("pop3"), "TLS")},
		{"POP3", "LAB_POP3S", implicit, "dovecot.log", append(dovecot("pop3"), "TLS")},
		{"Postfix", "LAB_SUBMISSION", none, "postfix.log", postfix},
		{"Postfix", "LAB_SUBMISSION", explicit, "postfix.log", postfix},
		{"Postfix", "LAB_SMTPS", implicit, "postfix.log", postfix},
		{"Exim", "LAB_EXIM", none, "exim-mainlog", exim},
		{"Exim", "LAB_EXIM", explicit, "exim-mainlog", exim},
		{"Exim", "LAB_EXIMS", implicit, "exim-mainlog", exim},
	} {
		for _, kind := range []string{"password", "keytab", "ccache"} {
			name := fmt.Sprintf("%s %s %s", p.name, p.security, kind)
			t.Run(name, func(t *testing.T) {
				opts := []driver.Option{
					l.roots(), driver.WithSecurity(p.security), driver.WithTimeout(20 * time.Second), l.spool(t),
					driver.WithLogin(labUser, ""), driver.WithNegotiator(clients[kind]), driver.WithMechanisms("GSSAPI"),
					driver.WithLogger(slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))),
				}
				line := l.logged(t, p.log, func() {
					switch p.name {
					case "IMAP":
						d, err := imap.New(l.at(p.key), opts...)
						require.NoError(t, err)
						l.poll(t, d)
					case "POP3":
						d, err := pop3.New(l.at(p.key), opts...)
						require.NoError(t, err)
						l.poll(t, d)
					default:
						d, err := smtp.New(l.at(p.key), opts...)
						require.NoError(t, err)
						l.send(t, d)
					}
				}, p.words...)
				table = append(table, fmt.Sprintf("%-30s %.110s", name, strings.TrimSpace(line)))
			})
		}
	}
	assert.Contains(t, logs.String(), "localhost", "the drivers log something")
	for _, form := range []string{labPassword, fmt.Sprintf("%x", labPassword), base64.StdEncoding.EncodeToString([]byte(labPassword))} {
		assert.NotContains(t, logs.String(), form)
	}
	// The start of every AP-REQ in its frame, as SASL sends it.
	assert.NotContains(t, logs.String(), base64.StdEncoding.EncodeToString([]byte{6, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x12, 1}))
	assert.NotContains(t, logs.String(), "AGCSqGSIb3EgECAg")
	t.Logf("GSSAPI on the lab, with the server's word for it:\n%s", strings.Join(table, "\n"))
}

// HTTP Negotiate with Apache, which names the user it believes in; over TLS the
// context is bound to the connection.
func TestLabApache(t *testing.T) {
	l := openLab(t)
	client := l.client(gssapi.Password(labPrincipal, driver.NewSecret(labPassword)))
	for _, key := range []string{"LAB_HTTP", "LAB_HTTPS"} {
		t.Run(key, func(t *testing.T) {
			u, err := url.Parse(l.Addr(t, key))
			require.NoError(t, err)
			n := driver.NewNetwork()
			require.NoError(t, driver.Apply([]driver.Option{l.roots(), driver.WithNegotiator(client), driver.WithMechanisms("NEGOTIATE")}, &n))
			h, err := httpx.New(&n, httpx.Options{Driver: "TEST", URL: u})
			require.NoError(t, err)
			defer func() { _ = h.Close() }()
			for range 3 {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.String()+"/negotiate/echo", strings.NewReader("hello"))
				require.NoError(t, err)
				resp, err := h.Do(req)
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				assert.Equal(t, http.StatusOK, resp.StatusCode)
				assert.Contains(t, string(body), "hello")
				assert.Contains(t, resp.Header.Get("X-Lab-User"), labUser)
			}
		})
	}
}

func TestLabRefusals(t *testing.T) {
	l := openLab(t)
	start := func(c *gssapi.Client, service, host string) error {
		_, err := c.Start(t.Context(), service, host, nil)
		return err
	}
	right := gssapi.Password(labPrincipal, driver.NewSecret(labPassword))
	for name, tt := range map[string]struct {
		cred    gssapi.Credentials
		service string
		kind    driver.Kind
		is      error
		step    string
	}{
		"wrong password":   {gssapi.Password(labPrincipal, driver.NewSecret("wr0ng-secret")), "imap", driver.KindAuth, gssapi.ErrWrongPassword, gssapi.StepLogin},
		"the lab's keytab": {gssapi.Keytab("alice", l.Addr(t, "LAB_KEYTAB_ALICE")), "imap", driver.KindUnknown, nil, ""},
		"unknown user":     {gssapi.Password("nobody-here", driver.NewSecret("wr0ng-secret")), "imap", driver.KindAuth, gssapi.ErrUnknownPrincipal, gssapi.StepLogin},
		"unknown service":  {right, "nntp", driver.KindConfig, gssapi.ErrUnknownService, gssapi.StepService},
	} {
		t.Run(name, func(t *testing.T) {
			err := start(l.client(tt.cred), tt.service, "localhost")
			if tt.kind == driver.KindUnknown {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, tt.is)
			assert.Equal(t, tt.kind, driver.KindOf(err))
			e, ok := errors.AsType[*gssapi.Error](err)
			require.True(t, ok)
			assert.Equal(t, tt.step, e.Step)
			assert.NotContains(t, err.Error(), "secret")
			t.Log(err)
		})
	}
	// Nothing is sent that the KDC did not vouch for: the error is the KDC's, and
	// comes before a login that would count at the server.
	for _, p := range []struct{ name, key string }{
		{"IMAP", "LAB_IMAP"}, {"POP3", "LAB_POP3"}, {"Postfix", "LAB_SUBMISSION"}, {"Exim", "LAB_EXIM"},
	} {
		implicit := map[string]string{"LAB_IMAP": "LAB_IMAPS", "LAB_POP3": "LAB_POP3S", "LAB_SUBMISSION": "LAB_SMTPS", "LAB_EXIM": "LAB_EXIMS"}[p.key]
		for security, key := range map[driver.Security]string{driver.SecurityNone: p.key, driver.SecurityExplicit: p.key, driver.SecurityImplicit: implicit} {
			for what, bad := range map[string]struct {
				cred gssapi.Credentials
				user string
				is   error // nil: it is the server that refuses
			}{
				"wrong password":  {gssapi.Password(labPrincipal, driver.NewSecret("wr0ng-secret")), labUser, gssapi.ErrWrongPassword},
				"unknown user":    {gssapi.Password("nobody-here", driver.NewSecret("wr0ng-secret")), labUser, gssapi.ErrUnknownPrincipal},
				"somebody else's": {right, "bob", nil},
			} {
				t.Run(fmt.Sprintf("%s %s %s", p.name, security, what), func(t *testing.T) {
					t.Parallel() // servers let who was refused wait
					opts := []driver.Option{
						l.roots(), driver.WithSecurity(security), driver.WithTimeout(20 * time.Second), l.spool(t),
						driver.WithLogin(bad.user, ""), driver.WithNegotiator(l.client(bad.cred)), driver.WithMechanisms("GSSAPI"),
					}
					err := l.refused(t, p.name, l.at(key), opts...)
					require.Error(t, err)
					if bad.is != nil {
						require.ErrorIs(t, err, bad.is)
					}
					assert.Equal(t, driver.KindAuth, driver.KindOf(err))
					assert.NotContains(t, err.Error(), "secret")
				})
			}
		}
	}
	t.Run("somebody else's mailbox", func(t *testing.T) {
		d, err := imap.New(l.at("LAB_IMAP"), l.spool(t), driver.WithLogin("bob", ""), driver.WithNegotiator(l.client(right)), driver.WithMechanisms("GSSAPI"))
		require.NoError(t, err)
		defer func() { _ = d.Close() }()
		_, err = d.Poll(t.Context(), driver.HandlerFunc(func(context.Context, *driver.Event) error { return nil }))
		require.Error(t, err)
		assert.Equal(t, driver.KindAuth, driver.KindOf(err))
		t.Log(err)
	})
	t.Run("the driver says why", func(t *testing.T) {
		wrong := l.client(gssapi.Password(labPrincipal, driver.NewSecret("wr0ng-secret")))
		d, err := imap.New(l.at("LAB_IMAP"), l.spool(t), driver.WithLogin(labUser, ""), driver.WithNegotiator(wrong), driver.WithMechanisms("GSSAPI"))
		require.NoError(t, err)
		defer func() { _ = d.Close() }()
		_, err = d.Poll(t.Context(), driver.HandlerFunc(func(context.Context, *driver.Event) error { return nil }))
		require.ErrorIs(t, err, gssapi.ErrWrongPassword)
		assert.Equal(t, driver.KindAuth, driver.KindOf(err))
		assert.NotContains(t, err.Error(), "secret")
	})
}
