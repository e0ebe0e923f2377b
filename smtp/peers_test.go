package smtp

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

// backend is go-smtp's server with a ledger: what other people wrote, against
// which our engine is checked.
type backend struct {
	mu   sync.Mutex
	mail []peerMail
}

type peerMail struct {
	from  string
	opts  gosmtp.MailOptions
	to    []string
	rcpts []gosmtp.RcptOptions
	data  string
	user  string
}

func (b *backend) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return &peerSession{b: b}, nil }

type peerSession struct {
	b *backend
	m peerMail
}

func (s *peerSession) AuthMechanisms() []string { return []string{"PLAIN"} }

func (s *peerSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, pass string) error {
		if user != "u" || pass != "p" {
			return gosmtp.ErrAuthFailed
		}
		s.m.user = user
		return nil
	}), nil
}
func (s *peerSession) Reset()        { s.m = peerMail{user: s.m.user} }
func (s *peerSession) Logout() error { return nil }
func (s *peerSession) Mail(from string, o *gosmtp.MailOptions) error {
	s.m.from, s.m.opts = from, *o
	return nil
}

func (s *peerSession) Rcpt(to string, o *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "no@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.m.to, s.m.rcpts = append(s.m.to, to), append(s.m.rcpts, *o)
	return nil
}

func (s *peerSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.m.data = string(b)
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.mail = append(s.b.mail, s.m)
	return nil
}

func TestAgainstGoSMTP(t *testing.T) {
	b := &backend{}
	srv := gosmtp.NewServer(b)
	srv.Domain, srv.EnableDSN = "peer.example", true
	cert := smtptest.Certificate(time.Now().Add(time.Hour), "127.0.0.1")
	srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })

	fake := smtptest.NewServer()
	defer fake.Close()
	d, err := New(l.Addr().String(), driver.WithRootCAs(fake.RootCAs()), explicit(), driver.WithLogin("u", "p"), WithNotify("FAILURE"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })

	_, err = send(t, d, message(plainText), driver.WithLogin("u", "wrong"))
	assert.Equal(t, driver.KindAuth, driver.KindOf(err))

	m := message("Subject: x\n\n.dot\n..\n\xfc\n.\n", "b@x.example", "no@x.example", `"a b"@x.example`)
	m.Return = "HDRS"
	rec, err := send(t, d, m)
	assert.Equal(t, driver.DeliveryPartly, rec.Delivery)
	require.ErrorContains(t, err, "550 5.1.1 to rcpt")
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Len(t, b.mail, 1)
	got := b.mail[0]
	assert.Equal(t, "Subject: x\r\n\r\n.dot\r\n..\r\n\xfc\r\n.\r\n", got.data)
	assert.Equal(t, "u", got.user)
	assert.Equal(t, gosmtp.Body8BitMIME, got.opts.Body)
	assert.Equal(t, int64(len(got.data)), got.opts.Size)
	assert.Equal(t, gosmtp.DSNReturnHeaders, got.opts.Return)
	assert.Equal(t, "m1@example.com", got.opts.EnvelopeID)
	assert.Equal(t, []gosmtp.DSNNotify{gosmtp.DSNNotifyFailure}, got.rcpts[0].Notify)
	assert.Len(t, got.to, 2)
}

// TestFakeAgainstGoSMTP holds the fake honest: a client that knows nothing of
// our engine must be happy with it.
func TestFakeAgainstGoSMTP(t *testing.T) {
	srv := smtptest.NewServer(smtptest.WithSTARTTLS(), smtptest.WithLogin("u", "p"))
	defer srv.Close()
	c, err := gosmtp.DialStartTLS(srv.Addr(), &tls.Config{RootCAs: srv.RootCAs(), MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	defer c.Close()
	ok, args := c.Extension("SIZE")
	assert.True(t, ok)
	assert.Equal(t, "104857600", args)
	require.Error(t, c.Mail("a@x.example", nil), "no login")
	require.Error(t, c.Auth(sasl.NewPlainClient("", "u", "wrong")))
	require.NoError(t, c.Auth(sasl.NewPlainClient("", "u", "p")))
	require.NoError(t, c.Mail("a@x.example", &gosmtp.MailOptions{Body: gosmtp.Body8BitMIME, Size: 10, EnvelopeID: "e 1"}))
	require.NoError(t, c.Rcpt("b@x.example", &gosmtp.RcptOptions{Notify: []gosmtp.DSNNotify{gosmtp.DSNNotifyNever}}))
	w, err := c.Data()
	require.NoError(t, err)
	_, err = io.WriteString(w, "Subject: x\r\n\r\n.dot\r\n\xfc\r\n")
	require.NoError(t, err)
	require.NoError(t, w.Close())
	srv.AddFault(smtptest.Fault{At: smtptest.MAIL, Do: smtptest.Reply("451 4.3.0 later")})
	err = c.Mail("a@x.example", nil)
	var se *gosmtp.SMTPError
	require.ErrorAs(t, err, &se)
	assert.Equal(t, 451, se.Code)
	require.NoError(t, c.Quit())

	require.Len(t, srv.Messages(), 1)
	got := srv.Messages()[0]
	assert.Equal(t, "Subject: x\r\n\r\n.dot\r\n\xfc\r\n", string(got.Data))
	assert.Equal(t, "Subject: x\r\n\r\n..dot\r\n\xfc\r\n.\r\n", string(got.Wire))
	assert.True(t, got.TLS && got.Promised)
	assert.Equal(t, "u", got.User)
	assert.Contains(t, got.Params, "ENVID=e+201")
	assert.Equal(t, []smtptest.Recipient{{Address: "b@x.example", Params: []string{"NOTIFY=NEVER"}}}, got.To)
	assert.Equal(t, []string{`unknown command "*"`}, srv.Violations(), "go-smtp cancels a login that was refused already")
}

// TestFakeIsStrict speaks badly to the fake on purpose.
func TestFakeIsStrict(t *testing.T) {
	srv := smtptest.NewServer(smtptest.WithExtensions("8BITMIME"))
	defer srv.Close()
	nc, err := net.Dial("tcp", srv.Addr())
	require.NoError(t, err)
	defer nc.Close()
	_, err = io.WriteString(nc, "EHLO x\r\nMAIL FROM:<a@x> SIZE=5\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\nBOGUS\r\nDATA\r\n\x00\rx\n.\n"+
		strings.Repeat("y", 1100)+"\xff\r\n.\r\nQUIT\r\n")
	require.NoError(t, err)
	all, err := io.ReadAll(nc)
	require.NoError(t, err)
	assert.Contains(t, string(all), "555 5.5.4")
	assert.Contains(t, string(all), "500 5.5.2 unknown command")
	assert.Contains(t, string(all), "221 ")
	text := strings.Join(srv.Violations(), "\n")
	for _, want := range []string{"without PIPELINING", "parameter SIZE without", "command ends with a bare LF", "unknown command", "a NUL", "bare CR in the content", "bare LF in the content", "a dot alone", "more than 998", "8-bit content"} {
		assert.Contains(t, text, want)
	}
	assert.Len(t, srv.Messages(), 1)
}
