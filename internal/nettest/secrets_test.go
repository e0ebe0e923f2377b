package nettest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap"
	"github.com/maildriver/maildriver/imap/imaptest"
	"github.com/maildriver/maildriver/internal/labtest"
	"github.com/maildriver/maildriver/pop3"
	"github.com/maildriver/maildriver/pop3/pop3test"
	"github.com/maildriver/maildriver/smtp"
)

// selfSigned serves TLS with a certificate that nobody knows, and a greeting.
func selfSigned(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _, _ = io.WriteString(c, "554 no service\r\n"); _ = c.Close() })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// A hoard collects all that a driver puts out.
type hoard struct {
	t    *testing.T
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *hoard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

// clean asserts that neither the output nor any file under dirs holds one of
// the secrets in any form (A30).
func (h *hoard) clean(dirs []string, secrets ...string) {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]string{"output": h.text.String()}
	for _, dir := range dirs {
		require.NoError(h.t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			all[path] = path + "\n" + string(data)
			return err
		}))
	}
	for _, secret := range secrets {
		hexed := hex.EncodeToString([]byte(secret))
		for form, text := range map[string]string{
			"plain": secret, "base64": strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "="),
			"base64 of PLAIN": strings.TrimRight(base64.StdEncoding.EncodeToString([]byte("\x00"+secret)), "="),
			"hex":             hexed, "HEX": strings.ToUpper(hexed), "URL": url.QueryEscape(secret), "path": url.PathEscape(secret), "quoted": strings.Trim(fmt.Sprintf("%q", secret), `"`),
		} {
			for where, content := range all {
				if strings.Contains(content, text) {
					h.t.Errorf("%s holds %s as %s", where, secret, form)
				}
			}
		}
	}
}

// TestA30NoSecretInTraces runs every protocol against the lab with all logging
// on (internal/authtest has the mechanisms that need tokens, and NTLM), logins right and wrong, in clear and in TLS, and looks through logs,
// errors, traces and files for passwords, and through the traces for content.
func TestA30NoSecretInTraces(t *testing.T) {
	lab := labtest.Find(t)
	box := lab.Mailbox(t, proxyUser)
	box.Append([]byte("From: a@example.com\r\nSubject: " + marker + "\r\n\r\n" + marker + "\r\n"))
	roots := labRoots(t, lab)
	h := &hoard{t: t}
	logger := driver.WithLogger(slog.New(slog.NewJSONHandler(h, &slog.HandlerOptions{Level: slog.LevelDebug})))
	traces := t.TempDir()
	right, wrong := labtest.Password(proxyUser), "wrong-Password-9"
	ports := map[string]string{"SMTP": "LAB_SUBMISSION", "POP3": "LAB_POP3", "IMAP": "LAB_IMAP"}
	mechanisms := map[string][]string{
		"SMTP": {"", "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"},
		"POP3": {"", "USER", "APOP", "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"},
		"IMAP": {"", "CLEARTEXT", "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"},
	}
	through := driver.WithProxy(driver.ProxyHTTP, strings.TrimPrefix(lab.Addr(t, "LAB_PROXY_AUTH"), "http://"))
	all(func(p protocol) error {
		for _, password := range []string{right, wrong} {
			for i, mech := range mechanisms[p.name] {
				opts := []driver.Option{
					driver.WithLogin(proxyUser, password), driver.WithInsecureAuth(), driver.WithTimeout(soon), logger, roots,
					driver.WithLogDebug(filepath.Join(traces, p.name), p.name+"TEST"), driver.WithSecurity(driver.Security(i % 2)),
				}
				if mech != "" {
					opts = append(opts, driver.WithMechanisms(mech))
				} else {
					opts = append(opts, through, driver.WithProxyLogin("proxy", "proxy-secret"))
				}
				err := p.run(t, lab.Addr(t, ports[p.name]), opts...)
				fmt.Fprintf(h, "%v %+v %#v\n", err, err, err)
				// The lab's password files know APOP; all else must be as it should.
				if mech != "APOP" && mech != "" {
					assert.Equal(t, password == right, err == nil, "%s %s: %v", p.name, mech, err)
				}
			}
		}
		return nil
	})
	for _, password := range []string{right, wrong} {
		for _, mech := range []string{"BASIC", "DIGEST", "NTLM"} {
			err := post(t, lab.Addr(t, "LAB_HTTPS")+"/"+strings.ToLower(mech)+"/echo?secret="+password, roots, logger, driver.WithTimeout(soon),
				driver.WithLogin("alice", map[string]string{right: "alice-secret", wrong: wrong}[password]), driver.WithMechanisms(mech),
				driver.WithLogDebug(filepath.Join(traces, "WEBDAV"), "WEBDAVTEST"))
			fmt.Fprintf(h, "%v %+v\n", err, err)
			assert.Equal(t, password == right, err == nil, "%s: %v", mech, err)
		}
	}
	h.clean([]string{traces}, right, wrong, "proxy-secret", "alice-secret")
	h.clean([]string{traces}, marker)
	for _, p := range append(slices.Clone(protocols), protocol{name: "WEBDAV"}) {
		files, err := filepath.Glob(filepath.Join(traces, p.name, "*.log"))
		require.NoError(t, err)
		if p.name == "WEBDAV" {
			require.NotEmpty(t, files)
		} else {
			require.Len(t, files, 2*len(mechanisms[p.name]), "a file for each session of %s", p.name)
		}
		var text strings.Builder
		for _, f := range files {
			data, err := os.ReadFile(f)
			require.NoError(t, err)
			text.Write(data)
		}
		for _, word := range map[string][]string{
			"SMTP":   {"S: 220 ", "C: EHLO ", "C: AUTH PLAIN [", "S: 235 2.7.0 [", "S: 535 5.7.8 [", "C: MAIL FROM:<", "S: 550 ", "C: STARTTLS", "=: TLS 1.3, "},
			"POP3":   {"S: +OK ", "C: USER [", "C: PASS [", "C: RETR 1", "S: [", "C: QUIT", "C: STLS"},
			"IMAP":   {"S: * OK ", " LOGIN [", " AUTHENTICATE PLAIN [", "NO [AUTHENTICATIONFAILED]", "UID FETCH", "S: * 1 FETCH (UID ", "C: A"},
			"WEBDAV": {"C: POST /basic/echo?... HTTP/1.1", "S: HTTP/1.1 200 OK", "S: HTTP/1.1 401 ", "=: closed"},
		}[p.name] {
			assert.Contains(t, text.String(), word, "the trace of %s is good for something", p.name)
		}
	}
}

// TestA31NothingPrintsASecret prints what holds secrets in every way.
func TestA31NothingPrintsASecret(t *testing.T) {
	const secret, proxySecret = "hunter-Two-22", "Proxy-hunter-33"
	sp := newSpool(t)
	opts := []driver.Option{driver.WithLogin("ann", secret), driver.WithProxy(driver.ProxySOCKS5, "p:1"), driver.WithProxyLogin("bob", driver.NewSecret(proxySecret))}
	p, err := pop3.New("pop.example.com", append(opts, driver.WithSpool(sp))...)
	require.NoError(t, err)
	i, err := imap.New("imap.example.com", append(opts, driver.WithSpool(sp))...)
	require.NoError(t, err)
	s, err := smtp.New("smtp.example.com", append(opts, smtp.WithBackup("b.example.com", opts...))...)
	require.NoError(t, err)
	n := driver.NewNetwork()
	require.NoError(t, driver.Apply(opts, &n))
	row := driver.Param{Name: "Password", Type: driver.ParamSecret}
	values, err := driver.ReadParameters([]driver.Param{row}, false, map[string]string{"password": secret})
	require.NoError(t, err)
	h := &hoard{t: t}
	log := slog.New(slog.NewJSONHandler(h, nil))
	text := slog.New(slog.NewTextHandler(h, nil))
	for _, v := range []any{p, i, s, n, &n, n.Proxy, n.Password, &n.Password, opts, values, values.Secret("Password"), struct{ inner driver.Secret }{n.Password}, map[string]driver.Secret{"x": n.Password}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(h, verb+"\n", v)
		}
		log.Info("x", "v", v)
		text.Info("x", "v", v)
		if data, err := json.Marshal(v); err == nil {
			_, _ = h.Write(data)
		}
	}
	h.clean(nil, secret, proxySecret)
	for _, d := range []driver.Driver{p, i, s} {
		require.NoError(t, d.Close())
	}
}

// TestSecretsFromPlaces: they are fetched for each session, so that they can
// change, and a place without one is an error that names it.
func TestSecretsFromPlaces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	pop, im := pop3test.NewServer(), imaptest.NewServer()
	t.Cleanup(func() { pop.Close(); im.Close() })
	var calls int
	var mu sync.Mutex
	fail := errors.New("the vault is sealed")
	fromFunc := driver.SecretFunc(func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls > 1 {
			return "", fail
		}
		return pop3test.Password, ctx.Err()
	})
	run := func(secret driver.Secret) error {
		return runPOP3(t, pop.Addr, driver.WithLogin(pop3test.User, secret), driver.WithInsecureAuth())
	}
	require.NoError(t, run(fromFunc))
	err := run(fromFunc)
	require.ErrorIs(t, err, fail)
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))

	err = run(driver.SecretFromFile(file))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(file, []byte(pop3test.Password+"\r\n"), 0o600))
	require.NoError(t, run(driver.SecretFromFile(file)), "one line end is not part of it")
	t.Setenv("MAILDRIVER_TEST_SECRET", imaptest.Password)
	require.NoError(t, runIMAP(t, im.Addr, driver.WithLogin(imaptest.User, driver.SecretFromEnv("MAILDRIVER_TEST_SECRET")), driver.WithInsecureAuth()))
	for _, s := range []driver.Secret{driver.SecretFromEnv("MAILDRIVER_TEST_UNSET"), driver.SecretFromFile(t.TempDir())} {
		se, ok := errors.AsType[*driver.SecretError](run(s))
		require.True(t, ok)
		assert.NotEmpty(t, se.Place)
	}
	err = runSMTP(t, "127.0.0.1:1", driver.WithLogin("u", driver.SecretFromEnv("MAILDRIVER_TEST_UNSET")))
	require.ErrorContains(t, err, "MAILDRIVER_TEST_UNSET")
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))
}

// A30: an address that is a URL is refused, and the error does not show what may be a password in it.
func TestA30ServerURLIsRefusedUnseen(t *testing.T) {
	sp := newSpool(t)
	const url = "imaps://ann:hunter-Two-22@mail.example.com"
	for name, open := range map[string]func(addr string) error{
		"POP3": func(a string) error {
			_, err := pop3.New(a, driver.WithLogin("ann", "x"), driver.WithSpool(sp))
			return err
		},
		"IMAP": func(a string) error {
			_, err := imap.New(a, driver.WithLogin("ann", "x"), driver.WithSpool(sp))
			return err
		},
		"SMTP":   func(a string) error { _, err := smtp.New(a); return err },
		"backup": func(a string) error { _, err := smtp.New("mail.example.com", smtp.WithBackup(a)); return err },
	} {
		for _, addr := range []string{url, strings.TrimPrefix(url, "imaps://"), url + ":993"} {
			err := open(addr)
			require.Error(t, err, name)
			assert.Equal(t, driver.KindConfig, driver.KindOf(err), name)
			assert.NotContains(t, err.Error(), "hunter", name)
		}
		require.NoError(t, open("mail.example.com"), name)
	}
}
