package smtp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

func TestA01StartTLSInjection(t *testing.T) {
	srv, d := start(t, []smtptest.Option{
		smtptest.WithSTARTTLS(), smtptest.WithLogin("u", "p"),
		smtptest.WithFault(smtptest.Fault{At: smtptest.STARTTLS, Do: smtptest.After("250-mx\r\n250 AUTH PLAIN\r\n")}),
	}, explicit(), driver.WithLogin("u", "p"))
	rec, err := send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
	require.ErrorContains(t, err, "tls: deferred: 24 bytes in clear after the consent to TLS")
	assert.Equal(t, []string{"STARTTLS"}, srv.Commands(1)[1:], "nothing was said after it")
}

func TestA02NothingAfterStartTLS(t *testing.T) {
	srv, d := start(t, []smtptest.Option{smtptest.WithSTARTTLS(), smtptest.WithExtensions("PIPELINING", "8BITMIME")}, explicit())
	_, err := send(t, d, message(plainText))
	require.NoError(t, err)
	clear, rest, ok := bytes.Cut(srv.SocketBytes(1), []byte("STARTTLS\r\n"))
	require.True(t, ok)
	assert.True(t, bytes.HasPrefix(clear, []byte("EHLO ")))
	assert.Equal(t, byte(22), rest[0], "a TLS handshake record")
	assert.NotContains(t, string(rest), "MAIL FROM")
}

func TestA03F52StripTLS(t *testing.T) {
	tests := []struct {
		name string
		fake []smtptest.Option
	}{
		{"not offered", nil},
		{"EHLO refused", []smtptest.Option{smtptest.WithoutEHLO()}},
		{"454", []smtptest.Option{smtptest.WithSTARTTLS(), smtptest.WithFault(smtptest.Fault{At: smtptest.STARTTLS, Do: smtptest.Reply("454 4.7.0 not now")})}},
		{"501", []smtptest.Option{smtptest.WithSTARTTLS(), smtptest.WithFault(smtptest.Fault{At: smtptest.STARTTLS, Do: smtptest.Reply("501 5.5.4 no")})}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv, d := start(t, append(tt.fake, smtptest.WithLogin("u", "p")), explicit(), driver.WithLogin("u", "p"), driver.WithInsecureAuth())
			rec, err := send(t, d, message(plainText))
			assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
			assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
			require.ErrorIs(t, err, driver.ErrTLSRequired)
			for _, c := range srv.Commands(1) {
				assert.NotRegexp(t, "^(AUTH|MAIL|HELO)", c)
			}
		})
	}
}

func TestA05CapabilitiesAfterTLS(t *testing.T) {
	// What was said in clear, by whomever, is forgotten.
	srv, d := start(t, []smtptest.Option{
		smtptest.WithSTARTTLS(), smtptest.WithLogin("u", "p"), smtptest.WithMechanisms("CRAM-MD5"),
		smtptest.WithExtensions("AUTH PLAIN", "8BITMIME", "SIZE 10"), smtptest.WithTLSExtensions("AUTH CRAM-MD5"),
	}, explicit(), driver.WithLogin("u", "p"))
	_, err := send(t, d, message(plainText))
	require.NoError(t, err, "SIZE 10 no longer holds")
	assert.Contains(t, srv.Commands(1), "AUTH CRAM-MD5")
	_, err = send(t, d, message(plainText+"\xff\r\n"))
	require.NoError(t, err)
	assert.Contains(t, string(srv.Messages()[1].Data), "\r\n=FF\r\n", "8BITMIME no longer holds")
	assert.Empty(t, srv.Violations())
}

func TestA07StartTLSSilence(t *testing.T) {
	t.Parallel()
	_, d := start(t, []smtptest.Option{
		smtptest.WithSTARTTLS(),
		smtptest.WithFault(smtptest.Fault{At: smtptest.STARTTLS, Do: smtptest.Drip(time.Hour, "x")}),
	}, explicit(), driver.WithTimeout(50*time.Millisecond))
	_, err := send(t, d, message(plainText))
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))

	// Consent, and then a handshake that never goes on.
	silent := silentTLS(t)
	d, err = New(silent, explicit(), driver.WithTimeout(100*time.Millisecond))
	require.NoError(t, err)
	rec, err := send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	require.ErrorContains(t, err, "tls: deferred: no answer within")
}

// TestA08ServerText has the server say what a terminal or a log would obey, and
// name another server to go to.
func TestA08ServerText(t *testing.T) {
	const evil = "\x1b[2J\x07 \u202e\u2066gpj.exe\u200b \x00\r<b> "
	for _, code := range []string{"450 4.2.1 ", "551 5.1.6 ", "251 2.1.5 "} {
		var log bytes.Buffer
		srv, d := start(t, []smtptest.Option{
			smtptest.WithFault(smtptest.Fault{At: smtptest.RCPT, Do: smtptest.Raw(code + evil + "please try <b@evil.example> " + strings.Repeat("y", 300) + "\r\n")}),
			smtptest.WithFault(smtptest.Fault{At: smtptest.Dot, Do: smtptest.Raw("554 5.7.1 " + evil + strings.Repeat("x", 900) + "\r\n")}),
		}, driver.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		rec, err := send(t, d, message(plainText))
		require.Error(t, err)
		for _, text := range []string{err.Error(), log.String()} {
			for _, r := range []string{"\x1b", "\x07", "\u202e", "\u2066", "\u200b", "\x00", "\r"} {
				assert.NotContains(t, text, r)
			}
		}
		assert.Less(t, len(err.Error()), 800)
		assert.Equal(t, 1, srv.Conns(), "a referral is not followed")
		assert.Equal(t, "b@example.com", rec.Recipients[0].Address)
		for _, c := range srv.Commands(1) {
			assert.NotContains(t, c, "evil")
		}
	}
}

func TestA09A10Smuggling(t *testing.T) {
	srv, d := start(t, nil)
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r.\r", "\r\r\n.\r\n", "\r\n.\r\n", "\r\n.\r"} {
		srv.ClearMessages()
		rec, err := send(t, d, message("Subject: x\r\n\r\nfirst"+end+"MAIL FROM:<evil@x.example>\r\nRCPT TO:<v@x.example>\r\nDATA\r\nsecond\r\n"))
		require.NoError(t, err)
		agree(t, srv, rec, fmt.Sprintf("%q", end))
		got := srv.Messages()[0]
		assert.Equal(t, 1, bytes.Count(append([]byte("\r\n"), got.Wire...), []byte("\r\n.\r\n")), "%q", end)
		assert.Contains(t, string(got.Data), "\r\n.\r\nMAIL FROM:<evil", "a line of content, no end")
	}
}

func TestA12NothingIsSent(t *testing.T) {
	srv, d := start(t, nil)
	for _, tt := range addresses {
		if tt.bad == "" || tt.in == "" {
			continue
		}
		m := message(plainText, "good@x.example", tt.in)
		rec, err := send(t, d, m)
		assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
		assert.Equal(t, driver.KindPermanent, driver.KindOf(err))
		var ae *ArgumentError
		require.ErrorAs(t, err, &ae)
		assert.Less(t, len(err.Error()), 700)
	}
	none := message(plainText)
	none.To = nil
	rec, err := send(t, d, none)
	require.ErrorContains(t, err, "no recipients")
	assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
	assert.Zero(t, srv.Conns(), "refused before any byte is sent")
}

func TestA20EndlessReplies(t *testing.T) {
	for _, at := range []smtptest.Stage{smtptest.Greeting, smtptest.EHLO, smtptest.MAIL} {
		for name, text := range map[string]string{
			"lines": strings.Repeat("250-x\r\n", 20_000),
			"line":  "250 " + strings.Repeat("x", 512<<10),
		} {
			_, d := start(t, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: at, Do: smtptest.Raw(text)})})
			rec, err := send(t, d, message(plainText))
			assert.Equal(t, driver.DeliveryDeferred, rec.Delivery, "%s at %s", name, at)
			assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
			require.ErrorIs(t, err, driver.ErrLimit)
		}
	}
	_, d := start(t, []smtptest.Option{
		smtptest.WithLogin("u", "p"), smtptest.WithMechanisms("CRAM-MD5"),
		smtptest.WithFault(smtptest.Fault{At: smtptest.AUTH, Do: smtptest.Reply("334 !!!not base64!!!")}),
	}, driver.WithLogin("u", "p"))
	rec, err := send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
	require.ErrorContains(t, err, "auth: deferred: the server's challenge is not base64")
}

func TestOutOfTurn(t *testing.T) {
	// A reply ahead of its command: the next one would answer another question.
	srv, d := start(t, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.EHLO, Do: smtptest.After("250 ok\r\n250 ok\r\n")})})
	rec, err := send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindProtocol, driver.KindOf(err))
	require.ErrorIs(t, err, errUnsolicited)
	assert.Len(t, srv.Commands(1), 1)

	// The end's answer before the end: the dot is never sent.
	srv, d = start(t, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.DATA, Do: smtptest.After("250 2.0.0 taken\r\n")})})
	rec, err = send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	require.ErrorIs(t, err, errUnsolicited)
	agree(t, srv, rec, "early 250")

	// F47: 421 may come unasked.
	srv, d = start(t, []smtptest.Option{smtptest.WithFault(smtptest.Fault{At: smtptest.MAIL, Do: smtptest.After("421 4.3.2 going down\r\n")})})
	rec, err = send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, 421, rec.Code)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	agree(t, srv, rec, "421")
}

// TestA30LaterReplies has a server repeat the login behind it, where no one
// thinks of passwords any more.
func TestA30LaterReplies(t *testing.T) {
	const user, secret = "alice", "s3cr3t-pass"
	b64 := base64.StdEncoding.EncodeToString
	line := b64([]byte("\x00" + user + "\x00" + secret))
	echo := " you logged in with " + secret + " or " + b64([]byte(secret)) + " or AUTH PLAIN " + line
	for _, tt := range []struct {
		name string
		at   smtptest.Stage
		do   smtptest.Action
	}{
		{"MAIL", smtptest.MAIL, smtptest.Reply("550 5.7.1" + echo)},
		{"RCPT", smtptest.RCPT, smtptest.Raw("450-4.2.1" + echo + "\r\n450 4.2.1" + echo + "\r\n")},
		{"DATA", smtptest.DATA, smtptest.Reply("421 4.3.2" + echo)},
		{"the end", smtptest.Dot, smtptest.Reply("554 5.7.1" + echo)},
		{"taken", smtptest.Dot, smtptest.Reply("250 2.0.0" + echo)},
		{"a challenge", smtptest.MAIL, smtptest.Reply("334" + echo)},
		{"no reply", smtptest.MAIL, smtptest.Raw(echo + "\r\n")},
		{"no reply, cut", smtptest.MAIL, smtptest.Raw(strings.Repeat("x", 250) + secret + "\r\n")},
		{"out of turn", smtptest.MAIL, smtptest.After("250" + echo + "\r\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
			srv, d := start(t, []smtptest.Option{
				smtptest.WithLogin(user, secret), smtptest.WithMechanisms("PLAIN"), smtptest.WithFault(smtptest.Fault{At: tt.at, Do: tt.do}),
			}, driver.WithLogin(user, secret), driver.WithInsecureAuth(), driver.WithLogger(logger), driver.WithTimeout(2*time.Second))
			rec, err := send(t, d, message(plainText))
			assert.Equal(t, tt.name == "taken", err == nil, "%v", err)
			require.Contains(t, strings.Join(srv.Commands(1), "\n"), "\nMAIL FROM:<a@example.com>", "the login was good")
			fmt.Fprintf(&out, "%v %+v %+v\n", err, err, rec)
			for _, s := range []string{secret, secret[:6], b64([]byte(secret)), line} {
				assert.NotContains(t, out.String(), s)
			}
			if tt.name == "MAIL" {
				assert.Contains(t, err.Error(), "you logged in with [secret]", "the rest is told")
			}
		})
	}
}

// TestLoginWithoutAccount: a way to log in is named, or what only a login has,
// and nobody who does. The mail must not go out as if there had been a login.
func TestLoginWithoutAccount(t *testing.T) {
	for name, opt := range map[string]driver.Option{
		"mechanism": driver.WithMechanisms("SCRAM-SHA-256"), "domain": driver.WithDomain("EXAMPLE"), "service": driver.WithSPN("smtp/mail.example.com"),
	} {
		srv, d := start(t, []smtptest.Option{smtptest.WithExtensions("AUTH SCRAM-SHA-256 PLAIN")}, opt, driver.WithInsecureAuth())
		rec, err := send(t, d, message(plainText))
		require.ErrorContains(t, err, "nothing to log in with", name)
		require.ErrorContains(t, err, "driver.WithLogin")
		assert.Equal(t, driver.KindConfig, driver.KindOf(err))
		assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
		assert.NotContains(t, strings.Join(srv.Commands(1), "\n"), "MAIL")
	}
}

// TestA30Secrets fails every mechanism in every way, with the log wide open,
// and looks for the password in all that came out.
func TestA30Secrets(t *testing.T) {
	const user, secret = "alice", `s3cr3t "p\q&`
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	successes := 0
	for _, mech := range []string{"PLAIN", "LOGIN", "CRAM-MD5"} {
		for _, do := range []smtptest.Action{
			smtptest.Reply("535 5.7.8 no"), smtptest.Reply("454 4.7.0 later"), smtptest.Reply("334 bm8="), smtptest.Reply("334 !"),
			smtptest.Drop(), smtptest.Raw("garbage\r\n"), smtptest.Reply("250 fine"),
		} {
			for _, at := range []smtptest.Stage{smtptest.AUTH, smtptest.AuthReply} {
				srv, d := start(t, []smtptest.Option{
					smtptest.WithLogin(user, secret), smtptest.WithMechanisms(mech),
					smtptest.WithFault(smtptest.Fault{At: at, Do: do}),
				}, driver.WithLogin(user, secret), driver.WithInsecureAuth(), driver.WithLogger(logger), driver.WithTimeout(2*time.Second))
				rec, err := send(t, d, message(plainText))
				if err == nil {
					successes++
					continue
				}
				assert.Equal(t, driver.DeliveryDeferred, rec.Delivery, "%s: a login is no reason to reject a message", mech)
				assert.Empty(t, srv.Messages())
				fmt.Fprintf(&out, "%v %+v %#v %s %+v\n", err, err, err, rec.Text, d.net)
			}
		}
	}
	assert.Equal(t, 8, successes, "PLAIN has no second line, and LOGIN takes any first prompt")
	for _, form := range []string{
		secret, base64.StdEncoding.EncodeToString([]byte(secret)), url.QueryEscape(secret), hex.EncodeToString([]byte(secret)), "s3cr3t",
		base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + secret)),
	} {
		assert.NotContains(t, out.String(), form)
	}
	assert.Contains(t, out.String(), "outcome=deferred")
}

func TestInsecureAuth(t *testing.T) {
	srv, d := start(t, []smtptest.Option{smtptest.WithLogin("u", "p"), smtptest.WithMechanisms("PLAIN", "LOGIN")}, driver.WithLogin("u", "p"))
	rec, err := send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
	require.ErrorIs(t, err, driver.ErrInsecureAuth)
	assert.NotContains(t, string(srv.ClientBytes(1)), "AUTH")

	_, d = start(t, nil, driver.WithLogin("u", "p"))
	rec, err = send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err))
	require.ErrorContains(t, err, "the server offers none of SCRAM-SHA-256, SCRAM-SHA-1, DIGEST-MD5, CRAM-MD5, PLAIN, LOGIN; it offers no mechanism")

	_, d = start(t, []smtptest.Option{smtptest.WithLogin("u", "right"), smtptest.WithSTARTTLS()}, explicit(), driver.WithLogin("u", "wrong"))
	rec, err = send(t, d, message(plainText))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err))
	var re *ReplyError
	require.ErrorAs(t, err, &re)
	assert.Equal(t, 535, re.Code)
	assert.Equal(t, StageAUTH, re.Stage)
}

func TestA26Certificates(t *testing.T) {
	future := time.Now().Add(time.Hour)
	tests := []struct {
		name string
		cert []string
		end  time.Time
		want string
	}{
		{"expired", []string{"127.0.0.1"}, time.Now().Add(-time.Hour), "certificate expired on "},
		{"wrong name", []string{"wrong.example.net"}, future, `certificate is for "wrong.example.net", not for "127.0.0.1"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fake := []smtptest.Option{smtptest.WithSTARTTLS(), smtptest.WithLogin("u", "p"), smtptest.WithCertificate(smtptest.Certificate(tt.end, tt.cert...))}
			srv, d := start(t, fake, explicit(), driver.WithLogin("u", "p"))
			rec, err := send(t, d, message(plainText))
			assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
			assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
			require.ErrorContains(t, err, "tls: deferred: the server's "+tt.want)
			assert.Equal(t, []string{"STARTTLS"}, srv.Commands(1)[1:])

			var out bytes.Buffer
			_, err = send(t, d, message(plainText), driver.WithInsecureSkipVerify(), driver.WithLogger(slog.New(slog.NewTextHandler(&out, nil))))
			require.NoError(t, err)
			assert.Contains(t, out.String(), "level=WARN msg=\"server certificate accepted without verification\"")
		})
	}
	// The name that counts is the configured one.
	fake := []smtptest.Option{smtptest.WithImplicitTLS(), smtptest.WithCertificate(smtptest.Certificate(future, "mail.example.com"))}
	_, d := start(t, fake, driver.WithSecurity(driver.SecurityImplicit), driver.WithServerName("mail.example.com"))
	_, err := send(t, d, message(plainText))
	require.NoError(t, err)
}
