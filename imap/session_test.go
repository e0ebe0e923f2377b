package imap

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/imap/imaptest"
	"github.com/maildriver/maildriver/internal/netx"
)

func TestGreetings(t *testing.T) {
	for _, c := range []struct {
		name, greeting string
		opts           []driver.Option
		kind           driver.Kind // KindUnknown: it works
		text           string
	}{
		{"plain", "* OK ready\r\n", nil, 0, ""},
		{"lower case", "* ok [capability imap4rev1] hi\r\n", nil, 0, ""},
		{"no text", "* OK\r\n", nil, 0, ""},
		{"PREAUTH", "* PREAUTH [CAPABILITY IMAP4rev1] welcome\r\n", nil, 0, ""},
		{"A04 PREAUTH where TLS is required", "* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome\r\n", []driver.Option{driver.WithSecurity(driver.SecurityExplicit)}, driver.KindPolicy, "PREAUTH before TLS"},
		{"A03 no STARTTLS", "* OK [CAPABILITY IMAP4rev1] hi\r\n", []driver.Option{driver.WithSecurity(driver.SecurityExplicit)}, driver.KindPolicy, "TLS is required"},
		{"BYE", "* BYE [UNAVAILABLE] try later\r\n", nil, driver.KindTemporary, "UNAVAILABLE"},
		{"too many", "* BYE Too many connections\r\n", nil, driver.KindTemporary, "Too many"},
		{"of SMTP", "220 mail.example.com ESMTP\r\n", nil, driver.KindProtocol, "no response"},
		{"of POP3", "+OK ready\r\n", nil, driver.KindProtocol, ""},
		{"tagged", "A1 OK ready\r\n", nil, driver.KindProtocol, "not the greeting"},
		{"empty", "\r\n", nil, driver.KindProtocol, ""},
		{"NUL", "* OK \x00\r\n", nil, driver.KindProtocol, "a NUL"},
		{"A20 endless", "* OK " + strings.Repeat("x", 100_000), nil, driver.KindProtocol, "limit exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := imaptest.NewScripted(c.greeting, imaptest.Basic(7)...)
			defer srv.Close()
			mb, err := tryOpen(t, srv.Addr, c.opts...)
			if c.kind == 0 {
				require.NoError(t, err)
				require.NoError(t, mb.Commit(t.Context()))
				return
			}
			require.Error(t, err)
			assert.Equal(t, c.kind, driver.KindOf(err), "%v", err)
			assert.ErrorContains(t, err, c.text)
			for _, cmd := range srv.Commands() {
				assert.NotContains(t, cmd, imaptest.Password)
			}
		})
	}
}

func TestF02NoGreeting(t *testing.T) {
	srv := newScript(t, nil)
	mute := imaptest.NewScripted("", imaptest.Reply{Then: imaptest.Hang})
	defer mute.Close()
	begin := time.Now()
	_, err := tryOpen(t, mute.Addr, driver.WithTimeout(100*time.Millisecond))
	require.Error(t, err)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	assert.Less(t, time.Since(begin), 2*time.Second)
	assert.ErrorContains(t, err, "greeting")
	srv.Close()
	_, err = tryOpen(t, srv.Addr)
	require.Error(t, err, "F01")
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	assert.ErrorContains(t, err, srv.Addr)
}

func TestStartTLS(t *testing.T) {
	explicit := driver.WithSecurity(driver.SecurityExplicit)
	caps := imaptest.Reply{To: "CAPABILITY", Times: 1, Text: "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED AUTH=CRAM-MD5\r\n$ OK done\r\n"}
	t.Run("works, and capabilities are read anew (A05)", func(t *testing.T) {
		srv := newScript(t, imaptest.Basic(7), caps, imaptest.Reply{To: "STARTTLS", Text: "$ OK go\r\n", Then: imaptest.StartTLS})
		mb, err := tryOpen(t, srv.Addr, explicit, driver.WithRootCAs(srv.RootCAs()))
		require.NoError(t, err)
		require.NoError(t, mb.Commit(t.Context()))
		assert.Equal(t, []string{"CAPABILITY", "STARTTLS", "CAPABILITY"}, srv.Commands()[:3])
	})
	t.Run("A05 nothing that was said before TLS counts", func(t *testing.T) {
		before := caps
		before.Text = "* ENABLED UTF8=ACCEPT IMAP4rev2\r\n* 7 EXISTS\r\n" + before.Text
		srv := newScript(t, imaptest.Basic(7), before, imaptest.Reply{To: "STARTTLS", Text: "$ OK go\r\n", Then: imaptest.StartTLS})
		mb, err := tryOpen(t, srv.Addr, explicit, driver.WithRootCAs(srv.RootCAs()), WithFolder("\u53f0\u5317"))
		require.NoError(t, err)
		assert.False(t, mb.s.utf8Names())
		assert.Contains(t, srv.Commands(), `SELECT "&U,BTFw-"`)
	})
	for _, c := range []struct {
		name string
		r    imaptest.Reply
		kind driver.Kind
		is   error
	}{
		{"A01 injected capabilities", imaptest.Reply{To: "STARTTLS", Text: "$ OK go\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", Then: imaptest.StartTLS}, driver.KindProtocol, netx.ErrInjected},
		{"A01 injected reply", imaptest.Reply{To: "STARTTLS", Text: "$ OK go\r\nA2 OK done\r\n", Then: imaptest.StartTLS}, driver.KindProtocol, netx.ErrInjected},
		{"A03 refused", imaptest.Reply{To: "STARTTLS", Text: "$ NO not now\r\n"}, driver.KindPolicy, driver.ErrTLSRequired},
		{"A03 bad", imaptest.Reply{To: "STARTTLS", Text: "$ BAD what\r\n"}, driver.KindPolicy, driver.ErrTLSRequired},
		{"A07 silence", imaptest.Reply{To: "STARTTLS", Text: "$ OK go\r\n", Then: imaptest.Hang}, driver.KindTemporary, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newScript(t, imaptest.Basic(7), caps, c.r)
			_, err := tryOpen(t, srv.Addr, explicit, driver.WithRootCAs(srv.RootCAs()), driver.WithTimeout(300*time.Millisecond))
			require.Error(t, err)
			assert.Equal(t, c.kind, driver.KindOf(err), "%v", err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			for _, cmd := range srv.Commands() {
				assert.NotContains(t, cmd, "LOGIN")
			}
		})
	}
	t.Run("A26 another name", func(t *testing.T) {
		srv := newServer(t, imaptest.WithStartTLS())
		_, err := tryOpen(t, srv.Addr, explicit, driver.WithRootCAs(srv.RootCAs()), driver.WithServerName("mail.example.org"))
		require.Error(t, err)
		assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
	})
}

func TestLogin(t *testing.T) {
	for _, c := range []struct {
		name, caps string
		opts       []driver.Option
		want       string // the first word of the command; "" for none
		kind       driver.Kind
	}{
		{"command", "IMAP4rev1", nil, "LOGIN", 0},
		{"strongest", "IMAP4rev1 AUTH=PLAIN AUTH=CRAM-MD5", nil, "AUTHENTICATE CRAM-MD5", 0},
		{"initial response", "IMAP4rev1 SASL-IR AUTH=PLAIN", nil, "AUTHENTICATE PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00ann\x00secret of ann")), 0},
		{"chosen command", "IMAP4rev1 AUTH=PLAIN", []driver.Option{driver.WithMechanisms("CLEARTEXT")}, "LOGIN", 0},
		{"chosen mechanism", "IMAP4rev1 AUTH=PLAIN AUTH=LOGIN", []driver.Option{driver.WithMechanisms("LOGIN")}, "AUTHENTICATE LOGIN", 0},
		{"disabled", "IMAP4rev1 LOGINDISABLED", nil, "", driver.KindAuth},
		{"disabled, but a mechanism", "IMAP4rev1 LOGINDISABLED AUTH=PLAIN", nil, "AUTHENTICATE PLAIN", 0},
		{"A06 in clear", "IMAP4rev1 AUTH=PLAIN", []driver.Option{insecureOff}, "", driver.KindPolicy},
		{"A06 command in clear", "IMAP4rev1", []driver.Option{insecureOff}, "", driver.KindPolicy},
		{"nothing in common", "IMAP4rev1 LOGINDISABLED AUTH=X-OURS", nil, "", driver.KindAuth},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newScript(t, imaptest.Basic(7), append([]imaptest.Reply{
				{To: "AUTHENTICATE CRAM-MD5", Text: "+ PDE4OTYuNjk3MTcwOTUyQHg+\r\n", Then: imaptest.ReadLine},
				{To: "AUTHENTICATE PLAIN ", Text: "$ OK in\r\n"},
				{To: "AUTHENTICATE PLAIN", Text: "+ \r\n", Then: imaptest.ReadLine},
				{To: "AUTHENTICATE LOGIN", Text: "+ VXNlcm5hbWU6\r\n", Then: imaptest.ReadLine},
			}, imaptest.Capabilities(c.caps)...)...)
			_, err := tryOpen(t, srv.Addr, c.opts...)
			if c.kind != 0 {
				require.Error(t, err)
				assert.Equal(t, c.kind, driver.KindOf(err), "%v", err)
			} else {
				require.NoError(t, err)
			}
			used := ""
			for _, cmd := range srv.Commands() {
				if strings.HasPrefix(cmd, "LOGIN") || strings.HasPrefix(cmd, "AUTH") {
					used = cmd
				}
			}
			if c.want == "" {
				assert.Empty(t, used)
			} else {
				assert.True(t, strings.HasPrefix(used, c.want), "%q", used)
			}
		})
	}
}

// insecureOff undoes what newDriver permits.
var insecureOff = driver.NewOption("test.InsecureOff", func(n *driver.Network) error { n.AllowInsecureAuth = false; return nil })

// Refusals are told apart by their codes (F22 too).
func TestF21Refusals(t *testing.T) {
	for _, c := range []struct {
		to, text string
		kind     driver.Kind
		code     string
	}{
		{"LOGIN", "NO [AUTHENTICATIONFAILED] Authentication failed.", driver.KindAuth, "AUTHENTICATIONFAILED"},
		{"LOGIN", "NO wrong password", driver.KindAuth, ""},
		{"LOGIN", "NO [AUTHORIZATIONFAILED] no", driver.KindAuth, "AUTHORIZATIONFAILED"},
		{"LOGIN", "NO [EXPIRED] old", driver.KindAuth, "EXPIRED"},
		{"LOGIN", "NO [UNAVAILABLE] backend down", driver.KindTemporary, "UNAVAILABLE"},
		{"LOGIN", "NO [ALERT] Too many simultaneous connections. (Failure)", driver.KindTemporary, "ALERT"},
		{"LOGIN", "NO [LIMIT] too many", driver.KindTemporary, "LIMIT"},
		{"LOGIN", "NO [OVERQUOTA] Account exceeded command or bandwidth limits.", driver.KindTemporary, "OVERQUOTA"},
		{"LOGIN", "NO Request is throttled. Suggested Backoff Time: 299 seconds", driver.KindTemporary, ""},
		{"LOGIN", "NO [PRIVACYREQUIRED] use TLS", driver.KindPolicy, "PRIVACYREQUIRED"},
		{"LOGIN", "BAD what", driver.KindProtocol, ""},
		{"LOGIN", "NO [REFERRAL imap://u@elsewhere/] go there", driver.KindAuth, "REFERRAL"},
		{"SELECT", "NO [INUSE] locked", driver.KindTemporary, "INUSE"},
		{"SELECT", "NO [NONEXISTENT] no such", driver.KindPermanent, "NONEXISTENT"},
		{"SELECT", "NO [NOPERM] not yours", driver.KindPermanent, "NOPERM"},
		{"SELECT", "NO hm", driver.KindTemporary, ""},
		{"UID SEARCH", "BAD", driver.KindProtocol, ""},
		{"UID SEARCH", "NO [a]b c", driver.KindTemporary, "A"},
	} {
		t.Run(c.to+" "+c.text, func(t *testing.T) {
			srv := newScript(t, imaptest.Basic(7), imaptest.Reply{To: c.to, Text: "$ " + c.text + "\r\n"})
			d := newDriver(t, srv.Addr)
			_, err := d.Poll(t.Context(), take(new([]string)))
			require.Error(t, err)
			assert.Equal(t, c.kind, driver.KindOf(err), "F21: %v", err)
			re, ok := errors.AsType[*ReplyError](err)
			require.True(t, ok, "%v", err)
			assert.Equal(t, c.code, re.Code)
			assert.Equal(t, c.to, re.Command)
			n := 0
			for _, cmd := range srv.Commands() {
				if strings.HasPrefix(cmd, "LOGIN") {
					n++
				}
			}
			assert.Equal(t, 1, n, "F22: one try")
			assert.Equal(t, 1, srv.Connections(), "A08: referrals are not followed")
		})
	}
}

// No secret is in an error or a log, even if the server repeats it (A30), and
// its words are escaped (A08).
func TestA30NoSecretAnywhere(t *testing.T) {
	const password = `pa"ss\word ü`
	secrets := []string{password, base64.StdEncoding.EncodeToString([]byte(password)), base64.StdEncoding.EncodeToString([]byte("\x00ann\x00" + password))}
	for _, caps := range []string{"IMAP4rev1", "IMAP4rev1 AUTH=PLAIN", "IMAP4rev1 AUTH=PLAIN SASL-IR", "IMAP4rev1 AUTH=LOGIN", "IMAP4rev1 AUTH=CRAM-MD5"} {
		var log bytes.Buffer
		echo := "* OK [ALERT] \x1b[1m" + password + "\r\n$ NO you said " + strings.Join(secrets, " and ") + "\x1b[31m\r\n"
		srv := newScript(t, imaptest.Basic(7), append([]imaptest.Reply{
			{To: "LOGIN", Text: echo},
			{To: "AUTHENTICATE PLAIN ", Text: echo},
			{To: "AUTHENTICATE", Text: echo},
		}, imaptest.Capabilities(caps)...)...)
		d := newDriver(t, srv.Addr, driver.WithLogin("ann", password), driver.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
		_, err := d.Poll(t.Context(), take(new([]string)))
		require.Error(t, err)
		for _, text := range []string{err.Error(), log.String()} {
			for _, s := range secrets {
				assert.NotContains(t, text, s, caps)
			}
			assert.NotContains(t, text, "\x1b")
		}
		assert.Contains(t, log.String(), "alerts")
	}
}

// Odd passwords and names go over as literals, without "+" unless the server
// offers that (A16, A17).
func TestA17Literals(t *testing.T) {
	for _, c := range []struct{ caps, want string }{
		{"IMAP4rev1", "LOGIN \"ann\" {8}\r\ng\u00fc\"\\{3}"},
		{"IMAP4rev1 LITERAL+", "LOGIN \"ann\" {8+}\r\ng\u00fc\"\\{3}"},
		{"IMAP4rev1 LITERAL-", "LOGIN \"ann\" {8+}\r\ng\u00fc\"\\{3}"},
	} {
		srv := newScript(t, imaptest.Basic(7), imaptest.Capabilities(c.caps)...)
		_, err := tryOpen(t, srv.Addr, driver.WithLogin("ann", "g\u00fc\"\\{3}"), driver.WithMechanisms("CLEARTEXT"))
		require.NoError(t, err)
		assert.Contains(t, srv.Commands(), c.want)
	}
	srv := newScript(t, imaptest.Basic(7), imaptest.Reply{To: "LOGIN", Text: "$ NO no\r\n"})
	_, err := tryOpen(t, srv.Addr, driver.WithLogin("ann", "\u00fc"))
	require.Error(t, err)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err))
}

func TestA16NoLineEndsInCommands(t *testing.T) {
	for name, o := range map[string]driver.Option{
		"folder": WithFolder("a\r\nA9 DELETE INBOX"), "move": WithMoveTo("a\nb"), "search": WithSearch("ALL\r\nA9 DELETE x"),
		"literal": WithSearch("SUBJECT {5+}"), "open string": WithSearch(`SUBJECT "x`), "parenthesis": WithSearch("ALL) (SEEN"),
		"keyword": WithKeyword("a b"), "keyword paren": WithKeyword("a)"), "id": WithClientID("a\"\r\nb", "1"),
		"empty part": WithFolder("a//b"), "empty": WithFolder(""), "failed": WithFailedFolder("\x00"),
	} {
		s := newOptions()
		err := driver.Apply([]driver.Option{o}, s.targets()...)
		require.Error(t, err, name)
		assert.Equal(t, driver.KindConfig, driver.KindOf(err), name)
	}
	srv := newScript(t, imaptest.Basic(7), imaptest.Reply{To: "CREATE", Text: "$ OK done\r\n"})
	d := newDriver(t, srv.Addr)
	f, err := d.Folders(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	for _, path := range []string{"a\r\nb", "a\x00", "\xff", "x\u0085y"} {
		require.Error(t, f.Create(t.Context(), path), "%q", path)
	}
	quoted := `we"ird \ {5} (name) %&*`
	require.NoError(t, f.Create(t.Context(), quoted))
	assert.Contains(t, srv.Commands(), `CREATE "we\"ird \\ {5} (name) %&-*"`)
}
