package pop3

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/pop3/pop3test"
)

func TestLogin(t *testing.T) {
	for _, c := range []struct {
		name   string
		server []pop3test.Option
		opts   []driver.Option
		sent   string // what the client must have said
	}{
		{"USER and PASS", nil, nil, "\r\nUSER user\r\nPASS "},
		{"without CAPA", []pop3test.Option{pop3test.WithoutCapa()}, nil, "\r\nUSER user\r\nPASS "},
		{"APOP before clear text", []pop3test.Option{pop3test.WithAPOP()}, nil, "\r\nAPOP user "},
		{"USER because told so", []pop3test.Option{pop3test.WithAPOP(), pop3test.WithAuth("PLAIN")}, []driver.Option{driver.WithMechanisms("user")}, "\r\nUSER user\r\nPASS "},
		{"AUTH PLAIN", []pop3test.Option{pop3test.WithAuth("PLAIN", "LOGIN")}, nil, "\r\nAUTH PLAIN AHVzZXI"},
		{"AUTH LOGIN", []pop3test.Option{pop3test.WithAuth("PLAIN", "LOGIN")}, []driver.Option{driver.WithMechanisms("LOGIN")}, "\r\nAUTH LOGIN\r\ndXNlcg==\r\n"},
		{"CRAM-MD5 hides the password", []pop3test.Option{pop3test.WithAuth("PLAIN", "CRAM-MD5"), pop3test.WithAPOP()}, nil, "\r\nAUTH CRAM-MD5\r\n"},
		{"first choice not on offer", []pop3test.Option{pop3test.WithAuth("LOGIN")}, []driver.Option{driver.WithMechanisms("SCRAM-SHA-1", "APOP", "LOGIN")}, "\r\nAUTH LOGIN\r\n"},
		{"no USER on offer", []pop3test.Option{pop3test.WithAuth("PLAIN"), pop3test.WithoutUser()}, nil, "\r\nAUTH PLAIN AHVzZXI"},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newServer(t, c.server...)
			srv.AddText("Subject: x\n\ny\n")
			mb := openBox(t, srv.Addr, c.opts...)
			assert.Len(t, mustList(t, mb), 1)
			require.NoError(t, mb.Commit(t.Context()))
			assert.Contains(t, string(srv.Transcripts()[0].Client), c.sent)
			assert.Empty(t, srv.Violations())
		})
	}
}

func TestLoginInTLS(t *testing.T) {
	for name, c := range map[string]struct {
		server []pop3test.Option
		sec    driver.Security
		sent   string
	}{
		"implicit":           {[]pop3test.Option{pop3test.WithTLS()}, driver.SecurityImplicit, "CAPA\r\nUSER user\r\n"},
		"STLS":               {[]pop3test.Option{pop3test.WithTLSRequired()}, driver.SecurityExplicit, "CAPA\r\nSTLS\r\nCAPA\r\nUSER user\r\n"},
		"STLS without CAPA":  {[]pop3test.Option{pop3test.WithTLSRequired(), pop3test.WithoutCapa()}, driver.SecurityExplicit, "CAPA\r\nSTLS\r\nCAPA\r\nUSER user\r\n"},
		"PLAIN before APOP":  {[]pop3test.Option{pop3test.WithTLSRequired(), pop3test.WithAPOP(), pop3test.WithAuth("CRAM-MD5", "PLAIN")}, driver.SecurityExplicit, "CAPA\r\nSTLS\r\nCAPA\r\nAUTH PLAIN "},
		"STLS and AUTH only": {[]pop3test.Option{pop3test.WithTLSRequired(), pop3test.WithAuth("LOGIN"), pop3test.WithoutUser()}, driver.SecurityExplicit, "CAPA\r\nSTLS\r\nCAPA\r\nAUTH LOGIN\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, c.server...)
			d := newDriver(t, srv.Addr, driver.WithSecurity(c.sec), driver.WithRootCAs(srv.RootCAs()))
			d.set.net.AllowInsecureAuth = false
			mb, err := d.open(t.Context(), &d.set)
			require.NoError(t, err)
			require.NoError(t, mb.Commit(t.Context()))
			assert.True(t, strings.HasPrefix(string(srv.Transcripts()[0].Client), c.sent))
			assert.Empty(t, srv.Violations())
		})
	}
}

func TestA03NoCredentialsWithoutTLS(t *testing.T) {
	required := []driver.Option{driver.WithSecurity(driver.SecurityExplicit)}
	for _, c := range []struct {
		name   string
		server []pop3test.Option
		rules  []pop3test.Rule
		opts   []driver.Option
		deny   bool
		want   error
		kind   driver.Kind
	}{
		{"STLS not announced", nil, nil, required, false, driver.ErrTLSRequired, driver.KindPolicy},
		{"STLS stripped from CAPA", []pop3test.Option{pop3test.WithSTLS(), pop3test.WithCapabilities([]string{"USER"}, nil)}, nil, required, false, driver.ErrTLSRequired, driver.KindPolicy},
		{"STLS refused", []pop3test.Option{pop3test.WithSTLS()}, []pop3test.Rule{{At: pop3test.StepSTLS, Do: pop3test.Reply("-ERR not now")}}, required, false, driver.ErrTLSRequired, driver.KindPolicy},
		{"no CAPA and STLS refused", []pop3test.Option{pop3test.WithoutCapa()}, nil, required, false, driver.ErrTLSRequired, driver.KindPolicy},
		{"USER in clear", nil, nil, nil, true, driver.ErrInsecureAuth, driver.KindPolicy},
		{"PLAIN in clear, although named", []pop3test.Option{pop3test.WithAuth("PLAIN")}, nil, []driver.Option{driver.WithMechanisms("PLAIN")}, true, driver.ErrInsecureAuth, driver.KindPolicy},
		{"LOGINDISABLED", []pop3test.Option{pop3test.WithTLSRequired()}, nil, nil, true, driver.ErrInsecureAuth, driver.KindPolicy},
		{"nothing in common", []pop3test.Option{pop3test.WithAuth("GSSAPI"), pop3test.WithoutUser()}, nil, nil, false, nil, driver.KindAuth},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newServer(t, c.server...)
			srv.Script(c.rules...)
			d := newDriver(t, srv.Addr, c.opts...)
			d.set.net.AllowInsecureAuth = !c.deny
			_, err := d.open(t.Context(), &d.set)
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			assert.Equal(t, c.kind, driver.KindOf(err))
			sent := string(srv.Transcripts()[0].Client)
			for _, word := range []string{"USER", "PASS", "AUTH", "APOP", pop3test.Password} {
				assert.NotContains(t, sent, word)
			}
			if strings.Contains(c.name, "stripped") {
				assert.NotContains(t, sent, "STLS")
			}
		})
	}
}

func TestA01BytesBehindSTLS(t *testing.T) {
	srv := newServer(t, pop3test.WithSTLS())
	srv.Script(pop3test.Rule{At: pop3test.StepSTLS, Do: pop3test.Reply("+OK begin\r\n+OK\r\nUSER\r\n.\r\n")})
	_, err := tryOpen(t, srv.Addr, driver.WithSecurity(driver.SecurityExplicit), driver.WithRootCAs(srv.RootCAs()))
	require.Error(t, err)
	assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
	assert.NotContains(t, string(srv.Transcripts()[0].Client), "USER")
}

func TestA02NothingBetweenSTLSAndHandshake(t *testing.T) {
	srv := newServer(t, pop3test.WithSTLS(), pop3test.WithPipelining())
	openBox(t, srv.Addr, driver.WithSecurity(driver.SecurityExplicit), driver.WithRootCAs(srv.RootCAs()))
	assert.Empty(t, srv.Violations())
}

func TestA05CapabilitiesAreReadAnewInTLS(t *testing.T) {
	// Before TLS the server, or someone on the path, offers PLAIN and
	// PIPELINING; in TLS the truth is LOGIN alone.
	srv := newServer(t, pop3test.WithSTLS(), pop3test.WithAuth("LOGIN"), pop3test.WithoutUser())
	srv.Script(pop3test.Rule{At: pop3test.StepCapa, Times: 1, Do: pop3test.Reply("+OK\r\nSTLS\r\nSASL PLAIN\r\nPIPELINING\r\n.\r\n")})
	mb := openBox(t, srv.Addr, driver.WithSecurity(driver.SecurityExplicit), driver.WithRootCAs(srv.RootCAs()))
	assert.Contains(t, string(srv.Transcripts()[0].Client), "AUTH LOGIN")
	assert.Equal(t, 1, mb.s.pipelined())
}

func TestF16CapabilitiesAreReadAnewAfterLogin(t *testing.T) {
	srv := newServer(t, pop3test.WithCapabilities([]string{"USER"}, []string{"PIPELINING", "UIDL", "TOP"}), pop3test.WithPipelining())
	mb := openBox(t, srv.Addr)
	assert.Equal(t, DefaultWindow, mb.s.pipelined())
	assert.True(t, mb.s.caps.has("UIDL"))

	srv = newServer(t, pop3test.WithPipelining())
	srv.Script(pop3test.Rule{At: pop3test.StepCapa, Skip: 1, Do: pop3test.Reply("-ERR not now")})
	mb = openBox(t, srv.Addr)
	assert.True(t, mb.s.caps.has("PIPELINING"), "what was known before login holds if the server will not repeat it")
}

func TestSetUpEndsInTime(t *testing.T) {
	for name, c := range map[string]struct {
		server []pop3test.Option
		rule   pop3test.Rule
		opts   []driver.Option
		op     string
	}{
		"F02 no greeting":    {nil, pop3test.Rule{At: pop3test.StepGreeting, Do: pop3test.Hang()}, nil, "greeting"},
		"F06 greeting drips": {nil, pop3test.Rule{At: pop3test.StepGreeting, Do: pop3test.Drip(20 * time.Millisecond)}, nil, "greeting"},
		"A07 STLS hangs": {
			[]pop3test.Option{pop3test.WithSTLS()},
			pop3test.Rule{At: pop3test.StepSTLS, Do: pop3test.ReplyThenHang("+OK begin")},
			[]driver.Option{driver.WithSecurity(driver.SecurityExplicit)},
			"tls",
		},
		"F05 login unanswered":   {nil, pop3test.Rule{At: pop3test.StepPass, Do: pop3test.Hang()}, nil, "pass"},
		"F06 reply to PASS drip": {nil, pop3test.Rule{At: pop3test.StepPass, Do: pop3test.Drip(30 * time.Millisecond)}, nil, "pass"},
		"F06 CAPA drips":         {nil, pop3test.Rule{At: pop3test.StepCapa, Do: pop3test.Drip(10 * time.Millisecond)}, nil, "capa"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, c.server...)
			srv.Script(c.rule)
			begin := time.Now()
			_, err := tryOpen(t, srv.Addr, bundle(c.opts, []driver.Option{driver.WithTimeout(150 * time.Millisecond)})...)
			require.Error(t, err)
			assert.Equal(t, driver.KindTemporary, driver.KindOf(err), err)
			assert.Equal(t, c.op, err.(*driver.Error).Op, err)
			assert.Less(t, time.Since(begin), 3*time.Second)
		})
	}
}

// TestTimeoutsAreOfEachWait: a session may be longer than the time-out, as
// long as no wait is.
func TestTimeoutsAreOfEachWait(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	srv := newServer(t)
	for range 6 {
		srv.AddText("a: b\n\nc\n")
	}
	// All bodies together are less than 1 KiB and take longer than the
	// time-out.
	srv.Script(pop3test.Rule{At: pop3test.StepRetr, Do: pop3test.Drip(30 * time.Millisecond)})
	mb := openBox(t, srv.Addr, driver.WithTimeout(timeout))
	ids := mustList(t, mb)
	begin := time.Now()
	_, err := fetchAll(t.Context(), mb, ids)
	require.NoError(t, err)
	require.Greater(t, time.Since(begin), timeout)
	require.NoError(t, mb.KeepAlive(t.Context()))
	require.NoError(t, mb.Commit(t.Context()))
}

func TestGreeting(t *testing.T) {
	for _, c := range []struct {
		name, greeting string
		kind           driver.Kind
		code           string
	}{
		{"F21 IN-USE", "-ERR [IN-USE] busy", driver.KindTemporary, "IN-USE"},
		{"F21 SYS/TEMP", "-ERR [SYS/TEMP] overload", driver.KindTemporary, "SYS/TEMP"},
		{"SYS/PERM", "-ERR [SYS/PERM] moved", driver.KindPermanent, "SYS/PERM"},
		{"F19 another protocol", "220 mail.example.com ESMTP", driver.KindProtocol, ""},
		{"F19 garbage", "\x00\x01\xff", driver.KindProtocol, ""},
		{"F19 blank", "", driver.KindProtocol, ""},
		{"F19 almost", "+OKAY", driver.KindProtocol, ""},
		{"A20 endless line", "+OK " + strings.Repeat("x", 1<<20), driver.KindProtocol, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			srv := newServer(t)
			srv.Script(pop3test.Rule{At: pop3test.StepGreeting, Do: pop3test.Reply(c.greeting)})
			_, err := tryOpen(t, srv.Addr)
			require.Error(t, err)
			assert.Equal(t, c.kind, driver.KindOf(err), err)
			if c.code != "" {
				re, ok := errors.AsType[*ReplyError](err)
				require.True(t, ok)
				assert.Equal(t, "greeting", re.Command)
				assert.Equal(t, c.code, re.Code)
			}
			assert.Less(t, len(err.Error()), 600)
			assert.Empty(t, srv.Transcripts()[0].Client, "nothing is said to a server that did not greet")
		})
	}
}

func TestTimeStamp(t *testing.T) {
	for greeting, want := range map[string]string{
		"POP3 server ready <1896.697170952@dbc.mtview.ca.us>": "<1896.697170952@dbc.mtview.ca.us>",
		"ready <a@b> and more":                                "<a@b>",
		"ready":                                               "",
		"<no at sign>":                                        "",
		"<a b@c>":                                             "",
		"<a@b":                                                "",
		"<<a@b>":                                              "",
	} {
		assert.Equal(t, want, timeStamp(greeting), greeting)
	}
}

func TestF22WrongPassword(t *testing.T) {
	for name, server := range map[string][]pop3test.Option{
		"USER":     nil,
		"APOP":     {pop3test.WithAPOP()},
		"PLAIN":    {pop3test.WithAuth("PLAIN")},
		"LOGIN":    {pop3test.WithAuth("LOGIN")},
		"CRAM-MD5": {pop3test.WithAuth("CRAM-MD5")},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, server...)
			_, err := tryOpen(t, srv.Addr, driver.WithLogin(pop3test.User, "not-the-password"), driver.WithMechanisms(name))
			require.Error(t, err)
			assert.Equal(t, driver.KindAuth, driver.KindOf(err))
			re, ok := errors.AsType[*ReplyError](err)
			require.True(t, ok)
			assert.Equal(t, "AUTH", re.Code)
			assert.Len(t, srv.Transcripts(), 1, "one try")
		})
	}
}

func TestF21SecondSession(t *testing.T) {
	srv := newServer(t)
	first := openBox(t, srv.Addr)
	_, err := tryOpen(t, srv.Addr)
	re, ok := errors.AsType[*ReplyError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, "IN-USE", re.Code)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	require.NoError(t, first.Commit(t.Context()))
	openBox(t, srv.Addr)
}

// TestA16CommandInjection: the options refuse such accounts, and so does the
// session, which does not rely on that.
func TestA16CommandInjection(t *testing.T) {
	for name, c := range map[string]struct{ user, password string }{
		"CRLF in the user":     {"user\r\nDELE 1", pop3test.Password},
		"CRLF in the password": {pop3test.User, "x\r\nDELE 1"},
		"LF in the user":       {"user\nDELE 1", pop3test.Password},
		"CR in the user":       {"user\rDELE 1", pop3test.Password},
		"NUL in the user":      {"user\x00", pop3test.Password},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t)
			d := newDriver(t, srv.Addr)
			d.set.net.User, d.set.net.Password = c.user, driver.NewSecret(c.password)
			_, err := d.open(t.Context(), &d.set)
			require.Error(t, err)
			assert.Equal(t, driver.KindConfig, driver.KindOf(err))
			assert.NotContains(t, string(srv.Transcripts()[0].Client), "DELE")
			assert.Empty(t, srv.Violations())

			_, err = New(srv.Addr, driver.WithLogin(c.user, c.password))
			require.Error(t, err)
		})
	}
}

func TestA30NoSecretInErrorsAndLogs(t *testing.T) {
	const user, secret = "alice", "S3cret-Passw0rd!"
	for _, mech := range []string{"USER", "PLAIN", "LOGIN", "CRAM-MD5", "APOP"} {
		t.Run(mech, func(t *testing.T) {
			addr, heard := echoServer(t)
			var log strings.Builder
			_, err := tryOpen(t, addr, driver.WithLogin(user, secret), driver.WithMechanisms(mech),
				driver.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
			require.Error(t, err)
			assert.Contains(t, err.Error(), "you said")
			forms := []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))}
			for line := range heard() {
				words := strings.Fields(line)
				forms = append(forms, words[len(words)-1]) // the secret is the last word of a command
			}
			known := []string{"CAPA", user, mech, base64.StdEncoding.EncodeToString([]byte(user))}
			for _, form := range forms {
				if !slices.Contains(known, form) {
					assert.NotContains(t, err.Error(), form)
					assert.NotContains(t, log.String(), form)
				}
			}
		})
	}
}

// echoServer refuses every login by repeating it, as some servers do in their
// zeal to help. heard gives what it was told; call it once, at the end.
func echoServer(t *testing.T) (addr string, heard func() <-chan string) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	lines := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(lines)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "+OK <1.2@example.com>\r\n")
		sc := bufio.NewScanner(conn)
		answers := 0
		for sc.Scan() {
			line := sc.Text()
			lines <- line
			verb, _, _ := strings.Cut(line, " ")
			reply := "-ERR [AUTH] you said " + line
			switch {
			case verb == "CAPA":
				reply = "+OK\r\nUSER\r\nSASL PLAIN LOGIN CRAM-MD5\r\n."
			case verb == "USER":
				reply = "+OK"
			case line == "AUTH CRAM-MD5", line == "AUTH LOGIN":
				reply, answers = "+ PDEuMkBleGFtcGxlLmNvbT4=", strings.Count(line, "LOGIN")
			case answers > 0:
				reply, answers = "+ UGFzc3dvcmQ6", answers-1
			}
			_, _ = io.WriteString(conn, reply+"\r\n")
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String(), func() <-chan string { _ = ln.Close(); <-done; return lines }
}

func TestCertificates(t *testing.T) {
	srv := newServer(t, pop3test.WithTLS())
	_, err := tryOpen(t, srv.Addr, driver.WithSecurity(driver.SecurityImplicit))
	require.Error(t, err)
	assert.Equal(t, driver.KindPolicy, driver.KindOf(err), "unknown authority")

	_, err = tryOpen(t, srv.Addr, driver.WithSecurity(driver.SecurityImplicit), driver.WithRootCAs(srv.RootCAs()), driver.WithServerName("mail.example.com"))
	require.Error(t, err, "A26 wrong name")
	assert.Equal(t, driver.KindPolicy, driver.KindOf(err))

	_, err = tryOpen(t, newServer(t).Addr, driver.WithSecurity(driver.SecurityImplicit))
	require.Error(t, err, "a server without TLS")
	old := newServer(t, pop3test.WithTLS(), pop3test.WithTLSConfig(&tls.Config{MaxVersion: tls.VersionTLS11})) //nolint:gosec // what must be refused
	_, err = tryOpen(t, old.Addr, driver.WithSecurity(driver.SecurityImplicit), driver.WithRootCAs(srv.RootCAs()))
	require.Error(t, err, "TLS 1.1")
}

func TestF01Refused(t *testing.T) {
	srv := pop3test.NewServer()
	srv.Close()
	_, err := tryOpen(t, srv.Addr)
	de, ok := errors.AsType[*driver.Error](err)
	require.True(t, ok)
	assert.Equal(t, "dial", de.Op)
	assert.Equal(t, srv.Addr, de.Addr)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
}

func TestCancelAtEachStep(t *testing.T) {
	for _, step := range []pop3test.Step{
		pop3test.StepGreeting, pop3test.StepCapa, pop3test.StepUser, pop3test.StepPass,
		pop3test.StepStat, pop3test.StepList, pop3test.StepUIDL, pop3test.StepRetr, pop3test.StepDele, pop3test.StepQuit,
	} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			srv.AddText("Subject: x\n\ny\n")
			srv.Script(pop3test.Rule{At: step, Do: pop3test.Hang()})
			d := newDriver(t, srv.Addr)
			why := errors.New("the host has had enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			timer := time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
			defer timer.Stop()
			err := wholeSession(ctx, d)
			require.ErrorIs(t, err, why)
			assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
			assert.Len(t, srv.Messages(), 1)
		})
	}
}

// wholeSession is the life of a mailbox without the pipeline.
func wholeSession(ctx context.Context, d *Driver) error {
	mb, err := d.open(ctx, &d.set)
	if err != nil {
		return err
	}
	defer func() { _ = mb.Close() }()
	ids, _, err := listIDs(ctx, mb)
	if err != nil {
		return err
	}
	if _, err := fetchAll(ctx, mb, ids); err != nil {
		return err
	}
	if err := mb.Remove(ctx, ids); err != nil {
		return err
	}
	return mb.Commit(ctx)
}
