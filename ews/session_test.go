package ews

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews/ewstest"
)

func levels(srv *ewstest.Server) (list []string) {
	for _, r := range srv.Requests() {
		list = append(list, r.Level)
	}
	return list
}

// E15: the level is lowered to what the server takes, and stays there.
func TestE15Version(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithVersion(14, 2, 328), ewstest.WithVersionName("V2_8"))
	srv.Add(mail("one"))
	// The refusals name no version, so that it is found step by step.
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if strings.HasPrefix(r.Level, "Exchange2013") || r.Level == "Exchange2016" {
			return ewstest.Fault("ErrorInvalidServerVersion", "Die Version ist ungültig.", 0)
		}
		return nil
	})
	d := newDriver(t, srv)
	var h taker
	poll(t, d, &h)
	assert.Equal(t, []string{"one"}, h.subjects)
	assert.Equal(t, []string{"Exchange2016", "Exchange2013_SP1", "Exchange2013", "Exchange2010_SP2", "Exchange2010_SP2", "Exchange2010_SP2"}, levels(srv))
	srv.ForgetRequests()
	srv.Add(mail("two"))
	poll(t, d, &h)
	for _, r := range srv.Requests() {
		assert.Equal(t, "Exchange2010_SP2", r.Level)
		assert.NotContains(t, r.Body, "V2_8")
		assert.Empty(t, r.Attr("SuppressReadReceipts"), "an element of 2013")
	}
}

// A refusal that tells the number of the server saves the steps.
func TestVersionOfFault(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithVersion(8, 1, 436))
	srv.Add(mail("one"))
	poll(t, newDriver(t, srv), new(taker))
	assert.Equal(t, []string{"Exchange2016", "Exchange2007_SP1", "Exchange2007_SP1", "Exchange2007_SP1"}, levels(srv))
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for b, want := range map[build]Version{
		{8, 0, 685}: Exchange2007, {8, 1, 436}: Exchange2007SP1, {8, 3, 83}: Exchange2007SP1,
		{14, 0, 639}: Exchange2010, {14, 1, 218}: Exchange2010SP1, {14, 2, 328}: Exchange2010SP2, {14, 3, 123}: Exchange2010SP2,
		{15, 0, 516}: Exchange2013, {15, 0, 847}: Exchange2013SP1, {15, 1, 225}: Exchange2016, {15, 2, 330}: Exchange2016, {15, 20, 7000}: Exchange2016, {16, 0, 0}: Exchange2016,
		{6, 5, 0}: Exchange2007,
	} {
		assert.Equal(t, want, b.level(), b.String())
	}
	for v := Exchange2007; v <= Exchange2016; v++ {
		got, err := ParseVersion(strings.ToLower(strings.ReplaceAll(v.String(), "_", " ")))
		require.NoError(t, err)
		assert.Equal(t, v, got)
	}
	for _, name := range []string{"Exchange2019", "Online"} {
		got, err := ParseVersion(name)
		require.NoError(t, err)
		assert.Equal(t, Exchange2016, got)
	}
	_, err := ParseVersion("V2_8")
	require.Error(t, err)
	assert.Equal(t, "version(77)", Version(77).String())

	m := &memory{}
	for v := Exchange2016; v > Exchange2007; v-- {
		assert.Equal(t, v, m.levelFor(Exchange2016))
		assert.True(t, m.stepDown(v))
	}
	assert.False(t, m.stepDown(Exchange2007), "there is an end")
}

// E16 and E17: the server's wish to be left alone is granted, for this account
// alone, however it is expressed.
func TestE16E17BackOff(t *testing.T) {
	t.Parallel()
	inside := ewstest.Fault("ErrorInternalServerError", "busy", 1500*time.Millisecond)
	inside.Body = []byte(strings.Replace(string(inside.Body), "</t:MessageXml>", `<t:Value Name="InnerErrorResponseCode">ErrorServerBusy</t:Value></t:MessageXml>`, 1))
	for name, c := range map[string]struct {
		answer    func() *ewstest.Response
		low, high time.Duration
	}{
		"E16 a fault": {func() *ewstest.Response { return ewstest.Fault("ErrorServerBusy", "Besetzt", 1500*time.Millisecond) }, 1500 * time.Millisecond, 3 * time.Second},
		"E17 inside an answer": {func() *ewstest.Response {
			return ewstest.Refusal("FindItem", "ErrorServerBusy", "Besetzt", 1500*time.Millisecond, 1)
		}, 1500 * time.Millisecond, 3 * time.Second},
		"inside another code": {func() *ewstest.Response { return inside }, 1500 * time.Millisecond, 3 * time.Second},
		"E17 Retry-After, seconds": {func() *ewstest.Response {
			return &ewstest.Response{Status: 503, Header: http.Header{"Retry-After": {"2"}}}
		}, 2 * time.Second, 3500 * time.Millisecond},
		"E17 Retry-After, a date": {func() *ewstest.Response {
			return &ewstest.Response{Status: 503, Header: http.Header{"Retry-After": {time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat)}}}
		}, 900 * time.Millisecond, 3500 * time.Millisecond},
		"429": {func() *ewstest.Response {
			return &ewstest.Response{Status: 429, Header: http.Header{"Retry-After": {"1"}}}
		}, time.Second, 2500 * time.Millisecond},
		"without a hint, first time": {func() *ewstest.Response { return ewstest.Fault("ErrorMailboxStoreUnavailable", "", 0) }, 20 * time.Millisecond, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, ewstest.WithAccount(ewstest.User, ewstest.Password), ewstest.WithAccount("other@example.com", "x"))
			srv.Add(mail("one"))
			srv.Intercept(func() func(*ewstest.Request) *ewstest.Response {
				done := false
				return func(r *ewstest.Request) *ewstest.Response {
					if r.Operation != "FindItem" || done {
						return nil
					}
					done = true
					return c.answer()
				}
			}())
			d := newDriver(t, srv, func() driver.Option {
				return option("test", func(s *settings) error { s.busyMin = 20 * time.Millisecond; return nil })
			}())
			done := make(chan error, 1)
			var h taker
			go func() { _, err := d.Poll(t.Context(), &h); done <- err }()
			require.Eventually(t, func() bool { return len(srv.Operations("FindItem")) == 1 }, 5*time.Second, time.Millisecond)
			// Another account is not held up.
			start := time.Now()
			poll(t, newDriver(t, srv, driver.WithLogin("other@example.com", "x")), new(taker))
			if c.low >= 1500*time.Millisecond {
				assert.Less(t, time.Since(start), 1400*time.Millisecond)
			}
			require.NoError(t, <-done)
			assert.Equal(t, []string{"one"}, h.subjects)
			list := srv.Operations("FindItem")
			wait := list[len(list)-1].At.Sub(list[0].At)
			assert.GreaterOrEqual(t, wait, c.low)
			assert.Less(t, wait, c.high)
		})
	}
}

// E16: who gives up while waiting is let go at once. On a busy machine the best
// of some tries counts.
func TestE16CancelWhileWaiting(t *testing.T) {
	t.Parallel()
	best := time.Hour
	for range 5 {
		srv := newServer(t)
		srv.Intercept(ewstest.Nth("FindItem", 1, ewstest.Fault("ErrorServerBusy", "", time.Minute)))
		d := newDriver(t, srv)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := d.Poll(ctx, new(taker)); done <- err }()
		require.Eventually(t, func() bool {
			d.mem.throttle.mu.Lock()
			defer d.mem.throttle.mu.Unlock()
			return !d.mem.throttle.until.IsZero()
		}, 5*time.Second, time.Millisecond)
		start := time.Now()
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		best = min(best, time.Since(start))
		assert.Len(t, srv.Requests(), 1)
	}
	assert.Less(t, best, 100*time.Millisecond)
}

// A wait longer than a session may take is an error, and the next session is not
// sent before its time.
func TestLongBackOff(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Intercept(ewstest.Nth("FindItem", 1, ewstest.Fault("ErrorServerBusy", "Besetzt", time.Hour)))
	d := newDriver(t, srv)
	for range 2 {
		_, err := d.Poll(t.Context(), new(taker))
		require.Error(t, err)
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
	}
	assert.Len(t, srv.Requests(), 1)
	var m driver.Message
	m.To = []driver.Recipient{{Address: "desk@example.com"}}
	m.Open = textOf(string(mail("x")))
	_, err := d.Send(t.Context(), &m)
	assert.Equal(t, driver.DeliveryDeferred, driver.DeliveryOf(err))
	assert.Len(t, srv.Requests(), 1)
}

// A server that is always busy and wants no time is not asked without end.
func TestBusyWithoutEnd(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	raw, subjects := mails(3)
	srv.Add(raw...)
	busy := ""
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation == busy {
			return ewstest.Refusal(busy, "ErrorServerBusy", "", time.Millisecond, len(r.Attrs("ItemId", "Id")))
		}
		return nil
	})
	d := newDriver(t, srv)
	var h taker
	for _, busy = range []string{"GetItem", "DeleteItem"} {
		_, err := d.Poll(t.Context(), &h)
		require.Error(t, err)
		assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
		assert.LessOrEqual(t, len(srv.Operations(busy)), changeRounds+1)
	}
	busy = "FindItem"
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation == busy {
			return ewstest.Fault("ErrorServerBusy", "", time.Millisecond)
		}
		return nil
	})
	srv.ForgetRequests()
	_, err := d.Poll(t.Context(), &h)
	require.Error(t, err)
	assert.Len(t, srv.Operations("FindItem"), busyTries+1)
	busy = ""
	poll(t, d, &h)
	assert.Equal(t, subjects, h.subjects)
	assert.Zero(t, srv.Count("Inbox"))
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	var th throttle
	var last time.Duration
	for i := range 12 {
		d := th.delay(0, 10*time.Second)
		assert.GreaterOrEqual(t, d, min(10*time.Second<<i, busyMax))
		assert.LessOrEqual(t, d, busyMax*6/5)
		last = d
	}
	assert.GreaterOrEqual(t, last, busyMax)
	th.fine()
	assert.Less(t, th.delay(0, time.Second), 2*time.Second)
	for v, want := range map[string]time.Duration{"2": 2 * time.Second, "": 0, "-1": 0, "x": 0, "Mon, 01 Jan 2001 00:00:00 GMT": 0} {
		assert.Equal(t, want, retryAfter(http.Header{"Retry-After": {v}}), v)
	}
}

// Faults of HTTP and of the service have kinds that a host can act on.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer *ewstest.Response
		kind   driver.Kind
		code   string
	}{
		{ewstest.Fault("ErrorAccessDenied", "Zugriff verweigert", 0), driver.KindPermanent, "ErrorAccessDenied"},
		{ewstest.Refusal("FindItem", "ErrorAccessDenied", "Zugriff verweigert", 0, 1), driver.KindPermanent, "ErrorAccessDenied"},
		{ewstest.Fault("ErrorSomethingNew", "x", 0), driver.KindTemporary, "ErrorSomethingNew"},
		{ewstest.Fault("ErrorNonExistentMailbox", "x", 0), driver.KindPermanent, "ErrorNonExistentMailbox"},
		{ewstest.Fault("ErrorImpersonateUserDenied", "x", 0), driver.KindPermanent, "ErrorImpersonateUserDenied"},
		{ewstest.Fault("ErrorPasswordExpired", "x", 0), driver.KindAuth, "ErrorPasswordExpired"},
		{&ewstest.Response{Status: 403}, driver.KindPermanent, ""},
		{&ewstest.Response{Status: 404}, driver.KindPermanent, ""},
		{&ewstest.Response{Status: 500, Body: []byte("<html>")}, driver.KindTemporary, ""},
		{&ewstest.Response{Status: 502}, driver.KindTemporary, ""},
		{&ewstest.Response{Status: 302, Header: http.Header{"Location": {"/ews/genericerrorpage.htm?aspxerrorpath=/x"}, "X-Caserrorcode": {"x"}}}, driver.KindTemporary, ""},
	} {
		srv := newServer(t)
		srv.Intercept(func(*ewstest.Request) *ewstest.Response { return c.answer })
		_, err := newDriver(t, srv).Poll(t.Context(), new(taker))
		require.Error(t, err)
		assert.Equal(t, c.kind, driver.KindOf(err), "%v", err)
		var re *ResponseError
		require.ErrorAs(t, err, &re)
		assert.Equal(t, c.code, re.Code)
		assert.Contains(t, err.Error(), re.RequestID)
		assert.NotContains(t, err.Error(), ewstest.Password)
	}
}

// What a server says is shown quoted and shortened.
func TestErrorText(t *testing.T) {
	t.Parallel()
	e := &ResponseError{Operation: "FindItem", Code: "Error\nX", Status: 200, Text: "a\x1b[31m" + strings.Repeat("b", 5000), RequestID: "id"}
	text := e.Error()
	assert.NotContains(t, text, "\n")
	assert.NotContains(t, text, "\x1b")
	assert.Less(t, len(text), 600)
	assert.LessOrEqual(t, len(shorten(strings.Repeat("€", 5000))), maxText)
}

// The headers of a request are those that servers and their logs want.
func TestHeaders(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.AddMailbox("shared@example.com")
	srv.AddItemTo("shared@example.com", "Inbox", ewstest.Item{Raw: mail("one")})
	for _, opt := range []driver.Option{WithMailbox("shared@example.com"), WithImpersonation(PrimarySMTPAddress, "shared@example.com")} {
		srv.ForgetRequests()
		var h taker
		d := newDriver(t, srv, opt, driver.WithLeaveOnServer(true))
		poll(t, d, &h)
		assert.Equal(t, []string{"one"}, h.subjects)
		ids := map[string]bool{}
		for _, r := range srv.Requests() {
			assert.Equal(t, "text/xml; charset=utf-8", r.Header.Get("Content-Type"))
			assert.Equal(t, "true", r.Header.Get("Return-Client-Request-Id"))
			assert.Regexp(t, "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", r.Header.Get("Client-Request-Id"))
			assert.Equal(t, "shared@example.com", r.Header.Get("X-Anchormailbox"))
			assert.Empty(t, r.Header.Get("Idempotency-Key"))
			ids[r.Header.Get("Client-Request-Id")] = true
		}
		assert.Len(t, ids, len(srv.Requests()))
	}
	// The same mailbox is the same, whoever opens it.
	a := newDriver(t, srv, WithMailbox("Shared@example.com"))
	b := newDriver(t, srv, WithImpersonation(SMTPAddress, "shared@example.com"))
	assert.Equal(t, a.source(&a.set).Account, b.source(&b.set).Account)
	srv.ForgetRequests()
	_, err := newDriver(t, srv, WithImpersonation(PrimarySMTPAddress, "nobody@example.com")).Poll(t.Context(), new(taker))
	assert.Equal(t, "ErrorNonExistentMailbox", codeOf(err))
	assert.Equal(t, "nobody@example.com", srv.Requests()[0].ActFor)
	assert.Contains(t, string(envelopeStart(Exchange2016, &settings{actFor: `S-1-5-<&>`, actAs: SID})), "<t:SID>S-1-5-&lt;&amp;&gt;</t:SID>")
}

// Public folders are nobody's: no mailbox stands in their id.
func TestPublicFolders(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.AddMailbox("shared@example.com")
	poll(t, newDriver(t, srv, WithMailbox("shared@example.com"), WithFolder("PublicFoldersRoot")), new(taker))
	for _, r := range srv.Operations("FindItem") {
		assert.Empty(t, r.Values("EmailAddress"))
	}
}

// E23, for the service itself: a redirection to another host is refused with its
// target, and followed where that is permitted.
func TestE23RedirectedService(t *testing.T) {
	t.Parallel()
	to := func(target string) *ewstest.Response {
		return &ewstest.Response{Status: http.StatusFound, Header: http.Header{"Location": {target}}}
	}
	srv := newServer(t, ewstest.WithNames("mail.example.com", "mail.other.example"))
	srv.Add(mail("one"))
	target := "https://mail.other.example" + ewstest.ServicePath
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		switch {
		case r.Host == "mail.example.com":
			return to(target)
		case r.Host == "loop.example.com":
			return to("https://mail.example.com/x")
		}
		return nil
	})
	d := newDriverAt(t, srv, "mail.example.com", driver.WithDialer(srv.Dial))
	_, err := d.Poll(t.Context(), new(taker))
	require.ErrorIs(t, err, ErrRedirect)
	require.ErrorContains(t, err, target)
	assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
	for _, r := range srv.Requests() {
		assert.Equal(t, "mail.example.com", r.Host)
	}
	var h taker
	poll(t, newDriverAt(t, srv, "mail.example.com", driver.WithDialer(srv.Dial), WithAllowRedirection(true)), &h)
	assert.Equal(t, []string{"one"}, h.subjects)

	// E24: never to http; and never without end.
	for _, bad := range []string{"http://mail.example.com/x", "https://mail.example.com" + ewstest.ServicePath, "https://a:b@mail.other.example/", "ftp://x"} {
		target = bad
		srv.ForgetRequests()
		_, err = newDriverAt(t, srv, "mail.example.com", driver.WithDialer(srv.Dial), WithAllowRedirection(true)).Poll(t.Context(), new(taker))
		require.ErrorIs(t, err, ErrRedirect, bad)
		assert.NotContains(t, err.Error(), "a:b")
		assert.LessOrEqual(t, len(srv.Requests()), maxHops+1)
	}
}

// Exchange Online's block is told as what it is.
func TestTenantBlocked(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithNames("outlook.office365.com"))
	srv.Intercept(func(*ewstest.Request) *ewstest.Response { return &ewstest.Response{Status: http.StatusForbidden} })
	_, err := newDriverAt(t, srv, "outlook.office365.com", driver.WithDialer(srv.Dial)).Poll(t.Context(), new(taker))
	require.ErrorIs(t, err, ErrTenantBlocked)
	assert.Equal(t, driver.KindPermanent, driver.KindOf(err))
	_, err = newDriver(t, srv).Poll(t.Context(), new(taker))
	assert.NotErrorIs(t, err, ErrTenantBlocked)
}

// A lost connection costs one repeat of what may be repeated.
func TestLostConnection(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"FindItem", "GetItem", "DeleteItem"} {
		srv := newServer(t)
		raw, subjects := mails(3)
		srv.Add(raw...)
		srv.Intercept(ewstest.Nth(op, 1, &ewstest.Response{Cut: true}))
		var h taker
		res := poll(t, newDriver(t, srv), &h)
		assert.Equal(t, subjects, h.subjects)
		assert.Equal(t, 3, res.Removed)
		assert.Len(t, srv.Operations(op), 2)

		srv = newServer(t)
		srv.Add(raw...)
		srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
			if r.Operation == op {
				return &ewstest.Response{Cut: true}
			}
			return nil
		})
		_, err := newDriver(t, srv).Poll(t.Context(), new(taker))
		require.Error(t, err)
		assert.True(t, driver.KindOf(err).Retryable())
		assert.Len(t, srv.Operations(op), 2)
	}
}

// E31: authentication by a form is refused at construction, with all other
// faults of the configuration.
func TestE31Configuration(t *testing.T) {
	t.Parallel()
	login := driver.WithLogin("a@example.com", "hunter2")
	for want, opts := range map[string][]driver.Option{
		"by a form":             {login, driver.WithMechanisms("FORM")},
		`"CRAM-MD5" is not one`: {login, driver.WithMechanisms("CRAM-MD5")},
		"WithLogin is missing":  {},
		"no upgrade to TLS":     {login, driver.WithSecurity(driver.SecurityExplicit)},
		"names the folder":      {login, WithMoveTo("inbox")},
		"WithFailedFolder":      {login, WithFailedFolder("INBOX")},
		"use HardDelete":        {login, WithFolder("DeletedItems"), WithDelete(MoveToDeletedItems)},
		"is not an e-mail":      {login, WithMailbox("shared")},
		"ews.Version: 99":       {login, WithVersion(99)},
		"ews.PageSize: 0":       {login, WithPageSize(0)},
		"ews.RequestSize: 1000": {login, WithRequestSize(1000)},
		"control character":     {login, WithImpersonation(SID, "a\nb")},
		"not a way to name":     {login, WithImpersonation(77, "x")},
		"not a way to delete":   {login, WithDelete(77)},
		"nor the user name":     {driver.WithLogin("a", "b"), WithAutodiscover("")},
	} {
		_, err := New("https://exchange.example.com", opts...)
		require.ErrorContains(t, err, want)
		assert.Equal(t, driver.KindConfig, driver.KindOf(err))
		assert.NotContains(t, err.Error(), "hunter2")
	}
	for addr, want := range map[string]string{
		"": "is empty", "ftp://x": "neither", "https://u:hunter2@x/": "holds a user", "https://": "no host", "https://x/?a=b": "query", "http://%": "not a URL", "https://a b/": "no",
	} {
		_, err := New(addr, login)
		require.ErrorContains(t, err, want, addr)
		assert.NotContains(t, err.Error(), "hunter2")
	}
	_, err := New("http://exchange.example.com", login, driver.WithSecurity(driver.SecurityImplicit))
	require.ErrorContains(t, err, "without TLS")
	for addr, want := range map[string]string{
		"exchange.example.com":                    "https://exchange.example.com/EWS/Exchange.asmx",
		"https://exchange.example.com/":           "https://exchange.example.com/EWS/Exchange.asmx",
		"https://exchange.example.com:444/my/ews": "https://exchange.example.com:444/my/ews",
		"http://exchange.example.com/ews/x.asmx":  "http://exchange.example.com/ews/x.asmx",
	} {
		d, err := New(addr, login)
		require.NoError(t, err)
		assert.Equal(t, want, d.url.String())
		require.NoError(t, d.Close())
	}
	// The password never goes without TLS by mistake.
	srv := newServer(t)
	srv.Add(mail("one"))
	d, err := New(srv.PlainURL, login, driver.WithSpool(newDriver(t, srv).set.common.Spool))
	require.NoError(t, err)
	_, err = d.Poll(t.Context(), new(taker))
	require.ErrorIs(t, err, driver.ErrInsecureAuth)
	for _, r := range srv.Requests() {
		assert.Empty(t, r.Header.Get("Authorization"))
	}
	require.NoError(t, d.Close())
	_, err = d.Poll(t.Context(), new(taker))
	require.ErrorIs(t, err, driver.ErrClosed)
	require.ErrorIs(t, d.Wait(t.Context()), driver.ErrClosed)
}

func TestParameters(t *testing.T) {
	t.Parallel()
	// The attributes of the seed.
	addr, opts, err := FromParameters(map[string]string{
		"PROTOCOLTYPE": "ews", "SERVER": "https://www.server.com", "CURRENTFOLDER": "inbox/Sub", "AUTODISCOVERURL": "yes", "ALLOWREDIRECTION": "YES",
		"IGNOREINVALIDCERTIFICATE": "no", "AUTHTYPE": "Default", "USERNAME": "theUser@example.com", "PASSWORD": "secret", "TIMEOUT": "120", "SESSION": "emailSess1",
	})
	require.NoError(t, err)
	assert.Equal(t, "https://www.server.com", addr)
	o := newOptions()
	require.NoError(t, driver.Apply(opts, o.targets()...))
	assert.Equal(t, "inbox/Sub", o.ews.folder)
	assert.True(t, o.ews.autodiscover)
	assert.True(t, o.ews.allowRedirection)
	assert.False(t, o.net.InsecureSkipVerify)
	assert.Equal(t, []string{"NEGOTIATE", "NTLM"}, o.net.Mechanisms)
	assert.Equal(t, 2*time.Minute, o.net.Timeout)

	_, opts, err = FromParameters(map[string]string{
		"EWS Server": "exchange.example.com", "EWS Account Name": "a@example.com", "EWS Account Password": "b", "EWS Mailbox": "c@example.com", "EWS Impersonate": "d@example.com",
		"Exchange Version": "Exchange2010 SP2", "EWS After Processing": "Move", "EWS Move Folder": "MsgFolderRoot/Done", "EWS Failed Folder": "MsgFolderRoot/Bad",
		"EWS Unread Only": "yes", "EWS Save Copy": "true", "EWS Save Folder": "SentItems/X", "EWS Notifications": "false", "EWS Sync State Directory": "/tmp/x", "EWS Batch Size": "7",
	})
	require.NoError(t, err)
	o = newOptions()
	require.NoError(t, driver.Apply(opts, o.targets()...))
	s := o.ews
	assert.Equal(t, "c@example.com d@example.com MsgFolderRoot/Done MsgFolderRoot/Bad SentItems/X /tmp/x", strings.Join([]string{s.mailbox, s.actFor, s.moveTo, s.failedFolder, s.saveFolder, s.syncDir}, " "))
	assert.True(t, s.unread && s.saveCopy && s.noPush && s.version == Exchange2010SP2 && s.after == afterMove)
	assert.Equal(t, 7, o.inbound.BatchSize)
	for word, want := range map[string]after{"HardDelete": afterDelete, "SoftDelete": afterSoft, "MoveToDeletedItems": afterTrash, "Read": afterRead} {
		_, opts, err := FromParameters(map[string]string{"EWS Server": "x", "EWS After Processing": word})
		require.NoError(t, err)
		o := newOptions()
		require.NoError(t, driver.Apply(opts, o.targets()...))
		assert.Equal(t, want, o.ews.after)
	}
	for name, c := range map[string]map[string]string{
		"EWS Authentication":       {"EWS Server": "x", "AUTHTYPE": "form", "USERNAME": "a", "PASSWORD": "hunter2"},
		"EWS Server":               {},
		"EWS Move Folder":          {"EWS Server": "x", "EWS After Processing": "MOVE"},
		`counts only with MOVE`:    {"EWS Server": "x", "EWS Move Folder": "Inbox/X"},
		"EWS After Processing":     {"EWS Server": "x", "EWS After Processing": "READ", "Leave On Server": "TRUE"},
		"Exchange Version":         {"EWS Server": "x", "Exchange Version": "V2_8"},
		"EWS Save Folder":          {"EWS Server": "x", "EWS Save Folder": "SentItems"},
		"EWS Autodiscover Address": {"EWS Server": "x", "EWS Autodiscover Address": "a@example.com"},
		"EWS Folder":               {"EWS Server": "x", "CURRENTFOLDER": "Support"},
	} {
		_, _, err := FromParameters(c)
		require.ErrorContains(t, err, name)
		assert.NotContains(t, err.Error(), "hunter2")
	}
	names := map[string]bool{}
	for _, r := range Params.Rows {
		assert.False(t, names[driver.ParamKey(r.Name)], r.Name)
		names[driver.ParamKey(r.Name)] = true
		assert.NotEmpty(t, r.Text)
	}
	assert.False(t, names[driver.ParamKey("EWS Security")], "the URL says it")
}

// A server that says nothing, before an answer or in it, is given up.
func TestMuteServer(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]string{"at once": "", "in the answer": "<s:Envelope xmlns:s='" + nsSOAP + "'><s:Body>", "in a content": contentStart + "QUJD"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			srv.Add(mail("one"))
			srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
				if r.Operation != "GetItem" {
					return nil
				}
				return &ewstest.Response{Write: func(w http.ResponseWriter, r *http.Request) {
					if start != "" {
						_, _ = w.Write([]byte(start))
						_ = http.NewResponseController(w).Flush()
					}
					<-r.Context().Done()
				}}
			})
			d := newDriver(t, srv, driver.WithTimeout(300*time.Millisecond))
			begin := time.Now()
			_, err := d.Poll(t.Context(), new(taker))
			require.Error(t, err)
			assert.Equal(t, driver.KindTemporary, driver.KindOf(err))
			assert.Less(t, time.Since(begin), 10*time.Second)
			assert.Empty(t, files(t, d))
		})
	}
}
