package examples_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/webdav/webdavtest"
)

// The attributes of a session description, against an Exchange 2007 with its
// login form.
func TestWebDAV(t *testing.T) {
	t.Parallel()
	srv := webdavtest.NewServer(webdavtest.WithVersion(webdavtest.Exchange2007), webdavtest.WithForms(), webdavtest.WithTLS(), webdavtest.WithLocalised())
	t.Cleanup(srv.Close)
	const n = 120
	for i := range n {
		srv.Add(fmt.Appendf(nil, "From: bob@example.com\r\nTo: ann@example.com\r\nSubject: mail %d\r\n\r\nhello\r\n", i))
	}
	profile := func(password string) string {
		return writeProfile(t, "WEBDAV", map[string]any{
			"SESSION": "EmailSession1", "PROTOCOLTYPE": "webdav", "SERVER": srv.URL, "CURRENTFOLDER": "inbox", "AUTHTYPE": "Form",
			"USERNAME": webdavtest.User, "PASSWORD": password, "IGNOREINVALIDCERTIFICATE": "yes", "TIMEOUT": "120", "PROXYTYPE": "none",
			"WEBDAV Batch Size": 50, "WEBDAV After Processing": "MoveToDeletedItems", "From Address": webdavtest.Address,
			"Spool Directory": filepath.Join(t.TempDir(), "spool"),
		})
	}
	file := profile(webdavtest.Password)
	out := run(t, "poll", "-drain", "-discard", "-profile", file)
	require.Equal(t, 0, out.status, out.stderr)
	assert.Len(t, events(t, out.stdout), n)
	assert.Zero(t, srv.Left())
	assert.Equal(t, n, srv.Count(srv.Name("deleteditems")))
	assert.Equal(t, 1, srv.Logins())

	eml := filepath.Join(t.TempDir(), "a.eml")
	require.NoError(t, os.WriteFile(eml, []byte("From: ann@example.com\r\nTo: bob@example.com\r\nBcc: carol@example.com\r\nSubject: out\r\n\r\nx\r\n"), 0o600))
	out = run(t, "send", "-profile", file, eml)
	require.Equal(t, 0, out.status, out.stderr)
	var res struct {
		Outcome    string
		Recipients []struct{ Address, Outcome string }
	}
	require.NoError(t, json.Unmarshal([]byte(out.stdout), &res))
	assert.Equal(t, "accepted", res.Outcome)
	sent := srv.Sent()
	require.Len(t, sent, 1)
	assert.Equal(t, []string{"bob@example.com", "carol@example.com"}, sent[0].To)
	assert.NotContains(t, string(sent[0].Data), "Bcc")

	before := srv.Logins()
	out = run(t, "poll", "-profile", profile("wrong"))
	assert.Equal(t, 1, out.status)
	assert.NotContains(t, out.stderr, webdavtest.Password)
	assert.Equal(t, before+1, srv.Logins())
	out = run(t, "poll", "-profile", writeProfile(t, "WEBDAV", map[string]any{"SERVER": "ftp://x", "CURRENTFOLDER": "ArchiveRoot", "AUTODISCOVERURL": "yes", "SECURITY": "EXPLICIT"}))
	assert.Equal(t, 2, out.status)
	for _, want := range []string{"ftp", "AUTODISCOVERURL", "SECURITY", "ArchiveRoot"} {
		assert.Contains(t, out.stderr, want)
	}
}

// A collection of .eml files on the lab's Apache, over TLS and Digest.
func TestLabPollOverWebDAV(t *testing.T) {
	t.Parallel()
	env := lab(t)
	name := "/open/dav/examples-" + rand.Text() + "/"
	do := func(method, path, body string) {
		req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, env["LAB_HTTP"]+path, strings.NewReader(body))
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Less(t, resp.StatusCode, 300)
	}
	do("MKCOL", name, "")
	t.Cleanup(func() { do(http.MethodDelete, name, "") })
	for i := range 30 {
		do(http.MethodPut, fmt.Sprintf("%s%d.eml", name, i), fmt.Sprintf("Subject: mail %d\r\n\r\nhello\r\n", i))
	}
	file := writeProfile(t, "WEBDAV", map[string]any{
		"WEBDAV Server": env["LAB_HTTPS"] + strings.Replace(name, "/open/", "/digest/", 1), "WEBDAV Server Kind": "PLAIN", "WEBDAV Authentication": "Digest",
		"WEBDAV Account Name": "alice", "WEBDAV Account Password": "alice-secret", "CACertFileName": env["LAB_CA"], "Spool Directory": filepath.Join(t.TempDir(), "spool"),
	})
	out := run(t, "poll", "-drain", "-discard", "-profile", file)
	require.Equal(t, 0, out.status, out.stderr)
	assert.Len(t, events(t, out.stdout), 30)
	out = run(t, "poll", "-drain", "-profile", file)
	require.Equal(t, 0, out.status, out.stderr)
	assert.Empty(t, events(t, out.stdout))
}
