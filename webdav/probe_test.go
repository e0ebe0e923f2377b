package webdav

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/webdav/webdavtest"
)

// What a server answers to a question without credentials, and what is made of
// it. Nothing more is sent after an answer that ends the matter.
func TestProbe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request)
		kind   driver.Kind
		is     error
		text   string
	}{
		{"https wanted, by a page", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "HTTP Error 403.4 - Forbidden: SSL is required")
		}, driver.KindPolicy, ErrTLSNeeded, ""},
		{"https wanted, by a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://127.0.0.1/exchange/ann/", http.StatusMovedPermanently)
		}, driver.KindPolicy, ErrTLSNeeded, ""},
		{"a redirect elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/x?secret=1", http.StatusFound)
		}, driver.KindPolicy, nil, `redirects to "https://evil.example/x"`},
		{"Exchange 5.5", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/exchange/logon.asp", http.StatusFound)
		}, driver.KindPermanent, nil, "5.5"},
		{"no mailbox", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("MS-WebStorage", "6.5.7638")
			w.WriteHeader(http.StatusNotFound)
		}, driver.KindPermanent, ErrNoMailbox, ""},
		{"nothing there", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, driver.KindPermanent, ErrNotExchange, ""},
		{"out of order", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, driver.KindTemporary, nil, "503"},
		{"no WebDAV, though all answers are 200", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
		}, driver.KindProtocol, nil, "status 200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool { c.answer(w, r); return true })
			_, _, err := poll(t, newDriver(t, srv.Mailbox()))
			noSecret(t, err)
			assert.Equal(t, c.kind, driver.KindOf(err), "%v", err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.ErrorContains(t, err, c.text)
			assert.NotContains(t, err.Error(), "secret")
			for _, r := range srv.Requests() {
				assert.Empty(t, r.Header.Get("Authorization"))
			}
		})
	}
}

// A server that hides its login page still has the address of its form.
func TestFormWithoutPage(t *testing.T) {
	t.Parallel()
	for name, fake := range map[string][]webdavtest.Option{
		"/exchweb/bin/auth/owaauth.dll": {webdavtest.WithForms()},
		"/owa/auth/owaauth.dll":         {webdavtest.WithForms(), webdavtest.WithVersion(webdavtest.Exchange2007)},
	} {
		srv := newServer(t, fake...)
		srv.Add(letter("one"))
		srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || strings.HasSuffix(r.URL.Path, ".EML") {
				return false
			}
			if strings.Contains(name, "/owa/") {
				w.Header().Set("X-OWA-Version", "8.1.240.5")
			}
			w.WriteHeader(440)
			return true
		})
		assert.Equal(t, []string{"one"}, pollAll(t, newDriver(t, srv.Mailbox())), name)
		require.Len(t, posts(srv), 1)
		assert.Equal(t, name, posts(srv)[0].URI)
	}
}

// What the form can be answered with.
func TestFormAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		kind   driver.Kind
		is     error
	}{
		"never opened": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/owa/languageselection.aspx?url=x", http.StatusFound)
		}, driver.KindPermanent, ErrNeverOpened},
		"the page again": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, `<form name=logonForm><input name=username><input type=password name=password></form>`)
		}, driver.KindAuth, nil},
		"a password that must be changed": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/x?reason=4", http.StatusFound)
		}, driver.KindAuth, nil},
		"out of order": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, driver.KindTemporary, nil},
		"refused":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, driver.KindAuth, nil},
	} {
		srv := newServer(t, webdavtest.WithForms())
		srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPost {
				c.answer(w, r)
			}
			return r.Method == http.MethodPost
		})
		_, _, err := poll(t, newDriver(t, srv.Mailbox()))
		noSecret(t, err)
		assert.Equal(t, c.kind, driver.KindOf(err), "%s: %v", name, err)
		if c.is != nil {
			require.ErrorIs(t, err, c.is)
		}
		assert.Len(t, posts(srv), 1, name)
	}
}
