package ews

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews/ewstest"
	"github.com/maildriver/maildriver/mime"
)

func textOf(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

func outgoing(text string, to ...string) *driver.Message {
	m := &driver.Message{From: "desk@example.com", Open: textOf(text)}
	for _, a := range to {
		m.To = append(m.To, driver.Recipient{Address: a})
	}
	return m
}

// E19: nobody sees the Bcc, and who is not in the header gets the message.
func TestE19Send(t *testing.T) {
	t.Parallel()
	const text = "From: Desk <desk@example.com>\nTo: Ann <ann@example.com>\r\nBcc: secret@example.com,\r\n\tother@example.com\nCC: bob@example.com\r\nbcc : x@example.com\rSubject: hi\r\n\r\nBcc: this is text\nend"
	const sent = "From: Desk <desk@example.com>\r\nTo: Ann <ann@example.com>\r\nCC: bob@example.com\r\nSubject: hi\r\n\r\nBcc: this is text\r\nend"
	srv := newServer(t)
	srv.AddFolder("SentItems/Copies")
	for _, c := range []struct {
		opts                 []driver.Option
		disposition, savedTo string
	}{
		{nil, "SendOnly", ""},
		{[]driver.Option{WithSaveCopy("")}, "SendAndSaveCopy", "sentitems"},
		{[]driver.Option{WithSaveCopy("SentItems/Copies")}, "SendAndSaveCopy", "sentitems/Copies"},
		{[]driver.Option{WithSaveCopy(""), WithoutCopy()}, "SendOnly", ""},
	} {
		d := newDriver(t, srv, c.opts...)
		rec, err := d.Send(t.Context(), outgoing(text, "ann@example.com", "BOB@example.com", "secret@example.com", "third@example.com"))
		require.NoError(t, err)
		assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
		require.Len(t, rec.Recipients, 4)
		assert.NotEmpty(t, rec.Server)
		list := srv.Sent()
		got := list[len(list)-1]
		assert.Equal(t, sent, string(got.MIME))
		assert.Equal(t, []string{"secret@example.com", "third@example.com"}, got.Bcc)
		assert.Equal(t, c.disposition, got.Disposition)
		assert.Equal(t, c.savedTo, got.SavedTo)
	}
	for _, r := range srv.Operations("CreateItem") {
		assert.NotEmpty(t, r.Header.Get("Content-Length"))
		assert.Empty(t, r.Header.Get("Transfer-Encoding"))
	}
}

// A draft is composed with the driver's settings, its Bcc in the envelope alone.
func TestCompose(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	d := newDriver(t, srv, driver.WithFrom("Desk <desk@example.com>"), driver.WithCharset("iso-8859-1"))
	m, err := driver.Compose(d, &mime.Draft{To: []mime.Address{{Addr: "ann@example.com"}}, Bcc: []mime.Address{{Addr: "bob@example.com"}}, Subject: "Gr\u00fc\u00dfe", Text: "Gr\u00fc\u00dfe"})
	require.NoError(t, err)
	_, err = d.Send(t.Context(), m)
	require.NoError(t, err)
	require.Len(t, srv.Sent(), 1)
	assert.Equal(t, []string{"bob@example.com"}, srv.Sent()[0].Bcc)
	assert.Contains(t, string(srv.Sent()[0].MIME), "charset=iso-8859-1")
	assert.NotContains(t, string(srv.Sent()[0].MIME), "bob@")
	_, err = d.Compose(&mime.Draft{}, WithFolder("Inbox"))
	require.ErrorIs(t, err, driver.ErrMisplaced)
}

// A header that names others than the recipients is refused: they would get the
// message, too.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	d := newDriver(t, srv)
	rec, err := d.Send(t.Context(), outgoing("To: ann@example.com, bob@example.com\r\n\r\nx", "ann@example.com"))
	require.ErrorIs(t, err, ErrEnvelope)
	var ee *EnvelopeError
	require.ErrorAs(t, err, &ee)
	assert.Equal(t, []string{"bob@example.com"}, ee.Addresses)
	assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
	for _, m := range []*driver.Message{
		{},
		outgoing("x"),
		outgoing("x", "not an address"),
		{To: []driver.Recipient{{Address: "a@example.com"}}},
		{To: []driver.Recipient{{Address: "a@example.com"}}, Open: textOf("x"), RequireTLS: true},
		{To: []driver.Recipient{{Address: "a@example.com"}}, Open: textOf("x"), DeliverBy: &driver.DeliverBy{}},
		{From: "bad", To: []driver.Recipient{{Address: "a@example.com"}}, Open: textOf("x")},
		outgoing("X: "+strings.Repeat("x", maxHeader), "a@example.com"),
	} {
		rec, err := d.Send(t.Context(), m)
		require.Error(t, err)
		assert.Equal(t, driver.DeliveryRejected, rec.Delivery, "%v", err)
	}
	assert.Empty(t, srv.Requests())
}

// The server's word decides: refused for good, or not now.
func TestSendRefused(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]driver.Delivery{
		"ErrorSendAsDenied": driver.DeliveryRejected, "ErrorMessageSizeExceeded": driver.DeliveryRejected,
		"ErrorQuotaExceeded": driver.DeliveryRejected, "ErrorInvalidRecipients": driver.DeliveryRejected,
		"ErrorInternalServerError": driver.DeliveryDeferred,
	} {
		srv := newServer(t)
		srv.Intercept(func(*ewstest.Request) *ewstest.Response {
			return ewstest.Refusal("CreateItem", code, "Nein", 0, 1)
		})
		rec, err := newDriver(t, srv).Send(t.Context(), outgoing("To: a@example.com\r\n\r\nx", "a@example.com"))
		require.Error(t, err)
		assert.Equal(t, want, rec.Delivery)
		assert.Equal(t, want, driver.DeliveryOf(err))
		assert.Equal(t, code, codeOf(err))
		assert.Contains(t, rec.Text, code)
		assert.Len(t, srv.Operations("CreateItem"), 1)
	}
	srv := newServer(t, ewstest.WithRefused("nobody@example.com"))
	rec, err := newDriver(t, srv).Send(t.Context(), outgoing("To: a@example.com\r\n\r\nx", "a@example.com", "nobody@example.com"))
	require.Error(t, err)
	assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
	assert.Empty(t, srv.Sent())
	// A busy server is asked again.
	srv = newServer(t)
	srv.Intercept(ewstest.Nth("CreateItem", 1, ewstest.Fault("ErrorServerBusy", "", time.Millisecond)))
	_, err = newDriver(t, srv).Send(t.Context(), outgoing("To: a@example.com\r\n\r\nx", "a@example.com"))
	require.NoError(t, err)
	assert.Len(t, srv.Sent(), 1)
}

// E18: no answer after the whole request leaves the outcome unknown, and nothing
// is repeated; a connection that failed before costs one repeat.
func TestE18Unknown(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation == "CreateItem" {
			return &ewstest.Response{Cut: true}
		}
		return nil
	})
	rec, err := newDriver(t, srv).Send(t.Context(), outgoing("To: a@example.com\r\n\r\nx", "a@example.com"))
	require.Error(t, err)
	assert.Equal(t, driver.DeliveryUnknown, rec.Delivery)
	assert.Equal(t, driver.KindAmbiguous, driver.KindOf(err))
	assert.Len(t, srv.Operations("CreateItem"), 1)

	// Half an answer is none.
	srv = newServer(t)
	srv.Intercept(func(*ewstest.Request) *ewstest.Response {
		return &ewstest.Response{Write: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<s:Envelope xmlns:s='"+nsSOAP+"'><s:Body>")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}}
	})
	rec, err = newDriver(t, srv).Send(t.Context(), outgoing("To: a@example.com\r\n\r\nx", "a@example.com"))
	require.Error(t, err)
	assert.Equal(t, driver.DeliveryUnknown, rec.Delivery)
	assert.Len(t, srv.Operations("CreateItem"), 1)

	// Broken at once, and in the middle of a large body.
	for _, after := range []int64{0, 100_000} {
		srv = newServer(t)
		var dials atomic.Int32
		d := newDriver(t, srv, driver.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := srv.Dial(ctx, network, addr)
			if err == nil && dials.Add(1) == 1 {
				return &cutConn{Conn: c, left: after}, nil
			}
			return c, err
		}))
		noise := make([]byte, 1<<20)
		_, _ = rand.Read(noise)
		rec, err = d.Send(t.Context(), outgoing("To: a@example.com\r\n\r\n"+base64.StdEncoding.EncodeToString(noise), "a@example.com"))
		require.NoError(t, err)
		assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
		assert.Equal(t, int32(2), dials.Load())
		assert.Len(t, srv.Sent(), 1)
	}
	// Not more than one.
	srv = newServer(t)
	var dials atomic.Int32
	d := newDriver(t, srv, driver.WithDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		c, err := srv.Dial(ctx, network, addr)
		return &cutConn{Conn: c}, err
	}))
	rec, err = d.Send(t.Context(), outgoing("To: a@example.com\r\n\r\nx", "a@example.com"))
	require.Error(t, err)
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.Equal(t, int32(2), dials.Load())
}

// cutConn breaks after so many bytes to the server.
type cutConn struct {
	net.Conn
	left int64
}

func (c *cutConn) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	c.left -= int64(len(p))
	return c.Conn.Write(p)
}

// A message that cannot be read, or that is not the same twice, is not sent.
func TestBrokenMessage(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	broken := errors.New("the disk is broken")
	n := 0
	for _, open := range []func() (io.ReadCloser, error){
		func() (io.ReadCloser, error) { return nil, broken },
		func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("To: a@example.com\r\n\r\nx"), errReader{broken})), nil
		},
		func() (io.ReadCloser, error) {
			if n++; n == 2 {
				return nil, broken
			}
			return textOf("To: a@example.com\r\n\r\nx")()
		},
		func() (io.ReadCloser, error) {
			n++
			return textOf("To: a@example.com\r\n\r\n" + strings.Repeat("x", 10*n))()
		},
	} {
		m := outgoing("", "a@example.com")
		m.Open = open
		rec, err := newDriver(t, srv).Send(t.Context(), m)
		require.Error(t, err)
		if !errors.Is(err, errChanged) {
			require.ErrorIs(t, err, broken)
		}
		assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	}
	assert.Empty(t, srv.Sent())
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestCanonical(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("y", 70_000)
	for in, want := range map[string]string{
		"":                      "",
		"A: b":                  "A: b",
		"A: b\n\nx\ry\r\nz":     "A: b\r\n\r\nx\r\ny\r\nz",
		"\nbody":                "\r\nbody",
		"BCC: a\n b\nA: c\n\n":  "A: c\r\n\r\n",
		"Resent-Bcc: a\nA: b\n": "A: b\r\n",
		"Bccx: a\n":             "Bccx: a\r\n",
		"A: " + long + "\nBcc: " + long + "\nB: c\n\n" + long: "A: " + long + "\r\nB: c\r\n\r\n" + long,
	} {
		for _, size := range []int{1, 1000, 1 << 20} {
			out, err := io.ReadAll(newCanonical(&slow{strings.NewReader(in), size}, false))
			require.NoError(t, err)
			assert.Equal(t, want, string(out))
		}
	}
	out, err := io.ReadAll(newCanonical(strings.NewReader("Bcc: x\nA: b\n\nx\ny\r\x00"), true))
	require.NoError(t, err)
	assert.Equal(t, "A: b\r\n\r\nx\ny\r\x00", string(out))
}

// slow gives so many bytes at a time.
type slow struct {
	r io.Reader
	n int
}

func (s *slow) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.n)]) }

// FuzzCanonical holds the stream against a simple rewriting in memory.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"A: b\n\nx\ry", "Bcc: a\r\n b\r\nC: d\r\n\r\nBcc: x", "\n\n", "Bcc", " \nBcc:x", "\r\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := io.ReadAll(newCanonical(&slow{strings.NewReader(s), 3}, false))
		require.NoError(t, err)
		var want bytes.Buffer
		text := strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
		body, dropped := false, false
		for line := range strings.Lines(text) {
			if !body {
				switch {
				case line == "\n":
					body, dropped = true, false
				case line[0] != ' ' && line[0] != '\t':
					name, _, _ := strings.Cut(line, ":")
					name = strings.ToLower(strings.TrimRight(name, " \t"))
					dropped = name == "bcc" || name == "resent-bcc"
				}
			}
			if !dropped {
				want.WriteString(strings.ReplaceAll(line, "\n", "\r\n"))
			}
		}
		require.Equal(t, want.String(), string(got))
	})
}
