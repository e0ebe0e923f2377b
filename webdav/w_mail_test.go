package webdav

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/driver"
	"github.com/maildriver/maildriver/webdav/webdavtest"
)

// searches gives the ranges and the statements of a server's SEARCHes.
func searches(t *testing.T, srv *webdavtest.Server) (ranges, statements, uris []string) {
	t.Helper()
	for _, r := range srv.Requests() {
		if r.Method != "SEARCH" {
			continue
		}
		var body struct {
			SQL string `xml:"DAV: sql"`
		}
		require.NoError(t, xml.Unmarshal([]byte(r.Body), &body))
		ranges, statements, uris = append(ranges, r.Header.Get("Range")), append(statements, body.SQL), append(uris, r.URI)
	}
	return ranges, statements, uris
}

// W6: localised folders, whose URLs have blanks around.
func TestW6LocalisedFolders(t *testing.T) {
	t.Parallel()
	srv := newServer(t, webdavtest.WithLocalised())
	srv.Add(letter("one"))
	srv.AddFolder("Posteingang/Üben & mehr")
	srv.AddTo("Posteingang/Üben & mehr", letter("two"))
	srv.AddTo("Gelöschte Objekte", letter("three"))
	d := newDriver(t, srv.Mailbox())
	assert.Equal(t, []string{"one"}, pollAll(t, d))
	assert.Equal(t, []string{"two"}, pollAll(t, d, WithFolder("inbox/Üben & mehr")))
	assert.Equal(t, []string{"three"}, pollAll(t, d, WithFolder("DeletedItems")))
	_, _, uris := searches(t, srv)
	assert.Contains(t, uris, "/exchange/ann/Posteingang/")
	assert.Contains(t, uris, "/exchange/ann/Gel%C3%B6schte%20Objekte/", "as the server gave it")
	_, _, err := poll(t, d, WithFolder("Inbox/Absent"))
	require.ErrorIs(t, err, ErrFolder)
	assert.Contains(t, err.Error(), "Inbox/Absent")
	_, _, err = poll(t, d, WithFolder("JunkEmail"))
	require.ErrorIs(t, err, ErrFolderNotAvailable, "the server has no such property")
}

// W6: what the server gave goes into the request line byte for byte.
func TestW6PathsStayAsGiven(t *testing.T) {
	t.Parallel()
	for href, want := range map[string]string{
		"http://exch01/exchange/ann/Posteingang/":          "/exchange/ann/Posteingang/",
		" https://h/exchange/ann/%c3%bc%7e!'()*,;=:@$+/\n": "/exchange/ann/%c3%bc%7e!'()*,;=:@$+/",
		"/a b/ü#?%zz%4":                "/a%20b/%C3%BC%23%3F%25zz%254",
		"http://h":                     "/",
		"/x/##DavMailSubmissionURI##/": "/x/%23%23DavMailSubmissionURI%23%23/",
	} {
		p, err := hrefPath(href)
		require.NoError(t, err, href)
		assert.Equal(t, want, string(p))
		req, err := http.NewRequest(http.MethodGet, "http://h/", nil)
		require.NoError(t, err)
		req.URL = p.url(req.URL)
		assert.Equal(t, want, req.URL.RequestURI(), "in the request line")
	}
	for _, bad := range []string{"", "x/y", "mailto:a@b", strings.Repeat("/x", maxPath)} {
		_, err := hrefPath(bad)
		require.Error(t, err, bad)
	}
}

// W7: pages of a listing.
func TestW7Pages(t *testing.T) {
	t.Parallel()
	list := func(t *testing.T, srv *webdavtest.Server, opts ...driver.Option) (ids map[driver.ID]int) {
		t.Helper()
		d := newDriver(t, srv.Mailbox(), opts...)
		s, err := newSession(t.Context(), d.url, &d.set)
		require.NoError(t, err)
		t.Cleanup(s.close)
		mb, err := s.openMailbox(t.Context(), &d.set.inbound)
		require.NoError(t, err)
		ids = map[driver.ID]int{}
		for e, err := range mb.List(t.Context()) {
			require.NoError(t, err)
			ids[e.ID]++
		}
		return ids
	}
	fill := func(srv *webdavtest.Server) {
		for i := range 1050 {
			srv.Add(letter(fmt.Sprint(i)))
		}
	}
	t.Run("three", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t)
		fill(srv)
		assert.Len(t, list(t, srv), 1050)
		ranges, _, _ := searches(t, srv)
		assert.Equal(t, []string{"rows=0-499", "rows=500-999", "rows=1000-1499"}, ranges)
	})
	t.Run("without ranges", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t, webdavtest.WithoutContentRange())
		fill(srv)
		assert.Len(t, list(t, srv), 1050)
		ranges, _, _ := searches(t, srv)
		assert.Len(t, ranges, 1)
	})
	t.Run("empty", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t)
		assert.Empty(t, list(t, srv))
	})
	t.Run("mails vanish meanwhile", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t)
		fill(srv)
		var page atomic.Int32
		srv.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == "SEARCH" {
				if page.Add(1) == 2 { // behind the back of the lister, from the first page
					req, _ := http.NewRequest(http.MethodDelete, srv.Mailbox()+"Inbox/Mail%20000001,%20100%25%20%231.EML", nil)
					req.SetBasicAuth(webdavtest.User, webdavtest.Password)
					resp, err := http.DefaultClient.Do(req)
					if err == nil {
						_ = resp.Body.Close()
					}
					http.DefaultClient.CloseIdleConnections()
				}
			}
			return false
		})
		ids := list(t, srv)
		assert.Len(t, ids, 1049, "each of those that are left, and none left out")
	})
	t.Run("more than the limit", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t)
		fill(srv)
		_, _, err := poll(t, newDriver(t, srv.Mailbox(), WithMaxListing(600)))
		require.ErrorIs(t, err, driver.ErrLimit)
	})
	t.Run("no progress", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t)
		srv.Add(letter("one"))
		srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != "SEARCH" {
				return false
			}
			w.Header().Set("Content-Range", "rows 0-499; total=1000")
			w.WriteHeader(http.StatusMultiStatus)
			_, _ = io.WriteString(w, `<D:multistatus xmlns:D="DAV:"/>`)
			return true
		})
		_, _, err := poll(t, newDriver(t, srv.Mailbox()))
		assert.Equal(t, driver.KindProtocol, driver.KindOf(err), "%v", err)
	})
}

// W8: names of folders that are hard to quote.
func TestW8Quoting(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	names := []string{`it's "so" & <so>`, `100% #1 + 2?`, `a;b=c@d:e,f$g!(h)*~`, `slash/in it`}
	for _, name := range names[:3] {
		srv.AddFolder("Inbox/" + name)
		srv.AddTo("Inbox/"+name, letter("in "+name))
	}
	d := newDriver(t, srv.Mailbox())
	for _, name := range names[:3] {
		assert.Equal(t, []string{"in " + name}, pollAll(t, d, WithFolder("Inbox/"+name)), name)
	}
	_, _, err := poll(t, d, WithFolder(`Inbox/slash\/in it`))
	require.ErrorIs(t, err, ErrFolder)
	_, statements, uris := searches(t, srv)
	assert.Equal(t, []string{
		"/exchange/ann/Inbox/it%27s%20%22so%22%20&%20%3Cso%3E/",
		"/exchange/ann/Inbox/100%25%20%231%20+%202%3F/",
		"/exchange/ann/Inbox/a;b=c@d:e,f$g!(h)*~/",
	}, uris)
	scope := regexp.MustCompile(`SCOPE\('SHALLOW TRAVERSAL OF "([^"]*)"'\)`)
	for i, s := range statements {
		m := scope.FindStringSubmatch(s)
		require.NotNil(t, m, s)
		assert.Equal(t, srv.URL+uris[i], m[1])
	}
	found := false
	for _, r := range srv.Requests() {
		found = found || r.Method == "PROPFIND" && r.URI == "/exchange/ann/Inbox/slash%2Fin%20it/"
		if r.Method == "SEARCH" && strings.Contains(r.URI, "so%22") {
			assert.Contains(t, r.Body, "so%22%20&amp;%20%3Cso%3E/&#34;&#39;)", "escaped for XML")
		}
	}
	assert.True(t, found)
	// A quote that the server itself leaves bare is doubled.
	assert.Contains(t, searchBody("http://h/it's/"), "OF &#34;http://h/it&#39;&#39;s/&#34;")
}

// W9: the dialects of a multistatus.
func TestW9Multistatus(t *testing.T) {
	t.Parallel()
	const text = `<?xml version="1.0"?>
<multistatus xmlns="DAV:" xmlns:b="urn:uuid:c2f41010-65b3-11d1-a29f-00aa00c14882/" xmlns:z="urn:schemas:httpmail:">
 <response><href>/a</href>
  <propstat><status>HTTP/1.1 200 OK</status><prop><z:read b:dt="boolean">1</z:read>
   <q:keywords xmlns:q="urn:x" b:dt="mv.string"><v xmlns="xml:">red</v><v xmlns="xml:">blue</v></q:keywords><getcontentlength b:dt="int">12</getcontentlength></prop></propstat>
  <propstat><prop><uid/><z:date/></prop><status>HTTP/1.1 404 Resource Not Found</status></propstat>
 </response>
 <response><href>/b</href><propstat><status>HTTP/1.1 200 OK</status><prop><z:read>0</z:read></prop></propstat></response>
 <response><href>/c</href><propstat><status>HTTP/1.1 200 OK</status><prop/></propstat></response>
 <response><href>/d</href><status>HTTP/1.1 423 Locked</status></response>
</multistatus>`
	var got []*response
	require.NoError(t, readMultistatus(strings.NewReader(text), func(r *response) error { got = append(got, r); return nil }))
	require.Len(t, got, 4)
	assert.True(t, got[0].yes(nsHTTPMail, "read"))
	assert.Equal(t, "red\nblue", got[0].props["urn:xkeywords"])
	_, ok := got[0].get(nsDAV, "uid")
	assert.False(t, ok, "a value of another status than 200")
	assert.Equal(t, 404, got[0].failed["DAV:uid"])
	assert.False(t, got[1].yes(nsHTTPMail, "read"))
	assert.Empty(t, got[2].props)
	assert.Equal(t, 423, got[3].worst())
	// The same from a server, in another prefix and with all that is missing.
	srv := newServer(t, webdavtest.WithPrefix("D42"))
	srv.Add(letter("one"))
	assert.Equal(t, []string{"one"}, pollAll(t, newDriver(t, srv.Mailbox())))
}

// W11: the address that lasts is tried once; what is nowhere is gone.
func TestW11PermanentURL(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Add(letter("one"), letter("two"))
	srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/Inbox/") && !strings.HasSuffix(r.URL.Path, "2") {
			return false
		}
		http.NotFound(w, r) // both under their names, and the second everywhere
		return true
	})
	got, res, err := poll(t, newDriver(t, srv.Mailbox()))
	require.NoError(t, err)
	assert.Equal(t, []string{"one"}, got)
	assert.Equal(t, 1, res.Gone)
	gets := 0
	for _, r := range srv.Requests() {
		if r.Method == http.MethodGet && (strings.Contains(r.URI, ".EML") || strings.Contains(r.URI, "FlatUrlSpace")) {
			gets++
			assert.Equal(t, "f", r.Header.Get("Translate"))
		}
	}
	assert.Equal(t, 4, gets)
}

// A name may come to mean another mail: that one is neither taken for the first
// nor removed in its place.
func TestNameReused(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Add(letter("right"))
	srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, ".EML") {
			return false
		}
		w.Header().Set("Content-Type", "message/rfc822")
		w.Header().Set("Repl-UID", "<rid:another>")
		_, _ = w.Write(letter("wrong"))
		return true
	})
	assert.Equal(t, []string{"right"}, pollAll(t, newDriver(t, srv.Mailbox())))
	last := srv.Requests()[len(srv.Requests())-1]
	assert.Equal(t, http.MethodDelete, last.Method)
	assert.Contains(t, last.URI, "FlatUrlSpace", "changes go to the address that lasts")
}

// A folder that was moved is found again, one call later.
func TestFolderMoved(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Add(letter("one"))
	d := newDriver(t, srv.Mailbox())
	assert.Equal(t, []string{"one"}, pollAll(t, d))
	srv.Rename("inbox", "In Box")
	srv.Add(letter("two"))
	_, _, err := poll(t, d)
	assert.Equal(t, 404, codeOf(err), "%v", err)
	assert.Equal(t, []string{"two"}, pollAll(t, d))
	for _, path := range []string{"Root", "SearchFolders", "MsgFolderRoot", "Root/Finder"} {
		assert.Empty(t, pollAll(t, d, WithFolder(path)), path)
	}
}

// W12: a refusal inside 207.
func TestW12RefusedInside(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Add(letter("one"), letter("two"))
	srv.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != "PROPPATCH" || !strings.HasSuffix(r.URL.Path, "01") {
			return false
		}
		w.WriteHeader(http.StatusMultiStatus)
		_, _ = io.WriteString(w, `<a:multistatus xmlns:a="DAV:"><a:response><a:href>/x</a:href><a:propstat><a:status>HTTP/1.1 403 Forbidden</a:status><a:prop><r xmlns="urn:schemas:httpmail:"/></a:prop></a:propstat></a:response></a:multistatus>`)
		return true
	})
	d := newDriver(t, srv.Mailbox(), WithMarkRead())
	got, res, err := poll(t, d)
	require.NoError(t, err)
	assert.Equal(t, []string{"one", "two"}, got)
	require.Len(t, res.Failures, 1)
	assert.Equal(t, 403, codeOf(res.Failures[0].Err))
	assert.Equal(t, 1, srv.Unread("Inbox"))
	srv.Intercept(nil)
	got, _, err = poll(t, d)
	require.NoError(t, err)
	assert.Empty(t, got, "known ones are only marked")
	assert.Zero(t, srv.Unread("Inbox"))
	assert.Equal(t, 2, srv.Left())
	srv.Add(letter("three"))
	assert.Equal(t, []string{"three"}, pollAll(t, d))
}

// W13: to the trash, or for good; what is gone counts as done.
func TestW13Removing(t *testing.T) {
	t.Parallel()
	srv := newServer(t)
	srv.Add(letter("one"), letter("two"))
	d := newDriver(t, srv.Mailbox(), WithTrash())
	assert.Equal(t, []string{"one", "two"}, pollAll(t, d))
	assert.Equal(t, 2, srv.Count("Deleted Items"))
	moves := 0
	for _, r := range srv.Requests() {
		if r.Method == "MOVE" {
			moves++
			assert.Equal(t, "F", r.Header.Get("Overwrite"))
			assert.Equal(t, "t", r.Header.Get("Allow-Rename"))
			assert.Regexp(t, `^`+regexp.QuoteMeta(srv.URL)+`/exchange/ann/Deleted%20Items/Mail%20\d+,%20100%25%20%231\.EML$`, r.Header.Get("Destination"))
		}
	}
	assert.Equal(t, 2, moves)
	srv.Add(letter("three"), letter("four"))
	var once sync.Once
	srv.Intercept(func(w http.ResponseWriter, r *http.Request) (lied bool) {
		if r.Method == http.MethodDelete {
			once.Do(func() { http.NotFound(w, r); lied = true })
		}
		return lied
	})
	_, res, err := poll(t, d, WithDelete())
	require.NoError(t, err)
	assert.Equal(t, 2, res.Removed)
	assert.Equal(t, 2, srv.Count("Deleted Items"))
	assert.Equal(t, 1, srv.Left(), "the one that was said to be gone")
}

// W16: folders of later versions are refused before anything is sent.
func TestW16NotOverWebDAV(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"ArchiveRoot", "archiveinbox/Sub", "RecoverableItemsDeletions", "Voicemail", "VOICEMAIL"} {
		_, err := New("https://mail.example.com", WithFolder(path))
		require.ErrorIs(t, err, ErrFolderNotAvailable, path)
		assert.Equal(t, driver.KindConfig, driver.KindOf(err))
	}
	srv := newServer(t)
	_, _, err := poll(t, newDriver(t, srv.Mailbox()), WithMoveTo("ArchiveRoot"))
	require.ErrorIs(t, err, ErrFolderNotAvailable)
	assert.Empty(t, srv.Requests())
	_, err = New("https://mail.example.com", WithFolder("Projects"))
	require.ErrorContains(t, err, `"MsgFolderRoot/Projects"`)
}
