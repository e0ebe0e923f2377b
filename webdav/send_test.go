package webdav

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/webdav/webdavtest"
)

func message(raw string, to ...string) *driver.Message {
	m := &driver.Message{From: webdavtest.Address, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(raw)), nil }}
	for _, a := range to {
		m.To = append(m.To, driver.Recipient{Address: a})
	}
	return m
}

// W14: the envelope goes with the message, blind copies only there.
func TestW14Submission(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	d := newDriver(t, srv.Mailbox())
	raw := "From: ann@example.com\nTo: bob@example.com\nBCC : dave@example.com,\n\teve@example.com\nCc: carol@example.com\nSubject: hi\n\n.dot\nBcc: in the body\n"
	rec, err := d.Send(t.Context(), message(raw, "bob@example.com", "carol@example.com", "dave@example.com", "eve@example.com"))
	require.NoError(t, err)
	assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
	assert.Equal(t, 200, rec.Code)
	assert.Len(t, rec.Recipients, 4)
	sent := srv.Sent()
	require.Len(t, sent, 1)
	assert.Equal(t, webdavtest.Address, sent[0].From)
	assert.Equal(t, []string{"bob@example.com", "carol@example.com", "dave@example.com", "eve@example.com"}, sent[0].To)
	assert.Equal(t, "From: ann@example.com\r\nTo: bob@example.com\r\nCc: carol@example.com\r\nSubject: hi\r\n\r\n.dot\r\nBcc: in the body\r\n", string(sent[0].Data))
	last := srv.Requests()[len(srv.Requests())-1]
	assert.Equal(t, "/exchange/ann/%23%23DavMailSubmissionURI%23%23/", last.URI)
	assert.Equal(t, "PUT", last.Method)
	assert.Equal(t, "message/rfc821", last.Header.Get("Content-Type"))
	assert.Equal(t, "f", last.Header.Get("Saveinsent"))

	m := message(raw, "bob@example.com")
	m.From = webdavtest.RefusedSender
	rec, err = d.Send(t.Context(), m)
	require.ErrorIs(t, err, ErrSender)
	assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
	assert.Equal(t, 403, rec.Code)
	m.From = ""
	_, err = d.Send(t.Context(), m)
	require.NoError(t, err, "the null path")
}

// W14: what each status means.
func TestW14Statuses(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]struct {
		delivery driver.Delivery
		kind     driver.Kind
		is       error
	}{
		200: {driver.DeliveryAccepted, driver.KindUnknown, nil},
		201: {driver.DeliveryAccepted, driver.KindUnknown, nil},
		403: {driver.DeliveryRejected, driver.KindPermanent, ErrSender},
		404: {driver.DeliveryDeferred, driver.KindAuth, nil},
		440: {driver.DeliveryDeferred, driver.KindAuth, ErrForms},
		423: {driver.DeliveryDeferred, driver.KindTemporary, nil},
		503: {driver.DeliveryDeferred, driver.KindTemporary, nil},
		507: {driver.DeliveryRejected, driver.KindPermanent, ErrQuota},
		415: {driver.DeliveryRejected, driver.KindPermanent, nil},
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut {
					w.WriteHeader(status)
				}
				return r.Method == http.MethodPut
			})
			rec, err := newDriver(t, srv.Mailbox()).Send(t.Context(), message("Subject: x\r\n\r\nx\r\n", "bob@example.com"))
			assert.Equal(t, want.delivery, rec.Delivery, "%v", err)
			assert.Equal(t, want.kind, driver.KindOf(err), "%v", err)
			if want.is != nil {
				require.ErrorIs(t, err, want.is)
			}
		})
	}
}

// What has no answer may have been sent, and is not sent again.
func TestSendOutcomeUnknown(t *testing.T) {
	t.Parallel()
	for _, save := range []bool{false, true} {
		srv := newServer(t)
		var tries atomic.Int32
		srv.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == "MOVE" || r.Method == http.MethodPut && strings.Contains(r.URL.Path, "Submission") {
				tries.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				panic(http.ErrAbortHandler)
			}
			return false
		})
		rec, err := newDriver(t, srv.Mailbox(), WithSaveSent(save)).Send(t.Context(), message("To: bob@example.com\r\n\r\nx\r\n", "bob@example.com"))
		require.Error(t, err)
		assert.Equal(t, driver.DeliveryUnknown, rec.Delivery, "%v", err)
		assert.Equal(t, driver.KindAmbiguous, driver.KindOf(err))
		assert.EqualValues(t, 1, tries.Load())
	}
}

// Saved copies go through Drafts.
func TestSendSaved(t *testing.T) {
	t.Parallel()
	srv := newServer(t, webdavtest.WithLocalised())
	d := newDriver(t, srv.Mailbox(), WithSaveSent(true))
	_, err := d.Send(t.Context(), message("To: Bob <bob@example.com>\r\nBcc: dave@example.com\r\nSubject: hi\r\n\r\nx\r\n", "bob@example.com", "dave@example.com"))
	require.NoError(t, err)
	sent := srv.Sent()
	require.Len(t, sent, 1)
	assert.Equal(t, []string{"bob@example.com", "dave@example.com"}, sent[0].To)
	assert.NotContains(t, string(sent[0].Data), "Bcc")
	assert.Equal(t, 1, srv.Count("Gesendete Objekte"))
	assert.Zero(t, srv.Count("Entwürfe"))

	rec, err := d.Send(t.Context(), message("To: bob@example.com, mallory@example.com\r\n\r\nx\r\n", "bob@example.com"))
	require.ErrorContains(t, err, "envelope")
	assert.Equal(t, driver.DeliveryRejected, rec.Delivery)

	srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == "MOVE" {
			w.WriteHeader(http.StatusForbidden)
		}
		return r.Method == "MOVE"
	})
	_, err = d.Send(t.Context(), message("To: bob@example.com\r\n\r\nx\r\n", "bob@example.com"))
	require.ErrorIs(t, err, ErrSender)
	assert.Zero(t, srv.Count("Entwürfe"), "the draft is dropped")
	assert.Len(t, srv.Sent(), 1)
}

// What the protocol cannot say is refused, not dropped.
func TestSendUnsupported(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	d := newDriver(t, srv.Mailbox())
	for name, change := range map[string]func(*driver.Message){
		"RequireTLS": func(m *driver.Message) { m.RequireTLS = true },
		"Priority":   func(m *driver.Message) { m.Priority = 1 },
		"DeliverBy":  func(m *driver.Message) { m.DeliverBy = &driver.DeliverBy{} },
		"Binary":     func(m *driver.Message) { m.Binary = true },
	} {
		m := message("Subject: x\r\n\r\n", "bob@example.com")
		change(m)
		_, err := d.Send(t.Context(), m)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorContains(t, err, name)
	}
	for _, addr := range []string{"bob", "bob@example.com>\r\nRCPT TO:<x@y", "<bob@example.com>", "bob@example.com\x00", "grüße@example.com", "a b@example.com", strings.Repeat("a", 600) + "@example.com"} {
		rec, err := d.Send(t.Context(), message("Subject: x\r\n\r\n", addr))
		var ae *AddressError
		require.ErrorAs(t, err, &ae, addr)
		assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
	}
	assert.Empty(t, srv.Requests())
	p := newDriver(t, srv.URL, WithPlain())
	assert.False(t, driver.CapabilitiesOf(p).Send)
	_, err := p.Send(t.Context(), message("Subject: x\r\n\r\n", "bob@example.com"))
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

// Line ends become CRLF and blind copies go, wherever the chunks end.
func TestOutgoing(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", outChunk-1)
	for in, want := range map[string]string{
		"":                                 "",
		"a\n\nb":                           "a\r\n\r\nb\r\n",
		"A: b\rBcc: c\r\rBcc: d":           "A: b\r\n\r\nBcc: d\r\n",
		"a\r\rb\r\n":                       "a\r\n\r\nb\r\n",
		"Bcc: x\r\nA: y\r\n\r\nBcc: z\r\n": "A: y\r\n\r\nBcc: z\r\n",
		"A: y\r\nResent-bcc\t: x\r\n z":    "A: y\r\n",
		long + "\r\n\r\nz\r\n":             long + "\r\n\r\nz\r\n",
		long + "\ry":                       long + "\r\ny\r\n",
		long + "xx\r\nBcc: " + long + long + "\r\nA: b\r\n\r\n": long + "xx\r\nA: b\r\n\r\n",
		"A: " + long + long + "\n\n" + long + "\r":              "A: " + long + long + "\r\n\r\n" + long + "\r\n",
		"Bccx: a\nBc: b\n\n":                                    "Bccx: a\r\nBc: b\r\n\r\n",
	} {
		for _, r := range []io.Reader{strings.NewReader(in), &oneByOne{in}} {
			got, err := io.ReadAll(newOutgoing(io.NopCloser(r)))
			require.NoError(t, err)
			assert.Equal(t, want, string(got), "%.60q", in)
		}
	}
}

type oneByOne struct{ s string }

func (o *oneByOne) Read(p []byte) (int, error) {
	if o.s == "" {
		return 0, io.EOF
	}
	p[0], o.s = o.s[0], o.s[1:]
	return 1, nil
}

// A server may have taken the message although the status does not say so: a
// proxy that lost the answer, a success that cannot be read. It is not offered
// for sending again.
func TestSendOutcomeUnclear(t *testing.T) {
	t.Parallel()
	const head = `<D:multistatus xmlns:D="DAV:"><D:response><D:href>/x</D:href><D:status>HTTP/1.1 `
	const tail = `</D:status></D:response></D:multistatus>`
	for name, c := range map[string]struct {
		status int
		body   string
		want   driver.Delivery
		kind   driver.Kind
	}{
		"bad gateway":      {502, "", driver.DeliveryUnknown, driver.KindAmbiguous},
		"gateway time-out": {504, "", driver.DeliveryUnknown, driver.KindAmbiguous},
		"another success":  {206, "", driver.DeliveryUnknown, driver.KindAmbiguous},
		"taken inside":     {207, head + "201 Created" + tail, driver.DeliveryAccepted, driver.KindUnknown},
		"full inside":      {207, head + "507 Insufficient Storage" + tail, driver.DeliveryRejected, driver.KindPermanent},
		"locked inside":    {207, head + "423 Locked" + tail, driver.DeliveryDeferred, driver.KindTemporary},
		"cut inside":       {207, head, driver.DeliveryUnknown, driver.KindAmbiguous},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, save := range []bool{false, true} {
				srv := newServer(t)
				var tries atomic.Int32
				srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
					if r.Method != "MOVE" && (r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "Submission")) {
						return false
					}
					tries.Add(1)
					w.WriteHeader(c.status)
					_, _ = io.WriteString(w, c.body)
					return true
				})
				rec, err := newDriver(t, srv.Mailbox(), WithSaveSent(save)).Send(t.Context(), message("To: bob@example.com\r\n\r\nx\r\n", "bob@example.com"))
				assert.Equal(t, c.want, rec.Delivery, "save %v: %v", save, err)
				assert.Equal(t, c.kind, driver.KindOf(err), "save %v: %v", save, err)
				assert.EqualValues(t, 1, tries.Load())
			}
		})
	}
}

// A page that confirms a message is not taken for the login page: the message
// would be sent twice. The login page itself is.
func TestSendConfirmedByPage(t *testing.T) {
	t.Parallel()
	for _, forms := range []bool{false, true} {
		for _, page := range []string{"", "<html><body>Your message is on its way.</body></html>"} {
			var opts []webdavtest.Option
			if forms {
				opts = append(opts, webdavtest.WithForms())
			}
			srv := newServer(t, opts...)
			var tries atomic.Int32
			srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut {
					tries.Add(1)
					w.Header().Set("Content-Type", "text/html")
					_, _ = io.WriteString(w, page)
				}
				return r.Method == http.MethodPut
			})
			rec, err := newDriver(t, srv.Mailbox()).Send(t.Context(), message("Subject: x\r\n\r\nx\r\n", "bob@example.com"))
			require.NoError(t, err, "forms %v, page %q", forms, page)
			assert.Equal(t, driver.DeliveryAccepted, rec.Delivery)
			assert.EqualValues(t, 1, tries.Load())
		}
	}
	srv := newServer(t, webdavtest.WithForms())
	var tries atomic.Int32
	srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || tries.Add(1) > 1 {
			return false
		}
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<form name="logonForm"><input name="username"><input type="password" name="password"></form>`)
		return true
	})
	_, err := newDriver(t, srv.Mailbox()).Send(t.Context(), message("Subject: x\r\n\r\nx\r\n", "bob@example.com"))
	require.NoError(t, err)
	assert.Len(t, srv.Sent(), 1)
	assert.Equal(t, 2, srv.Logins())
}

// Exchange does not send to the fields of a resent message: who stands there
// alone becomes a blind copy, so that nobody is left out.
func TestSendSavedResent(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	d := newDriver(t, srv.Mailbox(), WithSaveSent(true))
	m := message("To: bob@example.com\r\nResent-To: carol@example.com, Bob@example.com\r\n\r\nx\r\n", "bob@example.com", "carol@example.com")
	_, err := d.Send(t.Context(), m)
	require.NoError(t, err)
	require.Len(t, srv.Sent(), 1)
	assert.Equal(t, []string{"bob@example.com", "carol@example.com"}, srv.Sent()[0].To)
}

// Recipients beyond the part of the header that is looked at would get the
// message unasked.
func TestSendSavedLongHeader(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw := strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 1100) + "To: stranger@example.com\r\n\r\nx\r\n"
	rec, err := newDriver(t, srv.Mailbox(), WithSaveSent(true)).Send(t.Context(), message(raw, "bob@example.com"))
	require.ErrorIs(t, err, driver.ErrLimit)
	assert.Equal(t, driver.DeliveryRejected, rec.Delivery)
	assert.Empty(t, srv.Sent())
	_, err = newDriver(t, srv.Mailbox()).Send(t.Context(), message(raw, "bob@example.com"))
	require.NoError(t, err, "the envelope alone counts where no copy is kept")
}
