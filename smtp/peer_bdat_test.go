package smtp

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp/smtptest"
)

// serveGoSMTP starts go-smtp's server, which other people wrote.
func serveGoSMTP(t *testing.T, b gosmtp.Backend, set func(*gosmtp.Server)) string {
	t.Helper()
	srv := gosmtp.NewServer(b)
	srv.Domain, srv.ErrorLog = "peer.example", quiet{}
	set(srv)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return l.Addr().String()
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// TestPeerExtensions has the extensions that no server of the lab offers
// understood by go-smtp's server.
func TestPeerExtensions(t *testing.T) {
	b := &backend{}
	addr := serveGoSMTP(t, b, func(s *gosmtp.Server) {
		s.EnableDSN, s.EnableSMTPUTF8, s.EnableBINARYMIME = true, true, true
		s.EnableREQUIRETLS = true
		cert := smtptest.Certificate(time.Now().Add(time.Hour), "127.0.0.1")
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	})
	fake := smtptest.NewServer()
	defer fake.Close()
	d, err := New(addr, driver.WithTimeout(10*time.Second), explicit(), driver.WithRootCAs(fake.RootCAs()))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })

	m := message("Subject: x\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\r\n.\r\n\x00\xff\r", "ü@x.example", "no@x.example")
	m.Binary, m.RequireTLS = true, true
	rec, err := send(t, d, m)
	assert.Equal(t, driver.DeliveryPartly, rec.Delivery, "%v", err)
	rec, err = send(t, d, message(big, "b@x.example"))
	require.NoError(t, err)
	assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
	rec, _ = send(t, d, message(big, "no@x.example"))
	assert.Equal(t, driver.DeliveryRejected, rec.Delivery, "the chunk that rode along is thrown away")
	_, err = send(t, d, message(plainText, "b@x.example"))
	require.NoError(t, err, "and the connection goes on")

	b.mu.Lock()
	defer b.mu.Unlock()
	require.Len(t, b.mail, 3)
	got := b.mail[0]
	assert.Equal(t, "Subject: x\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\r\n.\r\n\x00\xff\r", got.data)
	assert.Equal(t, gosmtp.BodyBinaryMIME, got.opts.Body)
	assert.True(t, got.opts.UTF8)
	assert.True(t, got.opts.RequireTLS)
	assert.Equal(t, []string{"ü@x.example"}, got.to)
	assert.Equal(t, reference(big), b.mail[1].data)
	assert.Equal(t, plainText, b.mail[2].data)
}

// TestPeerDeliverByAndPriority has our values of BY and MT-PRIORITY read by
// go-smtp's server. It expects these with RCPT, where RFC 2852 section 4 and RFC
// 6710 section 4 have them with MAIL, so they are moved there on the way; and
// where they are not, its refusal of MAIL is what the sender must report.
func TestPeerDeliverByAndPriority(t *testing.T) {
	b := &backend{}
	addr := serveGoSMTP(t, b, func(s *gosmtp.Server) {
		s.EnableDELIVERBY, s.MinimumDeliverByTime, s.EnableMTPRIORITY = true, time.Minute, true
	})
	moved, err := New(addr, WithDisableChunking(true), driver.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &movesParams{Conn: nc}, err
	}))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, moved.Close()) })
	ask := func(by *driver.DeliverBy, priority int) *driver.Message {
		m := message(plainText, "a@x.example", "b@x.example")
		m.DeliverBy, m.Priority = by, priority
		return m
	}
	for _, m := range []*driver.Message{
		ask(&driver.DeliverBy{Within: 2 * time.Minute, Return: true}, 9),
		ask(&driver.DeliverBy{Within: -30 * time.Second}, -9),
		ask(nil, 3),
	} {
		_, err := send(t, moved, m)
		require.NoError(t, err)
	}
	b.mu.Lock()
	require.Len(t, b.mail, 3)
	for _, r := range b.mail[0].rcpts {
		assert.Equal(t, &gosmtp.DeliverByOptions{Time: 2 * time.Minute, Mode: gosmtp.DeliverByReturn}, r.DeliverBy)
		assert.Equal(t, 9, *r.MTPriority)
	}
	assert.Equal(t, &gosmtp.DeliverByOptions{Time: -30 * time.Second, Mode: gosmtp.DeliverByNotify}, b.mail[1].rcpts[0].DeliverBy)
	assert.Equal(t, -9, *b.mail[1].rcpts[0].MTPriority)
	assert.Nil(t, b.mail[2].rcpts[0].DeliverBy)
	assert.Equal(t, 3, *b.mail[2].rcpts[1].MTPriority)
	b.mu.Unlock()

	d, err := New(addr)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	rec, err := send(t, d, ask(&driver.DeliverBy{Within: 59 * time.Second, Return: true}, 0))
	assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
	require.ErrorContains(t, err, "less than the 60 seconds that the server asks for")
	rec, err = send(t, d, ask(nil, 1))
	assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
	var re *ReplyError
	require.ErrorAs(t, err, &re)
	assert.Equal(t, []any{StageMAIL, 500, "5.5.4"}, []any{re.Stage, re.Code, re.Enhanced})
	_, err = send(t, d, ask(nil, 0))
	require.NoError(t, err, "and the connection goes on")

	plain, err := New(serveGoSMTP(t, b, func(*gosmtp.Server) {}))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, plain.Close()) })
	for want, m := range map[string]*driver.Message{"DELIVERBY": ask(&driver.DeliverBy{Within: time.Hour}, 0), "MT-PRIORITY": ask(nil, 1)} {
		_, err := send(t, plain, m)
		var xe *ExtensionError
		require.ErrorAs(t, err, &xe)
		assert.Equal(t, want, xe.Extension)
	}
	assert.Len(t, b.mail, 4, "nothing of the refused was taken")
}

// movesParams moves BY and MT-PRIORITY from MAIL to the RCPTs behind it. Each
// command comes in one Write, as nothing is pipelined.
type movesParams struct {
	net.Conn
	tail string
}

func (c *movesParams) Write(p []byte) (int, error) {
	line := string(p)
	switch {
	case strings.HasPrefix(line, "MAIL FROM:"):
		c.tail = ""
		words := strings.Fields(line)
		line = words[0]
		for _, w := range words[1:] {
			if strings.HasPrefix(w, "BY=") || strings.HasPrefix(w, "MT-PRIORITY=") {
				c.tail += " " + w
			} else {
				line += " " + w
			}
		}
		line += "\r\n"
	case strings.HasPrefix(line, "RCPT TO:"):
		line = strings.TrimSuffix(line, "\r\n") + c.tail + "\r\n"
	}
	if _, err := io.WriteString(c.Conn, line); err != nil {
		return 0, err
	}
	return len(p), nil
}

// TestPeerLMTP speaks LMTP to go-smtp's server.
func TestPeerLMTP(t *testing.T) {
	b := &lmtpBackend{}
	addr := serveGoSMTP(t, b, func(s *gosmtp.Server) { s.LMTP = true })
	d, err := New(addr, driver.WithTimeout(10*time.Second), WithLMTP())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	rec, _ := send(t, d, message(plainText, "a@x.example", "full@x.example", "b@x.example"))
	assert.Equal(t, driver.DeliveryPartly, rec.Delivery)
	assert.Equal(t, []int{250, 452, 250}, []int{rec.Recipients[0].Code, rec.Recipients[1].Code, rec.Recipients[2].Code})
}

type lmtpBackend struct{}

func (lmtpBackend) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return &lmtpSession{}, nil }

type lmtpSession struct{ to []string }

func (*lmtpSession) Reset()                                 {}
func (*lmtpSession) Logout() error                          { return nil }
func (*lmtpSession) Mail(string, *gosmtp.MailOptions) error { return nil }
func (*lmtpSession) Data(io.Reader) error                   { return errors.New("not LMTP") }
func (s *lmtpSession) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (s *lmtpSession) LMTPData(r io.Reader, status gosmtp.StatusCollector) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	for _, to := range s.to {
		var err error
		if strings.HasPrefix(to, "full@") {
			err = &gosmtp.SMTPError{Code: 452, EnhancedCode: gosmtp.EnhancedCode{4, 2, 2}, Message: "full"}
		}
		status.SetStatus(to, err)
	}
	return nil
}

// TestPeerHuge sends 200 MB in chunks and watches the heap, which is that of
// the server as well.
func TestPeerHuge(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	const size = 200 << 20
	b := &hashBackend{sum: sha256.New()}
	addr := serveGoSMTP(t, b, func(*gosmtp.Server) {})
	d, err := New(addr)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close()) })
	line := []byte(strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", 1000))
	var peak atomic.Uint64
	m := message("", "a@x.example")
	want := sha256.New()
	passes := 0
	m.Open = func() (io.ReadCloser, error) {
		passes++
		r := io.Reader(io.LimitReader(&cycle{line: line}, size-size%int64(len(line))))
		if passes == 1 {
			r = io.TeeReader(r, want)
		}
		return io.NopCloser(&watched{r, &peak, 0}), nil
	}
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	rec, err := sendWithin(t, 5*time.Minute, d, m)
	require.NoError(t, err)
	assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
	grown := int64(peak.Load()) - int64(before.HeapAlloc)
	t.Logf("%d MB in chunks in %v, heap grew by at most %d KiB", size>>20, time.Since(begin), grown>>10)
	assert.Less(t, grown, int64(16<<20), "memory must not grow with the message")
	assert.Equal(t, hex.EncodeToString(want.Sum(nil)), b.result())
}

type hashBackend struct {
	mu  sync.Mutex
	sum hash.Hash
}

func (b *hashBackend) result() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return hex.EncodeToString(b.sum.Sum(nil))
}

func (b *hashBackend) NewSession(*gosmtp.Conn) (gosmtp.Session, error) { return &hashSession{b}, nil }

type hashSession struct{ b *hashBackend }

func (*hashSession) Reset()                                 {}
func (*hashSession) Logout() error                          { return nil }
func (*hashSession) Mail(string, *gosmtp.MailOptions) error { return nil }
func (*hashSession) Rcpt(string, *gosmtp.RcptOptions) error { return nil }
func (s *hashSession) Data(r io.Reader) error {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	_, err := io.Copy(s.b.sum, r)
	return err
}
