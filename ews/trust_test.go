package ews

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews/ewstest"
)

const testToken = "tok-secret-1"

func withToken() []driver.Option {
	return []driver.Option{driver.WithMechanisms("BEARER"), driver.WithTokenSource(func(context.Context) (driver.Token, error) {
		return driver.Token{Value: driver.NewSecret(testToken)}, nil
	})}
}

// A23: a host of the mail domain that does not ask for a login gets none.
func TestAutodiscoverWaitsForChallenge(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]driver.Option{"basic": {driver.WithMechanisms("BASIC")}, "any": {driver.WithMechanisms()}, "token": withToken()} {
		srv := newServer(t, hosts)
		_, err := discover(t, srv, opts...)
		require.ErrorIs(t, err, ErrAutodiscover, name)
		list := asked(srv)
		assert.NotEmpty(t, list, name)
		assert.NotContains(t, strings.Join(list, " "), "+", name)
	}
}

// A54: a token goes to hosts of Microsoft and to the one that New was given, even
// if others ask for it, or are named by others.
func TestAutodiscoverToken(t *testing.T) {
	t.Parallel()
	srv := newServer(t, hosts)
	bearer := challenge("Bearer", poxURL(service))
	for _, host := range []string{"example.com", "autodiscover.example.com", "mail.example.com"} {
		srv.Handle(host+poxPath, bearer)
		srv.Handle(host+soapPath, challenge("Bearer", status(404)))
	}
	_, err := discover(t, srv, withToken()...)
	require.Error(t, err)
	for _, r := range srv.Requests() {
		assert.Empty(t, r.Header.Get("Authorization"), r.Host)
		if r.Secure {
			assert.Contains(t, r.Path, ".json", "nothing else is asked")
		}
	}
	// The service must be at such a host, too.
	srv.Handle("example.com/autodiscover/autodiscover.json", says(`{"Protocol":"EWS","Url":"`+service+`"}`))
	_, err = discover(t, srv, withToken()...)
	require.ErrorIs(t, err, ErrRedirect)
	got, err := discover(t, srv, append(withToken(), WithAllowRedirection(true))...)
	require.NoError(t, err)
	assert.Equal(t, service, got)
	got, err = discoverAt(t, srv, "mail.example.com", withToken()...)
	require.NoError(t, err)
	assert.Equal(t, service, got)
	srv.Handle("example.com/autodiscover/autodiscover.json", says(`{"Protocol":"EWS","Url":"https://outlook.office365.com/EWS/Exchange.asmx"}`))
	_, err = discover(t, srv, withToken()...)
	require.NoError(t, err)
	// The host that New was given is asked in all ways.
	srv.Handle("example.com/autodiscover/autodiscover.json", status(404))
	srv.ForgetRequests()
	got, err = discoverAt(t, srv, "example.com", append(withToken(), WithAllowRedirection(true))...)
	require.NoError(t, err)
	assert.Equal(t, service, got)
	assert.Contains(t, asked(srv), "+https://example.com"+poxPath)
}

// What was found with one login is not used for another.
func TestAutodiscoverMemoryIsOfTheLogin(t *testing.T) {
	t.Parallel()
	srv := newServer(t, hosts)
	srv.Handle("example.com"+poxPath, poxURL(service))
	d, err := New("", driver.WithLogin("desk@example.com", "x"), driver.WithRootCAs(srv.RootCAs()), driver.WithDialer(srv.Dial), WithAutodiscover(""), withSRV(noSRV))
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	_, _, err = d.endpoint(t.Context(), &d.set, false)
	require.NoError(t, err)
	o := d.set
	require.NoError(t, driver.Apply(withToken(), &o.net))
	_, _, err = d.endpoint(t.Context(), &o, false)
	require.Error(t, err)
}

// A30: servers that repeat what they were told tell it nobody else.
func TestSecretsInAnswers(t *testing.T) {
	t.Parallel()
	basic := base64.StdEncoding.EncodeToString([]byte(ewstest.User + ":" + ewstest.Password))
	repeat := ewstest.Password + " " + basic + " " + testToken
	filler := strings.Repeat("x", maxText-6) // a cut must not leave half a secret
	soap := func(body string) string {
		return `<s:Envelope xmlns:s="` + nsSOAP + `"><s:Body>` + body + `</s:Body></s:Envelope>`
	}
	fault := func(code, text string) string {
		return soap(`<s:Fault><faultcode>x</faultcode><faultstring>` + text + `</faultstring><detail><e:ResponseCode xmlns:e="e">` + code + `</e:ResponseCode></detail></s:Fault>`)
	}
	item := func(text string) string {
		return soap(`<m:R xmlns:m="` + nsMessages + `"><m:ResponseMessages><m:M ResponseClass="Error"><m:MessageText>` + text + `</m:MessageText><m:ResponseCode>ErrorAccessDenied</m:ResponseCode></m:M></m:ResponseMessages></m:R>`)
	}
	for name, h := range map[string]http.Handler{
		"fault":       says(fault("ErrorAccessDenied", repeat)),
		"cut":         says(fault("ErrorAccessDenied", filler+repeat)),
		"cut token":   says(fault("ErrorAccessDenied", filler+testToken)),
		"code":        says(fault(ewstest.Password+testToken, "x")),
		"reply":       says(item(repeat)),
		"no XML":      says(soap("<" + ewstest.Password + "></" + testToken + ">")),
		"charset":     says(`<?xml version="1.0" encoding="` + ewstest.Password + testToken + `"?>` + soap("")),
		"redirection": redirect("https://other.example/?p=" + ewstest.Password + "&t=" + testToken + "&b=" + basic),
		"no HTTP": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if conn, _, err := http.NewResponseController(w).Hijack(); assert.NoError(t, err) {
				_, _ = io.WriteString(conn, repeat+"\r\n\r\n")
				_ = conn.Close()
			}
		}),
		"header": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Caserrorcode", repeat)
			w.WriteHeader(http.StatusForbidden)
		}),
	} {
		for _, login := range [][]driver.Option{{driver.WithMechanisms("BASIC")}, withToken()} {
			srv := newServer(t, hosts)
			srv.Handle("/x", h)
			var log bytes.Buffer
			opts := append(login, driver.WithDialer(srv.Dial), driver.WithLogger(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))))
			d := newDriverAt(t, srv, "https://mail.example.com/x", opts...)
			_, err := d.Poll(t.Context(), new(taker))
			require.Error(t, err, name)
			rec, serr := d.Send(t.Context(), &driver.Message{To: []driver.Recipient{{Address: "ann@example.com"}}, Open: reads("To: ann@example.com\r\n\r\nx")})
			require.Error(t, serr, name)
			secrets := []string{ewstest.Password, basic}
			if len(login) > 1 {
				secrets = []string{testToken, ewstest.Password}
			}
			for _, secret := range append(secrets, secrets[0][:6]) {
				assert.NotContains(t, err.Error()+serr.Error()+rec.Text+log.String(), secret, name)
			}
		}
	}
	// Autodiscover.
	for name, h := range map[string]http.Handler{
		"POX":      says(`<Autodiscover><Response><Error><ErrorCode>600</ErrorCode><Message>` + filler + ewstest.Password + `</Message></Error></Response></Autodiscover>`),
		"SOAP":     soapSays("<a:ErrorCode>InvalidUser</a:ErrorCode><a:ErrorMessage>" + ewstest.Password + basic + "</a:ErrorMessage>"),
		"no XML":   says("<" + ewstest.Password + "></b>"),
		"redirect": redirect("https://other.example/?p=" + ewstest.Password),
	} {
		srv := newServer(t, hosts)
		srv.Handle(poxPath, challenge("Basic realm=x", h))
		srv.Handle(soapPath, challenge("Basic realm=x", h))
		_, err := discover(t, srv)
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), ewstest.Password[:6], name)
		assert.NotContains(t, err.Error(), basic, name)
	}
}

func reads(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// An answer of a gateway, or a time-out, does not say that a message was not
// sent: it is not sent again, and nobody is told that it may be.
func TestSendWithoutWord(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer *ewstest.Response
		want   driver.Delivery
		tries  int
	}{
		"502":         {&ewstest.Response{Status: http.StatusBadGateway}, driver.DeliveryUnknown, 1},
		"504":         {&ewstest.Response{Status: http.StatusGatewayTimeout}, driver.DeliveryUnknown, 1},
		"500":         {&ewstest.Response{Status: http.StatusInternalServerError}, driver.DeliveryUnknown, 1},
		"timed out":   {ewstest.Fault("ErrorTimeoutExpired", "", 0), driver.DeliveryUnknown, 1},
		"failover":    {ewstest.Fault("ErrorMailboxFailover", "", 0), driver.DeliveryDeferred, 1},
		"transient":   {ewstest.Fault("ErrorInternalServerTransientError", "", 0), driver.DeliveryDeferred, 1},
		"no code":     {ewstest.Fault("", "x", 0), driver.DeliveryDeferred, 1},
		"404":         {&ewstest.Response{Status: http.StatusNotFound}, driver.DeliveryDeferred, 1},
		"403":         {&ewstest.Response{Status: http.StatusForbidden}, driver.DeliveryDeferred, 1},
		"413":         {&ewstest.Response{Status: http.StatusRequestEntityTooLarge}, driver.DeliveryRejected, 1},
		"no folder":   {ewstest.Fault("ErrorFolderNotFound", "", 0), driver.DeliveryDeferred, 1},
		"denied":      {ewstest.Fault("ErrorSendAsDenied", "", 0), driver.DeliveryRejected, 1},
		"server busy": {ewstest.Fault("ErrorServerBusy", "", time.Millisecond), driver.DeliveryAccepted, 2},
	} {
		srv := newServer(t)
		srv.Intercept(ewstest.Nth("CreateItem", 1, c.answer))
		rec, err := newDriver(t, srv).Send(t.Context(), &driver.Message{To: []driver.Recipient{{Address: "ann@example.com"}}, Open: reads("To: ann@example.com\r\n\r\nx")})
		assert.Equal(t, c.want, rec.Delivery, name)
		assert.Equal(t, c.want == driver.DeliveryAccepted, err == nil, name)
		assert.Len(t, srv.Operations("CreateItem"), c.tries, name)
	}
}

// A login that fails after the server refused a request with all of the message
// leaves no doubt.
func TestSendCutInLogin(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Header.Get("Authorization") == "" {
			return &ewstest.Response{Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {"NTLM"}}}
		}
		return &ewstest.Response{Cut: true}
	})
	rec, err := newDriver(t, srv, driver.WithMechanisms("NTLM")).Send(t.Context(), &driver.Message{To: []driver.Recipient{{Address: "ann@example.com"}}, Open: reads("To: ann@example.com\r\n\r\nx")})
	require.Error(t, err)
	assert.Equal(t, driver.DeliveryDeferred, rec.Delivery)
	assert.NotEqual(t, driver.KindAmbiguous, driver.KindOf(err))
}

// net/http may close the body of a request while it still reads it, after the
// server has answered early. That is no fault of the message.
func TestContentReadAfterClose(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "m")
	require.NoError(t, os.WriteFile(name, append([]byte("To: a@example.com\r\n\r\n"), bytes.Repeat([]byte("x"), 1<<20)...), 0o600))
	c := &content{open: func() (io.ReadCloser, error) { return os.Open(name) }, tail: []byte("</x>")}
	_, err := c.measure()
	require.NoError(t, err)
	req, err := http.NewRequest(http.MethodPost, "http://localhost/", nil)
	require.NoError(t, err)
	require.NoError(t, c.attach(req, []byte("<x>"), nil))
	_, err = io.CopyN(io.Discard, req.Body, 10)
	require.NoError(t, err)
	require.NoError(t, req.Body.Close())
	_, err = io.Copy(io.Discard, req.Body)
	require.ErrorIs(t, err, os.ErrClosed)
	require.NoError(t, c.failure())
	// One that cannot be read is.
	c.open = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	_, err = req.GetBody()
	require.Error(t, err)
	require.Error(t, c.failure())
}

// A response message that does not say that it is a success is none.
func TestReplyWithoutClass(t *testing.T) {
	t.Parallel()
	for text, failed := range map[string]bool{
		`<m ResponseClass="Success"><ResponseCode>NoError</ResponseCode></m>`:                     false,
		`<m ResponseClass="Warning"><ResponseCode>ErrorX</ResponseCode></m>`:                      false,
		`<m ResponseClass="Warning"><ResponseCode>ErrorBatchProcessingStopped</ResponseCode></m>`: true,
		`<m ResponseClass="Error"><ResponseCode>NoError</ResponseCode></m>`:                       true,
		`<m><ResponseCode>NoError</ResponseCode></m>`:                                             false,
		`<m><ResponseCode>ErrorX</ResponseCode></m>`:                                              true,
		`<m/>`: true,
	} {
		n, err := parseText(text)
		require.NoError(t, err)
		r := replyOf(n)
		assert.Equal(t, failed, r.failed(), text)
	}
}

// A listing that never ends is no listing, whatever is in it.
func TestListingWithoutEnd(t *testing.T) {
	t.Parallel()
	envelope := func(inside string) []byte {
		return []byte(`<s:Envelope xmlns:s="` + nsSOAP + `"><s:Body><m:R xmlns:m="` + nsMessages + `" xmlns:t="` + nsTypes + `"><m:ResponseMessages><m:M ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>` +
			inside + `</m:M></m:ResponseMessages></m:R></s:Body></s:Envelope>`)
	}
	for name, opts := range map[string][]driver.Option{"FindItem": nil, "SyncFolderItems": {WithSyncState(t.TempDir())}} {
		srv := newServer(t)
		n := 0
		srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
			n++
			switch {
			case n > 5000:
				return &ewstest.Response{Status: http.StatusForbidden}
			case r.Operation == "FindItem":
				return &ewstest.Response{Body: envelope(`<m:RootFolder IncludesLastItemInRange="false"><t:Items><t:Message/></t:Items></m:RootFolder>`)}
			case r.Operation == "SyncFolderItems":
				return &ewstest.Response{Body: envelope(`<m:SyncState>` + strconv.Itoa(n) + `</m:SyncState><m:IncludesLastItemInRange>false</m:IncludesLastItemInRange><m:Changes><t:Delete><t:ItemId Id="x"/></t:Delete></m:Changes>`)}
			}
			return nil
		})
		_, err := newDriver(t, srv, append(opts, WithMaxListing(3), WithPageSize(10))...).Poll(t.Context(), new(taker))
		require.ErrorIs(t, err, driver.ErrLimit, name)
	}
}
