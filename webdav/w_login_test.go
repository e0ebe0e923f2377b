package webdav

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/webdav/webdavtest"
)

// methods lists the methods and paths that a server was asked.
func methods(srv *webdavtest.Server) (list []string) {
	for _, r := range srv.Requests() {
		u, _ := url.ParseRequestURI(r.URI)
		list = append(list, r.Method+" "+u.Path)
	}
	return list
}

// posts are the forms that were sent.
func posts(srv *webdavtest.Server) (list []webdavtest.Request) {
	for _, r := range srv.Requests() {
		if r.Method == http.MethodPost {
			list = append(list, r)
		}
	}
	return list
}

// noSecret holds an error against the password in all its forms.
func noSecret(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	for _, s := range []string{webdavtest.Password, url.QueryEscape(webdavtest.Password), fmt.Sprintf("%x", webdavtest.Password), "cadata", "2,8JOr"} {
		assert.NotContains(t, err.Error(), s)
	}
}

func poll(t *testing.T, d *Driver, opts ...driver.Option) ([]string, driver.PollResult, error) {
	t.Helper()
	var subjects []string
	res, err := d.Poll(t.Context(), take(&subjects), opts...)
	return subjects, res, err
}

// W1: the form of Exchange 2003, and of 2007, and in a frame.
func TestW1FormLogin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, page, action string
		opts               []webdavtest.Option
	}{
		{"2003", "/exchweb/bin/auth/owalogon.asp", "/exchweb/bin/auth/owaauth.dll", nil},
		{"2003 in a frame", "/exchweb/bin/auth/owalogon.asp", "/exchweb/bin/auth/owaauth.dll", []webdavtest.Option{webdavtest.WithFrameset()}},
		{"2007", "/owa/auth/logon.aspx", "/owa/auth/owaauth.dll", []webdavtest.Option{webdavtest.WithVersion(webdavtest.Exchange2007)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t, append(c.opts, webdavtest.WithForms())...)
			srv.Add(letter("one"), letter("two"))
			d := newDriver(t, srv.Mailbox(), driver.WithMechanisms("FORM"))
			assert.Equal(t, []string{"one", "two"}, pollAll(t, d))
			assert.Contains(t, methods(srv), "GET "+c.page)
			form := posts(srv)
			require.Len(t, form, 1)
			assert.Equal(t, c.action, form[0].URI)
			v, err := url.ParseQuery(form[0].Body)
			require.NoError(t, err)
			assert.Equal(t, []string{"4"}, v["flags"])
			assert.Equal(t, []string{"4"}, v["trusted"])
			assert.Equal(t, []string{webdavtest.User}, v["username"])
			assert.Equal(t, []string{webdavtest.Password}, v["password"])
			assert.Equal(t, []string{srv.Mailbox()}, v["destination"])
			assert.Equal(t, []string{"0"}, v["forcedownlevel"], "a hidden field as the page gives it")
			for _, r := range srv.Requests() {
				assert.Empty(t, r.Header.Get("Authorization"), "%s %s", r.Method, r.URI)
				if r.Method == "SEARCH" {
					// The fake takes cookies only byte for byte; this is to see them.
					assert.Regexp(t, `sessionid=[A-Z0-9]+:0x409; cadata="2,8JOr\+/[A-Z0-9]+,[A-Z0-9]+=="`, r.Header.Get("Cookie"))
				}
			}
			srv.Add(letter("three"))
			assert.Equal(t, []string{"three"}, pollAll(t, d), "the second session")
			assert.Equal(t, 1, srv.Logins(), "cookies last")
		})
	}
}

// W2: Exchange 2007 gives cookies for a wrong password too.
func TestW2WrongPassword2007(t *testing.T) {
	t.Parallel()
	srv := newServer(t, webdavtest.WithForms(), webdavtest.WithVersion(webdavtest.Exchange2007))
	srv.Add(letter("one"))
	d := newDriver(t, srv.Mailbox(), driver.WithLogin(webdavtest.User, "wrong"))
	_, _, err := poll(t, d)
	noSecret(t, err)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err), "%v", err)
	assert.Equal(t, 440, codeOf(err))
	assert.Len(t, posts(srv), 1)
}

// W3: no second try after a refusal.
func TestW3WrongPassword2003(t *testing.T) {
	t.Parallel()
	srv := newServer(t, webdavtest.WithForms())
	d := newDriver(t, srv.Mailbox(), driver.WithLogin(webdavtest.User, "wrong"))
	_, _, err := poll(t, d)
	noSecret(t, err)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err), "%v", err)
	assert.Len(t, posts(srv), 1)
}

// W4: the session ends in the middle of a poll.
func TestW4SessionEnds(t *testing.T) {
	t.Parallel()
	srv := newServer(t, webdavtest.WithForms())
	for i := range 10 {
		srv.Add(letter(fmt.Sprint("mail ", i)))
	}
	d := newDriver(t, srv.Mailbox(), WithConnections(10))
	var once sync.Once
	srv.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, ".EML") {
			once.Do(srv.Expire)
		}
		return false
	})
	got, res, err := poll(t, d)
	require.NoError(t, err)
	assert.Len(t, got, 10)
	assert.Equal(t, 10, res.Removed)
	assert.Equal(t, 2, srv.Logins(), "the first login, and one for all requests that found the session ended")

	srv.Add(letter("again"))
	srv.Expire()
	srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == "SEARCH" {
			w.WriteHeader(440)
		}
		return r.Method == "SEARCH"
	})
	before := srv.Logins()
	_, _, err = poll(t, d)
	noSecret(t, err)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err), "%v", err)
	assert.Equal(t, before+1, srv.Logins())
}

// W4: ten requests at once, one login.
func TestW4OneLoginForAll(t *testing.T) {
	t.Parallel()
	srv := newServer(t, webdavtest.WithForms())
	d := newDriver(t, srv.Mailbox(), WithConnections(10))
	s, err := newSession(t.Context(), d.url, &d.set)
	require.NoError(t, err)
	t.Cleanup(s.close)
	require.NoError(t, s.begin(t.Context()))
	srv.Expire()
	var wg sync.WaitGroup
	errs := make([]error, 10)
	for i := range errs {
		wg.Go(func() { errs[i] = s.mustBeFolder(t.Context(), s.props["inbox"], "Inbox") })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	assert.Equal(t, 2, srv.Logins())
}

// W5: Basic is configured and the server wants its form.
func TestW5BasicWhereFormsAre(t *testing.T) {
	t.Parallel()
	srv := newServer(t, webdavtest.WithForms())
	for name, opts := range map[string][]driver.Option{
		"basic":   {driver.WithMechanisms("BASIC")},
		"default": {driver.WithMechanisms("DEFAULT")},
	} {
		d := newDriver(t, srv.Mailbox(), opts...)
		_, _, err := poll(t, d)
		noSecret(t, err)
		require.ErrorIs(t, err, ErrForms, name)
		assert.Contains(t, err.Error(), "form")
	}
	for _, r := range srv.Requests() {
		assert.Empty(t, r.Header.Get("Authorization"))
	}
	assert.Zero(t, srv.Logins())
	// And the other way round.
	_, _, err := poll(t, newDriver(t, newServer(t).Mailbox(), driver.WithMechanisms("FORM")))
	noSecret(t, err)
	require.ErrorIs(t, err, ErrNoForms)
}

// W5: without the permission no password leaves in clear.
func TestW5NothingInClear(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]webdavtest.Option{"basic": nil, "form": {webdavtest.WithForms()}} {
		srv := newServer(t, opts...)
		d, err := New(srv.Mailbox(), driver.WithLogin(webdavtest.User, webdavtest.Password), driver.WithSpool(newDriver(t, srv.Mailbox()).set.common.Spool))
		require.NoError(t, err)
		_, _, err = poll(t, d)
		noSecret(t, err)
		require.ErrorIs(t, err, driver.ErrInsecureAuth, name)
		require.NoError(t, d.Close())
		for _, r := range srv.Requests() {
			assert.Empty(t, r.Header.Get("Authorization"))
			assert.NotEqual(t, http.MethodPost, r.Method)
		}
	}
}

// W10: a login page in place of a message.
func TestW10LoginPageInPlaceOfMail(t *testing.T) {
	t.Parallel()
	for name, fake := range map[string][]webdavtest.Option{"form": {webdavtest.WithForms()}, "basic": nil} {
		srv := newServer(t, fake...)
		srv.Add(letter("one"))
		var pages atomic.Int32
		srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, ".EML") || pages.Add(1) > 1 {
				return false
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<html>please log in</html>")
			return true
		})
		got, _, err := poll(t, newDriver(t, srv.Mailbox()))
		if name == "basic" {
			require.ErrorIs(t, err, ErrForms)
			assert.Empty(t, got)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, []string{"one"}, got)
		assert.Equal(t, 2, srv.Logins())
	}
}

// W15: internal names in URLs, and nothing for any other host.
func TestW15InternalHost(t *testing.T) {
	t.Parallel()
	srv := newServer(t, webdavtest.WithForms(), webdavtest.WithTLS(), webdavtest.WithInternalHost("exch01"))
	srv.Add(letter("one"), letter("two"))
	srv.AddFolder("Done")
	d := newDriver(t, srv.Mailbox(), driver.WithRootCAs(srv.RootCAs()), WithMoveTo("MsgFolderRoot/Done"))
	assert.Equal(t, []string{"one", "two"}, pollAll(t, d))
	assert.Equal(t, 2, srv.Count("Done"))
	host := strings.TrimPrefix(srv.URL, "https://")
	for _, r := range srv.Requests() {
		assert.Equal(t, host, r.Host, "%s %s", r.Method, r.URI)
		if to := r.Header.Get("Destination"); to != "" {
			assert.True(t, strings.HasPrefix(to, srv.URL+"/"), to)
		}
	}
}

// W15: a login page that leads elsewhere gets no password.
func TestW15LoginElsewhere(t *testing.T) {
	t.Parallel()
	for name, location := range map[string]string{
		"another host":   "https://evil.example/owa/auth/logon.aspx",
		"another scheme": "https://127.0.0.1/exchweb/bin/auth/owalogon.asp",
	} {
		srv := newServer(t, webdavtest.WithForms())
		srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, location, http.StatusFound)
			return true
		})
		_, _, err := poll(t, newDriver(t, srv.Mailbox()))
		noSecret(t, err)
		assert.Equal(t, driver.KindPolicy, driver.KindOf(err), "%s: %v", name, err)
		assert.Zero(t, srv.Logins())
	}
}

// W17: WebDAV switched off, or gone with Exchange 2010.
func TestW17NotAvailable(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusNotFound, http.StatusNotImplemented, http.StatusMethodNotAllowed} {
		srv := newServer(t, webdavtest.WithVersion(webdavtest.Exchange2007), webdavtest.WithoutWebDAV(status))
		_, _, err := poll(t, newDriver(t, srv.Mailbox()))
		require.ErrorIs(t, err, ErrNotAvailable, "%d", status)
		require.NotErrorIs(t, err, ErrNoMailbox)
		assert.Equal(t, driver.KindPermanent, driver.KindOf(err))
	}
	srv := newServer(t)
	_, _, err := poll(t, newDriver(t, srv.URL+"/exchange/nobody"))
	require.ErrorIs(t, err, ErrNoMailbox)
	srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true })
	_, _, err = poll(t, newDriver(t, srv.Mailbox()))
	require.ErrorIs(t, err, ErrNotExchange)
}

// Default is NTLM where the server has it: one login a connection, and one
// refusal is enough.
func TestDefaultIsNTLM(t *testing.T) {
	t.Parallel()
	srv := newServer(t, webdavtest.WithNTLM(), webdavtest.WithTLS())
	srv.Add(letter("one"), letter("two"))
	opts := []driver.Option{driver.WithRootCAs(srv.RootCAs()), driver.WithMechanisms("DEFAULT"), WithConnections(1)}
	assert.Equal(t, []string{"one", "two"}, pollAll(t, newDriver(t, srv.Mailbox(), opts...)))
	third := 0
	for _, r := range srv.Requests() {
		if strings.HasPrefix(r.Header.Get("Authorization"), "NTLM TlRMTVNTUAAD") {
			third++
		}
	}
	assert.Equal(t, 1, third)
	before := len(srv.Requests())
	_, _, err := poll(t, newDriver(t, srv.Mailbox(), append(opts, driver.WithLogin(webdavtest.User, "wrong"))...))
	noSecret(t, err)
	assert.Equal(t, driver.KindAuth, driver.KindOf(err))
	assert.Equal(t, 401, codeOf(err))
	assert.LessOrEqual(t, len(srv.Requests())-before, 4, "the question, and one handshake")
}

// W3: those who waited for the login do not try what was just refused: ten
// tries would lock the account. The next call tries anew.
func TestW3OneTryForAll(t *testing.T) {
	t.Parallel()
	srv := newServer(t, webdavtest.WithForms())
	d := newDriver(t, srv.Mailbox(), driver.WithLogin(webdavtest.User, "wrong"))
	s, err := newSession(t.Context(), d.url, &d.set)
	require.NoError(t, err)
	t.Cleanup(s.close)
	var wg sync.WaitGroup
	errs := make([]error, 10)
	for i := range errs {
		wg.Go(func() { errs[i] = s.begin(t.Context()) })
	}
	wg.Wait()
	for _, err := range errs {
		noSecret(t, err)
		assert.Equal(t, driver.KindAuth, driver.KindOf(err), "%v", err)
	}
	assert.Len(t, posts(srv), 1)

	for i := range 2 {
		_, _, err = poll(t, d)
		assert.Equal(t, driver.KindAuth, driver.KindOf(err), "%v", err)
		assert.Len(t, posts(srv), 2+i, "a password may have been changed since")
	}
}
