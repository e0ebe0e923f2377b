package webdav

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	xwebdav "golang.org/x/net/webdav"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/driver/drivertest"
	"github.com/maildriver/maildriver/internal/labtest"
)

// A collection is one of a WebDAV server, filled and counted over HTTP by a
// client of its own.
type collection struct {
	t      testing.TB
	url    string
	user   string
	pass   string
	client *http.Client
	serial atomic.Int64
}

func (c *collection) do(method, name string, header map[string]string, body io.Reader, want ...int) []byte {
	c.t.Helper()
	req, err := http.NewRequest(method, c.url+name, body)
	require.NoError(c.t, err)
	if c.user != "" {
		req.SetBasicAuth(c.user, c.pass)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := c.client.Do(req)
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	require.Contains(c.t, want, resp.StatusCode, "%s %s", method, c.url+name)
	return b
}

// add puts mails behind those that are there.
func (c *collection) add(raw ...[]byte) {
	c.t.Helper()
	for _, b := range raw {
		c.do(http.MethodPut, fmt.Sprintf("m%%C3%%A4il%%20%06d.eml", c.serial.Add(1)), nil, bytes.NewReader(b), http.StatusCreated)
	}
}

// count counts mails.
func (c *collection) count(name string) int {
	c.t.Helper()
	b := c.do("PROPFIND", name, map[string]string{"Depth": "1"}, strings.NewReader(propfindBody(prop{nsDAV, "getetag"})), http.StatusMultiStatus)
	return strings.Count(string(b), ".eml</D:href>")
}

// newCollection serves an empty collection with golang.org/x/net/webdav, and
// with a folder "done" in it.
func newCollection(t testing.TB) *collection {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(dir+"/done", 0o700))
	srv := httptest.NewServer(&xwebdav.Handler{FileSystem: xwebdav.Dir(dir), LockSystem: xwebdav.NewMemLS()})
	t.Cleanup(srv.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return &collection{t: t, url: srv.URL + "/", client: srv.Client()}
}

// labCollection makes an empty collection on the lab's Apache.
func labCollection(t testing.TB, lab *labtest.Lab) *collection {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	c := &collection{t: t, url: lab.Addr(t, "LAB_HTTP") + "/basic/dav/t-" + rand.Text() + "/", user: "alice", pass: "alice-secret", client: &http.Client{Transport: tr}}
	c.do("MKCOL", "", nil, nil, http.StatusCreated)
	t.Cleanup(func() { c.do(http.MethodDelete, "", nil, nil, http.StatusNoContent) })
	c.do("MKCOL", "done/", nil, nil, http.StatusCreated)
	return c
}

// labPool trusts the lab's authority.
func labPool(t testing.TB, lab *labtest.Lab) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(lab.Addr(t, "LAB_CA"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(pem))
	return pool
}

func plainMaker(url string, opts ...driver.Option) func(...driver.Option) (driver.Driver, error) {
	return func(more ...driver.Option) (driver.Driver, error) {
		d, err := New(url, append(append([]driver.Option{WithPlain()}, opts...), more...)...)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
}

func TestPlainConformance(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]driver.Option{"deleted": nil, "moved": {WithMoveTo("done")}} {
		t.Run(name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{Parallel: true, Positions: 4, Start: func(t *testing.T) *drivertest.Server {
				c := newCollection(t)
				return &drivertest.Server{New: plainMaker(c.url, opts...), Add: c.add, Left: func() int { return c.count("") }}
			}})
		})
	}
}

// TestPlainConformanceLab puts the driver through the same cases on Apache, with
// each way to log in that the lab has and this module speaks; Negotiate is in
// contrib/gssapi.
func TestPlainConformanceLab(t *testing.T) {
	t.Parallel()
	lab := labtest.Find(t)
	pool := labPool(t, lab)
	cert, err := tls.LoadX509KeyPair(lab.Addr(t, "LAB_CLIENT_CERT"), lab.Addr(t, "LAB_CLIENT_KEY"))
	require.NoError(t, err)
	login := driver.WithLogin("alice", "alice-secret")
	for _, c := range []struct {
		name, base, path string
		opts             []driver.Option
	}{
		{"basic", "LAB_HTTP", "/basic/", []driver.Option{login, driver.WithInsecureAuth()}},
		{"digest", "LAB_HTTP", "/digest/", []driver.Option{login}},
		{"ntlm", "LAB_HTTP", "/ntlm/", []driver.Option{driver.WithLogin(`EXAMPLE\alice`, "alice-secret"), driver.WithMechanisms("DEFAULT"), WithConnections(1)}},
		{"certificate", "LAB_HTTPS", "/cert/", []driver.Option{driver.WithClientCertificate(cert), driver.WithRootCAs(pool), WithConnections(1)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			drivertest.Run(t, drivertest.Harness{Parallel: true, Positions: 2, Start: func(t *testing.T) *drivertest.Server {
				col := labCollection(t, lab)
				url := lab.Addr(t, c.base) + strings.Replace(strings.TrimPrefix(col.url, lab.Addr(t, "LAB_HTTP")), "/basic/", c.path, 1)
				return &drivertest.Server{New: plainMaker(url, c.opts...), Add: col.add, Left: func() int { return col.count("") }}
			}})
		})
	}
}

// A file that is written anew while its old content is handled is another
// mail: it is not removed in place of the old one, and comes next.
func TestPlainFileWrittenAnew(t *testing.T) {
	t.Parallel()
	servers := map[string]func(t *testing.T) *collection{"x/net": func(t *testing.T) *collection { return newCollection(t) }}
	servers["Apache"] = func(t *testing.T) *collection { return labCollection(t, labtest.Find(t)) }
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			c.do(http.MethodPut, "a.eml", nil, bytes.NewReader(letter("old")), http.StatusCreated)
			opts := []driver.Option{WithPlain()}
			if c.user != "" {
				opts = append(opts, driver.WithLogin(c.user, c.pass))
			}
			d := newDriver(t, c.url, opts...)
			var got []string
			h := driver.HandlerFunc(func(ctx context.Context, ev *driver.Event) error {
				if got = append(got, ev.Subject); len(got) == 1 {
					c.do(http.MethodPut, "a.eml", nil, bytes.NewReader(letter("the new one")), http.StatusNoContent, http.StatusCreated)
				}
				return ev.DeleteTempFiles()
			})
			res, err := d.Poll(t.Context(), h)
			require.NoError(t, err)
			require.Empty(t, res.Failures)
			assert.Equal(t, 1, c.count(""), "the new one stays")
			_, err = d.Poll(t.Context(), h)
			require.NoError(t, err)
			assert.Equal(t, []string{"old", "the new one"}, got)
			assert.Zero(t, c.count(""))
		})
	}
}

// What else lies in a collection is left alone.
func TestPlainOtherFiles(t *testing.T) {
	t.Parallel()
	c := newCollection(t)
	for _, name := range []string{"notes.txt", ".hidden.eml", ".eml", "done/sub.eml"} {
		c.do(http.MethodPut, name, nil, strings.NewReader("x"), http.StatusCreated)
	}
	c.do("MKCOL", "folder.eml", nil, nil, http.StatusCreated)
	c.do(http.MethodPut, "a%20%26%20b%25%23%3F.EML", nil, bytes.NewReader(letter("odd name")), http.StatusCreated)
	d := newDriver(t, c.url, WithPlain())
	assert.Equal(t, []string{"odd name"}, pollAll(t, d))
	assert.Equal(t, []string{"sub"}, func() []string {
		c.do(http.MethodPut, "done/sub.eml", nil, bytes.NewReader(letter("sub")), http.StatusCreated, http.StatusNoContent)
		return pollAll(t, d, WithFolder("done"))
	}())
	_, err := d.Poll(t.Context(), take(new([]string)), WithFolder("absent"))
	require.ErrorIs(t, err, ErrFolder)
}

// A name that is taken in the folder moved to is no reason to lose either.
func TestPlainMoveToTakenName(t *testing.T) {
	t.Parallel()
	c := newCollection(t)
	c.do(http.MethodPut, "a.eml", nil, bytes.NewReader(letter("new")), http.StatusCreated)
	c.do(http.MethodPut, "done/a.eml", nil, bytes.NewReader(letter("old")), http.StatusCreated)
	d := newDriver(t, c.url, WithPlain(), WithMoveTo("done"))
	assert.Equal(t, []string{"new"}, pollAll(t, d))
	assert.Zero(t, c.count(""))
	assert.Equal(t, 2, c.count("done/"))
}

// Weak tags become strong ones of the same text: the mail is the same.
func TestPlainWeakTags(t *testing.T) {
	t.Parallel()
	c := newCollection(t)
	c.add(letter("one"))
	var weak atomic.Bool
	weak.Store(true)
	h := weakener{c.url, &weak}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	d := newDriver(t, srv.URL, WithPlain(), driver.WithLeaveOnServer(true))
	assert.Equal(t, []string{"one"}, pollAll(t, d))
	weak.Store(false)
	assert.Empty(t, pollAll(t, d))
	weak.Store(true)
	assert.Empty(t, pollAll(t, d, driver.WithLeaveOnServer(false)))
	assert.Zero(t, c.count(""), "removed though If-Match never holds for a weak tag")
}

// Tags of GET that differ from those of the listing cost a look, and no mail;
// the one connection that there is does not wait for itself.
func TestPlainOddTags(t *testing.T) {
	t.Parallel()
	c := newCollection(t)
	for i := range 5 {
		c.add(letter(fmt.Sprint(i)))
	}
	var weak atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("ETag", `"odd"`)
		}
		weakener{c.url, &weak}.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	for _, n := range []int{1, 4} {
		got := pollAll(t, newDriver(t, srv.URL, WithPlain(), WithConnections(n), driver.WithLeaveOnServer(true)))
		assert.Equal(t, []string{"0", "1", "2", "3", "4"}, got)
	}
	c.do(http.MethodPut, "done/"+"m%C3%A4il%20000001.eml", nil, bytes.NewReader(letter("there")), http.StatusCreated)
	assert.Len(t, pollAll(t, newDriver(t, c.url, WithPlain(), WithConnections(1), WithMoveTo("done"))), 5)
	assert.Equal(t, 6, c.count("done/"))
}

// A weakener passes requests on and makes tags in listings weak.
type weakener struct {
	to   string
	weak *atomic.Bool
}

func (w weakener) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, strings.TrimSuffix(w.to, "/")+r.URL.RequestURI(), r.Body)
	if err != nil {
		panic(err)
	}
	req.Header = r.Header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, _ := io.ReadAll(resp.Body)
	if w.weak.Load() {
		if r.Header.Get("If-Match") != "" {
			rw.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		b = bytes.ReplaceAll(b, []byte("<D:getetag>"), []byte("<D:getetag>W/"))
	}
	rw.WriteHeader(resp.StatusCode)
	_, _ = rw.Write(b)
}
