package examples_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/maildriver/maildriver/ews/ewstest"
)

// The examples with Exchange, by the attributes of a session description.
func TestExchange(t *testing.T) {
	srv := ewstest.NewServer()
	t.Cleanup(srv.Close)
	srv.AddFolder("Inbox/Support")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(ca, srv.CA(), 0o600))
	root := filepath.Join(t.TempDir(), "spool")
	file := writeProfile(t, "EWS", map[string]any{
		"PROTOCOLTYPE": "EWS", "SERVER": strings.TrimSuffix(srv.URL, ewstest.ServicePath), "CURRENTFOLDER": "inbox/Support", "AUTHTYPE": "Basic",
		"USERNAME": ewstest.User, "PASSWORD": ewstest.Password, "TIMEOUT": 60, "AUTODISCOVERURL": "no", "ALLOWREDIRECTION": "no", "IGNOREINVALIDCERTIFICATE": "no",
		"PROXYTYPE": "none", "CACertFileName": ca, "Spool Directory": root,
	})
	for _, subject := range []string{"one", "two"} {
		srv.AddItem("Inbox/Support", ewstest.Item{Raw: []byte("From: ann@example.com\r\nSubject: " + subject + "\r\n\r\nhello\r\n")})
	}
	out := run(t, "poll", "-drain", "-profile", file)
	require.Equal(t, 0, out.status, out.stderr)
	list := events(t, out.stdout)
	require.Len(t, list, 2)
	assert.Equal(t, "one two", list[0].Fields["Subject"]+" "+list[1].Fields["Subject"])
	assert.Zero(t, srv.Count("Inbox/Support"))
	assert.NotEmpty(t, spoolFiles(t, root))

	eml := filepath.Join(t.TempDir(), "m.eml")
	require.NoError(t, os.WriteFile(eml, []byte("From: desk@example.com\r\nTo: ann@example.com\r\nBcc: bob@example.com\r\nSubject: hi\r\n\r\nhello\r\n"), 0o600))
	out = run(t, "send", "-profile", file, eml)
	require.Equal(t, 0, out.status, out.stderr)
	assert.Contains(t, out.stdout, `"outcome":"accepted"`)
	require.Len(t, srv.Sent(), 1)
	assert.Equal(t, []string{"bob@example.com"}, srv.Sent()[0].Bcc)

	wrong := writeProfile(t, "EWS", map[string]any{"SERVER": srv.URL, "USERNAME": ewstest.User, "PASSWORD": "hunter2", "AUTHTYPE": "Form", "CACertFileName": ca, "Spool Directory": root})
	out = run(t, "poll", "-profile", wrong)
	assert.Equal(t, 2, out.status)
	assert.Contains(t, out.stderr, "EWS Authentication")
	assert.NotContains(t, out.stderr, "hunter2")
}
