package smtp

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/smtp/smtptest"
	"github.com/maildriver/maildriver/spool"
)

func TestNew(t *testing.T) {
	for addr, want := range map[string]string{
		"mail.example.com":      "mail.example.com:25",
		"mail.example.com.":     "mail.example.com.:25",
		"mail.example.com:587":  "mail.example.com:587",
		"192.0.2.1":             "192.0.2.1:25",
		"[2001:db8::1]:2525":    "[2001:db8::1]:2525",
		"[2001:db8::1]":         "[2001:db8::1]:25",
		"2001:db8::1":           "[2001:db8::1]:25",
		"localhost":             "localhost:25",
		"my_relay.internal:465": "my_relay.internal:465",
	} {
		d, err := New(addr)
		require.NoError(t, err, addr)
		assert.Equal(t, want, d.addr(driver.SecurityNone), addr)
		require.NoError(t, d.Close())
	}
	d, err := New("mail.example.com")
	require.NoError(t, err)
	assert.Equal(t, "mail.example.com:465", d.addr(driver.SecurityImplicit))
	for _, addr := range []string{"", ":25", "a b", "mail.example.com:0", "mail.example.com:65536", "mail.example.com:smtp", "mail\r\nX: y:25", "mail.example.com:25:25", "[192.0.2.1", "mail/x"} {
		_, err := New(addr)
		require.Error(t, err, addr)
		assert.Equal(t, driver.KindConfig, driver.KindOf(err), addr)
		assert.NotContains(t, err.Error(), "\r")
	}
	// Everything wrong is told at once.
	_, err = New("a b", WithDataTimeout(0), WithCommandTimeout(-1), WithMaxLineLength(-1), WithNotify("NEVER", "DELAY"), WithHeloName("x y"))
	for _, name := range []string{`address: "a b" is not a host name or address`, "smtp.DataTimeout", "smtp.CommandTimeout", "smtp.MaxLineLength", "smtp.Notify", "smtp.HeloName"} {
		require.ErrorContains(t, err, name)
	}
	_, err = New("mail.example.com", WithSaveSent(true))
	require.ErrorContains(t, err, "driver.WithSpool")
}

func TestOptionsOfOneCall(t *testing.T) {
	srv, d := start(t, nil, WithHeloName("first.example"))
	_, err := send(t, d, message(plainText), WithHeloName("second.example"))
	require.NoError(t, err)
	_, err = send(t, d, message(plainText), Only(WithNotify("FAILURE")))
	require.NoError(t, err)
	assert.Equal(t, "EHLO second.example", srv.Commands(1)[0])
	assert.Equal(t, "EHLO first.example", srv.Commands(2)[0])
	assert.Equal(t, []string{"NOTIFY=FAILURE"}, srv.Messages()[1].To[0].Params)

	rec, err := send(t, d, message(plainText), WithDataTimeout(-1))
	assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery, "nothing is wrong with the message")
	assert.Equal(t, 2, srv.Conns())
}

func TestDSN(t *testing.T) {
	srv, d := start(t, nil, WithNotify("FAILURE", "DELAY"))
	m := message(plainText, "b@x.example", "c@x.example", "d@x.example")
	m.MessageID = ""
	m.Return = "HDRS"
	m.To[1].Notify = []string{"NEVER"}
	m.To[2].Notify = []string{}
	m.To[2].Original = "rfc822;d+1@x.example"
	_, err := send(t, d, m)
	require.NoError(t, err)
	got := srv.Messages()[0]
	assert.Contains(t, got.Params, "ENVID=m1@example.com", "found in the header")
	assert.Contains(t, got.Params, "RET=HDRS")
	assert.Equal(t, []string{"NOTIFY=FAILURE,DELAY"}, got.To[0].Params)
	assert.Equal(t, []string{"NOTIFY=NEVER"}, got.To[1].Params)
	assert.Equal(t, []string{"ORCPT=rfc822;d+2B1@x.example"}, got.To[2].Params)

	// A server without DSN is not asked.
	srv, d = start(t, []smtptest.Option{smtptest.WithExtensions("8BITMIME")}, WithNotify("FAILURE"))
	_, err = send(t, d, m)
	require.NoError(t, err)
	assert.Empty(t, srv.Messages()[0].Params)
	assert.Empty(t, srv.Violations())

	for header, want := range map[string]string{
		"Subject: x\r\nMESSAGE-ID:\r\n <folded@x>\r\n\r\n": "folded@x",
		"Subject: x\n\nMessage-ID: <body@x>\n":             "",
		"Message-ID: broken\n\n":                           "",
		"X: y\n Message-ID: <continuation@x>\n\n":          "",
		"": "",
	} {
		c, err := scan(t.Context(), message(header), nil)
		require.NoError(t, err)
		assert.Equal(t, want, c.messageID(t.Context()), "%q", header)
	}
}

// big is a body that is read twice when there is no spool.
var big = plainText + strings.Repeat(strings.Repeat("z", 70)+"\n.\n", 4000)

func TestSource(t *testing.T) {
	broken := errors.New("disk on fire")
	opens := 0
	reader := func(r func(n int) (io.Reader, error)) func() (io.ReadCloser, error) {
		opens = 0
		return func() (io.ReadCloser, error) {
			opens++
			in, err := r(opens)
			return io.NopCloser(in), err
		}
	}
	srv, d := start(t, nil)
	m := message("")

	m.Open = reader(func(int) (io.Reader, error) { return strings.NewReader(plainText), nil })
	_, err := send(t, d, m)
	require.NoError(t, err)
	assert.Equal(t, 1, opens, "a small message is read once")

	m.Open = reader(func(int) (io.Reader, error) { return strings.NewReader(big), nil })
	rec, err := send(t, d, m)
	require.NoError(t, err)
	assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
	assert.Equal(t, 2, opens)
	assert.Equal(t, reference(big), string(srv.Messages()[1].Data))
	require.Empty(t, srv.Violations())

	for name, open := range map[string]func(int) (io.Reader, error){
		"cannot be opened": func(int) (io.Reader, error) { return nil, broken },
		"breaks": func(int) (io.Reader, error) {
			return io.MultiReader(strings.NewReader(plainText), errReader{broken}), nil
		},
		"breaks when sent": func(n int) (io.Reader, error) {
			if n == 1 {
				return strings.NewReader(big), nil
			}
			return io.MultiReader(strings.NewReader(big[:len(big)/2]), errReader{broken}), nil
		},
		"changes": func(n int) (io.Reader, error) { return strings.NewReader(big + strings.Repeat("x", n)), nil },
		"empty":   func(int) (io.Reader, error) { return errReader{nil}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			srv.ClearMessages()
			m.Open = reader(open)
			rec, err := send(t, d, m)
			assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
			assert.Equal(t, driver.KindLocal, driver.KindOf(err))
			if name != "changes" && name != "empty" {
				require.ErrorIs(t, err, broken)
			}
			agree(t, srv, rec, "half a message must never look whole")
		})
	}

	ctx, cancel := context.WithCancel(t.Context())
	m.Open = reader(func(int) (io.Reader, error) { cancel(); return strings.NewReader(plainText), nil })
	rec, err = d.Send(ctx, m)
	require.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestSpool(t *testing.T) {
	t.Parallel()
	refuse := smtptest.Fault{At: smtptest.RCPT, Do: smtptest.Reply("550 5.1.1 no")}
	lose := smtptest.Fault{At: smtptest.Dot, Do: smtptest.Drop()}
	some := smtptest.Fault{At: smtptest.RCPT, Nth: 1, Do: smtptest.Reply("550 5.1.1 no")}
	tests := []struct {
		name  string
		fault *smtptest.Fault
		opts  []driver.Option
		kept  bool
	}{
		{"sent", nil, nil, false},
		{"sent, saved", nil, []driver.Option{WithSaveSent(true)}, true},
		{"sent, only the unsent kept", nil, []driver.Option{WithKeepUnsent(true)}, false},
		{"partly, saved", &some, []driver.Option{WithSaveSent(true)}, true},
		{"refused", &refuse, []driver.Option{WithSaveSent(true)}, false},
		{"refused, kept", &refuse, []driver.Option{WithKeepUnsent(true)}, true},
		{"unknown", &lose, []driver.Option{WithSaveSent(true)}, false},
		{"unknown, kept", &lose, []driver.Option{WithKeepUnsent(true)}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			s, err := spool.New(root)
			require.NoError(t, err)
			srv, d := start(t, nil, append(tt.opts, driver.WithSpool(s))...)
			if tt.fault != nil {
				srv.AddFault(*tt.fault)
			}
			m := message(big, "b@x.example", "c@x.example")
			opens, open := 0, m.Open
			m.Open = func() (io.ReadCloser, error) {
				opens++
				return open()
			}
			rec, _ := send(t, d, m)
			agree(t, srv, rec, tt.name)
			assert.Equal(t, 1, opens, "the file is what is sent")
			files, err := filepath.Glob(filepath.Join(root, "sent", "*"))
			require.NoError(t, err)
			if !tt.kept {
				assert.Empty(t, files)
				assert.Empty(t, rec.SavedFile)
				return
			}
			require.Equal(t, []string{rec.SavedFile}, files)
			assert.Regexp(t, `^SMTP_[0-9a-f_]+\.tmp$`, filepath.Base(rec.SavedFile))
			kept, err := os.ReadFile(rec.SavedFile)
			require.NoError(t, err)
			assert.Equal(t, reference(big), string(kept), "as it was on the wire, dots not doubled")
		})
	}
	// The spool cannot be used: nothing is sent.
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	s, err := spool.New(file)
	if err == nil {
		srv, d := start(t, nil, driver.WithSpool(s))
		rec, err := send(t, d, message(plainText))
		assert.Equal(t, driver.KindLocal, driver.KindOf(err))
		assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
		assert.Zero(t, srv.Conns())
	}
}

func TestConcurrentSends(t *testing.T) {
	srv, d := start(t, nil)
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			_, err := d.Send(t.Context(), message(big))
			done <- err
		}()
	}
	for range cap(done) {
		require.NoError(t, <-done)
	}
	assert.Len(t, srv.Messages(), cap(done))
	assert.Empty(t, srv.Violations())
}
