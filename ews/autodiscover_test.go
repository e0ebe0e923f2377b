package ews

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/ews/ewstest"
)

// hosts are the names that the fake has a certificate for.
var hosts = ewstest.WithNames("example.com", "autodiscover.example.com", "mail.example.com", "a.example.com", "b.example.com", "c.example.com",
	"other.example", "autodiscover.other.example", "mail.other.example", "outlook.office365.com")

func status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}

func redirect(target string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target, http.StatusFound) })
}

// challenge asks for a login before it lets a request through.
func challenge(scheme string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", scheme)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) })
}

func poxSays(inside string) http.Handler {
	return says(`<Autodiscover xmlns="a"><Response xmlns="b"><Account>` + inside + `</Account></Response></Autodiscover>`)
}

func poxURL(u string) http.Handler {
	return poxSays(`<Action>settings</Action><Protocol><Type>EXCH</Type><EwsUrl>https://internal.example.com/</EwsUrl></Protocol><Protocol><Type>EXPR</Type><EwsUrl>` + u + `</EwsUrl></Protocol>`)
}

func exprURL(u string) http.Handler {
	return poxSays(`<Action>settings</Action><Protocol><Type>EXPR</Type><EwsUrl>` + u + `</EwsUrl></Protocol>`)
}

func soapSays(user string) http.Handler {
	return says(`<s:Envelope xmlns:s="` + nsSOAP + `"><s:Body><a:GetUserSettingsResponseMessage xmlns:a="` + nsAutodiscover + `"><a:Response><a:ErrorCode>NoError</a:ErrorCode><a:UserResponses><a:UserResponse>` + user + `</a:UserResponse></a:UserResponses></a:Response></a:GetUserSettingsResponseMessage></s:Body></s:Envelope>`)
}

// asked lists the requests of a server as URLs, "+" before those with
// credentials.
func asked(srv *ewstest.Server) (list []string) {
	for _, r := range srv.Requests() {
		scheme := "http://"
		if r.Secure {
			scheme = "https://"
		}
		mark := ""
		if r.Header.Get("Authorization") != "" {
			mark = "+"
		}
		path, _, _ := strings.Cut(r.Path, "?")
		list = append(list, mark+scheme+strings.TrimSuffix(r.Host, ":443")+path)
	}
	return list
}

func noSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{Err: "no such host", IsNotFound: true}
}

func withSRV(lookup func(context.Context, string, string, string) (string, []*net.SRV, error)) driver.Option {
	return option("SRV", func(s *settings) error { s.lookupSRV = lookup; return nil })
}

// discover runs Autodiscover on a fake.
func discover(t *testing.T, srv *ewstest.Server, opts ...driver.Option) (string, error) {
	t.Helper()
	return discoverAt(t, srv, "", opts...)
}

// discoverAt does so with an address for New.
func discoverAt(t *testing.T, srv *ewstest.Server, addr string, opts ...driver.Option) (string, error) {
	t.Helper()
	base := []driver.Option{
		driver.WithLogin("desk@example.com", ewstest.Password), driver.WithRootCAs(srv.RootCAs()), driver.WithDialer(srv.Dial), driver.WithMechanisms("BASIC"),
		WithAutodiscover(""), withSRV(noSRV),
	}
	d, err := New(addr, append(base, opts...)...)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	u, _, err := d.endpoint(t.Context(), &d.set, false)
	if err != nil {
		assert.NotContains(t, err.Error(), ewstest.Password)
		return "", err
	}
	return u.String(), nil
}

const service = "https://mail.example.com/EWS/Exchange.asmx"

// E22: the candidates in their order, and credentials only by https.
func TestE22Order(t *testing.T) {
	t.Parallel()
	srv := newServer(t, hosts)
	srv.Handle("autodiscover.example.com/autodiscover/autodiscover.xml", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			http.Redirect(w, r, "https://mail.example.com/autodiscover/autodiscover.xml", http.StatusFound)
			return
		}
		http.NotFound(w, r)
	}))
	srv.Handle("mail.example.com/autodiscover/autodiscover.xml", challenge("Basic realm=x", poxURL(service)))
	got, err := discover(t, srv)
	require.NoError(t, err)
	assert.Equal(t, service, got)
	assert.Equal(t, []string{
		"https://example.com/autodiscover/autodiscover.svc", "https://example.com/autodiscover/autodiscover.xml", "https://example.com/autodiscover/autodiscover.json",
		"https://autodiscover.example.com/autodiscover/autodiscover.svc", "https://autodiscover.example.com/autodiscover/autodiscover.xml", "https://autodiscover.example.com/autodiscover/autodiscover.json",
		"http://autodiscover.example.com/autodiscover/autodiscover.xml", "https://mail.example.com/autodiscover/autodiscover.xml", "+https://mail.example.com/autodiscover/autodiscover.xml",
	}, asked(srv))
	assert.Equal(t, http.MethodGet, srv.Requests()[6].Method)
}

// E23: without permission no redirection leaves the host or the mail domain, and
// nothing is sent to its target.
func TestE23Redirections(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pattern string
		handler http.Handler
		target  string
	}{
		"redirectUrl":      {"example.com/autodiscover/autodiscover.xml", poxSays("<Action>redirectUrl</Action><RedirectUrl>https://mail.other.example/autodiscover/autodiscover.xml</RedirectUrl>"), "https://mail.other.example/autodiscover/autodiscover.xml"},
		"redirectAddr":     {"example.com/autodiscover/autodiscover.xml", poxSays("<Action>redirectAddr</Action><RedirectAddr>desk@other.example</RedirectAddr>"), "desk@other.example"},
		"SOAP RedirectUrl": {"example.com/autodiscover/autodiscover.svc", soapSays("<a:ErrorCode>RedirectUrl</a:ErrorCode><a:RedirectTarget>https://mail.other.example/autodiscover/autodiscover.xml</a:RedirectTarget>"), "https://mail.other.example/autodiscover/autodiscover.xml"},
		"SOAP address":     {"example.com/autodiscover/autodiscover.svc", soapSays("<a:ErrorCode>RedirectAddress</a:ErrorCode><a:RedirectTarget>desk@other.example</a:RedirectTarget>"), "desk@other.example"},
		"302":              {"example.com/autodiscover/autodiscover.svc", redirect("https://mail.other.example/autodiscover/autodiscover.xml"), "https://mail.other.example/autodiscover/autodiscover.xml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, hosts)
			srv.Handle(c.pattern, c.handler)
			srv.Handle("mail.other.example/autodiscover/autodiscover.xml", poxURL(service))
			srv.Handle("autodiscover.other.example/autodiscover/autodiscover.xml", poxURL(service))
			_, err := discover(t, srv)
			require.ErrorIs(t, err, ErrRedirect)
			var re *RedirectError
			require.ErrorAs(t, err, &re)
			assert.Equal(t, c.target, re.Target)
			assert.Equal(t, driver.KindPolicy, driver.KindOf(err))
			assert.NotContains(t, strings.Join(asked(srv), " "), "other.example")
			got, err := discover(t, srv, WithAllowRedirection(true))
			require.NoError(t, err)
			assert.Equal(t, service, got)
		})
	}
	// Within the mail domain it needs no permission.
	srv := newServer(t, hosts)
	srv.Handle("example.com/autodiscover/autodiscover.svc", redirect("https://mail.example.com/autodiscover/autodiscover.xml"))
	srv.Handle("mail.example.com/autodiscover/autodiscover.xml", poxSays("<Action>redirectAddr</Action><RedirectAddr>desk2@example.com</RedirectAddr>"))
	srv.Handle("example.com/autodiscover/autodiscover.xml", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		poxURL(service).ServeHTTP(w, r)
	}))
	got, err := discover(t, srv)
	require.NoError(t, err)
	assert.Equal(t, service, got)
	// Loops, and redirections without end.
	for name, handler := range map[string]http.Handler{
		"itself":      redirect("https://example.com/autodiscover/autodiscover.xml"),
		"two":         poxSays("<Action>redirectUrl</Action><RedirectUrl>https://a.example.com/autodiscover/autodiscover.xml</RedirectUrl>"),
		"address":     poxSays("<Action>redirectAddr</Action><RedirectAddr>DESK@example.com</RedirectAddr>"),
		"two address": poxSays("<Action>redirectAddr</Action><RedirectAddr>desk@other.example</RedirectAddr>"),
		"no address":  poxSays("<Action>redirectAddr</Action><RedirectAddr>x</RedirectAddr>"),
		"to http":     redirect("http://a.example.com/autodiscover/autodiscover.xml"), // E24
		"no end": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, fmt.Sprintf("https://a.example.com/autodiscover/autodiscover.xml?x=%s1", r.URL.RawQuery), http.StatusFound)
		}),
	} {
		srv := newServer(t, hosts)
		srv.Handle("example.com/autodiscover/autodiscover.xml", handler)
		if name == "two" {
			handler = poxSays("<Action>redirectUrl</Action><RedirectUrl>https://example.com/autodiscover/autodiscover.xml</RedirectUrl>")
		}
		srv.Handle("a.example.com/autodiscover/autodiscover.xml", handler)
		srv.Handle("other.example/autodiscover/autodiscover.xml", poxSays("<Action>redirectAddr</Action><RedirectAddr>desk@example.com</RedirectAddr>"))
		_, err := discover(t, srv, WithAllowRedirection(true))
		require.Error(t, err, name)
		assert.LessOrEqual(t, len(srv.Requests()), 40, name)
		if name == "to http" {
			require.ErrorIs(t, err, ErrRedirect)
			for _, u := range asked(srv) {
				assert.NotContains(t, u, "http://a.")
			}
		}
	}
}

// E24, A25: a candidate with a bad certificate is left out. The permission to
// take any certificate is for the host that New was given, and for no other.
func TestE24Certificate(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithNames("autodiscover.example.com")) // not example.com
	srv.Handle("example.com/autodiscover/autodiscover.xml", poxURL("https://wrong.example.com/"))
	srv.Handle("autodiscover.example.com/autodiscover/autodiscover.xml", poxURL(service))
	for _, opts := range [][]driver.Option{nil, {driver.WithInsecureSkipVerify()}, {driver.WithInsecureSkipVerify(), driver.WithServerName("autodiscover.example.com")}} {
		srv.ForgetRequests()
		got, err := discover(t, srv, opts...)
		require.NoError(t, err)
		assert.Equal(t, service, got)
		assert.NotContains(t, strings.Join(asked(srv), " "), "//example.com")
	}
	got, err := discoverAt(t, srv, "https://EXAMPLE.com/EWS/Exchange.asmx", driver.WithInsecureSkipVerify())
	require.NoError(t, err)
	assert.Equal(t, "https://wrong.example.com/", got)
	_, err = discoverAt(t, srv, "example.com")
	require.NoError(t, err)
}

// A25: nor is it for the target of a redirection.
func TestE24RedirectionIsVerified(t *testing.T) {
	t.Parallel()
	srv := newServer(t, ewstest.WithNames("mail.other.example"))
	srv.Add(mail("one"))
	for target, ok := range map[string]bool{"mail.other.example": true, "wrong.other.example": false} {
		srv.ForgetRequests()
		srv.Intercept(ewstest.Nth("FindItem", 1, &ewstest.Response{Status: http.StatusFound, Header: http.Header{"Location": {"https://" + target + ewstest.ServicePath}}}))
		d := newDriverAt(t, srv, "https://unknown.example"+ewstest.ServicePath, driver.WithDialer(srv.Dial), driver.WithInsecureSkipVerify(), WithAllowRedirection(true), driver.WithLeaveOnServer(true))
		_, err := d.Poll(t.Context(), new(taker))
		if ok {
			require.NoError(t, err)
			continue
		}
		require.ErrorAs(t, err, new(*driver.CertificateError))
		for _, r := range srv.Requests() {
			assert.NotContains(t, r.Host, target)
		}
	}
}

// E25: what was recorded gives the URL for the outside; of SRV records the one
// with the lowest priority that has the port of https counts.
func TestE25RecordedAndSRV(t *testing.T) {
	t.Parallel()
	srv := newServer(t, hosts)
	srv.Handle("b.example.com/autodiscover/autodiscover.xml", poxURL(service))
	records := []*net.SRV{{Target: "a.example.com.", Port: 443, Priority: 10}, {Target: "b.example.com.", Port: 443, Priority: 5}, {Target: "c.example.com.", Port: 8443, Priority: 1}}
	lookup := func(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
		assert.Equal(t, "autodiscover tcp example.com", service+" "+proto+" "+name)
		return "", append([]*net.SRV(nil), records...), nil
	}
	got, err := discover(t, srv, withSRV(lookup))
	require.NoError(t, err)
	assert.Equal(t, service, got)
	for _, u := range asked(srv) {
		assert.NotContains(t, u, "//a.")
		assert.NotContains(t, u, "//c.")
	}
	// The word of the DNS is a redirection.
	srv.Handle("mail.other.example/autodiscover/autodiscover.xml", poxURL(service))
	records = []*net.SRV{{Target: "mail.other.example.", Port: 443}}
	srv.ForgetRequests()
	_, err = discover(t, srv, withSRV(lookup))
	require.ErrorIs(t, err, ErrRedirect)
	assert.NotContains(t, strings.Join(asked(srv), " "), "other.example")
	_, err = discover(t, srv, withSRV(lookup), WithAllowRedirection(true))
	require.NoError(t, err)
	for _, none := range [][]*net.SRV{{{Target: ".", Port: 443}}, {{Target: "a.example.com", Port: 80}}} {
		records = none
		_, err = discover(t, srv, withSRV(lookup))
		require.ErrorIs(t, err, ErrAutodiscover)
	}

	body, err := os.ReadFile(filepath.Join(sharedDir(t, "traces"), "ews-cpp", "autodiscover_pox_success_online.xml"))
	require.NoError(t, err)
	n, err := parseText(string(body))
	require.NoError(t, err)
	f, err := poxFinding(n)
	require.NoError(t, err)
	_, after, ok := strings.Cut(string(body), "<Type>EXPR</Type>")
	require.True(t, ok)
	_, after, _ = strings.Cut(after, "<EwsUrl>")
	want, _, _ := strings.Cut(after, "</EwsUrl>")
	assert.Equal(t, want, f.service.String())
}

// The refusal of one candidate is not final, and if no other knows better it is
// what is reported. No host is asked twice with a wrong password.
func TestAutodiscoverUnauthorized(t *testing.T) {
	t.Parallel()
	srv := newServer(t, hosts)
	deny := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", "Basic realm=x")
		w.WriteHeader(http.StatusUnauthorized)
	})
	for _, host := range []string{"example.com", "autodiscover.example.com"} {
		srv.Handle(host+"/autodiscover/autodiscover.svc", deny)
		srv.Handle(host+"/autodiscover/autodiscover.xml", deny)
	}
	_, err := discover(t, srv)
	require.ErrorIs(t, err, ErrAutodiscover)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err))
	n := 0
	for _, u := range asked(srv) {
		if strings.HasPrefix(u, "+") {
			n++
		}
	}
	assert.Equal(t, 2, n)
	srv.Handle("autodiscover.example.com/autodiscover/autodiscover.svc", soapSays("<a:ErrorCode>NoError</a:ErrorCode><a:UserSettings><a:UserSetting><a:Name>InternalEwsUrl</a:Name><a:Value>https://in.example.com/</a:Value></a:UserSetting><a:UserSetting><a:Name>ExternalEwsUrl</a:Name><a:Value>"+service+"</a:Value></a:UserSetting></a:UserSettings>"))
	got, err := discover(t, srv)
	require.NoError(t, err)
	assert.Equal(t, service, got)
}

// Answers that help nobody, each with an end.
func TestAutodiscoverUseless(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.Handler{
		"600":         says(`<Autodiscover xmlns="a"><Response><Error><ErrorCode>600</ErrorCode><Message>Ungültig</Message></Error></Response></Autodiscover>`),
		"500":         status(500),
		"html":        says("<html>hello</html>"),
		"empty":       says(""),
		"no url":      poxSays("<Action>settings</Action>"),
		"bad url":     exprURL("not a url"),
		"http url":    exprURL("http://mail.example.com/"),
		"user in url": exprURL("https://a:b@mail.example.com/"),
		"long":        says("<Autodiscover>" + strings.Repeat("x", maxSettings)),
		"no location": status(302),
		"SOAP fault":  soapSays("<a:ErrorCode>InvalidUser</a:ErrorCode>"),
	} {
		srv := newServer(t, hosts)
		srv.Handle("/autodiscover/autodiscover.xml", h)
		srv.Handle("/autodiscover/autodiscover.svc", h)
		srv.Handle("/autodiscover/autodiscover.json", h)
		_, err := discover(t, srv)
		require.ErrorIs(t, err, ErrAutodiscover, name)
	}
	// A busy server is asked once more.
	srv := newServer(t, hosts)
	n := 0
	srv.Handle("example.com/autodiscover/autodiscover.xml", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		poxURL(service).ServeHTTP(w, r)
	}))
	got, err := discover(t, srv)
	require.NoError(t, err)
	assert.Equal(t, service, got)
}

// JSON, with the errors of two kinds of servers.
func TestAutodiscoverJSON(t *testing.T) {
	t.Parallel()
	srv := newServer(t, hosts)
	srv.Handle("example.com/autodiscover/autodiscover.json", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "desk@example.com EWS", r.URL.Query().Get("Email")+" "+r.URL.Query().Get("Protocol"))
		_, _ = w.Write([]byte(`{"Protocol":"EWS","Url":"` + service + `"}`))
	}))
	got, err := discover(t, srv)
	require.NoError(t, err)
	assert.Equal(t, service, got)
	for _, code := range []int{200, 400} {
		srv.Handle("example.com/autodiscover/autodiscover.json", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(`{"ErrorCode":"ProtocolNotSupported","ErrorMessage":"x"}`))
		}))
		_, err = discover(t, srv)
		require.ErrorIs(t, err, ErrAutodiscover)
		assert.ErrorContains(t, err, "ProtocolNotSupported")
	}
	// With tokens Exchange Online is asked first, without the token.
	srv.Handle("outlook.office365.com/autodiscover/autodiscover.json", says(`{"Protocol":"EWS","Url":"https://outlook.office365.com/EWS/Exchange.asmx"}`))
	srv.ForgetRequests()
	got, err = discover(t, srv, driver.WithMechanisms("BEARER"), driver.WithTokenSource(func(context.Context) (driver.Token, error) {
		return driver.Token{Value: driver.NewSecret("t")}, nil
	}))
	require.NoError(t, err)
	assert.Equal(t, "https://outlook.office365.com/EWS/Exchange.asmx", got)
	assert.Equal(t, []string{"https://outlook.office365.com/autodiscover/autodiscover.json"}, asked(srv))
}

// What was found is remembered until it fails.
func TestAutodiscoverIsRemembered(t *testing.T) {
	t.Parallel()
	srv := newServer(t, hosts, ewstest.WithAutodiscover())
	srv.Add(mail("one"))
	d := newDriverAt(t, srv, "", driver.WithDialer(srv.Dial), WithAutodiscover(""), withSRV(noSRV))
	var h taker
	poll(t, d, &h)
	assert.Equal(t, []string{"one"}, h.subjects)
	asked := func() int { return len(srv.Requests()) - len(srv.Operations("FindItem")) }
	srv.ForgetRequests()
	poll(t, d, &h)
	assert.Zero(t, asked())
	// Moved: the server says so, or the old address knows nothing of it.
	for _, answer := range []*ewstest.Response{{Status: 404}, ewstest.Fault("ErrorMailboxMoveInProgress", "", 0), {Cut: true}} {
		srv.ForgetRequests()
		srv.Intercept(ewstest.Nth("FindItem", 1, answer))
		poll(t, d, &h)
		assert.Len(t, srv.Operations("FindItem"), 2)
		if !answer.Cut { // a lost answer is asked for again before that
			assert.Equal(t, 2, asked(), "a question, and again with the login")
		}
	}
	// Once, not for ever.
	srv.Intercept(func(r *ewstest.Request) *ewstest.Response {
		if r.Operation == "FindItem" {
			return &ewstest.Response{Status: 404}
		}
		return nil
	})
	srv.ForgetRequests()
	_, err := d.Poll(t.Context(), &h)
	require.Error(t, err)
	assert.Len(t, srv.Operations("FindItem"), 2)
	assert.Equal(t, "example.com", d.source(&d.set).Server)
}
