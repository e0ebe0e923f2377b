package webdav

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/webdav/webdavtest"
)

// endless repeats a text a number of times without holding it.
func endless(text string, times int) io.Reader {
	return &repeater{text: text, left: times}
}

type repeater struct {
	text string
	rest string
	left int
}

func (r *repeater) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.left == 0 {
			return 0, io.EOF
		}
		r.left--
		r.rest = r.text
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

const (
	msHead = `<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">`
	msTail = `</D:multistatus>`
)

// A44: what an XML answer must not be able to do.
var hostileXML = []struct {
	name  string
	text  func() io.Reader
	limit bool // it is a limit that ends it
}{
	{"nothing", func() io.Reader { return strings.NewReader("") }, false},
	{"not XML", func() io.Reader { return strings.NewReader("HTTP error") }, false},
	{"HTML", func() io.Reader { return strings.NewReader("<html><body><form></form></body></html>") }, false},
	{"another root", func() io.Reader { return strings.NewReader(`<multistatus xmlns="urn:x"/>`) }, false},
	{"truncated", func() io.Reader {
		return strings.NewReader(msHead + `<D:response><D:href>/a</D:href><D:status>HTTP/1.1 200 OK</D:status></D:response>`)
	}, false},
	{"a DTD", func() io.Reader {
		return strings.NewReader(`<!DOCTYPE D:multistatus SYSTEM "http://127.0.0.1:1/x">` + msHead + msTail)
	}, false},
	{"laughs", func() io.Reader {
		return strings.NewReader(`<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>` + msHead + `<D:response><D:href>&b;</D:href></D:response>` + msTail)
	}, false},
	{"an entity without DTD", func() io.Reader {
		return strings.NewReader(msHead + `<D:response><D:href>&b;</D:href></D:response>` + msTail)
	}, false},
	{"a million levels", func() io.Reader { return io.MultiReader(strings.NewReader(msHead), endless("<a>", 1_000_000)) }, true},
	{"a million levels in a part", func() io.Reader {
		return io.MultiReader(strings.NewReader(msHead+"<D:response><D:propstat><D:prop>"), endless("<a>", 1_000_000))
	}, true},
	{"10 MB of attribute", func() io.Reader {
		return io.MultiReader(strings.NewReader(msHead+`<D:response a="`), endless("xxxxxxxxxx", 1_000_000))
	}, true},
	{"10 MB of text", func() io.Reader {
		return io.MultiReader(strings.NewReader(msHead+`<D:response><D:href>`), endless("xxxxxxxxxx", 1_000_000))
	}, true},
	{"10 MB of name", func() io.Reader {
		return io.MultiReader(strings.NewReader(msHead+`<D:`), endless("xxxxxxxxxx", 1_000_000))
	}, true},
	{"10 MB of comment", func() io.Reader {
		return io.MultiReader(strings.NewReader(msHead+`<!--`), endless("xxxxxxxxxx", 1_000_000))
	}, true},
	{"100,000 properties", func() io.Reader {
		return io.MultiReader(strings.NewReader(msHead+`<D:response><D:href>/</D:href><D:propstat><D:prop>`), endless("<a/>", 100_000))
	}, true},
	{"blanks without end", func() io.Reader { return endless("          ", 10_000_000) }, true},
	{"no href", func() io.Reader {
		return strings.NewReader(msHead + `<D:response><D:status>HTTP/1.1 200 OK</D:status></D:response>` + msTail)
	}, false},
	{"no status", func() io.Reader {
		return strings.NewReader(msHead + `<D:response><D:href>/</D:href><D:propstat><D:prop/></D:propstat></D:response>` + msTail)
	}, false},
	{"a status that is none", func() io.Reader {
		return strings.NewReader(msHead + `<D:response><D:href>/</D:href><D:status>OK</D:status></D:response>` + msTail)
	}, false},
	{"a forbidden character", func() io.Reader {
		return strings.NewReader(msHead + "<D:response><D:href>&#x0;</D:href></D:response>" + msTail)
	}, false},
	{"a charset", func() io.Reader {
		return strings.NewReader(`<?xml version="1.0" encoding="utf-7"?>` + msHead[21:] + msTail)
	}, false},
}

func TestA44HostileMultistatus(t *testing.T) { // alone, since it counts what is allocated
	for _, c := range hostileXML {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			err := readMultistatus(c.text(), func(*response) error { return nil })
			require.Error(t, err)
			require.ErrorIs(t, err, errXML)
			assert.Less(t, time.Since(start), 5*time.Second)
			if c.limit {
				require.ErrorIs(t, err, driver.ErrLimit, "%v", err)
				runtime.ReadMemStats(&after)
				assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
			}
		})
	}
}

// A43, A44: the same from a server, as an error of the session, and a listing
// that does not end.
func TestA44HostileServer(t *testing.T) {
	t.Parallel()
	answer := func(t *testing.T, write func(w http.ResponseWriter)) error {
		t.Helper()
		srv := newServer(t)
		srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != "SEARCH" {
				return false
			}
			w.Header().Set("Content-Type", "text/xml")
			write(w)
			return true
		})
		got, _, err := poll(t, newDriver(t, srv.Mailbox(), WithMaxListing(1000)))
		assert.Empty(t, got)
		require.Error(t, err)
		assert.Less(t, len(err.Error()), 2000)
		return err
	}
	for name, write := range map[string]func(w http.ResponseWriter){
		"levels": func(w http.ResponseWriter) {
			_, _ = io.Copy(w, io.MultiReader(strings.NewReader(msHead), endless("<a>", 1_000_000)))
		},
		"gzip though nobody asked": func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(http.StatusMultiStatus)
			z := gzip.NewWriter(w)
			_, _ = io.Copy(z, endless("<a>", 1_000_000))
			_ = z.Close()
		},
		"the same mail twice": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusMultiStatus)
			_, _ = io.WriteString(w, msHead+strings.Repeat(`<D:response><D:href>/a.eml</D:href><D:status>HTTP/1.1 200 OK</D:status></D:response>`, 2)+msTail)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := answer(t, func(w http.ResponseWriter) {
				if w.Header().Get("Content-Encoding") == "" && name == "levels" {
					w.WriteHeader(http.StatusMultiStatus)
				}
				write(w)
			})
			assert.Contains(t, []driver.Kind{driver.KindProtocol, driver.KindTemporary}, driver.KindOf(err), "%v", err)
		})
	}
	t.Run("without end", func(t *testing.T) {
		t.Parallel()
		err := answer(t, func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusMultiStatus)
			_, _ = io.WriteString(w, msHead)
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(w, `<D:response><D:href>/%d.eml</D:href><D:status>HTTP/1.1 200 OK</D:status></D:response>`, i); err != nil {
					return
				}
			}
		})
		require.ErrorIs(t, err, driver.ErrLimit)
	})
}

// A43: a message in an encoding that nobody asked for is refused, and one
// beyond the limit is not read on.
func TestA43Bodies(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Add(letter("one"))
	var encoded atomic.Bool
	encoded.Store(true)
	srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, ".EML") {
			return false
		}
		w.Header().Set("Content-Type", "message/rfc822")
		if encoded.Load() {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(bytes.Repeat([]byte{'x'}, 10<<20))
			_ = z.Close()
			return true
		}
		for {
			if _, err := w.Write(bytes.Repeat([]byte("x\r\n"), 10_000)); err != nil {
				return true
			}
		}
	})
	_, _, err := poll(t, newDriver(t, srv.Mailbox()))
	assert.Equal(t, driver.KindProtocol, driver.KindOf(err), "%v", err)
	encoded.Store(false)
	d := newDriver(t, srv.Mailbox(), driver.WithMaxMessageBytes(1<<20))
	_, res, err := poll(t, d)
	if err != nil {
		require.ErrorIs(t, err, driver.ErrLimit)
	} else {
		require.Len(t, res.Failures, 1)
		require.ErrorIs(t, res.Failures[0].Err, driver.ErrLimit)
	}
	assert.Equal(t, 1, srv.Left())
}

// A45: whatever a host names, a request is well-formed XML, and the statement
// one statement.
func TestA45RequestsStayWellFormed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{`]]>`, `<x a="b">`, `"') WHERE 1=1 --`, `&amp;`, "a'b", "é\U0001f4e8"} {
		at := davPath("/exchange/ann/Inbox/").child(name)
		for _, body := range []string{
			searchBody("http://h"+string(at.dir()), prop{nsDAV, "uid"}),
			proppatchBody(prop{nsMailHdr, "bcc"}, "", name),
			propfindBody(prop{nsHTTPMail, "read"}),
		} {
			d := xml.NewDecoder(strings.NewReader(body))
			for {
				_, err := d.Token()
				if err == io.EOF {
					break
				}
				require.NoError(t, err, body)
			}
		}
		var search struct {
			SQL string `xml:"DAV: sql"`
		}
		require.NoError(t, xml.Unmarshal([]byte(searchBody("http://h"+string(at.dir()), prop{nsDAV, "uid"})), &search))
		assert.Equal(t, 2, strings.Count(strings.ReplaceAll(search.SQL, "''", ""), "'"), search.SQL)
		assert.Equal(t, 10, strings.Count(search.SQL, `"`), search.SQL)
	}
	for _, bad := range []string{"Inbox/a\x00b", "Inbox/a\nb", "Inbox//b", "Inbox/..", "Inbox/", "", `Inbox/a\`, "Inbox/\xff"} {
		_, err := New("https://h", WithFolder(bad))
		require.Error(t, err, "%q", bad)
	}
	srv := newServer(t)
	_, _, err := poll(t, newDriver(t, srv.Mailbox(), WithFolder("Inbox/&#x1;")))
	require.ErrorIs(t, err, ErrFolder)
}

// A30: no secret in any error or log, on any way to fail.
func TestA30NoSecrets(t *testing.T) {
	t.Parallel()
	for name, fake := range map[string][]webdavtest.Option{
		"basic": nil, "form 2003": {webdavtest.WithForms()}, "form 2007": {webdavtest.WithForms(), webdavtest.WithVersion(webdavtest.Exchange2007)},
	} {
		for _, status := range []int{0, 301, 400, 401, 403, 404, 440, 500, 503} {
			srv := newServer(t, fake...)
			srv.Add(letter("one"))
			var n atomic.Int32
			srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if n.Add(1) < 3 || status == 0 {
					return false
				}
				// A server that repeats what it was told.
				b, _ := io.ReadAll(r.Body)
				w.Header().Set("Location", "/x?"+string(b)+r.Header.Get("Authorization"))
				w.Header().Set("WWW-Authenticate", `Basic realm="`+r.Header.Get("Authorization")+`"`)
				w.WriteHeader(status)
				_, _ = w.Write(b)
				return true
			})
			var log bytes.Buffer
			d := newDriver(t, srv.Mailbox(), driver.WithLogger(debugLogger(&log)))
			_, _, err := poll(t, d)
			text := log.String()
			if err != nil {
				text += err.Error() + fmt.Sprintf("%+v %#v", err, err)
			}
			for _, secret := range secretForms(webdavtest.User, webdavtest.Password) {
				assert.NotContains(t, text, secret, "%s %d", name, status)
			}
			assert.NotContains(t, text, "cadata=")
			assert.NotEmpty(t, log.String())
		}
	}
}

// A44: an answer about a single resource that does not end, and a listing whose
// names are as long as they may be.
func TestA44WithoutEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method string
		opts   []driver.Option
		most   int64 // parts that are read, and those in the buffers of the network
		part   func(i int) string
	}{
		"mailbox": {"PROPFIND", nil, 100_000, func(i int) string {
			return fmt.Sprintf(`<D:propstat><D:prop><x:p%d xmlns:x="urn:schemas:httpmail:">/x</x:p%d></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>`, i, i)
		}},
		"collection": {"PROPFIND", []driver.Option{WithPlain()}, 100_000, func(int) string { return `<D:status>HTTP/1.1 200 OK</D:status>` }},
		"long names": {"SEARCH", []driver.Option{WithMaxListing(10_000)}, 9_000, func(i int) string {
			return fmt.Sprintf(`<D:propstat><D:prop><x:permanenturl xmlns:x="http://schemas.microsoft.com/exchange/">/%s</x:permanenturl><x:repl-uid xmlns:x="http://schemas.microsoft.com/repl/">%d</x:repl-uid></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>`, strings.Repeat("x", 8000), i)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			var parts atomic.Int64
			srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != c.method {
					return false
				}
				w.WriteHeader(http.StatusMultiStatus)
				_, _ = io.WriteString(w, msHead)
				for i := range 200_000 { // does not end as far as the client can tell
					if _, err := io.WriteString(w, "<D:response><D:href>/a</D:href>"+c.part(i)+"</D:response>"); err != nil {
						break
					}
					parts.Add(1)
				}
				return true
			})
			_, _, err := poll(t, newDriver(t, srv.Mailbox(), c.opts...))
			require.ErrorIs(t, err, driver.ErrLimit)
			srv.Settled()
			assert.Less(t, parts.Load(), c.most, "it is not read on")
		})
	}
}
